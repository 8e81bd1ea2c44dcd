"""Workers on the nodes of a Ray cluster: `python -m bulkup.run.ray_launcher`. Only a run starts it, and it ends with that.

Ray is loaded here and nowhere else: a driver that has lost its cluster's head is ended by Ray itself a minute later, and the run
must not be that driver. Ray starts workers, places them and tells when they are gone; what they do, and what becomes of it, is not
its business.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["main"]

LOOK_EVERY_S = 2.0
AGAIN_S = 10.0
"""How long a node is left alone on which a worker could not stay."""

IS_OVER, IS_NO_USE = 0, 2
"""What a worker ends with that must not be replaced."""


@dataclass
class _Placed:
    """A worker on a node, and what it will end with."""

    actor: Any
    ended: Any


@dataclass
class _Launcher:
    ray: Any
    order: dict[str, Any]
    placed: dict[str, _Placed] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    is_wanted: bool = True

    def nodes(self) -> dict[str, str]:
        """Those that are alive and have the cores: their ids, and what a person calls them."""
        return {
            node["NodeID"]: node["NodeManagerHostname"] + " " + node["NodeID"][:6]
            for node in self._alive()
            if node.get("Resources", {}).get("CPU", 0) >= self.order["processes"]
        }

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def found(self) -> str:
        """What there is, in words."""
        alive, fit = len(self._alive()), len(self.nodes())
        if fit == alive:
            return f"nodes: {alive}"
        return f"nodes: {alive}, of which {fit} have the {self.order['processes']} CPUs that --workers asks for on each"

    def look(self, now: float) -> None:
        """Bury who is gone, and place who is missing."""
        nodes = self.nodes()
        refs = {placed.ended: node for node, placed in self.placed.items()}
        done, _ = self.ray.wait(list(refs), num_returns=len(refs), timeout=0) if refs else ([], [])
        for ref in done:
            node = refs[ref]
            del self.placed[node]
            try:
                code = self.ray.get(ref)
            except Exception as error:  # noqa: BLE001 - whatever Ray says of an actor that is gone
                _say(f"Ray: the worker on node {node[:6]} is gone ({type(error).__name__}); another takes its place")
                continue
            if code in (IS_OVER, IS_NO_USE):
                self.is_wanted = code != IS_OVER
                self.not_before[node] = float("inf")
            else:
                self.not_before[node] = now + AGAIN_S
        for node, name in nodes.items():
            if self.is_wanted and node not in self.placed and self.not_before.get(node, 0.0) <= now:
                self.place(node)
                _say(f"Ray: a worker is placed on {name}")

    def place(self, node: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        made = self.ray.remote(_OnNode).options(
            num_cpus=self.order["processes"],
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        actor = made.remote()
        self.placed[node] = _Placed(actor, actor.work.remote(self.order))

    def bury(self) -> None:
        for placed in self.placed.values():
            self.ray.kill(placed.actor)


class _OnNode:
    """An actor: it runs `bulkup worker`, which loads nothing of Ray."""

    def work(self, order: dict[str, Any]) -> int:
        environment = dict(os.environ)
        arguments = ["--connect", order["connect"], "--processes", str(order["processes"])]
        if order["key_file"] is not None:
            arguments += ["--key", order["key_file"]]
        else:
            environment["BULKUP_WORKER_KEY"] = order["key"]
        command = [sys.executable, "-m", "bulkup", "worker", *arguments]
        with subprocess.Popen(command, env=environment, cwd=order["folder"]) as process:  # noqa: S603 - a command of ours
            return process.wait()


def main() -> None:
    """The command. The order is a line of JSON on standard input, whose end is the end of the work; lines for a person go out."""
    order = json.loads(sys.stdin.readline())
    try:
        import ray
    except ImportError:
        _say("--engine ray needs Ray: pip install 'bulkup[ray]'", failed=True)
        return
    try:
        ray.init(address="auto", namespace="bulkup", log_to_driver=False, configure_logging=False)
    except Exception as error:  # noqa: BLE001 - whatever keeps Ray from its cluster
        _say(
            f"Ray: no cluster is reached ({str(error).splitlines()[0][:300]}); set RAY_ADDRESS, or start one",
            failed=True,
        )
        return
    launcher = _Launcher(ray, order)
    _say(f"Ray: connected; {launcher.found()}", ready=True)
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    while not ended.is_set():
        launcher.look(time.monotonic())
        ended.wait(LOOK_EVERY_S)
    launcher.bury()
    ray.shutdown()


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _say(text: str, **more: bool) -> None:
    sys.stdout.write(json.dumps({"say": text, **more}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
