"""What holds no rows as it is: told by its name, with the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from bulkup.errors import BulkupError, SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.head import SPACE, Head

__all__ = [
    "NotRows",
    "another_encoding",
    "another_kind",
    "encodings_offered",
    "is_row",
    "no_json",
    "no_table",
    "other_bytes",
    "python_repr",
]

_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class NotRows:
    """*text* goes behind the file's name. *error* says whose fault it is."""

    text: str
    error: type[BulkupError] = SourceUnreadable


_NOT_READ: tuple[tuple[bytes, str, str], ...] = (
    (b"PARE", "encrypted Parquet", "decrypt it"),
    (b"FEA1", "Feather of version 1", "pandas.read_feather(FILE).to_feather(NEW)"),
    (b"Obj\x01", "Avro", "polars.read_avro(FILE).write_ndjson(NEW)"),
    (b"ORC", "ORC", "pandas.read_orc(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"SQLite format 3\0", "SQLite", "sqlite3 FILE '.mode json' 'select * from TABLE'"),
    (b"\x89HDF", "HDF5", "pandas.read_hdf(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"\x80\x02", "a Python pickle", "pandas.read_pickle(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"\x80\x04", "a Python pickle", "pandas.read_pickle(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"\x80\x05", "a Python pickle", "pandas.read_pickle(FILE).to_json(NEW, orient='records', lines=True)"),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook (.xls), or one with a password,",
        "save it as .xlsx, without a password",
    ),
    (b"%PDF", "PDF", ""),
    (b"\x04\x22\x4d\x18", "lz4", "unpack it: lz4 -d"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "unpack it: 7z x"),
    (b"Rar!\x1a\x07", "rar", "unpack it: unrar x"),
    (b"\x1f\x9d", "compress (.Z)", "unpack it: uncompress"),
)
"""How it begins, what it is, and what makes JSON lines of it."""

_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32", "utf-32"),
    (b"\0\0\xfe\xff", "UTF-32", "utf-32"),
    (b"\xff\xfe", "UTF-16", "utf-16"),
    (b"\xfe\xff", "UTF-16", "utf-16"),
)
_WIDE = (
    (re.compile(rb"(?:[\x09-\x7e]\0\0\0){4}"), "UTF-32 without a byte order mark", "utf-32-le"),
    (re.compile(rb"(?:\0\0\0[\x09-\x7e]){4}"), "UTF-32 without a byte order mark", "utf-32-be"),
    (re.compile(rb"(?:[\x09-\x7e]\0){4}"), "UTF-16 without a byte order mark", "utf-16-le"),
    (re.compile(rb"(?:\0[\x09-\x7e]){4}"), "UTF-16 without a byte order mark", "utf-16-be"),
)
_LIKELY = ("shift_jis", "euc_jp", "euc_kr", "gb18030", "big5", "windows-1252", "latin-1", "windows-1251")
"""The encodings that a message may offer, those first that take fewest texts."""

_TABLES = {".parquet": "Parquet", ".arrow": "Arrow", ".feather": "Feather", ".xlsx": "workbook"}
_LFS = b"version https://git-lfs.github.com/spec/"
_SEPARATOR = b"\x1e"
_SCRIPT = re.compile(rb"(?:(?:var|let|const|export|window|module)\b[^\n\[{]{0,200}=?|[\w$.]{1,100}\()\s*[\[{]")
_COMMA_AT_END = re.compile(rb",\s*([}\]])")
_MARKUP = re.compile(rb"<(?:!doctype|html|head|body|\?xml|[a-z!])", re.IGNORECASE)


def other_bytes(head: Head) -> NotRows | None:
    """A kind of file that is told by its first bytes, and an encoding that is."""
    start = head.start(64)
    if start.startswith(b'{"'):
        return None
    for mark, title, name in _MARKS:
        if start.startswith(mark):
            return _encoded(title, name)
    for pattern, title, name in _WIDE:
        if pattern.match(start):
            return _encoded(title, name)
    for magic, title, way in _NOT_READ:
        if start.startswith(magic) and not (magic == b"ORC" and start[:4].isalnum()):  # such as a column called ORCID
            return NotRows(_not_read_yet(title, way), UsageProblem)
    return None


def another_kind(text: bytes) -> NotRows | None:
    """A kind of text that stands in the place of data. *text* does not begin with white space."""
    if text.startswith(_LFS):
        return NotRows("is a Git LFS pointer, not the data itself; fetch that with git lfs pull")
    if _MARKUP.match(text):
        kind = "an HTML page" if re.search(rb"<html|<!doctype html", text[:1024], re.IGNORECASE) else "XML or HTML"
        return NotRows(f"is {kind}, not data: perhaps what a server answered instead; fetch the file again")
    return None


def no_json(text: bytes) -> NotRows:
    """*text*, in which there is no row."""
    if text.strip(SPACE) == b"null":
        return NotRows("holds null and no rows")
    line = text.lstrip(SPACE).partition(b"\n")[0]
    if isinstance(value := attempt(msgspec.json.decode, line), str | int | float):
        kind = "true or false" if isinstance(value, bool) else "a string" if isinstance(value, str) else "a number"
        return NotRows(f"has {kind} in each line, and a row is an object; make rows of them: jq -c '{{text: .}}'")
    if text.startswith(_SEPARATOR):
        return NotRows(
            "is a JSON text sequence (RFC 7464), with a control character before each row; take these out: "
            "tr -d '\\036' < FILE > NEW"
        )
    if _SCRIPT.match(text):
        return NotRows(
            "is JavaScript, not JSON; take out what stands before the first [ or { and behind the last ] or }"
        )
    return NotRows("is neither JSON lines nor a JSON array, nor CSV; convert it to JSON lines, or say --delimiter")


def no_table(name: str) -> NotRows | None:
    """Where nothing stands in a file whose *name* says that it has a header at least."""
    title = next((title for suffix, title in _TABLES.items() if name.lower().endswith(suffix)), None)
    return None if title is None else NotRows(f"is empty: there is no {title} in it")


def python_repr(lines: Sequence[bytes]) -> NotRows | None:
    """Where no line is a row, and the first is what Python takes for a dictionary."""
    if not lines or not _is_repr(lines[0]) or any(map(is_row, lines)):
        return None
    if is_row(_COMMA_AT_END.sub(rb"\1", lines[0])):
        return NotRows(
            "has a comma behind the last value in each row, which JSON does not allow; take these out, or write the rows "
            "with json.dumps"
        )
    return NotRows(
        "is what Python prints, not JSON (single quotes, None, True); write the rows with json.dumps instead of str or repr"
    )


def another_encoding(lines: Sequence[bytes]) -> NotRows | None:
    """Where more than half of the *lines* that begin as rows are no UTF-8, the file is in another encoding."""
    lines = [line for line in lines if line.lstrip(SPACE).startswith(b"{")]
    wrong = [line for line in lines if isinstance(attempt(line.decode), Refusal)]
    if 2 * len(wrong) <= len(lines):
        return None
    return NotRows(
        f"is not UTF-8 ({len(wrong):,} of the first {len(lines):,} lines); say in which encoding it is, "
        f"such as {encodings_offered(wrong)}: bulkup does not guess",
        UsageProblem,
    )


def encodings_offered(wrong: Sequence[bytes]) -> str:
    """Options for the encodings in which the texts *wrong*, which are no UTF-8, may be."""
    text = b"\n".join(wrong)
    fitting = [name for name in _LIKELY if not isinstance(attempt(text.decode, name), Refusal)]
    return " or ".join(f"--encoding {name}" for name in fitting[:3]) or "--encoding NAME"


def is_row(line: bytes) -> bool:
    """Whether *line* is one JSON object."""
    return not isinstance(attempt(_ROW, line), Refusal)


def _encoded(title: str, name: str) -> NotRows:
    text = f"is {title}; give --encoding {name}, or convert it: iconv -f {name.upper()} -t UTF-8"
    return NotRows(text, UsageProblem)


def _not_read_yet(kind: str, way: str) -> str:
    return f"{kind} is not read yet; convert it to JSON lines" + (f" ({way})" if way else "")


def _is_repr(line: bytes) -> bool:
    import ast

    if len(line) > 64 * 1024:
        return line.startswith(b"{'")
    return isinstance(attempt(lambda: ast.literal_eval(line.decode().strip())), dict)
