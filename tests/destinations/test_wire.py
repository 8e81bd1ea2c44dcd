"""What both wires share: a lost request as an outcome, the rows that a refusal names, a server's words."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bulkup.destinations.base import AnswerTooLarge, LookFailed, ReadBackUnavailable
from bulkup.destinations.http import SEEN_CHARS, is_usable_id, lost, readable, refusal, rows_at_fault
from bulkup.outcome import Accepted, InDoubt, Outcome, StopLane, TryAgain
from bulkup.tokens import secret
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import ERROR_BYTES, WORDS, Answer, Phase, TransportFailure
from bulkup.transport.classify import BadRequest
from tests.destinations.answering import SECRET, Asked, Said, collinear, nebius, payload, said
from tests.destinations.asking import at_once

SOURCE = TokenSource(variable="T", file=None, environment={"T": SECRET})


@pytest.mark.parametrize(("phase", "kind"), [(Phase.CONNECT, TryAgain), (Phase.BODY, InDoubt), (Phase.ANSWER, InDoubt)])
def test_a_lost_request_is_free_to_try_again_only_before_the_first_byte(phase: Phase, kind: type[Outcome]) -> None:
    assert isinstance(lost(TransportFailure(phase, "gone")), kind)


@pytest.mark.parametrize(
    ("detail", "rows"),
    [
        ([{"loc": ["body", "rows", 4, "text"]}, {"loc": ["body", "rows", 2]}, {"loc": ["body", "rows", 4]}], (2, 4)),
        ([{"loc": ["body", "rows"]}], ()),
        ([{"loc": ["body", 232], "type": "json_invalid"}, {"loc": ["body", 7], "type": "value_error.jsondecode"}], ()),
        ([{"loc": ["body", "rows", -1]}, {"loc": ["body", "rows", True]}, {"loc": "rows.3"}], ()),
        ("no list", ()),
        ([], ()),
        ([{}], ()),
        (None, ()),
        ({"loc": ["rows", 1]}, ()),
    ],
)
def test_rows_that_a_refusal_names(detail: object, rows: tuple[int, ...]) -> None:
    assert rows_at_fault(orjson.dumps({"detail": detail})) == rows


shapes = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["loc", "msg", "x"]), inner, max_size=3)
    ),
)


@given(st.binary(max_size=200) | shapes.map(lambda value: orjson.dumps({"detail": value})) | shapes.map(orjson.dumps))
def test_no_answer_breaks_the_reading(body: bytes) -> None:
    rows_at_fault(body)
    said = readable(body)
    assert len(said) <= WORDS
    assert said.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b"Bearer tok-SECRET-0123456789",
        b'{"detail":"you sent tok-SECRET-0123456789"}',
        b'{"detail":[{"loc":["tok-SECRET-0123456789",1],"msg":"tok-SECRET-0123456789"}]}',
        b'{"received":{"authorization":"Bearer tok-SECRET-0123456789"}}',
        b'{"message":{"a":"tok-SECRET-0123456789"}}',
        b"x" * (WORDS - 5) + b"tok-SECRET-0123456789",
        b"\xff\xfetok-SECRET-0123456789\xff",
        b'["tok-SECRET-0123456789"]',
        b" " * (ERROR_BYTES - 8) + b"tok-SECR",
        b" " * (ERROR_BYTES - 24) + b"%74%6f%6b%2d%53%45%43%52",
        b"x " * (SEEN_CHARS // 4) + b"y" * (SEEN_CHARS // 2 - 8) + b"tok-SECRET-0123456789",
        b"Bearer tok-SECR",
    ],
)
def test_a_servers_words_hold_no_token(body: bytes) -> None:
    """Not a part of it either, where it stands at the edge of what is kept."""
    said = readable(body)
    assert "tok-S" not in said
    assert "%74" not in said


def test_a_token_that_json_escapes_is_not_shown_either() -> None:
    TokenSource(variable="T", file=None, environment={"T": "tok/SECRET+0123456789"})
    assert "SECRET" not in readable(b'{"received":"Bearer tok\\/SECRET+0123456789"}')


@pytest.mark.parametrize("levels", [200, 255, 1100, 30_000])
def test_an_error_nested_deep_has_words_all_the_same(levels: int) -> None:
    """What encodes it refuses more than 254 levels: 0.1.0 ended with an internal error."""
    body = b'{"detail":' + b"[" * levels + b'"tok-SECRET-0123456789"' + b"]" * levels + b"}"
    rows_at_fault(body)
    said = readable(body)
    assert said
    assert "tok-S" not in said


PAGES = [
    (b"<html><head><title>403 Forbidden</title></head></html>", "text/html", '"403 Forbidden"'),
    (
        b"<!DOCTYPE HTML>\n<html><TITLE lang=en>\n Attention \xe2\x80\xa6 &amp; more\n</TITLE>",
        "",
        '"Attention \u2026 & more"',
    ),
    (b"\xef\xbb\xbf  <!-- x --><html><p>no title</p>", "", "with a page of HTML"),
    (b"", "text/html; charset=utf-8", "with a page of HTML"),
    (b"<html><title>tok-SECRET-0123456789</title>", "text/html", '"***"'),
    (b"<html><title>" + b"x" * 5000, "text/html", '"' + "x" * 100 + '"'),
]


@pytest.mark.parametrize(("body", "kind", "said"), PAGES, ids=range(len(PAGES)))
async def test_a_gateways_page_is_called_that(body: bytes, kind: str, said: str) -> None:
    """With its title: redacted, on one line, bounded. It may be over in a moment."""
    answer = cast("Answer", Said(404, [body], CIMultiDict({"Content-Type": kind})))
    outcome = await refusal(answer, bad_request=BadRequest.NOTHING_STORED)
    assert isinstance(outcome, StopLane)
    assert outcome.may_pass
    assert "a gateway answered" in outcome.reason
    assert said in outcome.reason


@pytest.mark.parametrize("status", [402, 403, 404, 407, 415, 307, 501])
async def test_the_services_own_refusal_is_final(status: int) -> None:
    answer = cast("Answer", Said(status, [b'{"detail":"<html> is not allowed"}'], CIMultiDict()))
    outcome = await refusal(answer, bad_request=BadRequest.NOTHING_STORED)
    assert isinstance(outcome, StopLane)
    assert not outcome.may_pass


@pytest.mark.parametrize("status", [307, 402, 407, 501])
async def test_some_pages_are_final_too(status: int) -> None:
    """A proxy that wants a password, a redirect, a bill: another attempt brings the same."""
    answer = cast("Answer", Said(status, [b"<html>"], CIMultiDict()))
    outcome = await refusal(answer, bad_request=BadRequest.NOTHING_STORED)
    assert isinstance(outcome, StopLane)
    assert not outcome.may_pass


async def test_a_gateways_page_says_nothing_of_a_dataset() -> None:
    """It is not gone because a gateway said 404 for it: asked again, the service itself may answer."""
    asked = Asked(lambda path, params, body: Said(404, [b"<html>"]))
    with pytest.raises(LookFailed, match="a gateway answered") as caught:
        await nebius(asked).poll(at_once, "d1")
    assert isinstance(caught.value.outcome, StopLane)
    assert (caught.value.outcome.may_pass, asked.requests) == (True, 1)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a?b", "a#b", "a b", "a\n", "é", "a" * 201, "%2e", "\ud800"])
def test_what_cannot_be_an_id(text: str) -> None:
    """It would lead elsewhere in a URL, or nowhere."""
    assert not is_usable_id(text)


def test_what_can() -> None:
    assert all(map(is_usable_id, ["a", "a.b", "ds-1", "4d89c87498354518b92fa02fc0ad8720", "urn:x:1", "7" * 200]))


ODD_ROWS: list[Any] = [
    None, 7, "x", [], {}, {"id": 1}, {"id": [], "convPrefix": [], "response": {}}, {"id": None},
    {"id": "a" * 300, "convPrefix": [], "response": {"role": "a", "content": "b"}},
    {"id": 2**70, "convPrefix": [], "response": {"role": "a", "content": "b"}},
    {"id": 1, "convPrefix": None, "response": {"role": "a", "content": "b"}},
    {"id": 1, "convPrefix": [{"role": {}, "content": []}], "response": None},
]  # fmt: skip


@pytest.mark.parametrize("row", ODD_ROWS, ids=range(len(ODD_ROWS)))
async def test_a_row_that_cannot_be_read_back(row: Any) -> None:
    page = {"data": {"getDatasetRowsByDatasetId": {"count": 1, "rows": [row]}}}
    with pytest.raises(ReadBackUnavailable):
        await collinear(Asked(lambda path, params, body: said(page))).read_rows(at_once, "d1", 0)


@pytest.mark.parametrize("rows", [[None], [7], ["x"], [[]], None, "x", {}, [{}] * 1001])
async def test_rows_of_nebius_that_cannot_be_read_back(rows: Any) -> None:
    with pytest.raises(ReadBackUnavailable):
        await nebius(Asked(lambda path, params, body: said({"rows": rows}))).read_rows(at_once, "d1", 0)


async def test_an_answer_of_too_many_objects_is_too_large() -> None:
    """Each takes many times its two bytes."""
    many = b'{"rows":[' + b"{}," * 500_000 + b"{}]}"
    with pytest.raises(AnswerTooLarge):
        await nebius(Asked(lambda path, params, body: Said(200, [many]))).read_rows(at_once, "d1", 0)


@pytest.mark.parametrize(
    ("file", "token", "kind"),
    [
        ("ds1.json", "json", Accepted),
        ("ds1.json", "attachment", Accepted),
        ("ds1.json", "ds1", InDoubt),
        ("ds-word-1.json", "word", InDoubt),
        ("x" + SECRET + ".json", SECRET, InDoubt),
    ],
)
async def test_a_token_in_the_files_name_and_not_in_the_words_around_it(
    file: str, token: str, kind: type[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short token may be any word: what every answer says must not make every upload a doubt."""
    headers = CIMultiDict({"Content-Disposition": f'attachment; filename="{file}"'})
    echo = orjson.dumps([{"id": "r1", "a": 1}])
    destination = collinear(Asked(lambda *_: Said(200, [echo], headers)))
    monkeypatch.setattr(secret, "_known", ())
    secret.remember_secret(token)
    assert isinstance(await destination.send(payload(destination, 1), lambda _: None), kind)
