"""What the README's Python says runs as written, and holds under `mypy --strict`."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import bulkup
from bulkup.emulator import Spawned, spawned
from bulkup.settings.config import RunSettings
from bulkup.settings.keywords import RunKeywords
from tests.cli.shell import SPACE, TOKENS

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawned]:
    """Where the destinations lead, from a directory of one's own."""
    monkeypatch.chdir(tmp_path)
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"question": f"q{n}", "answer": f"a{n}"}) + "\n" for n in range(20))
    )
    with spawned() as one:
        yield one


def test_it_runs_as_written(emulator: Spawned) -> None:
    """A script, and a cell with `await` at its top."""
    script, cell = BLOCKS
    url = f"url={emulator.url!r}"
    script = script.replace("Nebius(", f"Nebius({url}, ").replace("Collinear(", f"Collinear({url}, ")
    exec(compile(script, "README.md", "exec"), {})
    assert len(emulator.rows("nebius")) == len(emulator.rows("collinear")) == 20
    cell = cell.replace("Nebius(", f"Nebius({url}").replace("await bulkup.upload", "receipt = await bulkup.upload")
    lines = "".join(f"    {line}\n" for line in cell.splitlines())
    found: dict[str, Any] = {}
    exec(compile(f"async def cell():\n{lines}    return receipt\n", "README.md", "exec"), found)
    receipt: bulkup.Receipt = asyncio.run(found["cell"]())
    assert receipt.destinations["nebius"].rows_landed == 1000
    html = receipt._repr_html_()
    assert html.startswith(f"<table><caption>{receipt.run_id}: landed</caption>")
    assert "<tr><td>rows landed</td><td>1,000</td></tr>" in html


@pytest.mark.slow
def test_it_holds_under_mypy(tmp_path: Path) -> None:
    """And a keyword that is misspelt does not."""
    script, cell = BLOCKS
    lines = "".join(f"    {line}\n" for line in cell.splitlines())
    wrong = script.replace('name="my-dataset"', 'name="my-dataset", on_dout="hold"')
    lines_again = ('await bulkup.resume("a", workers=2)', 'await bulkup.resume("a", on_dout="x")')
    again = "import bulkup\n\n\nasync def cell() -> None:\n" + "".join(f"    {line}\n" for line in lines_again)
    texts = {"script": script, "cell": f"async def cell() -> None:\n{lines}", "wrong": wrong, "again": again}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *(f"{name}.py" for name in texts)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^(\w+)\.py:\d+: error: .*on_dout", done.stdout, re.MULTILINE)
    assert sorted(found) == ["again", "wrong"], done.stdout
    assert "Found 2 errors" in done.stdout, done.stdout


def test_the_keywords_are_the_settings() -> None:
    """Each with the type that it has there, or more."""
    keywords = get_type_hints(RunKeywords)
    assert set(keywords) == set(RunSettings.model_fields) - {"name"}
    for function in (bulkup.upload, bulkup.upload_sync, bulkup.events, bulkup.check):
        assert "RunKeywords" in str(inspect.signature(function).parameters["settings"].annotation)


def rows_of(count: int) -> Iterator[dict[str, Any]]:
    return ({"text": f"row {number}"} for number in range(count))


async def later(count: int) -> AsyncIterator[dict[str, Any]]:
    for row in rows_of(count):
        yield row


def test_rows_of_a_program_are_gone_on_with(emulator: Spawned, tmp_path: Path) -> None:
    """The same rows again send nothing; others are another source, which is refused. Their file is the owner's alone."""
    nebius = [bulkup.Nebius(url=emulator.url)]

    async def work() -> list[int]:
        first = await bulkup.upload(later(50), destinations=nebius, name="some")
        again = await bulkup.upload(list(rows_of(50)), destinations=nebius, name="some")
        return [first.exit_code, again.destinations["nebius"].this_invocation.requests]

    assert asyncio.run(work()) == [0, 0]
    with pytest.raises(bulkup.SourceChanged):
        bulkup.upload_sync(rows_of(49), destinations=nebius, name="some")
    assert len(emulator.rows("nebius")) == 50
    assert (tmp_path / ".bulkup" / "rows" / "some.jsonl").stat().st_mode & 0o777 == 0o600
    with pytest.raises(bulkup.UsageProblem, match="row 2 is a int: each row must be a dict"):
        bulkup.upload_sync(iter([{}, 3]), destinations=nebius, name="odd")  # type: ignore[arg-type]
    with pytest.raises(bulkup.UsageProblem, match="rows need name=NAME"):
        bulkup.upload_sync(rows_of(1), destinations=nebius)


def test_a_run_by_its_name(emulator: Spawned) -> None:
    """What the command line can do with one."""
    nebius = [bulkup.Nebius(url=emulator.url)]

    async def work() -> None:
        Path("mixed.jsonl").write_text('{"text": "a"}\n{broken\n')
        checked = await bulkup.check("mixed.jsonl", destinations=nebius)
        assert checked.exit_code == 3
        assert "<tr><td>rows that would be rejected</td><td>1</td></tr>" in checked._repr_html_()
        assert emulator.summary()["nebius"]["uploads_received"] == 0
        receipt = await bulkup.upload("mixed.jsonl", destinations=nebius)
        assert (await bulkup.status())["run_id"] == receipt.run_id
        assert (await bulkup.verify(receipt.run_id, sample=1.0)).exit_code == 0
        (rejected,) = await bulkup.rejects(receipt.run_id)
        assert (rejected["lane"], rejected["byte_offset"]) == ("nebius", 14)
        assert (await bulkup.settle(receipt.run_id)).exit_code == 3
        assert (await bulkup.resume(receipt.run_id, workers=1)).destinations["nebius"].this_invocation.requests == 0
        with pytest.raises(bulkup.UsageProblem, match=r"use `await bulkup\.upload"):
            bulkup.upload_sync("mixed.jsonl", destinations=nebius)

    asyncio.run(work())


def test_help_explains_the_settings_of_a_destination() -> None:
    for kind in (bulkup.Nebius, bulkup.Collinear):
        assert kind.__doc__ is not None
        assert "    concurrency: The most requests at once, 1 to 256" in kind.__doc__
    assert SPACE  # as the README has it
