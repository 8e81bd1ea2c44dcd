"""`bulkup --help` is quick and says what scripts need to know."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bulkup.cli.app import EXIT_CODES
from bulkup.errors import PRECEDENCE, ExitCode
from tests.cli.page import PAGE, filled
from tests.forking import Forked
from tests.test_pages import BAD_WORDS

COMMANDS = (
    "upload",
    "resume",
    "status",
    "settle",
    "verify",
    "rejects",
    "runs",
    "logs",
    "clean",
    "pause",
    "continue",
    "stop",
    "set",
    "bench",
    "emulator",
    "demo",
)


def bulkup(*arguments: str) -> str:
    process = Forked(*arguments, cwd=Path.cwd(), env=dict(os.environ))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out


def test_it_is_quick() -> None:
    """Under 300 ms of CPU time, or 2.7 times what typer takes alone where the machine is slow; the best of several, since other
    tests keep the machine busy. The benchmarks measure its wall time."""

    def once(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], capture_output=True, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    alone = min(once("-c", "import typer.main") for _ in range(3))
    assert min(once("-m", "bulkup", "--help") for _ in range(3)) < max(0.3, 2.7 * alone)


def test_nothing_heavy_is_loaded() -> None:
    heavy = "aiohttp pydantic rich msgspec orjson anyio asyncio sqlite3"
    program = (
        "import sys, bulkup.cli; light = set(sys.modules); import bulkup.cli.app\n"
        f"print([m for m in '{heavy}'.split() if m in sys.modules], 'typer' in light)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[] False\n", done.stderr


def test_it_lists_commands_and_exit_codes() -> None:
    said = bulkup("--help")
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", said, re.MULTILINE)
    for code in ExitCode:
        assert re.search(rf"\b{int(code)}\b", said), code
    assert bulkup() == said
    assert bulkup("--version").startswith("bulkup ")


def test_the_order_of_exit_codes_is_the_engine_s() -> None:
    """In the help and on both pages."""
    order = ", ".join(str(int(code)) for code in PRECEDENCE)
    assert set(PRECEDENCE) == set(ExitCode)
    for text in (EXIT_CODES, PAGE.read_text(), (PAGE.parents[1] / "README.md").read_text()):
        assert f"the run ends with the first of these: {order}." in " ".join(text.split())


def test_the_page_says_what_the_option_tables_say() -> None:
    """`python -m tests.cli.page` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page


def test_upload_names_every_option() -> None:
    said = bulkup("upload", "--help")
    options = (
        "--to --name --folder --ai-project-id --space-id --preset --config --nebius-url --collinear-url --state-dir "
        "--max-chunk-bytes --max-chunk-rows --concurrency --requests-per-minute --bytes-per-second --on-doubt "
        "--settle-after --append --retry-for --drain-timeout --max-rejects --validation --drop --json -v -q"
    )
    for option in options.split():
        assert re.search(rf"(^|[ ,]){option}\b", said, re.MULTILINE), option
    for words in ("Exit codes:", "NEBIUS_API_KEY", "BULKUP_NAME", "/bulkup", ".bulkup", "16MiB", "Default: 600"):
        assert words in said


def test_the_defaults_in_the_help_are_the_engine_s() -> None:
    from bulkup import Collinear, Nebius
    from bulkup.destinations.collinear.wire import CollinearDestination
    from bulkup.destinations.nebius.wire import NebiusDestination
    from bulkup.settings.config import RunSettings

    said = " ".join(bulkup("upload", "--help").split())
    run = RunSettings(name="x")
    for words in (
        f"Default: {run.settle_after_s:.0f}.",
        f"Default: {run.retry_for_s:.0f}.",
        f"Default: {run.max_wait_s:.0f}.",
        f"Default: {run.drain_timeout_s:.0f}.",
        f"Default: {Nebius().folder}.",
        f"Default: {Nebius().url}.",
        f"Default: {Collinear.model_fields['url'].default}.",
        f"Default: {Nebius().concurrency}.",
        f"Default: {NebiusDestination.capabilities.max_chunk_bytes >> 20}MiB for nebius, "
        f"{CollinearDestination.capabilities.max_chunk_bytes >> 20}MiB for collinear",
    ):
        assert words in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_the_page_names_its_options(command: str) -> None:
    page = PAGE.read_text()
    said = bulkup(command, "--help")
    assert said.startswith(f"Usage: bulkup {command}")
    assert not BAD_WORDS.search(said)
    options = re.findall(r"(?<![\w-])--[a-z][a-z-]+", said)
    assert "--help" in options
    for option in options:
        assert option in page or option in (
            "--no-append",
            "--no-lines",
            "--no-anonymous",
            "--no-both-sides",
            "--no-stand-by",
        ), option
