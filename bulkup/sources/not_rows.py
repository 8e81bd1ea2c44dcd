"""What holds no rows as it is: told by its name, with the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from bulkup.errors import BulkupError, SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.head import SPACE, Head
from bulkup.sources.known_kinds import kind_of_bytes, kind_of_name

__all__ = [
    "NotRows",
    "another_encoding",
    "another_kind",
    "bulk_actions",
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
_NEITHER = "is neither JSON lines nor a JSON array, nor CSV"
_BINARY_LOOK_BYTES = 8 * 1024
_ACTION = re.compile(rb'\s*\{\s*"(?:index|create)"\s*:\s*\{')
_OF_ACTIONS = frozenset(
    {"routing", "version", "version_type", "pipeline", "require_alias", "dynamic_templates", "retry_on_conflict"}
)
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
    said = kind_of_bytes(start)
    return None if said is None else NotRows(said, UsageProblem)


def another_kind(text: bytes) -> NotRows | None:
    """A kind of text that stands in the place of data. *text* does not begin with white space."""
    if text.startswith(_LFS):
        return NotRows("is a Git LFS pointer, not the data itself; fetch that with git lfs pull")
    if _MARKUP.match(text):
        if re.search(rb"<html|<!doctype html", text[:1024], re.IGNORECASE):
            return NotRows("is an HTML page, not data: perhaps what a server answered instead; fetch the file again")
        return NotRows(
            "is XML or HTML, which is not read: if a server answered so instead of data, fetch the file again; "
            "if it holds the rows: pandas.read_xml(FILE).to_json(NEW, orient='records', lines=True)"
        )
    return None


def bulk_actions(text: bytes) -> NotRows | None:
    """Where *text* is what Elasticsearch's bulk interface takes: before each row a line says what to do with it."""
    if not _ACTION.match(text):
        return None
    first, _, rest = text.partition(b"\n")
    third = rest.partition(b"\n")[2]
    row = attempt(_ROW, first)
    if isinstance(row, Refusal) or len(row) != 1 or (third.strip(SPACE) and not _ACTION.match(third)):
        return None
    about = attempt(_ROW, bytes(next(iter(row.values()))))
    if isinstance(about, Refusal) or not all(key.startswith("_") or key in _OF_ACTIONS for key in about):
        return None
    return NotRows(
        "is what Elasticsearch's bulk interface takes: every other line is no row, but says what to do with the next one. "
        "Take these out: sed -n 'n;p' FILE > NEW; or give --lines if they are rows",
        UsageProblem,
    )


def no_json(text: bytes, name: str) -> NotRows:
    """*text*, in which there is no row, in a file of that *name*."""
    words = text.split(None, 2)[:2]
    if words and set(words) == {b"null"}:
        return NotRows("holds null and no rows")
    line = text.lstrip(SPACE).partition(b"\n")[0]
    value = attempt(msgspec.json.decode, line)
    if isinstance(value, str) and is_row(value.encode("utf-8", "replace")):
        return NotRows("has rows in strings, one in each line; take them out: jq -c fromjson FILE > NEW")
    if isinstance(value, str | int | float):
        kind = "true or false" if isinstance(value, bool) else "a string" if isinstance(value, str) else "a number"
        return NotRows(f"has {kind} in each line, and a row is an object; make rows of them: jq -c '{{text: .}}'")
    if text.startswith(_SEPARATOR):
        return NotRows(
            "is a JSON text sequence (RFC 7464), with a control character before each row; take these out: "
            "tr -d '\\036' < FILE > NEW"
        )
    if _SCRIPT.match(text) or text.startswith(b")]}'"):
        return NotRows(
            "is JavaScript, not JSON; take out what stands before the first [ or { and behind the last ] or }"
        )
    if not text.strip(b"\0"):
        return NotRows("holds nothing but zero bytes: it was not written to its end, or not copied; fetch it again")
    if b"\0" in text[:_BINARY_LOOK_BYTES]:
        return NotRows(
            f"{_NEITHER}: it is binary, of a kind that is not known here; make JSON lines, CSV or Parquet of it"
        )
    if isinstance(attempt(text[: text.rfind(b"\n") + 1 or len(text)].decode), Refusal):
        return NotRows(f"{_NEITHER}, and not UTF-8; if it is text in another encoding, say --encoding NAME")
    if (said := kind_of_name(name)) is not None:
        return NotRows(said)
    is_text = name.lower().endswith((".txt", ".log", ".text"))
    way = "; if each line is a text: jq -cR 'select(length > 0) | {text: .}' FILE > NEW makes rows of them" * is_text
    return NotRows(f"{_NEITHER}; convert it to JSON lines, or say --delimiter{way}")


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


def _is_repr(line: bytes) -> bool:
    import ast

    if len(line) > 64 * 1024:
        return line.startswith(b"{'")
    return isinstance(attempt(lambda: ast.literal_eval(line.decode().strip())), dict)
