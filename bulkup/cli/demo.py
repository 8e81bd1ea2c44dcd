"""`bulkup demo`: what bulkup does, shown on this machine with a real dataset."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkup.account.receipt import Receipt
from bulkup.cli.choices import choose
from bulkup.cli.figures import plural
from bulkup.cli.receipt_table import print_receipt
from bulkup.cli.runner import OutputMode, see_through
from bulkup.cli.streams import put
from bulkup.errors import ExitCode, LocalDisk, UsageProblem

if TYPE_CHECKING:
    from bulkup.emulator import Spawned

__all__ = ["show"]

DATASET, CONFIG = "gsm8k-train.jsonl", "demo.toml"
LATENCY_MS, JITTER_MS = 250.0, 200.0


def show(directory: str | None) -> int:
    """Upload, compare, upload again; 0 only if everything landed once and the second upload sent nothing."""
    folder = _lay_out(directory)
    os.chdir(folder)
    _say("This uploads GSM8K, a real dataset, into both services as the emulator plays them on this machine.")
    _say(f"Everything it makes is in {folder}")
    with _emulator() as emulator, _environment():
        given = {"config": CONFIG, "nebius_url": emulator.url, "collinear_url": emulator.url}
        upload = choose([DATASET], given, {})
        _say("", f"    $ {_command(given)}", "")
        first = see_through(upload, OutputMode())
        print_receipt(first, upload.settings.state_dir / first.run_id)
        if first.exit_code:
            _say("", "The demo did not finish; the receipt above says how far it got.")
            return first.exit_code
        matched = _compare(emulator)
        _say("", "The same command again:", "", f"    $ {_command(given)}", "")
        before = _uploads(emulator)
        second = see_through(upload, OutputMode())
        sent = _uploads(emulator) - before
        _say(
            f"It sent {plural(sent, 'request')}: " + ("everything had landed." if not sent else "there should be none!")
        )
    _say_what_next(folder, _program())
    return 0 if matched and not sent and _is_whole(second) else int(ExitCode.DIFFERS)


def _lay_out(directory: str | None) -> Path:
    """The folder with the dataset and the config in it."""
    try:
        if directory is None:
            folder = Path(tempfile.mkdtemp(prefix="bulkup-demo-"))
        else:
            folder = Path(directory).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageProblem(f"{folder} is not empty; give --dir a new or an empty folder")
        data = files("bulkup") / "demo_data"
        with (
            (data / f"{DATASET}.gz").open("rb") as packed,
            gzip.open(packed) as rows,
            (folder / DATASET).open("wb") as out,
        ):
            shutil.copyfileobj(rows, out)
        (folder / CONFIG).write_bytes((data / CONFIG).read_bytes())
    except OSError as error:
        raise LocalDisk(f"{directory or tempfile.gettempdir()}: {error.strerror}; --dir names another place") from None
    return folder


@contextmanager
def _emulator() -> Iterator[Spawned]:
    from bulkup.emulator import Settings, spawned

    # What stops this process may reach all of its group; the emulator must outlive the drain, so it is born with that blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
    running = spawned(Settings(latency_ms=LATENCY_MS, jitter_ms=JITTER_MS), db_path=Path("emulator.db"))
    try:
        emulator = running.__enter__()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield emulator
    finally:
        running.__exit__(None, None, None)


@contextmanager
def _environment() -> Iterator[None]:
    """Tokens made up on the spot: the emulator takes any, and the user's own have no business here."""
    names = ("NEBIUS_API_KEY", "COLLINEAR_API_KEY")
    own = {name: os.environ.get(name) for name in names}
    os.environ.update({name: f"demo-{secrets.token_hex(8)}" for name in names})
    try:
        yield
    finally:
        for name, value in own.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _command(given: dict[str, str]) -> str:
    flags = " ".join(f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in given.items())
    return f"bulkup upload {DATASET} {flags}"


def _uploads(emulator: Spawned) -> int:
    return sum(service["uploads_received"] for service in emulator.summary().values())


def _compare(emulator: Spawned) -> bool:
    """Say whether both services hold exactly the file's rows, each as often as the file has it."""
    rows = [json.loads(line) for line in Path(DATASET).read_bytes().splitlines()]
    _say("", f"Compared with the file's {plural(len(rows), 'row')}, row for row:")
    as_is = _same("nebius", emulator.rows("nebius"), rows)
    as_turns = _same("collinear", emulator.rows("collinear"), map(_as_turns, rows))
    return as_is and as_turns


def _as_turns(row: dict[str, Any]) -> dict[str, Any]:
    """What demo.toml's mapping must make of a row, said once more in Python, so that the two can disagree."""
    question, answer = row["question"], row["answer"]
    return {
        "conv_prefix": [{"role": "user", "content": question}],
        "response": {"role": "assistant", "content": answer},
        "ground_truth": int(answer.rpartition("####")[2].strip().replace(",", "")),
    }


def _same(service: str, landed: Iterable[Any], wanted: Iterable[Any]) -> bool:
    there, here = (Counter(json.dumps(row, sort_keys=True) for row in rows) for rows in (landed, wanted))
    missing, extra = (here - there).total(), (there - here).total()
    if not missing and not extra:
        _say(f"    {service}: all {plural(here.total(), 'row')} landed, each exactly once, none altered")
        return True
    _say(f"    {service}: {plural(missing, 'row')} missing, {plural(extra, 'row')} that should not be there")
    return False


def _is_whole(receipt: Receipt) -> bool:
    return receipt.exit_code == 0 and all(d.rows_left == 0 for d in receipt.destinations.values())


def _program() -> str:
    """What to type for bulkup here: its name where the shell finds it, else the way in which it was started."""
    if shutil.which("bulkup"):
        return "bulkup"
    started_as = Path(sys.argv[0])
    return shlex.quote(str(started_as)) if started_as.name == "bulkup" else f"{shlex.quote(sys.executable)} -m bulkup"


def _say_what_next(folder: Path, program: str) -> None:
    _say(
        "",
        "Next, try your own file. To practise, use the emulator. It takes any token:",
        "",
        f"    {program} emulator --port 8080 &",
        f"    NEBIUS_API_KEY=practice {program} upload YOUR-FILE.jsonl --to nebius --nebius-url http://127.0.0.1:8080",
        "",
        "For the real service, put your own token into NEBIUS_API_KEY and leave out --nebius-url.",
        "All options:",
        f"    {program} upload --help",
        f"To remove what the demo made: rm -r {shlex.quote(str(folder))}",
    )


def _say(*lines: str) -> None:
    put("\n".join(lines))
