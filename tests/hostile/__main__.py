"""`python -m tests.hostile [alone | together] [PART OF A NAME]`: uploads to services that are hostile, each in a way of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from bulkup import Collinear, Nebius
from bulkup.account.finished import Event
from bulkup.event import Note
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from tests.e2e.harness import SPACE, TOKENS, as_collinear, canonical, gsm8k_rows, write_rows
from tests.hostile.modes import LARGE, MODES, Mode
from tests.hostile.service import Request, Service, serving

__all__ = ["MAX_GROWTH_BYTES", "faults_of", "main"]

ROWS = gsm8k_rows(30)
MAX_GROWTH_BYTES = 64 << 20
LONGEST_S = 60.0


class _Chosen:
    """Which requests a mode meets."""

    def __init__(self, mode: Mode) -> None:
        self._where = mode.where
        self._uploads = 0

    def __call__(self, request: Request) -> bool:
        if not request.is_upload:
            return self._where == "every look" or (self._where == "every later look" and self._uploads > 0)
        self._uploads += 1
        return self._where == "every upload" or (self._where == "one upload" and self._uploads == 2)


def _service(mode: Mode) -> Service:
    """Where looks are hostile the second upload is lost once it was stored, so that a look is needed."""
    chosen = _Chosen(mode)
    if "look" not in mode.where:
        return Service(chosen, mode.answer, mode.stores)
    uploads = 0

    def chooses(request: Request) -> bool:
        nonlocal uploads
        uploads += request.is_upload
        return chosen(request) or (request.is_upload and uploads == 2)

    async def hostile(request: Request) -> None:
        if not request.is_upload:
            await mode.answer(request)

    return Service(chooses, hostile)


async def faults_of(mode: Mode, folder: Path) -> list[str]:
    """Run an upload against it; what is wrong with what came of it."""
    source = write_rows(folder / "rows.jsonl", ROWS)
    notes: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    async with serving(_service(mode)) as service:
        place = {"url": service.url, "max_chunk_rows": 10, "concurrency": 2}
        destination = (
            Nebius.model_validate({**place, "folder": "/f", "pending_timeout_s": 1.0})
            if mode.lane == "nebius"
            else Collinear.model_validate({**place, "space_id": SPACE})
        )
        settings = RunSettings.model_validate(
            {
                "name": "rows",
                "state_dir": folder / "state",
                "settle_after_s": 0.02,
                "retry_for_s": 20.0,
                "stall_timeout_s": 0.4,
                "workers": 1,
            }
        )
        try:
            async with asyncio.timeout(LONGEST_S):
                receipt = await execute(Upload((str(source),), (destination,), settings), tell=tell)
        except TimeoutError:
            return [f"it has not ended after {LONGEST_S:.0f} s"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told of
            return [f"it raised {error!r}"]
    found = []
    if receipt.exit_code not in mode.codes:
        reason = receipt.destinations[mode.lane].reason
        found.append(f"exit code {receipt.exit_code:d}, not {sorted(mode.codes)}: {reason}")
    made = map(as_collinear, ROWS) if mode.lane == "collinear" else ROWS
    sent, stored = canonical(map(dict, made)), canonical(service.rows)
    if doubled := (stored - sent).total():
        found.append(f"{doubled} rows are there twice")
    if receipt.exit_code == 0 and stored != sent:
        found.append(f"{(sent - stored).total()} rows are missing under exit code 0")
    kept = "\n".join(notes).encode() + repr(receipt).encode()
    for path in (folder / "state").rglob("*"):
        if path.is_file():
            kept += path.read_bytes()
    if any(token.encode() in kept for token in TOKENS.values()):
        found.append("a token was kept")
    return found


async def _all(modes: Sequence[Mode]) -> list[str]:
    """Many at once."""
    room = asyncio.Semaphore(20)

    async def one(mode: Mode) -> str | None:
        async with room:
            with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
                found = await faults_of(mode, Path(folder))
        return f"{mode}: {'; '.join(found)}" if found else None

    return [line for line in await asyncio.gather(*map(one, modes)) if line is not None]


async def _alone(modes: Sequence[Mode]) -> list[str]:
    """One after the other, with the memory that each takes."""
    found = []
    for mode in modes:
        before = _peak_bytes(anew=True)
        found += await _all([mode])
        grown = _peak_bytes() - before
        if os.environ.get("HOSTILE_TELLS"):
            print(f"{mode}: {grown / 2**20:.1f} MiB", file=sys.stderr)
        if grown > MAX_GROWTH_BYTES:
            found.append(f"{mode}: memory grew by {grown / 2**20:.0f} MiB")
    return found


def _peak_bytes(*, anew: bool = False) -> int:
    """The most memory that this process has had, since it was last asked *anew*; 0 where the system does not say."""
    with suppress(OSError):
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    return 0


def main(which: str = "", wanted: str = "") -> int:
    """Print as JSON what is wrong; 0 if nothing is. *which*: only the modes that are run *alone*, or only those *together*."""
    os.environ.update(TOKENS)
    began = time.monotonic()
    chosen = (() if which == "together" else LARGE, () if which == "alone" else MODES)
    alone, together = ([mode for mode in modes if wanted in str(mode)] for modes in chosen)
    found = asyncio.run(_alone(alone)) + asyncio.run(_all(together))
    count = len(alone) + len(together)
    print(orjson.dumps({"modes": count, "faults": found, "took_s": round(time.monotonic() - began, 1)}).decode())
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
