"""The ways in which a service is hostile: status × body × timing × headers, in place of one answer or of every one."""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

from tests.hostile.service import Answer, Request, answer_bytes

__all__ = ["LARGE", "MODES", "Mode"]

ENDED = frozenset({0})
HELD = frozenset({4})
GIVEN_UP = frozenset({0, 75})
"""When depends on the p99 of the round trips: on a busy machine patience may be over by then."""
REFUSED = frozenset({10})
"""Several chunks in a row were refused whole, so a rule has stopped the run."""

Where = Literal["one upload", "every upload", "every look", "every later look"]
Lane = Literal["nebius", "collinear"]


@dataclass(frozen=True, slots=True)
class Mode:
    """*where* says which requests *answer* meets; *stores*: an upload was stored before it. The run must end with one of *codes*.
    *lies*: the answer says something untrue of what was stored, in the documented form, so nothing can be said of the rows."""

    name: str
    lane: Lane
    where: Where
    answer: Callable[[Request], Awaitable[None]]
    codes: frozenset[int] = ENDED
    stores: bool = True
    lies: bool = False

    def __str__(self) -> str:
        return f"{self.lane}, {self.where}: {self.name}"


def said(
    status: int, body: bytes | Callable[[str], bytes], *headers: tuple[str, str]
) -> Callable[[Request], Awaitable[None]]:
    async def answer(request: Request) -> None:
        data = body(request.token) if callable(body) else body
        named = (("Connection", "close"), *((name, value.replace("TOKEN", request.token)) for name, value in headers))
        await request.reply(answer_bytes(Answer(status, data, named)))

    return answer


def raw(data: bytes) -> Callable[[Request], Awaitable[None]]:
    async def answer(request: Request) -> None:
        await request.reply(data.replace(b"TOKEN", request.token.encode()))

    return answer


def endless(
    head: bytes, piece: bytes | Callable[[], bytes], first: bytes = b"", pause_s: float = 0.0
) -> Callable[[Request], Awaitable[None]]:
    """Never ends by itself. A large *piece* is made when it is needed."""

    async def answer(request: Request) -> None:
        again = piece() if callable(piece) else piece
        await request.reply(head + first)
        while True:
            await request.reply(again)
            await asyncio.sleep(pause_s)

    return answer


def stalls(data: bytes) -> Callable[[Request], Awaitable[None]]:
    async def answer(request: Request) -> None:
        await request.reply(data)
        await asyncio.Event().wait()

    return answer


def honestly(change: Callable[[Answer], bytes]) -> Callable[[Request], Awaitable[None]]:
    """What *change* makes of the honest answer."""

    async def answer(request: Request) -> None:
        await request.reply(change(request.honest))

    return answer


# --- bodies -----------------------------------------------------------------------------------------------------------


def deep(levels: int) -> bytes:
    return b'{"detail":' + b"[" * levels + b"]" * levels + b"}"


def tells(token: str) -> bytes:
    return orjson.dumps({"detail": [{"loc": ["body", "rows", token], "msg": f"Bearer {token} is bad"}], "you": token})


def page(title: str) -> Callable[[str], bytes]:
    return lambda token: (
        f"<!DOCTYPE html><html><head><title>{title} {token}</title></head><p>{token}</p></html>".encode()
    )


BODIES: dict[str, bytes | Callable[[str], bytes]] = {
    "nothing": b"",
    "255 deep": deep(255),
    "50,000 deep": deep(50_000),
    "no UTF-8": b'{"detail":"\xff\xfe\x80"}',
    "half a surrogate": b'{"detail":"\\ud800"}',
    "integers without end": b'{"detail":[{"loc":["rows",' + b"9" * 5000 + b'],"msg":' + b"9" * 400 + b"}]}",
    "the token": tells,
    "odd places": b'{"detail":[null,7,{"loc":{"a":1}},{"loc":[1e400,-1,true,"x"]},[[]]]}',
    "a page": page("502 Bad Gateway"),
}

STATUSES: dict[int, frozenset[int]] = {
    200: ENDED,
    201: ENDED,
    202: ENDED,
    404: frozenset({2}),
    409: ENDED,
    418: frozenset({2}),
    500: ENDED,
    502: ENDED,
    520: ENDED,
    999: ENDED,
}
"""Each with what a run comes to that meets it once."""

GZIP = ("Content-Encoding", "gzip")


def _crossed() -> Iterator[Mode]:
    """Every status and every body at least twice, on both lanes, stored before or not."""
    lanes: tuple[Lane, Lane] = ("nebius", "collinear")
    bodies = list(BODIES.items())
    for number, (status, codes) in enumerate(STATUSES.items()):
        for step in range(3):
            name, body = bodies[(number * 2 + step * 5) % len(bodies)]
            may_pass = name == "a page" and status in (404, 418)
            yield Mode(
                f"{status} with {name}",
                lanes[(number + step) % 2],
                "one upload",
                said(status, body),
                ENDED if may_pass else codes,
                stores=(status < 400 or status >= 500 or status == 409) and step % 2 == 0,
            )


def _headers() -> Iterator[Mode]:
    def with_headers(*headers: tuple[str, str]) -> Callable[[Request], Awaitable[None]]:
        return honestly(lambda honest: answer_bytes(Answer(honest.status, honest.body, (*honest.headers, *headers))))

    good = {
        "a header of 60 KiB": (("X-Long", "x" * 61_440),),
        "900 headers": tuple((f"X-{n}", "x") for n in range(900)),
        "a cookie and the token": (("Set-Cookie", "a=b"), ("X-Token", "Bearer TOKEN")),
        "Content-Encoding: identity": (("Content-Encoding", "identity"),),
        "odd quota headers": (("X-RateLimit-Limit-Requests", "-1e999"), ("X-RateLimit-Remaining-Requests", "\xff")),
    }
    bad = {
        "a header of 80 KiB": (("X-Long", "x" * 81_920),),
        "1,200 headers": tuple((f"X-{n}", "x") for n in range(1200)),
        "2 MiB of headers": tuple((f"X-{n}", "x" * 4000) for n in range(520)),
        "Content-Encoding: br": (("Content-Encoding", "br"),),
        "Content-Encoding: gzip twice": (GZIP, GZIP),
        "gzip that is none": (GZIP,),
    }
    for number, (name, headers) in enumerate({**good, **bad}.items()):
        yield Mode(name, "collinear" if number % 2 else "nebius", "one upload", with_headers(*headers))
    for lane in ("nebius", "collinear"):
        for name, squeeze in (("gzip", gzip.compress), ("cut gzip", lambda body: gzip.compress(body)[:-9])):
            yield Mode(
                f"an answer in {name}",
                lane,
                "one upload",
                honestly(lambda h, s=squeeze: answer_bytes(Answer(h.status, s(h.body), (*h.headers, GZIP)))),  # type: ignore[misc]
            )
    yield Mode(
        "an answer in bare deflate",
        "nebius",
        "one upload",
        honestly(
            lambda h: answer_bytes(Answer(h.status, zlib.compress(h.body)[2:-4], (("Content-Encoding", "deflate"),)))
        ),
    )


def _wire() -> Iterator[Mode]:
    both: tuple[tuple[str, Callable[[Request], Awaitable[None]]], ...] = (
        ("no HTTP", raw(b"SSH-2.0-OpenSSH_9.6 TOKEN\r\n\r\n")),
        ("a status that is none", raw(b"HTTP/1.1 TOKEN TOKEN\r\n\r\n")),
        ("two lengths", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}")),
        ("a negative length", raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")),
        ("chunks that are none", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nTOKEN\r\n")),
        ("cut in the body", honestly(lambda h: answer_bytes(h, length=len(h.body) + 1))),
        ("cut in the head", raw(b"HTTP/1.1 200 OK\r\nX: TOK")),
        ("half a record", honestly(lambda h: answer_bytes(Answer(h.status, h.body[: len(h.body) // 2])))),
        ("two records", honestly(lambda h: answer_bytes(Answer(h.status, h.body * 2)))),
        ("stands still in the head", stalls(b"HTTP/1.1 200 OK\r\nX: ")),
        ("stands still in the body", stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")),
        ("101", raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nTOKEN")),
        ("304 with a body", raw(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nTOKEN")),
    )
    for number, (name, answer) in enumerate(both):
        codes = (
            frozenset({0, 2}) if name.startswith("304") else ENDED
        )  # it cannot have a body: which it is depends on timing
        yield Mode(name, "collinear" if number % 2 else "nebius", "one upload", answer, codes, stores=codes is ENDED)


def _records() -> Iterator[Mode]:
    """A 200 whose body is nearly what it should be."""

    def changed(change: Callable[[bytes], bytes]) -> Callable[[Request], Awaitable[None]]:
        return honestly(lambda h: answer_bytes(Answer(h.status, change(h.body), h.headers)))

    nebius: dict[str, Callable[[bytes], bytes]] = {
        "an id with dots": lambda body: body.replace(b'"ds', b'"../ds'),
        "an id that is a number": lambda body: body.replace(b'"id":"ds', b'"id":7,"x":"ds'),
        "an id of 10,000 letters": lambda body: body.replace(b'"ds', b'"' + b"d" * 10_000),
        "an error 500 deep": lambda body: body.replace(b'"error":null', b'"error":' + b"[" * 500 + b"]" * 500),
        "a record of 5 MiB": lambda body: b'{"x":"' + b"x" * (5 << 20) + b'",' + body[1:],
    }
    collinear: dict[str, Callable[[bytes], bytes]] = {
        "one row less": lambda body: body[: body.rindex(b",{")] + b"]",
        "one row more": lambda body: body[:-1] + b',{"id":"more"}]',
        "an id twice": lambda body: body.replace(b"000001", b"000000"),
        "an id of 10,000 letters": lambda body: body.replace(b'"row-000000"', b'"' + b"r" * 10_000 + b'"'),
        "an id of 2^70": lambda body: body.replace(b'"row-000000"', b"1180591620717411303424"),
        "a row 5,000 deep": lambda body: body.replace(b'"row-000000"', b'"a","x":' + b"[" * 5000 + b"]" * 5000),
        "no UTF-8 in an id": lambda body: body.replace(b"row-000000", b"\xff\xfe"),
    }
    for name, change in nebius.items():
        yield Mode(name, "nebius", "one upload", changed(change))
    for name, change in collinear.items():
        yield Mode(name, "collinear", "one upload", changed(change))


def _looks() -> Iterator[Mode]:
    """The first upload is lost, so that a look must tell; none does. Nothing may be sent again."""
    again = b'{"object":"list","has_more":true,"last_id":"x1","data":[{"id":"x1","name":"other","status":"READY","folder":"/"}]}'
    empty = b'{"object":"list","has_more":true,"last_id":null,"data":[]}'
    nowhere = b'{"object":"list","has_more":true,"last_id":"x","data":[]}'
    odd = b'{"object":"list","has_more":"no","last_id":null,"data":[]}'
    nulls = b'{"object":"list","has_more":false,"last_id":null,"data":[null]}'
    listing = b'{"data":{"getUploadedDatasetByPageAndSpaceId":{"count":%b,"datasets":[%b]}}}'
    looks: tuple[tuple[str, Lane, Callable[[Request], Awaitable[None]]], ...] = (
        ("the cursor repeats", "nebius", said(200, again)),
        ("more, and an empty page", "nebius", said(200, nowhere)),
        ("more, and no cursor", "nebius", said(200, empty)),
        ("a has_more that is none", "nebius", said(200, odd)),
        ("a record that is none", "nebius", said(200, nulls)),
        ("a page of a gateway", "nebius", said(404, page("Not Found"))),
        ("not JSON", "nebius", said(200, b"<html>")),
        ("deep", "nebius", said(200, deep(50_000))),
        ("the same page again", "collinear", said(200, listing % (b"3", b'{"id":"x1","name":"other","rows":1}'))),
        ("fewer than counted", "collinear", said(200, listing % (b"3", b""))),
        ("a count that is none", "collinear", said(200, listing % (b"1e400", b""))),
        ("GraphQL errors", "collinear", said(200, tells)),
        ("a page of a gateway", "collinear", said(403, page("Attention Required!"))),
        ("in br", "collinear", said(200, listing % (b"0", b""), ("Content-Encoding", "br"))),
    )
    for name, lane, answer in looks:
        for where in ("every look", "every later look"):
            if (name, lane, where) == ("a page of a gateway", "nebius", "every look"):  # no path there is the service's
                yield Mode(name, lane, where, answer, frozenset({2}), stores=False)
            else:
                yield Mode(name, lane, where, answer, HELD)


def _others() -> Iterator[Mode]:
    yield Mode("401 with the token", "nebius", "every upload", said(401, tells), frozenset({77}), stores=False)
    yield Mode("403 with the token", "collinear", "every upload", said(403, tells), frozenset({77}), stores=False)
    yield Mode("413 with the token", "nebius", "every upload", said(413, tells), frozenset({3}), stores=False)
    yield Mode("422 255 deep", "nebius", "every upload", said(422, deep(255)), REFUSED, stores=False)
    yield Mode("422 odd places", "collinear", "every upload", said(422, BODIES["odd places"]), REFUSED, stores=False)
    yield Mode("429 255 deep", "nebius", "one upload", said(429, deep(255), ("Retry-After", "0")), stores=False)
    yield Mode(
        "a page of a gateway", "nebius", "every upload", said(403, page("Denied")), frozenset({77}), stores=False
    )
    yield Mode(
        "a page of a gateway", "collinear", "every upload", said(404, page("Gone")), frozenset({2}), stores=False
    )
    yield Mode(
        "307 to itself",
        "nebius",
        "one upload",
        said(307, b"", ("Location", "/v1/datasets")),
        frozenset({2}),
        stores=False,
    )
    yield Mode("drips for ever", "nebius", "one upload", endless(OK_LONG, b" ", pause_s=0.1), GIVEN_UP)
    yield Mode("drips for ever", "collinear", "one upload", endless(OK_LONG, b" ", b"[", pause_s=0.1), GIVEN_UP)
    yield Mode("an error that drips for ever", "nebius", "one upload", endless(ERROR_LONG, b"x", pause_s=0.1))


OK_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"
ERROR_LONG = b"HTTP/1.1 500 Oops\r\nContent-Length: 9999999999\r\n\r\n"
OK_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999999999\r\n\r\n"
NOTHINGS = gzip.compress(b"") * 500


@functools.cache
def bomb() -> bytes:
    """64 MiB of spaces, made in little memory: what is measured is what its reader takes."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(b" " * (1 << 20)) for _ in range(64)), packer.flush()])


def _large() -> Iterator[Mode]:
    """Without end, or nearly: each is run by itself, and its memory is measured."""
    rows = b",".join(b'{"id":"r%07d%b"}' % (n, b"x" * 60) for n in range(2000)) + b","
    yield Mode("an echo without end", "collinear", "one upload", endless(OK_LONG, rows, b"["))
    yield Mode("a row without end", "collinear", "one upload", endless(OK_LONG, b"x" * 65_536, b'[{"id":"a","x":"'))
    yield Mode("an id without end", "collinear", "one upload", endless(OK_LONG, b"x" * 65_536, b'[{"id":"'))
    yield Mode("spaces without end", "collinear", "one upload", endless(OK_LONG, b" " * 65_536, b"["))
    yield Mode("brackets without end", "collinear", "one upload", endless(OK_LONG, b"[" * 65_536))
    yield Mode("a record without end", "nebius", "one upload", endless(OK_LONG, b"x" * 65_536, b'{"id":"'))
    yield Mode("an error without end", "nebius", "one upload", endless(ERROR_LONG, b"x" * 65_536))
    yield Mode(
        "a head without end", "nebius", "one upload", endless(b"HTTP/1.1 200 OK\r\n", b"X-Y: %b\r\n" % (b"x" * 60_000))
    )
    yield Mode("a gzip bomb", "nebius", "one upload", endless(OK_GZIP, bomb))
    yield Mode("a gzip bomb", "collinear", "one upload", endless(OK_GZIP, bomb))
    yield Mode("gzip of nothing without end", "collinear", "one upload", endless(OK_GZIP, NOTHINGS))
    yield Mode(
        "a list page without end", "nebius", "every later look", endless(OK_LONG, b"x" * 65_536, b'{"data":["'), HELD
    )
    yield Mode(
        "a list page of objects",
        "nebius",
        "every later look",
        said(200, b'{"data":[' + b'{"id":"a"},' * 700_000),
        HELD,
    )
    yield Mode(
        "a list page of lists",
        "collinear",
        "every later look",
        said(200, b'{"data":[' + b"[]," * 2_000_000 + b"[]]}"),
        HELD,
    )


MODES = (*_crossed(), *_headers(), *_wire(), *_records(), *_looks(), *_others())
LARGE = tuple(_large())
