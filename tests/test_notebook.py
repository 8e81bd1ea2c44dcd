"""What a notebook shows: a display below the cell that changes in place, and one line where something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bulkup
from bulkup.doubt.verification import LaneVerification, Verification
from bulkup.emulator import spawned
from bulkup.errors import ExitCode
from bulkup.event import Note, Progress, Snapshot, Stage, Trouble
from bulkup.notebook import NotebookDisplay, shown
from tests.cli.pictures import RUNNING
from tests.cli.shell import TOKENS
from tests.test_readme import BLOCKS

README_CELL = BLOCKS[1]


class Handle:
    """As IPython's: what is displayed, and what that becomes."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self.text: list[str] = []
        self.calls: list[str] = []

    def display(self, shown: Any) -> None:
        self._keep("display", shown)

    def update(self, shown: Any) -> None:
        self._keep("update", shown)

    def _keep(self, call: str, shown: Any) -> None:
        self.calls.append(call)
        self.html.append(shown._repr_html_())
        self.text.append(repr(shown))


def test_one_output_changes_in_place() -> None:
    """Notes stay, lanes change, at most twice a second; what a service says is text, not HTML."""
    handle = Handle()
    display = NotebookDisplay(handle)
    display.tell(Note("nebius", "it says <b>slow down</b>"))
    for tenth in range(11):
        display.tell(Snapshot(tenth / 10, (replace(RUNNING, rows_landed=28_590 + tenth),)))
    assert handle.calls == ["display", *["update"] * 3]
    html = handle.html[-1]
    assert "nebius: it says &lt;b&gt;slow down&lt;/b&gt;" in html
    assert '<b>nebius</b> <progress max="1" value="0.143"></progress> 14%, 2 h 10 min left' in html
    assert "28,600 rows landed, limited by the quota (300 requests/min)" in html
    assert handle.text[-1].splitlines()[0] == "nebius: it says <b>slow down</b>"
    assert "14%  2 h 10 min left" in handle.text[-1]


def test_trouble_stands_out() -> None:
    handle = Handle()
    display = NotebookDisplay(handle)
    trouble = Trouble("cannot reach https://api.example.com (connection refused)", 0.0, "retrying, giving up in")
    display.tell(Snapshot(0.0, (replace(RUNNING, trouble=trouble, trouble_left_s=590.0, rows_in_doubt=512),)))
    said = "cannot reach https://api.example.com (connection refused); retrying, giving up in 9 min 50 s"
    assert handle.html[-1].count(said) == 1
    assert f'<span style="color: crimson">{said}</span>' in handle.html[-1]
    assert '<span style="color: darkorange">512 rows in doubt</span>' in handle.html[-1]


def test_stages_are_shown_and_go() -> None:
    """The last thing that is seen is what came of it, not how far it once was."""
    handle = Handle()
    display = NotebookDisplay(handle)
    display.tell(Note("nebius", "comparing"))
    display.tell(Progress(1.0, (Stage("nebius", "chunks compared", 27, 63),)))
    assert "43%, 27 of 63 chunks compared" in handle.html[-1]
    assert "nebius: 43%, 27 of 63 chunks compared" in handle.text[-1]
    display.close()
    assert "chunks compared" not in handle.html[-1]
    assert "nebius: comparing" in handle.html[-1]


def test_a_notebook_that_has_gone_ends_nothing() -> None:
    class Gone:
        def display(self, _: Any) -> None:
            raise OSError("the socket is closed")

    display = NotebookDisplay(Gone())
    display.tell(Note("", "a"))
    display.close()


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_elsewhere_nothing_is_shown_and_nothing_imported(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IPython, and in IPython on a terminal, which would print each change."""
    if shell is None:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with shown() as tell:
        tell(Note("", "a"))
    assert "IPython.display" not in sys.modules


def test_a_verification_is_a_table() -> None:
    lane = LaneVerification(
        rows_landed=9, chunks_landed=4, chunks_compared=2, rows_compared=5, stopped=("<no>", ExitCode.TRY_LATER)
    )
    html = Verification("a-1", 0.5, 1, {"nebius": lane})._repr_html_()
    assert "<tr><td>nebius</td><td>75</td><td>2</td><td>4</td><td>5</td><td>0</td><td>&lt;no&gt;</td></tr>" in html


def test_a_mistake_is_one_line() -> None:
    """In IPython: elsewhere Python's traceback stays as it is."""
    assert bulkup.UsageProblem("rows need name=NAME")._render_traceback_() == ["UsageProblem: rows need name=NAME"]


async def said(client: Any, cell: str, after: dict[str, Any] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """What a kernel says while it runs *cell*: kinds of messages, with what is in them. *after* a message of a kind, something is
    done."""
    found: list[tuple[str, dict[str, Any]]] = []

    def hear(message: dict[str, Any]) -> None:
        found.append((message["msg_type"], message["content"]))
        if (act := (after or {}).pop(message["msg_type"], None)) is not None:
            act()

    await client.execute_interactive(cell, output_hook=hear, timeout=60)
    return found


@pytest.mark.slow
def test_the_readme_s_cell_in_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, in a real one: a display that changes, the receipt as a table, mistakes as a line. A cell that is interrupted and
    run again lands each row once."""
    from jupyter_client.manager import AsyncKernelManager

    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))

    async def work() -> None:
        manager: Any = AsyncKernelManager()
        await manager.start_kernel(cwd=str(tmp_path))
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            with spawned() as emulator:
                await look(manager, client, emulator)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    async def look(manager: Any, client: Any, emulator: Any) -> None:
        cell = README_CELL.replace("Nebius(", f"Nebius(url={emulator.url!r}")
        messages = await said(client, cell)
        kinds = [kind for kind, _ in messages]
        assert kinds.count("display_data") == 1
        assert kinds.count("update_display_data") >= 2
        (result,) = (content for kind, content in messages if kind == "execute_result")
        assert "<td>rows landed</td><td>1,000</td>" in result["data"]["text/html"]
        last = [content for kind, content in messages if kind == "update_display_data"][-1]
        assert "finished</span>, 1,000 rows landed" in last["data"]["text/html"]
        assert not any(token in json.dumps([content for _, content in messages]) for token in TOKENS.values())
        wrong = await said(client, "await bulkup.check('gone.csv', destinations=[bulkup.Nebius()])")
        (error,) = (content for kind, content in wrong if kind == "error")
        assert error["traceback"] == ["UsageProblem: gone.csv: there is no such file"]
        assert len(emulator.rows("nebius")) == 1000

        emulator.patch(latency_ms=100)
        small = (
            cell.replace("Nebius(", "Nebius(max_chunk_bytes=2000, ")
            .replace("numbers", "more")
            .replace('"more"', '"more", settle_after_s=0.3')
        )
        pending: list[Any] = []

        def interrupt() -> None:
            pending.append(asyncio.ensure_future(manager.interrupt_kernel()))

        messages = await said(client, small, {"update_display_data": interrupt})
        assert [kind for kind, _ in messages if kind in ("error", "execute_result")] == ["error"]
        await pending[0]
        emulator.patch(latency_ms=0)
        messages = await said(client, small)
        assert any(kind == "execute_result" for kind, _ in messages), messages
        assert len(emulator.rows("nebius")) == 2000

    asyncio.run(work())
