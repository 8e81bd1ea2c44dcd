"""Broken files: one clear line each, the right code, every good row landed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkup.account.receipt import Receipt
from tests.e2e.harness import Bench, Row

LANES = ("nebius", "collinear")


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _letters(bench: Bench, receipt: Receipt, lane: str) -> list[dict[str, Any]]:
    text = (bench.folder / "state" / receipt.run_id / "rejects.jsonl").read_text()
    return [letter for letter in map(json.loads, text.splitlines()) if letter["lane"] == lane]


async def _lands(
    bench: Bench, source: Path, good: list[Row], *, code: int, rejected: int, scan: str = "all"
) -> Receipt:
    receipt = await bench.run(source=source, max_row_bytes=16 * 1024 * 1024, scan=scan)
    assert receipt.exit_code == code
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane, good), lane
        done = receipt.destinations[lane]
        assert (done.rows_rejected, done.rows_landed, done.rows_left) == (rejected, len(good), 0)
        letters = _letters(bench, receipt, lane)
        assert len(letters) == rejected
        for letter in letters:
            assert letter["reason"]
            assert "\n" not in letter["reason"]
            assert letter["file"] == str(source)
    return receipt


async def test_a_gzip_cut_off_in_the_middle(small: Bench, tmp_path: Path) -> None:
    data = b"".join(map(_line, small.rows))
    packed = gzip.compress(data, 6)
    cut = packed[: len(packed) * 2 // 3]
    source = tmp_path / "cut.jsonl.gz"
    source.write_bytes(cut)
    import zlib

    decoded = zlib.decompressobj(wbits=31).decompress(cut)
    whole = decoded.count(b"\n")
    receipt = await _lands(
        small, source, list(small.rows[:whole]), code=65, rejected=0 if decoded.endswith(b"\n") else 1
    )
    for lane in LANES:
        reason = receipt.destinations[lane].reason
        assert reason is not None
        assert "cut off" in reason
        assert str(source) in reason
    again = await small.run(source=source, max_row_bytes=16 * 1024 * 1024)
    assert again.exit_code == 65
    assert again.destinations["nebius"].this_invocation.requests == 0


async def test_a_zstd_cut_off_in_the_middle(small: Bench, tmp_path: Path) -> None:
    packed = zstandard.compress(b"".join(map(_line, small.rows)), 1)
    source = tmp_path / "cut.jsonl.zst"
    source.write_bytes(packed[: len(packed) * 2 // 3])
    receipt = await small.run(source=source)
    assert receipt.exit_code == 65
    for lane in LANES:
        assert not small.stored(lane) - small.expected(lane)
        assert receipt.destinations[lane].rows_landed == small.stored(lane).total() > 0


async def test_an_array_cut_off_in_the_middle(small: Bench, tmp_path: Path) -> None:
    text = json.dumps(small.rows)
    source = tmp_path / "cut.json"
    source.write_text(text[: text.index(json.dumps(small.rows[500])) + 20])
    await _lands(small, source, list(small.rows[:500]), code=65, rejected=1)


async def test_a_pretty_printed_array_in_a_jsonl_file(small: Bench, tmp_path: Path) -> None:
    source = tmp_path / "misnamed.jsonl"
    source.write_text(json.dumps(small.rows, indent=2))
    await _lands(small, source, list(small.rows), code=0, rejected=0)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl.gz", "rows.zst", "rows"])
async def test_content_decides_where_the_name_misleads(small: Bench, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes(zstandard.compress(b"\xef\xbb\xbf" + b"\r\n".join(_line(r).strip() for r in small.rows)))
    await _lands(small, source, list(small.rows), code=0, rejected=0)


async def test_a_line_of_fifty_megabytes(small: Bench, tmp_path: Path) -> None:
    source = tmp_path / "long.jsonl"
    with source.open("wb") as out:
        out.writelines(map(_line, small.rows[:400]))
        out.write(b'{"question": "' + b"x" * 50_000_000 + b'", "answer": "y"}\n')
        out.writelines(map(_line, small.rows[400:]))
    receipt = await _lands(small, source, list(small.rows), code=3, rejected=1)
    letter = _letters(small, receipt, "nebius")[0]
    assert letter["length"] > 50_000_000
    assert len(letter["row"]) == 1024


async def test_every_kind_of_bad_line_at_once(small: Bench, tmp_path: Path) -> None:
    rows = [_line(row) for row in small.rows]
    whole = {"question": "q", "answer": "a"}
    bad = [
        b'{"question": "\xff\xfe", "answer": "a"}\n',
        _line(whole).strip() + _line(whole),
        b'{"question": "q",\n',
        b'"answer": "a"}\n',
        b"[1, 2]\n",
        b"not json\n",
        b'{"question": 5, "answer": "a"}\n',
        b'{"question": "q", "answer": "a", "extra": 1}\n',
        b'{"question": "q"}\n',
    ]
    source = tmp_path / "bad.jsonl"
    mixed: list[bytes] = []
    for place, row in enumerate(rows):
        if place >= 700 and place % 20 == 0 and (place - 700) // 20 < len(bad):
            mixed.append(bad[(place - 700) // 20])
            mixed.append(b"\n")
        mixed.append(row)
    source.write_bytes(b"".join(mixed))
    receipt = await _lands(small, source, list(small.rows), code=3, rejected=len(bad), scan="none")
    assert receipt.source.rows_blank == len(bad)
    data = source.read_bytes()
    for lane in LANES:
        for letter, line in zip(_letters(small, receipt, lane), bad, strict=True):
            at = letter["byte_offset"]
            assert data[at : at + len(line)] == line


async def test_a_string_where_an_integer_belongs(small: Bench, tmp_path: Path) -> None:
    rows: list[Row] = [
        {
            "conv_prefix": [{"role": "user", "content": row["question"]}],
            "response": {"role": "assistant", "content": row["answer"]},
            "ground_truth": place,
        }
        for place, row in enumerate(small.rows)
    ]
    rows[700]["ground_truth"] = "seven"
    rows[701]["ground_truth"] = True
    rows[702]["ground_truth"] = 7.0
    source = tmp_path / "labels.jsonl"
    source.write_bytes(b"".join(map(_line, rows)))
    receipt = await small.run(small.collinear(), source=source)
    assert receipt.exit_code == 3
    letters = _letters(small, receipt, "collinear")
    assert [letter["field"] for letter in letters] == ["ground_truth"] * 3
    assert "integer" in letters[0]["reason"]
    assert "seven" in letters[0]["reason"]
    from tests.e2e.harness import canonical

    assert small.stored("collinear") == canonical(row for place, row in enumerate(rows) if place not in (700, 701, 702))


async def test_an_empty_file_creates_nothing(small: Bench, tmp_path: Path) -> None:
    source = tmp_path / "empty.jsonl"
    source.write_bytes(b"\n\n")
    receipt = await small.run(source=source)
    assert receipt.exit_code == 66
    assert small.emulator.summary()["nebius"]["uploads_received"] == 0
    assert receipt.source.rows_blank == 2
