"""Where a worker goes that knows several addresses."""

from __future__ import annotations

import asyncio
import socket

import pytest

from bulkup.run import joining as joining_module
from bulkup.run.joining import Joining, _Doors
from bulkup.version import VERSION
from bulkup.workers.door import Door, Hello, Refused, TurnedAway, Welcome
from bulkup.workers.far import Frames
from tests.workers.test_door import keys


def going_to(*ports: int) -> Joining:
    addresses = tuple(("127.0.0.1", port) for port in ports)
    return Joining(addresses=addresses, key=lambda: keys()[1], processes=1, retry_for_s=60.0, say=lambda _: None)


class Opened:
    """A door, and who has come in."""

    def __init__(self, answer: Welcome | Refused) -> None:
        self.came: list[tuple[Frames, Hello]] = []
        self.door = Door(keys()[0], VERSION, lambda _: answer, lambda frames, hello: self.came.append((frames, hello)))

    def open(self, port: int = 0) -> int:
        return self.door.open("127.0.0.1", port)[1]

    async def close(self) -> None:
        await self.door.close()
        for frames, _ in self.came:
            frames.abort()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining_module, "NEXT_S", 0.02)
    monkeypatch.setattr(joining_module, "AGAIN_S", 0.02)
    monkeypatch.setattr(joining_module, "KNOCK_AGAIN_S", 0.02)


async def test_a_machine_that_does_not_answer_keeps_no_worker_from_the_one_that_takes_over() -> None:
    """The first is stopped: its kernel takes connections, and nobody says anything. The second comes later."""
    door = Opened(Welcome(4, 10.0, 1000))
    with socket.create_server(("127.0.0.1", 0)) as stopped, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        doors = _Doors(going_to(stopped.getsockname()[1], port), 3, is_first=True)
        going = asyncio.create_task(doors.first())
        await asyncio.wait_for(doors._failed[1].wait(), 5)  # it has tried the second, and goes on trying
        assert not going.done()
        door.open(port)
        found = await asyncio.wait_for(going, 5)  # a handshake is given up after ten
        assert found is not None
        assert (found.epoch, found.address) == (4, f"127.0.0.1:{port}")
        assert [hello.epoch for _, hello in door.came] == [3]
        found.frames.abort()
        await door.close()


async def test_of_two_that_answer_the_one_that_was_succeeded_gets_no_worker() -> None:
    old, new = (Opened(Welcome(epoch, 10.0, 1000)) for epoch in (1, 2))
    ports = [door.open() for door in (old, new)]
    found = await _Doors(going_to(*ports), 2, is_first=True).first()
    assert found is not None
    assert (found.epoch, found.address) == (2, f"127.0.0.1:{ports[1]}")
    found.frames.abort()
    for door in (old, new):
        await door.close()


async def test_where_nobody_is_it_is_said_once_and_the_worker_comes_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert await _Doors(going_to(port), 0, is_first=True).first() is None
    assert await _Doors(going_to(port, port), 0, is_first=True).first() is None


async def test_a_run_that_has_no_use_for_a_worker_says_so_with_its_address() -> None:
    door = Opened(Refused("another version", is_final=True))
    port = door.open()
    with pytest.raises(TurnedAway, match=f"^127.0.0.1:{port}: another version$"):
        await _Doors(going_to(port), 0, is_first=True).first()
    await door.close()
