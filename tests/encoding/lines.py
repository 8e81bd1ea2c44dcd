"""Lines of every kind that a source may hold, for property tests, and a judge of them that shares no code with bulkup."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from hypothesis import strategies as st

from bulkup.model import Block

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["}\n{", "}{", '"', "東京", ""])
integer = st.integers(-(2**63), 2**63 - 1)
turn = st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": text})
user = st.fixed_dictionaries({"role": st.just("user"), "content": text})
answer = st.fixed_dictionaries({"role": st.just("assistant"), "content": text})
turns = st.builds(lambda before, last: [*before, last], st.lists(turn, max_size=2), user)
labels: dict[str, st.SearchStrategy[Any]] = {"ground_truth": integer, "context": text}
scalar = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text
)
value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
odd = value | st.lists(turn, max_size=2) | turn


def spelled(row: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """The row as JSON, compact or not, escaped or not."""
    ways = st.sampled_from([(",", ":"), (", ", ": ")])
    return st.builds(
        lambda r, way, ascii_only: json.dumps(r, separators=way, ensure_ascii=ascii_only).encode(),
        row,
        ways,
        st.booleans(),
    )


junk = st.sampled_from(
    [
        b"", b" ", b"\t", b"\r", b"{}", b"[]", b"null", b"7", b'"x"', b"{", b"}", b'{"a":1', b'"b":2}', b'{"a":1,}',
        b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b'{"a":01}', b'{"a":"\xff"}', b'{"\xff":1}',
        b'{"a":"\\ud800"}', b'{"a":"\\ud800\\u0041"}', b'{"a":"\\ud83d\\ude00"}', b'{"a":"\x01"}', b"\x0b", b"\x0c{}",
        b'{"question":"\xed\xa0\x80","answer":"y"}', b'{"question":"\\udc00 and more to read","answer":"y"}',
        b'{"n":1e999}', b'{"x":{"y":1e999}}', b'{"n":123456789012345678901234567890}', b'{"t":"\xc0\x80"}', b"\x00", b"{}\x00",
    ]
)  # fmt: skip


def soup(*rows: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A block's data: lines of *rows* (mostly) and junk, two on a line, cut in two, padded, with either break."""
    row = st.one_of(*rows)
    whole = st.one_of(row, row, row)
    line = st.one_of(
        whole,
        whole,
        junk,
        st.builds(lambda a, b: a + b, row, row),
        st.builds(lambda a, b: a + b" " + b, row, row | junk),
        st.builds(lambda a, at: a[: at % (len(a) + 1)] + b"\n" + a[at % (len(a) + 1) :], row, st.integers(0, 200)),
        st.builds(
            lambda pad, a, end: pad + a + end, st.sampled_from([b" ", b"\t", b"\r"]), row, st.sampled_from([b"", b" "])
        ),
    )
    ended = st.tuples(line, st.sampled_from([b"\n", b"\n", b"\r\n"])).map(b"".join)
    clean = st.tuples(whole, st.just(b"\n")).map(b"".join)
    last = st.sampled_from([b""]) | line
    many = st.lists(ended, max_size=6) | st.lists(clean, min_size=1, max_size=6)
    return st.builds(lambda lines, end: b"".join(lines) + end, many, last)


def block(data: bytes, start: int = 0) -> Block:
    return Block(data, start, start + len(data))


def _refuse(_: str) -> NoReturn:
    raise ValueError


def split(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines[:-1] if not lines[-1] else lines


def is_blank(line: bytes) -> bool:
    return not line.strip(b" \t\r\n")


def read(line: bytes) -> dict[str, Any] | None:
    """The row that *line* holds by Python's own decoder and the rules that it does not keep; None where it is none."""
    try:
        row = json.loads(line.decode().strip(" \t\r\n"), parse_constant=_refuse)
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, UnicodeError):
        return None
    return row if isinstance(row, dict) else None


def is_turn(value: object, roles: tuple[str, ...] = ROLES) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and isinstance(value["role"], str)
        and value["role"] in roles
        and isinstance(value["content"], str)
    )


def is_collinear(row: dict[str, Any]) -> bool:
    return (
        set(row) <= {"conv_prefix", "response", "ground_truth", "context"}
        and isinstance(row.get("conv_prefix"), list)
        and len(row["conv_prefix"]) > 0
        and all(map(is_turn, row["conv_prefix"]))
        and row["conv_prefix"][-1]["role"] == "user"
        and is_turn(row.get("response"), ("assistant",))
        and (
            "ground_truth" not in row or (type(row["ground_truth"]) is int and -(2**63) <= row["ground_truth"] < 2**63)
        )
        and ("context" not in row or isinstance(row["context"], str))
    )


LARGER = "; a larger max_row_bytes in the config file takes it, in a new run"
"""What a row that is too long is told."""
