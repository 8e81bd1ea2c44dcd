"""xz, bzip2, two layers, other encodings and archives: the same rows come out, and damage is told after what came before it."""

from __future__ import annotations

import asyncio
import bz2
import functools
import gzip
import io
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.sources import Compression, Reading, encoding_named, inspect, open_source
from bulkup.sources.zstd import Zstd
from tests.sources.reading import read_all, rows_of
from tests.sources.test_sequential import rows_until_error

ROWS = [json.dumps({"id": n, "text": "wörter " * (n % 7)}).encode() + b"\n" for n in range(3000)]
LINES = b"".join(ROWS)


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": _zstd,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def _source(path: Path, **reading: Any) -> Any:
    return open_source([str(path)], max_row_bytes=1 << 20, reading=Reading(**reading))


def _rows(path: Path, **reading: Any) -> list[bytes]:
    return [row.data for row in read_all(_source(path, **reading))]


@pytest.mark.parametrize("has_checksum", [False, True])
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_zstd_frame_is_whole_or_cut_off_in_whatever_pieces_it_comes(has_checksum: bool, piece: int) -> None:
    packer = zstandard.ZstdCompressor(write_checksum=has_checksum)
    frames = packer.compress(b"") + packer.compress(LINES) + b"\x50\x2a\x4d\x18\x01\0\0\0x" + packer.compress(LINES)

    def unpacked(data: bytes) -> tuple[bytes, bool]:
        decoder, made = Zstd(), b""
        for at in range(0, len(data), piece):
            decoder.push(data[at : at + piece])
            while part := decoder.pull(256 * 1024):
                made += part
        return made, decoder.whole

    assert unpacked(frames) == (LINES * 2, True)
    for cut in (1, 3, 4, 5, 9):
        made, is_whole = unpacked(frames[:-cut])
        assert not is_whole
        assert made.startswith(LINES)


@pytest.mark.parametrize("inner", [None, *PACKINGS])
@pytest.mark.parametrize("outer", PACKINGS)
def test_what_is_packed_once_or_twice_is_read(tmp_path: Path, outer: str, inner: str | None) -> None:
    path = tmp_path / "rows"
    path.write_bytes(PACKINGS[outer](LINES if inner is None else PACKINGS[inner](LINES)))
    found = inspect(str(path))
    assert found.compression is Compression(outer)
    assert found.packing == (outer if inner is None else f"{outer}+{inner}")
    assert _rows(path) == ROWS


def test_three_layers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(_zstd(lzma.compress(LINES))))
    with pytest.raises(UsageProblem, match="is packed more than twice; unpack it"):
        inspect(str(path))


@pytest.mark.parametrize("packing", ["xz", "bzip2"])
def test_streams_one_after_the_other_are_one_text(tmp_path: Path, packing: str) -> None:
    path, pack = tmp_path / "rows", PACKINGS[packing]
    half = len(ROWS) // 2
    padding = b"\0" * 8 if packing == "xz" else b""
    path.write_bytes(pack(b"".join(ROWS[:half])) + padding + pack(b"".join(ROWS[half:])) + padding)
    assert _rows(path) == ROWS


MANY = [b'{"id": %d, "text": "%s"}\n' % (n, str(n * 7919 % 1_000_003).encode() * 9) for n in range(40_000)]


@functools.cache
def _many_packed(packing: str) -> bytes:
    data = b"".join(MANY)
    return lzma.compress(data, preset=0) if packing == "xz" else bz2.compress(data)


@pytest.mark.parametrize("packing", ["xz", "bzip2"])
@pytest.mark.parametrize("wrong", ["cut", "garbage", "damaged"])
def test_damage_is_told_behind_the_rows_before_it(tmp_path: Path, packing: str, wrong: str) -> None:
    path, many, data = tmp_path / "rows", MANY, _many_packed(packing)
    if wrong == "damaged":
        middle = len(data) * 3 // 4
        data = data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 50]) + data[middle + 50 :]
    path.write_bytes(
        data + b"garbage" if wrong == "garbage" else data[: len(data) * 3 // 4] if wrong == "cut" else data
    )
    found, error = rows_until_error(_source(path))
    assert isinstance(error, SourceUnreadable)
    assert "what came before has been read" in str(error)
    rows = [row.data for row in found]
    assert len(rows) > (len(many) // 4 if wrong != "garbage" else len(many) - 1)
    assert rows[:-1] == many[: len(rows) - 1]


@pytest.mark.parametrize("packing", ["xz", "bzip2"])
def test_what_unpacks_to_very_much_is_not_held(tmp_path: Path, packing: str) -> None:
    """But for 16 MiB of a first object, under whose keys rows may stand."""
    path = tmp_path / "rows"
    path.write_bytes(PACKINGS[packing](b'{"a": "' + b"x" * 60_000_000 + b'"}\n{"b": 1}\n'))
    tracemalloc.start()
    long, short = read_all(_source(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (long.long, short.data) == (True, b'{"b": 1}\n')
    assert peak < 48 << 20


def test_a_wide_window_needs_an_option(tmp_path: Path) -> None:
    path = tmp_path / "rows.zst"
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(packer.compress(LINES) + packer.flush())
    with pytest.raises(
        UsageProblem, match=r"window of 256 MiB is over the limit of 128 MiB; --zstd-window 256MiB reads it"
    ):
        inspect(str(path))
    assert _rows(path, zstd_window=256 << 20) == ROWS
    with pytest.raises(UsageProblem, match="over the limit of 255 MiB"):
        inspect(str(path), Reading(zstd_window=255 << 20))
    path.write_bytes(_zstd(LINES) + path.read_bytes())  # told only once it is come to
    found, error = rows_until_error(_source(path))
    assert [row.data for row in found] == ROWS
    assert "--zstd-window 256MiB reads it" in str(error)


_texts = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=30), min_size=1, max_size=9
)


@given(_texts, st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "gb18030", "utf-7"]))
def test_text_in_another_encoding_is_the_same_text(texts: list[str], encoding: str) -> None:
    import tempfile

    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        path.write_bytes("\n".join(lines).encode(encoding))
        assert (
            _rows(path, encoding=encoding_named(encoding)) == ("\n".join(lines)).encode().splitlines(keepends=True)
            or [row.rstrip(b"\n").decode() for row in _rows(path, encoding=encoding_named(encoding))] == lines
        )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_with_a_mark_needs_one(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a":1,"b":"caf"}\n' * 3)
    with pytest.raises(SourceUnreadable, match=f"byte order mark, as {encoding} does; say --encoding {encoding}-le"):
        _rows(path, encoding=encoding_named(encoding))


@pytest.mark.parametrize(
    ("encoding", "wrong"),
    [("shift_jis", b"\x81\xff"), ("utf-16-le", b"\x00\xd8"), ("ascii", b"\xe4"), ("utf-32-le", b"\x00\x00\x11\x00")],
)
def test_what_is_not_of_the_encoding_spoils_its_row_alone(tmp_path: Path, encoding: str, wrong: bytes) -> None:
    path = tmp_path / "rows"
    parts = ['{"a": 1}\n{"a": "', '"}\n{"a": 2}\n']
    path.write_bytes(parts[0].encode(encoding) + wrong + parts[1].encode(encoding))
    first, spoilt, last = _rows(path, encoding=encoding)
    assert (first, last) == (b'{"a": 1}\n', b'{"a": 2}\n')
    with pytest.raises(UnicodeDecodeError):
        spoilt.decode()


def test_text_that_ends_in_the_middle_of_a_character_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes('{"a": 1}\n{"a"'.encode("utf-16")[:-1])
    found, error = rows_until_error(_source(path, encoding="utf-16"))
    assert found[0].data == b'{"a": 1}\n'
    assert "cut off" in str(error)


@pytest.mark.parametrize("name", ["nonsense", "undefined", "idna", "base64", "rot13", "raw_unicode_escape", ""])
def test_what_is_no_encoding_is_refused(name: str) -> None:
    with pytest.raises(UsageProblem, match=r"there is no such encoding; give a name such as utf-16"):
        encoding_named(name)


def test_utf_8_needs_no_work() -> None:
    assert encoding_named("UTF-8") is encoding_named("utf8") is encoding_named("utf_8_sig") is None


MEMBERS: Mapping[str, bytes] = {
    "README.md": b'# Rows\n\n{"not": "a row"}\n',
    "a/one.jsonl": b"".join(ROWS[:1000]),
    "._one.jsonl": b"\0\5\x16\7",
    "a/two.json": b"[" + b",".join(row.strip() for row in ROWS[1000:2000]) + b"]",
    "image.png": b"\x89PNG" + b"\0" * 5000,
    "three.jsonl.gz": gzip.compress(b"".join(ROWS[2000:2500])),
    "LICENSE": b"Do as you like.\n",
    "b/part-0": b"".join(ROWS[2500:]),
}


def _tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _zip(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.mkdir("a")
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


ARCHIVES: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "rows.tar": _tar,
    "rows.tar.gz": lambda members: gzip.compress(_tar(members)),
    "rows.tar.zst": lambda members: _zstd(_tar(members)),
    "rows.tar.xz": lambda members: lzma.compress(_tar(members)),
    "rows.zip": _zip,
    "stored.zip": lambda members: _zip(members, zipfile.ZIP_STORED),
    "bzip2.zip": lambda members: _zip(members, zipfile.ZIP_BZIP2),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_members_that_hold_rows_are_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name](MEMBERS))
    source = _source(path)
    wanted = ["a/one.jsonl", "a/two.json", "three.jsonl.gz", "b/part-0"]
    assert [file.uri for file in source.files] == [f"{path}::{member}" for member in wanted]
    assert source.notes == (f"{path}: 4 members hold rows; passed over: README.md, image.png, LICENSE",)
    assert [row.data.strip() for row in read_all(source)] == [row.strip() for row in ROWS]


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_cursor_begins_anywhere_in_an_archive(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name](MEMBERS))

    async def rows(start: int) -> list[bytes]:
        source = _source(path)
        cursor = source.cursor()
        try:
            return [row.data.strip() async for item in cursor.read(start, 1 << 60) for row in rows_of(item)]
        finally:
            await cursor.aclose()
            source.close()

    everything = asyncio.run(rows(0))
    assert everything == [row.strip() for row in ROWS]
    there = asyncio.run(rows(len(b"".join(ROWS[:1500]))))
    assert there == everything[-len(there) :]


@pytest.mark.parametrize("name", ["rows.tar", "rows.tar.gz", "rows.zip"])
@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a.txt": b"words"}, "no member of this .* archive holds rows; it has a.txt"),
        ({"a.jsonl": b'{"a":1}\n'.decode().encode("utf-16")}, r"::a\.jsonl: is UTF-16"),
        (
            {"a.json": b'{"data": [{"x": 1}]}'},
            r"::a\.json: is one object that holds rows under a key: data \(1 object\)",
        ),
        ({"in.zip": b"PK"}, "it has in.zip; in.zip is an archive itself: unpack it"),
        (
            {"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w/>"},
            "word/document.xml: it is a Word document",
        ),
        ({"m/data.pkl": b"\x80\x02}q\0.", "m/version": b"3\n"}, "it is a model or tensors that PyTorch has saved"),
        ({"a.jsonl": b"", "in.json": _tar({"x.json": b"{}"})}, "is an archive in an archive"),
    ],
)
def test_a_member_that_is_named_as_rows_and_holds_none_is_told(
    tmp_path: Path, name: str, members: Mapping[str, bytes], said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name](members))
    with pytest.raises(UsageProblem, match=said):
        _source(path)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.tar"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for data in (b'{"a": 1}', b'{"a": 2}'):
            info = tarfile.TarInfo("rows.jsonl")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(out.getvalue())
    with pytest.raises(UsageProblem, match=r"holds rows\.jsonl twice"):
        _source(path)


def test_a_workbook_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(_zip({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}))
    with pytest.raises(SourceUnreadable, match="damaged workbook"):
        _source(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_checksum_that_does_not_agree_is_damage(tmp_path: Path, method: int) -> None:
    path = tmp_path / "rows.zip"
    data = bytearray(_zip({"rows.jsonl": b"".join(ROWS)}, method))
    at = data.rindex(b"PK\x01\x02")
    data[at + 16] ^= 1  # the member's CRC in the directory
    path.write_bytes(data)
    found, error = rows_until_error(_source(path))
    assert [row.data for row in found] == ROWS
    assert "its checksum is another" in str(error)


@pytest.mark.parametrize("name", ["rows.tar", "rows.tar.gz", "rows.zip"])
def test_a_damaged_archive_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = ARCHIVES[name](MEMBERS)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceUnreadable, match=r"damaged (tar|zip)|cut off|shorter"):
        read_all(_source(path))


def test_a_dictionary_of_zstd_is_told(tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"what is {n * 7919}?", "answer": f"{n}" * 5}).encode() for n in range(400)]
    made = zstandard.train_dictionary(2048, [*rows])
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor(dict_data=made).compress(b"\n".join(rows)))
    with pytest.raises(UsageProblem, match="packed with a zstd dictionary; unpack it first: zstd -d -D DICTIONARY"):
        inspect(str(path))
