"""Who is let in to a run, and what everybody else gets and costs."""

from __future__ import annotations

import asyncio
import functools
import random
import resource
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from bulkup.errors import UsageProblem
from bulkup.tokens.secret import redact
from bulkup.workers import door as door_module
from bulkup.workers.door import PROTOCOL, Door, Hello, NotThere, Refused, TurnedAway, Welcome, knock
from bulkup.workers.far import Frames
from bulkup.workers.keys import RunKey, WorkerKey, make_keys

VERSION = "9.9.9"


@functools.cache
def keys() -> tuple[RunKey, WorkerKey]:
    return make_keys()


@functools.cache
def other_keys() -> tuple[RunKey, WorkerKey]:
    return make_keys()


@dataclass
class Open:
    door: Door
    port: int
    taken: list[Hello] = field(default_factory=list)
    frames: list[Frames] = field(default_factory=list)
    others: list[Hello] = field(default_factory=list)


@asynccontextmanager
async def opened(answer: Welcome | Refused | None = None, deadline_s: float = 5) -> AsyncIterator[Open]:
    found = Open(None, 0)  # type: ignore[arg-type]

    def take(frames: Frames, hello: Hello) -> None:
        found.frames.append(frames)
        found.taken.append(hello)

    given = answer or Welcome(7, 10.0, 1000)
    found.door = Door(keys()[0], VERSION, lambda _: given, take, deadline_s=deadline_s)
    found.door.other_versions = found.others.append
    _, found.port = found.door.open("127.0.0.1", 0)
    try:
        yield found
    finally:
        await found.door.close()
        for frames in found.frames:
            frames.abort()


def hello(key: WorkerKey | None = None, **other: object) -> Hello:
    given = {"protocol": PROTOCOL, "version": VERSION, "secret": (key or keys()[1]).secret, "host": "h", "pid": 1}
    return Hello(**{**given, **other})  # type: ignore[arg-type]


async def test_who_has_the_key_is_welcome() -> None:
    async with opened() as there:
        frames, welcome = await knock("127.0.0.1", there.port, keys()[1], hello())
        assert welcome == Welcome(7, 10.0, 1000)
        assert [one.host for one in there.taken] == ["h"]
        frames.put(b"on")
        assert await there.frames[0].get() == b"on"
        frames.abort()


async def test_the_key_comes_back_from_its_file_and_shows_nowhere() -> None:
    run, worker = keys()
    assert RunKey.of_json(run.to_json()) == run
    assert WorkerKey.of_json(worker.to_json()) == worker
    assert repr(run) == "RunKey(***)"
    assert run.secret not in redact(f"the secret is {run.secret}")
    assert worker.secret not in repr(hello())
    for wrong, data in ((RunKey, worker.to_json()), (WorkerKey, run.to_json()), (WorkerKey, b"{}"), (RunKey, b"\xff")):
        with pytest.raises(ValueError, match="no key"):
            wrong.of_json(data)


async def test_an_other_runs_key_opens_nothing_on_either_side() -> None:
    worker = other_keys()[1]
    trusting = worker.context()
    trusting.verify_mode = ssl.CERT_NONE
    async with opened() as there:
        with pytest.raises(NotThere, match="CERTIFICATE_VERIFY_FAILED"):
            await knock("127.0.0.1", there.port, worker, hello(worker))
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            reader, _ = await asyncio.open_connection("127.0.0.1", there.port, ssl=trusting)
            await reader.readexactly(1)
        assert not there.taken


async def test_a_key_is_for_one_certificate_whoever_signed_the_other() -> None:
    worker = msgspec.structs.replace(keys()[1], fingerprint="0" * 64)
    async with opened() as there:
        with pytest.raises(NotThere, match="has another certificate"):
            await knock("127.0.0.1", there.port, worker, hello())
        assert not there.taken


async def test_the_certificate_alone_is_not_enough() -> None:
    async with opened() as there:
        with pytest.raises(NotThere, match="the key is not this run's"):
            await knock("127.0.0.1", there.port, keys()[1], hello(secret="x" * 64))
        assert not there.taken


async def test_the_secret_alone_is_not_enough() -> None:
    """TLS without a certificate ends before anything is heard."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with opened() as there:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            reader, writer = await asyncio.open_connection("127.0.0.1", there.port, ssl=context)
            said = msgspec.msgpack.encode(hello())
            writer.write(len(said).to_bytes(4, "big") + said)
            await reader.readexactly(1)
        assert not there.taken


async def test_a_worker_cannot_play_the_run_to_others() -> None:
    """A worker's certificate is signed by the same authority, and no worker takes it for the run's."""
    worker = keys()[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine = RunKey(
        authority=worker.authority, certificate=worker.certificate, private_key=worker.private_key, secret=worker.secret
    )
    context = mine.context()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises(NotThere, match="CERTIFICATE_VERIFY_FAILED"):
            await knock("127.0.0.1", server.sockets[0].getsockname()[1], worker, hello())


async def test_another_version_is_told_in_a_line_on_both_sides() -> None:
    async with opened() as there:
        for other in ({"version": "0.0.1"}, {"protocol": PROTOCOL + 1}):
            with pytest.raises(TurnedAway, match=r"the run is bulkup 9\.9\.9 .* install the run's version"):
                await knock("127.0.0.1", there.port, keys()[1], hello(**other))
        assert [one.version for one in there.others] == ["0.0.1", VERSION]
        assert not there.taken


async def test_a_run_that_was_taken_over_is_asked_again_later() -> None:
    async with opened(Refused("another process has taken over", is_final=False)) as there:
        with pytest.raises(NotThere, match="taken over"):
            await knock("127.0.0.1", there.port, keys()[1], hello())


async def test_nobody_there_is_told_in_words() -> None:
    async with opened() as there:
        port = there.port
    with pytest.raises(NotThere, match=r"refused|Connect"):
        await knock("127.0.0.1", port, keys()[1], hello())


async def test_strangers_who_say_nothing_make_room_for_others_and_are_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door_module, "MOST_AT_THE_DOOR", 4)
    async with opened(deadline_s=0.3) as there:
        silent = [await asyncio.open_connection("127.0.0.1", there.port) for _ in range(12)]
        assert there.door.waiting <= 4
        frames, _ = await knock("127.0.0.1", there.port, keys()[1], hello())
        for reader, writer in silent:
            assert await asyncio.wait_for(_rest(reader), 10) == b"", "it gets nothing"
            writer.close()
        assert there.door.waiting == 0
        frames.abort()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_a_damaged_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = keys()[1]
    for damaged in (worker.certificate[:200], "not a certificate at all"):
        broken = WorkerKey(
            authority=worker.authority,
            certificate=damaged,
            private_key=worker.private_key,
            secret=worker.secret,
            fingerprint=worker.fingerprint,
        )
        with pytest.raises(UsageProblem, match="damaged"):
            broken.context()


def test_the_key_is_loaded_where_there_are_no_files_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    assert keys()[0].context().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 8,
        b"\x16\x03\x01\x40\x00" + b"\xff" * 16_384,
    ],
)
async def test_what_is_no_tls_ends_at_once(said: bytes) -> None:
    async with opened(deadline_s=0.5) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(said)
        if said:
            writer.write_eof()
        assert len(await asyncio.wait_for(_rest(reader), 10)) < 64, "an alert at the most"
        writer.close()
        assert not there.taken


@pytest.mark.parametrize("data", [b"\xc1", b"\x80", b"\x93\x01\x02\x03", bytes(4096)])
async def test_who_has_the_certificate_and_makes_no_sense_is_hung_up_on(data: bytes) -> None:
    async with opened() as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port, ssl=keys()[1].context())
        frames = Frames(reader, writer, 1 << 20)
        frames.put(data)
        assert await asyncio.wait_for(frames.get(), 10) is None
        frames.abort()
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port, ssl=keys()[1].context())
        writer.write((2**31).to_bytes(4, "big"))
        assert await asyncio.wait_for(reader.read(), 10) == b"", "nobody waits for two gigabytes"
        writer.close()
        assert not there.taken


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of the strangers
async def test_ten_thousand_strangers_get_nothing_and_cost_little() -> None:
    """Silent ones, noise, TLS without a certificate and with another run's, a wrong secret: two minutes. A worker gets in,
    and then nothing is left of them. `python -m pytest -m slow tests/workers/test_door.py`"""
    dice = random.Random(5)
    no_certificate = ssl.create_default_context()
    no_certificate.check_hostname, no_certificate.verify_mode = False, ssl.CERT_NONE
    contexts = [None, None, no_certificate, other_keys()[1].context(), keys()[1].context()]
    contexts[3].verify_mode = ssl.CERT_NONE  # type: ignore[union-attr]
    left = iter(range(10_000))
    before = len(list(Path("/proc/self/fd").iterdir()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def strangers(port: int) -> None:
        for number in left:
            context = contexts[number % len(contexts)]
            try:
                async with asyncio.timeout(20):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                    noise = dice.randbytes(dice.choice((0, 1, 5, 300, 5000)))
                    if number % len(contexts) == 4:
                        noise = msgspec.msgpack.encode(hello(secret="guess" * 10))
                        noise = len(noise).to_bytes(4, "big") + noise
                    writer.write(noise)
                    if dice.random() < 0.5:
                        writer.write_eof() if context is None else writer.close()
                    assert len(await _rest(reader)) < 64
                    writer.transport.abort()
            except (OSError, TimeoutError):
                pass

    async with opened() as there:
        begun = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(100):
                tasks.create_task(strangers(there.port))
            for _ in range(5):
                await asyncio.sleep(5)
                frames = await _in_at_last(there.port)
                frames.abort()
        took_s = time.process_time() - begun
        assert len(there.taken) == 5
        await asyncio.sleep(6)
        assert there.door.waiting == 0
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(f"10,000 strangers: {took_s:.1f} CPU seconds of both ends, {grown / 1024:.0f} MiB more at the most")
    assert took_s < 120
    assert grown < 400 * 1024


async def _in_at_last(port: int) -> Frames:
    """A worker tries again, as it does."""
    for _ in range(50):
        try:
            return (await knock("127.0.0.1", port, keys()[1], hello()))[0]
        except NotThere:
            await asyncio.sleep(0.2)
    raise AssertionError("it never got in")
