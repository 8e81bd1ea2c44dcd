"""Kinds of files that hold no rows, or that are not read, told by their first bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["contents_of_zip", "kind_of_bytes", "kind_of_name"]

_PICKLE = "pandas.read_pickle(FILE).to_json(NEW, orient='records', lines=True)"
_NUMBERS = "polars.DataFrame(numpy.load(FILE)).write_ndjson(NEW)"
_PANDAS = "pandas.read_{}(FILE).to_json(NEW, orient='records', lines=True)"

_NOT_READ: tuple[tuple[bytes, str, str], ...] = (
    (b"PARE", "encrypted Parquet", "decrypt it"),
    (b"FEA1", "Feather of version 1", "pandas.read_feather(FILE).to_feather(NEW)"),
    (b"Obj\x01", "Avro", "polars.read_avro(FILE).write_ndjson(NEW)"),
    (b"ORC", "ORC", _PANDAS.format("orc")),
    (b"SQLite format 3\0", "SQLite", "sqlite3 FILE '.mode json' 'select * from TABLE'"),
    (b"\x89HDF", "HDF5", _PANDAS.format("hdf")),
    (b"\x80\x02", "a Python pickle", _PICKLE),
    (b"\x80\x03", "a Python pickle", _PICKLE),
    (b"\x80\x04", "a Python pickle", _PICKLE),
    (b"\x80\x05", "a Python pickle", _PICKLE),
    (b"\x93NUMPY", "a NumPy array", _NUMBERS),
    (b"<stata_dta>", "Stata", _PANDAS.format("stata")),
    (b"$FL2", "SPSS", _PANDAS.format("spss")),
    (b"RDX2\n", "R data", "jsonlite::stream_out(data, file(NEW)) in R"),
    (b"RDX3\n", "R data", "jsonlite::stream_out(data, file(NEW)) in R"),
    (b"X\n\0\0\0", "R data", "jsonlite::stream_out(readRDS(FILE), file(NEW)) in R"),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook (.xls), or one with a password,",
        "save it as .xlsx, without a password",
    ),
    (b"%PDF", "PDF", ""),
    (b"{\\rtf", "RTF", ""),
    (b"\x04\x22\x4d\x18", "lz4", "unpack it: lz4 -d"),
    (b"\xff\x06\0\0sNaPpY", "snappy", "unpack it: snzip -d"),
    (b"\x5d\0\0", "lzma without an xz container", "unpack it: xz --format=lzma -d"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "unpack it: 7z x"),
    (b"Rar!\x1a\x07", "rar", "unpack it: unrar x"),
    (b"\x1f\x9d", "compress (.Z)", "unpack it: uncompress"),
    (b"# v2 git bundle", "a git bundle", "git clone FILE, and name its files"),
    (b"# v3 git bundle", "a git bundle", "git clone FILE, and name its files"),
)
"""How it begins, what it is, and what makes JSON lines of it."""

_NO_ROWS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"RIFF", "an image, sound or film (RIFF)"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"ID3", "sound (MP3)"),
    (0, b"OggS", "sound or film (Ogg)"),
    (0, b"fLaC", "sound (FLAC)"),
    (4, b"ftyp", "an image, sound or film (MP4)"),
    (0, b"\x1aE\xdf\xa3", "a film (Matroska)"),
    (0, b"\x7fELF", "a program"),
    (0, b"GGUF", "a model (GGUF)"),
    (8, b'{"__metadata__"', "a model (safetensors)"),
    (8, b"DUCK", "a DuckDB database: export its tables as Parquet"),
    (0, b"PACK\0\0\0", "a pack of git's"),
)
"""Where a mark stands, the mark, and what it is."""

_TENSORS = re.compile(rb".{3}\0{5}\{\"[^\"]{1,40}\":\{\"dtype\"", re.DOTALL)

_BY_NAME = {
    (".yaml", ".yml"): "is YAML: yq -o=json -I=0 '.[]' FILE > NEW makes JSON lines of a list",
    (".toml",): "is TOML: yq -p=toml -o=json -I=0 '.KEY[]' FILE > NEW makes JSON lines of the rows under KEY",
    (".sql",): "is SQL, not rows: run it, and export the table as CSV with a header",
    (".md", ".rst", ".tex"): "is a text, not rows",
}

_ZIPS = (
    ("word/", "a Word document"),
    ("ppt/", "a PowerPoint presentation"),
    ("META-INF/", "a Java archive, an OpenDocument file or a book"),
    ("content.xml", "an OpenDocument file; save a sheet of it as .xlsx or .csv"),
    ("archive/data.pkl", "a model or tensors that PyTorch has saved"),
)
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")


def kind_of_bytes(start: bytes) -> str | None:
    """What begins with *start* (64 bytes), in words that go behind the file's name; None where that may be rows."""
    for magic, title, way in _NOT_READ:
        if start.startswith(magic) and not (magic == b"ORC" and start[:4].isalnum()):  # a column called ORCID
            return f"{title} is not read yet; convert it to JSON lines" + (f" ({way})" if way else "")
    for at, mark, title in _NO_ROWS:
        if start.startswith(mark, at) and (b"\0" in start or not start.isascii()):
            return f"is {title}, and holds no rows"
    if _TENSORS.match(start):
        return "is a model (safetensors), and holds no rows"
    return None


def kind_of_name(name: str) -> str | None:
    """What a file in which no row was found is by its *name*, and what makes rows of it."""
    return next((said for suffixes, said in _BY_NAME.items() if name.lower().endswith(suffixes)), None)


def contents_of_zip(names: Sequence[str]) -> str:
    """What an archive without rows is by the *names* of its members, or what to do with those; empty where that says nothing."""
    for mark, title in _ZIPS:
        if any(name.startswith(mark) for name in names):
            return f": it is {title}"
    if any(name.endswith("data.pkl") for name in names):
        return ": it is a model or tensors that PyTorch has saved"
    inner = next((name for name in names if name.lower().endswith(_ARCHIVES)), None)
    return "" if inner is None else f"; {inner} is an archive itself: unpack it, and name that"
