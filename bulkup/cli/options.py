"""The options' names and help texts. What they mean is read in `choices`; here they are text.

Words in braces stand for what the services say: see `service_options`.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Absent",
    "Append",
    "BenchMaxWait",
    "BytesPerSecond",
    "CaFile",
    "Chunk",
    "Concurrencies",
    "Concurrency",
    "Config",
    "DrainTimeout",
    "Drop",
    "Endpoint",
    "Json",
    "Landed",
    "Lane",
    "MaxBytes",
    "MaxChunkBytes",
    "MaxChunkRows",
    "MaxRejects",
    "MaxRequests",
    "MaxWait",
    "Name",
    "OnDoubt",
    "OnSourceChange",
    "Preset",
    "Quiet",
    "RequestsPerMinute",
    "RetryFor",
    "Sample",
    "Seed",
    "SettleAfter",
    "Sizes",
    "Source",
    "Sources",
    "StateDir",
    "To",
    "Url",
    "Validation",
    "Verbose",
    "Workers",
    "WriteConfig",
    "Yes",
]

Text = str | None


def _option(flag: str, metavar: str, text: str) -> typer.models.OptionInfo:
    made: typer.models.OptionInfo = typer.Option(flag, metavar=metavar, help=text, show_default=False)
    return made


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        show_default=False,
        help="Files or globs of JSON lines or JSON arrays, plain, gzip or zstd; - is standard input (cannot be resumed).",
    ),
]
To = Annotated[
    list[str] | None, _option("--to", "DEST", "{destinations}; repeatable. Default: the config file's sections.")
]
Name = Annotated[Text, _option("--name", "NAME", "The dataset's name. Default: the only file's stem.")]
Preset = Annotated[
    Text,
    _option(
        "--preset",
        "NAME",
        "The rows' shape: auto, identity, chat, prompt-completion, question-answer, text. Default: auto.",
    ),
]
Config = Annotated[Text, _option("--config", "FILE", "A TOML file; see docs/cli.md and configs/.")]
CaFile = Annotated[
    Text,
    _option(
        "--ca-file",
        "FILE",
        "Trust the certificate authorities in this PEM file too, beside the system's. Default: REQUESTS_CA_BUNDLE, if it is set.",
    ),
]
StateDir = Annotated[Text, _option("--state-dir", "DIR", "Where runs are kept. Default: .bulkup.")]
MaxChunkBytes = Annotated[
    Text,
    _option(
        "--max-chunk-bytes",
        "SIZE",
        "The largest request body: bytes, or such as 8MiB. Default: {largest bodies}.",
    ),
]
MaxChunkRows = Annotated[Text, _option("--max-chunk-rows", "N", "The most rows in one request. Default: no limit.")]
Concurrency = Annotated[
    Text, _option("--concurrency", "N", "The most requests at once, 1 to 256; it starts at 4 and grows. Default: 16.")
]
RequestsPerMinute = Annotated[Text, _option("--requests-per-minute", "N", "The quota. Default: no limit.")]
BytesPerSecond = Annotated[
    Text, _option("--bytes-per-second", "SIZE", "The most to send: bytes, or such as 10MB. Default: no limit.")
]
OnDoubt = Annotated[
    Text,
    _option(
        "--on-doubt",
        "hold|resend",
        "A request without an answer may or may not have been stored. hold reports it (exit code 4), resend sends it "
        "again and accepts doubles. Default: hold.",
    ),
]
OnSourceChange = Annotated[
    Text,
    _option(
        "--on-source-change",
        "refuse|append|restart",
        "Where the source is not what the run began with: append uploads what was added if the old part still matches, "
        "restart begins anew and keeps the old run's folder. Default: refuse (exit code 6).",
    ),
]
SettleAfter = Annotated[
    Text,
    _option(
        "--settle-after", "SECONDS", "How long a service must have been quiet before its state counts. Default: 30."
    ),
]
Append = Annotated[
    bool | None,
    typer.Option(
        "--append/--no-append", show_default=False, help="Add to a dataset that is there already. Default: refuse."
    ),
]
RetryFor = Annotated[
    Text,
    _option(
        "--retry-for",
        "SECONDS",
        "How long to try without a success before stopping (exit code 75); waits that the service asks for do not count. "
        "Default: 600.",
    ),
]
MaxWait = Annotated[
    Text,
    _option(
        "--max-wait",
        "SECONDS",
        "Stop (exit code 75) where the service asks for more waiting than this, at once or without a success in between. "
        "Default: 3600.",
    ),
]
DrainTimeout = Annotated[
    Text,
    _option("--drain-timeout", "SECONDS", "How long the first Ctrl-C waits for what is in flight. Default: 15."),
]
MaxRejects = Annotated[
    Text,
    _option(
        "--max-rejects",
        "N|P%",
        "Stop (exit code 10) at more rejected rows than N, or than a share once 1,000 are read. Default: 5%; 100% never stops.",
    ),
]
Validation = Annotated[
    Text,
    _option(
        "--validation",
        "full|trust",
        "full reads every row and sends only what the destination takes; trust checks that each line is one {...} and leaves "
        "the rest to the destination (docs/mapping.md). Frozen at the run's start. Default: full.",
    ),
]
Chunk = Annotated[Text, _option("--chunk", "N", "A chunk in doubt, as `bulkup status` names it: 00042, or 00042-003.")]
Landed = Annotated[bool, typer.Option("--landed", help="You know that the chunk is stored.")]
Absent = Annotated[
    bool, typer.Option("--absent", help="You know that the chunk is not stored: `bulkup resume` sends it again.")
]
Lane = Annotated[
    Text, _option("--lane", "DEST", "{destinations}: where the chunk is in doubt. Needed where it is in both.")
]
Sample = Annotated[
    Text,
    _option("--sample", "SHARE", "The share of the chunks whose contents are compared; 1.0 is all. Default: 0.05."),
]
Seed = Annotated[
    Text, _option("--seed", "N", "Chooses the sample: the same seed, the same chunks. Default: another each time.")
]
Workers = Annotated[
    Text,
    _option(
        "--workers",
        "N|auto",
        "Processes that read, encode and send; auto: as many as there are cores, for a source of 64 MiB or more. Default: 1.",
    ),
]
Endpoint = Annotated[str, typer.Option("--to", metavar="DEST", help="{destinations}.", show_default=False)]
Url = Annotated[Text, _option("--url", "URL", "Base URL. Default: the service's own, or the config file's.")]
Source = Annotated[Text, _option("--source", "FILE", "Send rows of this file, over and over. Default: rows made up.")]
Sizes = Annotated[
    Text,
    _option(
        "--sizes",
        "LIST",
        "Chunk sizes to try, such as 1MiB,4MiB. Default: the destination's largest, 1/4 and 1/16 of it.",
    ),
]
Concurrencies = Annotated[
    str, typer.Option("--concurrencies", metavar="LIST", help="Numbers of requests at once to try.")
]
MaxRequests = Annotated[str, typer.Option("--max-requests", metavar="N", help="The most requests to send.")]
MaxBytes = Annotated[
    str, typer.Option("--max-bytes", metavar="SIZE", help="The most to send: bytes, or such as 256MiB.")
]
BenchMaxWait = Annotated[
    str, typer.Option("--max-wait", metavar="SECONDS", help="End where the service asks for more waiting than this.")
]
WriteConfig = Annotated[
    Text,
    _option(
        "--write-config",
        "FILE",
        "Write the best setting into this TOML file; the rest of it, comments too, stays as it is.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before spending at a host that is not this machine.")]
Drop = Annotated[list[str] | None, _option("--drop", "KEY", "Leave this key out of every row; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, and show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table; only what went wrong.")]
