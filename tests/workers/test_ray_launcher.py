"""What the launcher has Ray do: a worker on each node, another for one that is lost, none where none is wanted. Without Ray."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bulkup.errors import UsageProblem
from bulkup.run import ray_launcher
from bulkup.run.far_workers import Listening
from bulkup.run.launching import RayLauncher


class Lost(Exception):
    """As Ray says it of an actor."""


class Ray:
    """So much of Ray as is used. *ended* holds what actors have come to."""

    def __init__(self) -> None:
        self.alive = {"aaaaaaaa": 4, "bbbbbbbb": 4}
        self.ended: dict[int, int | Exception] = {}
        self.options: list[dict[str, Any]] = []
        self.killed: list[Any] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": node, "NodeManagerHostname": "h", "Alive": cpus > 0, "Resources": {"CPU": cpus}}
            for node, cpus in self.alive.items()
        ]

    def remote(self, kind: type) -> Ray:
        return self

    def options_of(self, **given: Any) -> Ray:
        self.options.append(given)
        number = len(self.options)
        made: Any = ModuleType("actor")
        made.remote = lambda: made
        made.work = ModuleType("work")
        made.work.remote = lambda order: number
        return made  # type: ignore[no-any-return]

    def wait(self, refs: list[int], *, num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return [ref for ref in refs if ref in self.ended], [ref for ref in refs if ref not in self.ended]

    def get(self, ref: int) -> int:
        found = self.ended[ref]
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray()
    made.remote = lambda kind: type("_", (), {"options": staticmethod(made.options_of)})()  # type: ignore[method-assign]
    strategies: Any = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: (node, soft)
    for name in ("ray", "ray.util"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    return made


def placed(ray: Ray) -> list[str]:
    return [given["scheduling_strategy"][0] for given in ray.options]


def launcher(ray: Ray) -> ray_launcher._Launcher:
    return ray_launcher._Launcher(ray, {"processes": 2})


def test_one_on_each_node_that_has_the_cores_and_ray_restarts_none(ray: Ray) -> None:
    made = launcher(ray)
    assert made.found() == "nodes: 2"
    ray.alive["cccccccc"] = 1
    assert made.found() == "nodes: 3, of which 2 have the 2 CPUs that --workers asks for on each"
    made.look(0.0)
    made.look(2.0)
    assert placed(ray) == ["aaaaaaaa", "bbbbbbbb"]
    assert {(given["max_restarts"], given["max_task_retries"], given["num_cpus"]) for given in ray.options} == {
        (0, 0, 2)
    }
    made.bury()
    assert len(ray.killed) == 2


def test_one_that_is_lost_is_replaced_where_its_node_is_alive_and_new_nodes_get_one(ray: Ray) -> None:
    made = launcher(ray)
    made.look(0.0)
    ray.ended = {1: Lost(), 2: Lost()}
    ray.alive = {"aaaaaaaa": 4, "bbbbbbbb": 0, "dddddddd": 4}
    made.look(2.0)
    assert placed(ray) == ["aaaaaaaa", "bbbbbbbb", "aaaaaaaa", "dddddddd"]


@pytest.mark.parametrize(("code", "again"), [(0, []), (2, []), (75, ["aaaaaaaa"]), (143, ["aaaaaaaa"])])
def test_what_a_worker_ends_with_says_whether_another_is_wanted(ray: Ray, code: int, again: list[str]) -> None:
    made = launcher(ray)
    made.look(0.0)
    ray.ended = {1: code}
    made.look(2.0)
    assert placed(ray)[2:] == [], "a node on which it could not stay is left alone for a while"
    made.look(13.0)
    assert placed(ray)[2:] == again


def test_no_more_are_wanted_once_one_says_that_the_run_is_over(ray: Ray) -> None:
    made = launcher(ray)
    made.look(0.0)
    ray.ended = {1: 0, 2: Lost()}
    made.look(60.0)
    assert placed(ray)[2:] == []


FAKE = """
import json, sys
order = json.loads(sys.stdin.readline())
print(json.dumps({"say": "connected to " + order["connect"], "ready": True}), flush=True)
print("no line of ours", flush=True)
print(json.dumps({"say": "placed"}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    key = tmp_path / "worker.key"
    key.write_text("the key")
    return Listening("127.0.0.1", 7420, key)


def as_module(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """What runs in the launcher's place."""
    begin = asyncio.create_subprocess_exec

    async def other(*_: str, **given: Any) -> asyncio.subprocess.Process:
        return await begin(sys.executable, "-c", code, **given)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", other)


async def test_what_the_launcher_says_reaches_the_user_and_its_end_does_not_end_the_run(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_module(monkeypatch, FAKE)
    said: list[str] = []
    heard = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if "has ended" in text or text == "placed":
            heard.set()

    made = RayLauncher(say, processes=1, key_file=None)
    await made.start(listening)
    await asyncio.wait_for(heard.wait(), 20)
    assert said == ["connected to 127.0.0.1:7420", "placed"]
    heard.clear()
    assert made._child is not None
    made._child.kill()
    await asyncio.wait_for(heard.wait(), 20)
    assert "the run goes on with the workers that it has" in said[-1]
    await made.close()


async def test_no_ray_and_no_cluster_are_told_before_anything_is_sent(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said, expected in (
        (json.dumps({"say": "--engine ray needs Ray", "failed": True}), "needs Ray"),
        ("nonsense", "launcher has ended"),
    ):
        as_module(monkeypatch, f"import sys; sys.stdin.readline(); print({said!r})")
        with pytest.raises(UsageProblem, match=expected):
            await RayLauncher(lambda _: None, processes=1, key_file=None).start(listening)
        monkeypatch.undo()
