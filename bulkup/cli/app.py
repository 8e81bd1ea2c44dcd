"""The commands, and what becomes of an error. Whatever is heavy is imported by the command that needs it.

Annotations are values here and not text: typer would compile each of the hundreds of texts at every start.
"""

import os
import sys
from collections.abc import Sequence
from copy import copy
from typing import Annotated, Any

import typer

from bulkup.cli import options as o
from bulkup.cli.completion import COMPLETE, answer_first_tab, completed_words, of_runs, wants_completion
from bulkup.cli.figures import printable
from bulkup.cli.outcome import exit_code_of, refuse_tokens
from bulkup.cli.streams import put, put_json, say, to_stdout
from bulkup.destinations.registry import BUILT_IN, every_service, listed
from bulkup.destinations.service import Service
from bulkup.errors import PRECEDENCE

__all__ = ["main"]

EXIT_CODES = f"""\b
Exit codes:
    0  everything has landed
    1  internal error
    2  usage, config, missing file, destination not empty
    3  done, some rows rejected
    4  chunks in doubt remain
    5  verification or the final audit found a difference
    6  the source has changed
    7  the journal is unusable
    8  another process holds the run or the dataset
   10  stopped by a limit that you set
   65  the input is unreadable (what came before has landed)
   66  nothing to upload: the source holds no rows (--empty ok makes it 0)
   74  the local disk refused a write
   75  try again later (quota, outage)
   77  token or permission
  130  interrupted, 143 terminated (also by SIGHUP and SIGQUIT); the state is saved

With 2, 6, 7 and 8 nothing was sent, unless the service's answer (2) or a file that changed (6) stopped a destination. If
several codes apply, the run ends with the first of these: {", ".join(str(int(code)) for code in PRECEDENCE)}.
The receipt has the code of each destination.
"""

UPLOAD_NOTES = (
    """Options with a value, and --append, can also be set by environment variables: BULKUP_NAME, BULKUP_APPEND=1,
BULKUP_TO={list of destinations}. A flag wins over the environment, the environment over the config file, the config file
over the default. A size is a number of bytes, or 8MiB or 16MB. A time is in seconds, or 30s or 10m.

Tokens are never options: set {token variables}, or name a token_file in the config file.

"""
    + EXIT_CODES
)

WORDS = """\b
Words:
  lane       the work for one destination
  chunk      the rows that are sent in one request
  in flight  being sent right now
  landed     stored by the service: its answer says so, or reading back shows it
  in doubt   sent, but no answer says whether it was stored
  settle     find out what became of chunks in doubt, by looking at the service
  rejected   not sent, or refused by the service, with a reason
  left       read, but not sent yet

"""

FULL_TITLES = listed((service.full_title for service in BUILT_IN.values()), "and")
LAST = list(BUILT_IN)[-1]

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="bulkup",
    help=f"Move datasets of any size into {FULL_TITLES}: fast, resumable, every row accounted for.",
    epilog=WORDS + EXIT_CODES,
    context_settings=CONTEXT,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="The run's name, or the beginning of it.", show_default=False, autocompletion=of_runs
    ),
]
MaybeRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="The run's name, or the beginning of it. Default: the newest run.",
        autocompletion=of_runs,
    ),
]


@app.callback(invoke_without_command=True)
def bulkup(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit; with -v what a bug report needs.")
    ] = False,
    verbose: o.Verbose = 0,
) -> int:
    if version:
        from bulkup.version import VERSION

        put(f"bulkup {VERSION}")
        if verbose:
            from bulkup.cli.surroundings import surroundings

            put("\n".join(surroundings()))
        raise typer.Exit
    if context.invoked_subcommand is None:
        put(context.get_help())
    return 0


@app.command(epilog=UPLOAD_NOTES, short_help="Upload files, or continue an upload that stopped.")
def upload(
    context: typer.Context,
    sources: o.Sources = None,
    to: o.To = None,
    config: o.Config = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    verbose: o.Verbose = 0,
    quiet: o.Quiet = False,
) -> int:
    """Upload files, or continue an upload that was interrupted: the same command again sends only what is left."""
    _log(verbose=verbose)
    from bulkup.cli.choices import choose
    from bulkup.cli.runner import OutputMode, carry_out

    chosen, output = (
        choose(sources or [], context.params, os.environ),
        OutputMode(json=json, quiet=quiet, verbosity=verbose),
    )
    if dry_run:
        from bulkup.cli.checking import check_upload

        return check_upload(chosen, output)
    return carry_out(chosen, output)


@app.command(epilog=UPLOAD_NOTES, short_help="Say what an upload would do. Sends nothing.")
def check(
    context: typer.Context,
    sources: o.Sources = None,
    to: o.To = None,
    config: o.Config = None,
    tokenizer: o.Tokenizer = None,
    json: o.Json = False,
    verbose: o.Verbose = 0,
    quiet: o.Quiet = False,
) -> int:
    """Read all rows and say what `bulkup upload` would do with the same options: columns and what made them so, rejected rows with
    their places, datasets, requests, the first row as it would be sent. It needs no token and asks the service nothing. It keeps
    what it found in a source of 64 MiB or more, so that an upload need not read that again.

    Exit code 0: all rows would be sent; 3: some would be rejected; 10: more than --max-rejects allows, so nothing would be sent;
    2, 65 and 66 as upload."""
    _log(verbose=verbose)
    from bulkup.cli.checking import check_upload
    from bulkup.cli.choices import choose
    from bulkup.cli.runner import OutputMode

    upload = choose(sources or [], context.params, os.environ)
    return check_upload(upload, OutputMode(json=json, quiet=quiet, verbosity=verbose), tokenizer=tokenizer)


@app.command(short_help="Continue a run.")
def resume(
    context: typer.Context,
    run: RunArgument,
    json: o.Json = False,
    verbose: o.Verbose = 0,
    quiet: o.Quiet = False,
) -> int:
    """Continue a run with the options that it was begun with. Run this in the same directory as the upload: the paths of the
    source count from there."""
    _log(verbose=verbose)
    from bulkup.cli.resuming import resume_run
    from bulkup.cli.runner import OutputMode

    return resume_run(run, context.params, os.environ, OutputMode(json=json, quiet=quiet, verbosity=verbose))


@app.command(short_help="Show where a run stands, also while it is running.")
def status(
    context: typer.Context,
    run: MaybeRun = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it every second, with rate and time left, until its process ends.")
    ] = False,
    json: o.Json = False,
    verbose: o.Verbose = 0,
) -> int:
    """Show where a run stands, also while it is running: rows, chunks, doubts with their reasons, the last receipt."""
    from bulkup.cli.standing_lines import status_lines
    from bulkup.run.standing import status_json

    folder = _state(context).find(run)
    if watch:
        from bulkup.cli.listing import watch_run

        return watch_run(folder)
    found = status_json(folder)
    if json:
        put_json(found)
    else:
        put("\n".join(status_lines(found)))
    return 0


@app.command(short_help="List all runs, the newest first.")
def runs(context: typer.Context, json: o.Json = False, verbose: o.Verbose = 0) -> int:
    """List all runs, the newest first: state, how much is done, rows landed, exit code, and how long ago it gave a sign of life."""
    from bulkup.cli.listing import list_runs

    return list_runs(_state(context), as_json=json)


@app.command(short_help="Show what a run did, line by line.")
def logs(
    context: typer.Context,
    run: MaybeRun = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run's process ends.")] = False,
    json: o.Json = False,
    verbose: o.Verbose = 0,
) -> int:
    """Show what a run did: every event with its time, from `events.jsonl` in the run's folder. With --json as it stands there."""
    from bulkup.cli.listing import show_log

    return show_log(_state(context).find(run), as_json=json, follow=follow)


@app.command(short_help="Take away what finished runs no longer need.")
def clean(
    context: typer.Context,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Which runs. Default: all.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    verbose: o.Verbose = 0,
) -> int:
    """Take away what finished runs no longer need: logs and status files. It says what goes, and asks.

    Receipts stay, and what keeps the same command from sending anything again."""
    from bulkup.cli.listing import clean_runs

    return clean_runs(_state(context), runs or [], yes=yes)


@app.command(short_help="Have a running run send nothing for now.")
def pause(context: typer.Context, run: MaybeRun = None, verbose: o.Verbose = 0) -> int:
    """Have a running run send nothing until `bulkup continue`. Requests that are under way end. The command returns when the run's
    process has answered, or says after two seconds that it has not."""
    from bulkup.cli.controlling import command_run

    return command_run(_state(context).find(run), "pause")


@app.command(short_help="Have a paused run go on.")
def continue_(context: typer.Context, run: MaybeRun = None, verbose: o.Verbose = 0) -> int:
    """Have a paused run go on."""
    from bulkup.cli.controlling import command_run

    return command_run(_state(context).find(run), "continue")


@app.command(short_help="Have a running run stop.")
def stop(context: typer.Context, run: MaybeRun = None, verbose: o.Verbose = 0) -> int:
    """Have a running run stop: requests that are under way end, and the run ends with exit code 10. `bulkup resume` goes on."""
    from bulkup.cli.controlling import command_run

    return command_run(_state(context).find(run), "stop")


@app.command(short_help="Change how fast a running run may be.")
def set_(context: typer.Context, run: MaybeRun = None, verbose: o.Verbose = 0) -> int:
    """Change how fast a running run may be, in all of its lanes, until its process ends."""
    from bulkup.cli.controlling import command_run, values_of

    return command_run(_state(context).find(run), "set", values_of(context.params))


@app.command(short_help="Find out what became of chunks in doubt. Sends nothing.")
def settle(
    context: typer.Context,
    run: RunArgument,
    chunk: o.Chunk = None,
    landed: o.Landed = False,
    absent: o.Absent = False,
    lane: o.Lane = None,
    json: o.Json = False,
    verbose: o.Verbose = 0,
    quiet: o.Quiet = False,
) -> int:
    """Find out what became of requests without an answer. This sends nothing: `bulkup resume` sends what was not stored.

    With --chunk you decide yourself, where bulkup could not find out. That needs no network."""
    _log(verbose=verbose)
    from bulkup.cli.runner import OutputMode
    from bulkup.cli.settling import settle_run

    return settle_run(run, context.params, os.environ, OutputMode(json=json, quiet=quiet, verbosity=verbose))


@app.command(short_help="Read back what landed and compare it with the source.")
def verify(
    context: typer.Context,
    run: RunArgument,
    sample: o.Sample = None,
    seed: o.Seed = None,
    json: o.Json = False,
    verbose: o.Verbose = 0,
    quiet: o.Quiet = False,
) -> int:
    """Read back and compare: status and row count of every dataset, and the contents of a sample of the chunks.

    Exit code 0: equal; 5: something differs, with the rows named; 4: it cannot be verified, or rows are in doubt; 6: the source
    has changed; 75: the service could not be asked, or the run is not finished."""
    _log(verbose=verbose)
    from bulkup.cli.runner import OutputMode
    from bulkup.cli.verifying import verify_run

    return verify_run(run, context.params, os.environ, OutputMode(json=json, quiet=quiet, verbosity=verbose))


@app.command(short_help="Export rejected rows with their reasons, or send them again.")
def rejects(
    context: typer.Context,
    run: RunArgument,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="With --retry: the rows to send, as exported (and fixed) or plain. Default: all rejected rows.",
            show_default=False,
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Send rejected rows again, in a run of their own.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here. Default: standard output.")
    ] = None,
    lane: Annotated[
        str | None,
        typer.Option("--lane", metavar="DEST", help="Only rows for this destination: {destinations}. Default: all."),
    ] = None,
    verbose: o.Verbose = 0,
) -> int:
    """Export rejected rows with reason and row number, as JSON lines in the source's order. With --retry, send them again."""
    state_dir = context.params["state_dir"]
    if retry:
        from bulkup.cli.retrying import retry_rejects

        _log(verbose=verbose)
        return retry_rejects(
            run,
            file=file,
            lane=lane,
            output=output,
            state_dir=state_dir,
            journal=context.params["journal"],
            function=context.params["map"],
            environment=os.environ,
        )
    if file is not None:
        from bulkup.errors import UsageProblem

        raise UsageProblem("a FILE needs --retry; to write the export to a file, give --output FILE")
    from pathlib import Path

    from bulkup.cli.exporting import export_rejects

    folder = _state(context).find(run).path
    count = export_rejects(folder, lane=lane, output=Path(output) if output else None)
    if output:
        say(f"{count:,} rejected rows written to {printable(output)}")
    return 0


@app.command(short_help="Export which row of the source is which row at the service.")
def ids(
    context: typer.Context,
    run: RunArgument,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="jsonl|csv", help="Default: jsonl, or csv for a FILE that ends so."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here. Default: standard output.")
    ] = None,
    lane: Annotated[
        str | None,
        typer.Option("--lane", metavar="DEST", help="Only rows at this destination: {destinations}. Default: all."),
    ] = None,
    verbose: o.Verbose = 0,
) -> int:
    """Export every row that has landed: file, row number and byte offset in the source, and dataset and id at the service. It reads
    the source again, and needs no network. Exit code 6: the source has changed."""
    _log(verbose=verbose)
    from bulkup.cli.ids import export_ids

    return export_ids(run, context.params, os.environ, lane=lane, output=output, form=form)


@app.command(short_help="Find the chunk size and concurrency that suit an endpoint best.")
def bench(
    context: typer.Context,
    to: o.Endpoint,
    url: o.Url = None,
    source: o.Source = None,
    config: o.Config = None,
    sizes: o.Sizes = None,
    concurrencies: o.Concurrencies = "1,2,4,8,16",
    max_requests: o.MaxRequests = "60",
    max_bytes: o.MaxBytes = "256MiB",
    max_wait: o.BenchMaxWait = "60s",
    write_config: o.WriteConfig = None,
    yes: o.Yes = False,
    json: o.Json = False,
    verbose: o.Verbose = 0,
    quiet: o.Quiet = False,
) -> int:
    """Measure an endpoint: send short series of requests with different chunk sizes, and with different numbers of requests at
    once. It prints the best setting and what limits it. The rows that it sends stay at the service: it first says how many, and
    under which names."""
    _log(verbose=verbose)
    from bulkup.cli.benching import bench as measure
    from bulkup.cli.runner import OutputMode

    return measure(context.params, os.environ, OutputMode(json=json, quiet=quiet, verbosity=verbose))


@app.command(short_help="Work for a run on another machine.")
def worker(
    connect: Annotated[
        str,
        typer.Option(
            "--connect",
            metavar="HOST:PORT[,…]",
            help="Where the run listens (`bulkup upload --listen`); several where another machine may take it over.",
        ),
    ],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="The run's worker.key. Default: what stands in the environment variable BULKUP_WORKER_KEY.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        str, typer.Option("--processes", metavar="N|auto", help="How many work; auto is one for each core.")
    ] = "1",
    retry_for: Annotated[
        str,
        typer.Option(
            "--retry-for", metavar="SECONDS", help="Give up after this long without reaching the run (exit code 75)."
        ),
    ] = "600s",
    verbose: o.Verbose = 0,
) -> int:
    """Work for a run on another machine, until the run is over: read, encode and send what it asks for. It writes nothing on this
    machine. It needs the run's files at the same paths, or in object stores, and the run's exact version of bulkup.

    Exit code 0: the run is over; 2: the run has no use for this worker, and says why; 75: it could not be reached for too long;
    143: it was told to end, and has finished what it was sending. See docs/cluster.md."""
    from bulkup.cli.working import work

    return work(connect, key=key, processes=processes, retry_for=retry_for, verbosity=verbose)


@app.command(short_help="Serve both services on this machine, to try things out.")
def emulator(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    db: Annotated[str | None, typer.Option(metavar="FILE", help="Keep rows here. Default: a temporary file.")] = None,
    settings: Annotated[
        str | None,
        typer.Option(metavar="JSON|FILE", help="Settings as JSON, or the name of a JSON file; see docs/emulator.md."),
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(min=0, help="Wait this many milliseconds before each answer.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Answer 429 to more requests than this.")
    ] = None,
    body_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Answer 413 to bodies that are larger than this, such as 1MiB.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for random faults.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEST:FAULT=P", help=f"Produce a fault at random, such as {LAST}:stored_then_reset=0.1; repeatable."
        ),
    ] = None,
    pending_polls: Annotated[
        int | None, typer.Option(min=-1, help="A new dataset stays PENDING for so many polls; -1: for ever.")
    ] = None,
    readback: Annotated[
        str | None, typer.Option(metavar="on|off|forbidden|lagging", help="How read-back calls behave.")
    ] = None,
    verbose: o.Verbose = 0,
) -> int:
    """Serve both services on this machine, to try things out. It takes any token, and can produce every fault."""
    from bulkup.cli.emulating import emulate

    return emulate(context.params)


@app.command(short_help="Upload a real dataset into the emulator and compare.")
def demo(
    directory: Annotated[
        str | None,
        typer.Option("--dir", metavar="DIR", help="Where to put the files. Default: a new temporary folder."),
    ] = None,
    verbose: o.Verbose = 0,
) -> int:
    """Upload a real dataset (GSM8K, 7,473 rows) into a local emulator of both services, and compare what landed."""
    _log(verbose=verbose)
    from bulkup.cli.demo import show

    return show(directory)


def _state(context: typer.Context) -> Any:
    """Where the runs are kept that a command is about."""
    from bulkup.cli.choices import journal, state_dir
    from bulkup.run.folder import StateDir

    params = context.params
    return StateDir(state_dir(params["state_dir"], os.environ), journal(params.get("journal"), os.environ))


def _log(*, verbose: int) -> None:
    """Libraries' warnings are for those who ask for them."""
    import logging

    if verbose:
        from bulkup.tokens.logs import log_to_stderr

        log_to_stderr(logging.INFO, "%(asctime)s %(name)s %(levelname)s %(message)s")
    else:
        logging.getLogger().addHandler(logging.NullHandler())


def _run(arguments: list[str]) -> Any:
    """The command's result. Services of other distributions are loaded for help, and where an option is not known otherwise."""
    built_in = tuple(BUILT_IN.values())
    if COMPLETE in os.environ:
        return _command_line(completed_words(os.environ), built_in)(
            arguments, prog_name="bulkup", standalone_mode=False
        )
    is_help_of_command = not {"-h", "--help"}.isdisjoint(arguments[1:])
    services = every_service() if is_help_of_command else built_in
    try:
        return _command_line(arguments, services)(arguments, prog_name="bulkup", standalone_mode=False)
    except Exception as error:
        everyone = every_service() if type(error).__name__ == "NoSuchOption" else services
        if len(everyone) <= len(services):
            raise
    return _command_line(arguments, everyone)(arguments, prog_name="bulkup", standalone_mode=False)


def _command_line(arguments: Sequence[str], services: Sequence[Service]) -> Any:
    """The command. Of its subcommands only those that *arguments* name have options: to make them takes longer than to list all."""
    made = copy(app)
    made._add_completion = wants_completion(arguments, os.environ)
    made.registered_commands = []
    for command in app.registered_commands:
        info, function = copy(command), command.callback
        assert function is not None
        info.name = function.__name__.rstrip("_")
        if info.name in arguments:
            from bulkup.cli.parameters import with_options, with_words

            info.callback = with_options(info.name, function, services)
            info.epilog = with_words(info.epilog or "", services)
        else:
            info.callback = lambda: 0
        made.registered_commands.append(info)
    return typer.main.get_command(made)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (that of the process); its exit code. Errors are one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_verbose = not {"-v", "-vv", "--verbose"}.isdisjoint(arguments)
    try:
        refuse_tokens(arguments)
        code = _run(arguments)
        with to_stdout():
            pass  # what is still buffered goes out, or its loss is said
    except SystemExit as left:
        is_reader_gone = isinstance(left.__context__, BrokenPipeError)  # which typer makes this of
        if left.code in (None, 0, 1) and not is_reader_gone:  # completion, which has said what it had to say
            answer_first_tab(arguments)
            return int(left.code or 0)
        return exit_code_of(left, is_verbose=is_verbose, arguments=arguments)
    except BaseException as error:  # noqa: BLE001 - the last stop: every error becomes a line and an exit code
        return exit_code_of(error, is_verbose=is_verbose, arguments=arguments)
    return int(code or 0)
