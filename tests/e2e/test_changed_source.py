"""A source that changes between two invocations: refused, appended to, or begun anew."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkup.account.receipt import Receipt
from bulkup.errors import SourceChanged, TooManyRejects
from bulkup.settings.config import RejectLimit
from tests.e2e.harness import Bench, Row, gsm8k_rows

LANES = ("nebius", "collinear")


def _lines(rows: Sequence[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def more() -> list[Row]:
    return gsm8k_rows(1700)[1000:]


async def _run(bench: Bench, source: Path, how: str = "refuse", **settings: Any) -> Receipt:
    small = {"max_chunk_bytes": 60_000}
    return await bench.run(
        bench.nebius(**small),
        bench.collinear(**small),
        source=source,
        on_source_change=how,
        **{"append": False, **settings},
    )


def _check(bench: Bench, receipt: Receipt, rows: Sequence[Row], code: int = 0) -> None:
    assert receipt.exit_code == code, [lane.reason for lane in receipt.destinations.values()]
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane, rows), lane
        assert receipt.destinations[lane].rows_landed == len(rows)
        assert receipt.destinations[lane].rows_left == 0


@pytest.mark.parametrize("last_break", [b"\n", b""], ids=["whole", "no last newline"])
async def test_a_file_that_grew(small: Bench, more: list[Row], last_break: bytes) -> None:
    old = _lines(small.rows)[:-1] + last_break
    small.source.write_bytes(old)
    _check(small, await _run(small, small.source), small.rows)
    small.source.write_bytes(old + (b"" if last_break else b"\n") + _lines(more))
    with pytest.raises(SourceChanged, match=r"had [\d,]+ bytes and has [\d,]+\..*--on-source-change append"):
        await _run(small, small.source)
    receipt = await _run(small, small.source, "append")
    _check(small, receipt, [*small.rows, *more])
    before = {lane: small.emulator.summary()[lane]["uploads_received"] for lane in LANES}
    _check(small, await _run(small, small.source), [*small.rows, *more])
    assert {lane: small.emulator.summary()[lane]["uploads_received"] for lane in LANES} == before
    manifest = json.loads((small.folder / "state" / receipt.run_id / "manifest.json").read_text())
    for lane in LANES:
        firsts = [(chunk["first_row"], chunk["lines"]) for chunk in manifest["lanes"][lane]]
        assert [first for first, _ in firsts] == [1 + sum(count for _, count in firsts[:n]) for n in range(len(firsts))]


async def test_columns_of_csv_hold_what_they_held_when_the_run_began(
    small: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on does not look for that again, and rows that were added do not change it."""
    source = small.folder / "rows.csv"
    old = b"prompt,completion,n\n" + b"".join(b"q %d,a,%d\n" % (number, number) for number in range(300))
    source.write_bytes(old)
    receipt = await small.run(small.nebius(max_chunk_bytes=4000), source=source, append=False)
    assert (receipt.exit_code, receipt.destinations["nebius"].rows_landed) == (0, 300)

    def see(*_: object) -> None:
        raise AssertionError("it is known")

    monkeypatch.setattr("bulkup.sources.separated.deciding.KindFinder.see", see)
    source.write_bytes(old + b"q,a,301\n" * 50 + b"q,a,x\n")
    receipt = await small.run(
        small.nebius(max_chunk_bytes=4000), source=source, append=False, on_source_change="append"
    )
    lane = receipt.destinations["nebius"]
    assert (receipt.exit_code, lane.rows_landed, lane.rows_rejected) == (3, 350, 1)


async def test_a_file_that_grows_again_and_again(small: Bench, more: list[Row]) -> None:
    """Also by less than a tile, by an empty line, and while the run is not done."""
    small.source.write_bytes(_lines(small.rows[:300]))
    await _run(small, small.source)
    for end in (301, 303, 600, 1000):
        small.source.write_bytes(_lines(small.rows[:300]) + b"\n" + _lines(small.rows[300:end]))
        small.emulator.patch(script={lane: ["ok", "ok", "forbidden_403"] for lane in LANES})
        await _run(small, small.source, "append")
    small.emulator.patch(script={lane: [] for lane in LANES})
    receipt = await _run(small, small.source)
    _check(small, receipt, small.rows)
    assert receipt.source.rows_blank == 1


async def test_one_bare_name_becomes_a_family(small: Bench, more: list[Row]) -> None:
    small.source.write_bytes(_lines(small.rows))
    receipt = await small.run(small.nebius(max_chunk_bytes=None))
    assert [remote.name for remote in receipt.destinations["nebius"].remote] == ["rows"]
    small.source.write_bytes(_lines([*small.rows, *more]))
    small.notes.clear()
    receipt = await small.run(small.nebius(max_chunk_bytes=None), on_source_change="append")
    names = [remote.name for remote in receipt.destinations["nebius"].remote]
    assert names[0] == "rows"
    assert all(name.startswith("rows-0000") for name in names[1:])
    assert len(names) == 2
    assert any("new datasets, named rows-<tile>-<hash>" in note.text for note in small.notes)
    assert small.stored("nebius") == small.expected("nebius", [*small.rows, *more])


async def test_new_files_behind_the_old_ones(small: Bench, more: list[Row], tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(_lines(small.rows[:400]))
    (folder / "b.jsonl").write_bytes(_lines(small.rows[400:])[:-1])
    pattern = folder / "*.jsonl"
    _check(small, await _run(small, pattern), small.rows)
    (folder / "c.jsonl").write_bytes(_lines(more))
    with pytest.raises(SourceChanged, match=r"new: .*c\.jsonl.*--on-source-change append"):
        await _run(small, pattern)
    _check(small, await _run(small, pattern, "append"), [*small.rows, *more])
    (folder / "aa.jsonl").write_bytes(_lines(more))
    with pytest.raises(SourceChanged, match="must come behind the old ones"):
        await _run(small, pattern, "append")
    (folder / "aa.jsonl").unlink()
    (folder / "a.jsonl").write_bytes(_lines([*small.rows[:400], *more]))
    with pytest.raises(SourceChanged, match="only the last file may have grown"):
        await _run(small, pattern, "append")
    (folder / "a.jsonl").unlink()
    with pytest.raises(SourceChanged, match=r"gone: .*a\.jsonl"):
        await _run(small, pattern, "append")


async def test_where_the_old_part_is_not_what_it_was(small: Bench, more: list[Row]) -> None:
    small.source.write_bytes(_lines(small.rows))
    await _run(small, small.source)
    other = [
        *small.rows[:10],
        dict(small.rows[10], answer=small.rows[10]["answer"].swapcase()),
        *small.rows[11:],
        *more,
    ]
    small.source.write_bytes(_lines(other))
    with pytest.raises(SourceChanged, match="are not what they were"):
        await _run(small, small.source, "append")
    small.source.write_bytes(_lines(small.rows[:900]))
    with pytest.raises(SourceChanged, match="become shorter"):
        await _run(small, small.source, "append")


async def test_a_last_row_that_grew(small: Bench, more: list[Row]) -> None:
    whole = _lines([*small.rows, *more])
    small.source.write_bytes(whole[: len(_lines(small.rows)) + 20])
    assert (await _run(small, small.source)).exit_code == 3
    small.source.write_bytes(whole)
    with pytest.raises(SourceChanged, match="its last row has grown or it is another file"):
        await _run(small, small.source, "append")


@pytest.mark.parametrize("kind", ["gzip", "array"])
async def test_a_sequential_source_that_grew(small: Bench, more: list[Row], tmp_path: Path, kind: str) -> None:
    """Decoded and compared; the new rows go behind."""
    source = tmp_path / ("rows.jsonl.gz" if kind == "gzip" else "rows.json")

    def write(rows: Sequence[Row]) -> None:
        source.write_bytes(gzip.compress(_lines(rows)) if kind == "gzip" else json.dumps(rows).encode())

    write(small.rows)
    _check(small, await _run(small, source), small.rows)
    write([*small.rows, *more])
    with pytest.raises(SourceChanged, match="--on-source-change append"):
        await _run(small, source)
    receipt = await _run(small, source, "append")
    _check(small, receipt, [*small.rows, *more])
    write([*small.rows[:5], *more])
    with pytest.raises(SourceChanged, match="not what they were"):
        await _run(small, source, "append")


async def test_a_file_that_was_cut_off_and_then_repaired(small: Bench, more: list[Row], tmp_path: Path) -> None:
    """Cut between two rows it goes on; cut inside one, that row was a rejected row, and appending is refused."""
    source = tmp_path / "rows.jsonl.gz"
    rows = [*small.rows, *more]
    between = gzip.compress(_lines(small.rows))[:-8]  # without its trailer
    source.write_bytes(between)
    _check(small, await _run(small, source), small.rows, code=65)
    source.write_bytes(gzip.compress(_lines(rows)))
    _check(small, await _run(small, source, "append"), rows)


async def test_a_file_that_was_cut_off_inside_a_row(small: Bench, more: list[Row], tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl.gz"
    source.write_bytes(gzip.compress(_lines(small.rows)[:-30])[:-8])
    assert (await _run(small, source)).exit_code == 65
    source.write_bytes(gzip.compress(_lines([*small.rows, *more])))
    with pytest.raises(SourceChanged, match="or its last row has grown"):
        await _run(small, source, "append")


async def test_restart_where_nothing_has_landed(small: Bench) -> None:
    small.emulator.patch(script={lane: ["forbidden_403"] * 20 for lane in LANES})
    first = await _run(small, small.source)
    assert first.exit_code == 77
    small.emulator.patch(script={lane: [] for lane in LANES})
    small.rows = list(reversed(small.rows))
    small.source.write_bytes(_lines(small.rows[:900]))
    with pytest.raises(SourceChanged, match="--on-source-change restart"):
        await _run(small, small.source)
    receipt = await _run(small, small.source, "restart")
    _check(small, receipt, small.rows[:900])
    assert receipt.run_id == first.run_id
    old = small.folder / "state" / f"{receipt.run_id}.1"
    assert json.loads((old / "receipt.json").read_text())["exit_code"] == 77
    assert (await _run(small, small.source)).exit_code == 0
    assert not old.with_name(f"{receipt.run_id}.2").exists()


async def test_restart_where_rows_have_landed_needs_append(small: Bench) -> None:
    await _run(small, small.source)
    new = [dict(row, answer="new " + row["answer"]) for row in small.rows]
    small.source.write_bytes(_lines(new))
    with pytest.raises(SourceChanged, match=r"2,000 rows of the old run have landed.*--append"):
        await _run(small, small.source, "restart")
    receipt = await _run(small, small.source, "restart", append=True)
    assert receipt.exit_code == 0
    for lane in LANES:
        assert small.stored(lane) == small.expected(lane) + small.expected(lane, new)
    small.source.write_bytes(_lines(small.rows))
    await _run(small, small.source, "restart", append=True)
    assert small.folder.joinpath("state", f"{receipt.run_id}.2").is_dir()


async def test_a_second_restart_or_an_unchanged_source_changes_nothing(small: Bench) -> None:
    await _run(small, small.source)
    for how in ("append", "restart"):
        _check(small, await _run(small, small.source, how), small.rows)
    assert not list(small.folder.glob("state/*.1"))


async def test_what_was_added_is_scanned_before_any_of_it_is_sent(small: Bench, more: list[Row]) -> None:
    """The plan is frozen: what does not fit it is counted and said, and ends the run where it is too much."""
    old = _lines(small.rows)
    small.source.write_bytes(old)
    await _run(small, small.source)
    bad = [json.dumps(row | {"question": [1]}).encode() + b"\n" for row in more[:3]]
    small.source.write_bytes(old + _lines(more[3:]) + b"".join(bad))
    before = {lane: small.emulator.summary()[lane]["uploads_received"] for lane in LANES}
    for _ in range(2):
        with pytest.raises(
            TooManyRejects, match=r"3 of 700 rows that were added would be rejected: .*question: expected"
        ):
            await _run(small, small.source, "append", max_rejects=RejectLimit(rows=2))
    assert {lane: small.emulator.summary()[lane]["uploads_received"] for lane in LANES} == before
    small.notes.clear()
    receipt = await _run(small, small.source, "append")
    _check(small, receipt, [*small.rows, *more[3:]], code=3)
    said = {note.lane: note.text for note in small.notes if "that were added would be rejected" in note.text}
    assert {text.split(".")[0] for text in said.values()} == {"3 of 700 rows that were added would be rejected"}
    assert set(said) == set(LANES)
    assert "rows.jsonl, the row at byte" in said["nebius"]
