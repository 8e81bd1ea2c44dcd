"""Uploads whose workers Ray starts: three nodes on this machine, each with an address of the loopback range.

    pip install 'ray>=2.40,<3'
    python -m pytest -m slow tests/e2e/test_ray.py -n 0 -s

A quarter of an hour. Ray is in an extra of its own, so these are skipped where it is not installed. `test_ray_launcher.py` tests
without it what is placed and replaced.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import pytest

from bulkup.emulator import ServiceName, Spawned
from tests.cli.shell import eventually
from tests.e2e.harness import SPACE, TOKENS, as_collinear, canonical, gsm8k_rows, write_rows
from tests.e2e.test_workers import has_received

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # on a machine that others share
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]

ROWS = 300_000
NODES = """
import os, signal, sys
from pathlib import Path
from ray.cluster_utils import Cluster
given = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024}
cluster = Cluster(initialize_head=True, head_node_args={**given, "node_ip_address": "127.0.0.2", "include_dashboard": False})
nodes = [cluster.add_node(**given, node_ip_address=f"127.0.0.{n}") for n in (3, 4)]
print(cluster.address, flush=True)

def processes(node):
    found = [one.process.pid for kind in node.all_processes.values() for one in kind]
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found

def tell(node, what):
    for pid in processes(node):
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            pass

for line in sys.stdin:
    match line.strip():
        case "kill a node":
            tell(nodes.pop(), signal.SIGKILL)
        case "freeze a node":
            tell(nodes[-1], signal.SIGSTOP)
        case "thaw it":
            tell(nodes[-1], signal.SIGCONT)
        case "kill the head":
            tell(cluster.head_node, signal.SIGKILL)
        case "kill the head's server":
            cluster.head_node.kill_gcs_server()
        case "start it again":
            cluster.head_node.start_gcs_server()
    print("done", flush=True)
"""


class Nodes:
    """The cluster, in a process of its own, which writes what it says into *log*. With *redis*, the address of one, the head keeps
    its state there."""

    def __init__(self, redis: str | None, log: BinaryIO) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ray gives its workers niceness 15: on a busy machine they get no turn for minutes
            env={
                **os.environ,
                "RAY_worker_niceness": "0",
                **({} if redis is None else {"RAY_REDIS_ADDRESS": redis}),
            },
        )
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        is_tolerant = getattr(request, "param", False)
        log = stack.enter_context((tmp_path / "nodes.txt").open("wb"))
        made = Nodes(stack.enter_context(redis_server(tmp_path)) if is_tolerant else None, log)
        stack.callback(made.end)
        yield made


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Its address. `apt-get install redis-server` brings it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server is installed: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: is_open(port))
        yield f"127.0.0.1:{port}"
        process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = gsm8k_rows()
    path = tmp_path_factory.mktemp("ray") / "rows.jsonl"
    return write_rows(path, ({**rows[n % len(rows)], "n": n} for n in range(ROWS)))


def workers(address: str) -> list[tuple[int, int]]:
    """The processes that Ray's actors have started for the run at *address*, each with the one that it has forked, which works."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            if b"bulkup\0worker" in command and address.encode() in command:
                found[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return [(parent, pid) for pid, parent in found.items() if parent in found]


def said(folder: Path, text: str) -> int:
    """How often the run has said it so far, as its log has it."""
    return sum(path.read_text().count(text) for path in (folder / "state").glob("*/events.jsonl"))


def descendants(of: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
    found = [of]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


WITHOUT, WITH = False, True  # fault tolerance of Ray's head


@pytest.mark.parametrize(
    ("nodes", "what"),
    [
        (WITHOUT, "nothing"),
        (WITHOUT, "kill a node"),
        (WITHOUT, "freeze a node"),
        (WITHOUT, "kill the head's server"),
        (WITHOUT, "kill the head"),
        (WITHOUT, "kill the coordinator's node"),
        (WITH, "kill the head's server, and start it again"),
    ],
    indirect=["nodes"],
)
def test_it_ends_exact_whatever_dies(nodes: Nodes, source: Path, emulator: Spawned, tmp_path: Path, what: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    emulator.patch(latency_ms=5000)  # until the workers are there: Ray takes its time
    command = (
        "upload", str(source), "--to", "nebius", "--to", "collinear", "--name", "rows", "--folder", "/tests", "--space-id", SPACE,
        "--nebius-url", emulator.url, "--collinear-url", emulator.url, "--state-dir", str(tmp_path / "state"),
        "--drop", "n", "--max-chunk-bytes", "1MiB", "--concurrency", "4", "--settle-after", "2", "--json",
        "--engine", "ray", "--listen", address,
    )  # fmt: skip
    environment = {**os.environ, **TOKENS, "RAY_ADDRESS": nodes.address}
    began = time.monotonic()
    log = tmp_path / "said.txt"
    seen = ""

    def started() -> subprocess.Popen[bytes]:
        with log.open("a") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "bulkup", *command],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    with ExitStack() as stack:
        run = stack.enter_context(started())
        eventually(lambda: said(tmp_path, "has come") >= 3 or run.poll() is not None, deadline_s=400)
        assert run.poll() is None, log.read_text()
        emulator.patch(latency_ms=300)
        received = sum(emulator.summary()[lane]["uploads_received"] for lane in ("nebius", "collinear"))
        eventually(partial(has_received, emulator, received + 24), deadline_s=300)
        hurt_at = time.monotonic()
        match what:
            case "nothing":
                pass
            case "kill a node" | "freeze a node":
                nodes.do(what)
                eventually(lambda: said(tmp_path, "is lost") > 0, deadline_s=60)
                noticed_s = time.monotonic() - hurt_at
                seen = f", noticed after {noticed_s:.1f} s"
                assert noticed_s < 15
                if what == "freeze a node":
                    nodes.do("thaw it")
            case "kill the coordinator's node":
                for pid in descendants(run.pid):
                    os.kill(pid, signal.SIGKILL)
                nodes.do("kill a node")
                run.communicate()
                run = stack.enter_context(started())
            case "kill the head's server, and start it again":
                nodes.do("kill the head's server")
                placed = said(tmp_path, "a worker is placed on")
                for pid in workers(address)[0]:  # the actor ends with it, which Ray must tell
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                nodes.do("start it again")
                eventually(
                    lambda: said(tmp_path, "a worker is placed on") > placed or run.poll() is not None, deadline_s=200
                )
                assert said(tmp_path, "a worker is placed on") > placed
                seen = f", Ray has placed a worker anew after {time.monotonic() - hurt_at:.1f} s"
                assert said(tmp_path, "launcher has ended") == 0, "Ray has ended its driver"
            case _:
                nodes.do(what)
        out, _ = run.communicate(timeout=600)
        took_s = time.monotonic() - began
    assert run.returncode == 0, log.read_text()
    receipt: dict[str, Any] = json.loads(out)
    emulator.idle()
    rows = [
        {"question": row["question"], "answer": row["answer"]}
        for row in map(json.loads, source.read_bytes().splitlines())
    ]
    makes: dict[ServiceName, Callable[[dict[str, Any]], dict[str, Any]]] = {"nebius": dict, "collinear": as_collinear}
    for lane, make in makes.items():
        assert canonical(
            json.loads(row) if isinstance(row, str | bytes) else row for row in emulator.rows(lane)
        ) == canonical(map(make, rows))
    doubts = [
        receipt["destinations"][lane]["this_invocation"]["attempts_by_outcome"].get("in_doubt", 0) for lane in makes
    ]
    print(f"\n{what}: {took_s:.1f} s in all, {sum(doubts)} requests in doubt{seen}; exact")


SINK = """
import datetime, os, pathlib, signal, sys, uuid, numpy, ray
from bulkup import Nebius
from bulkup.ray_data import BulkupDatasink
staging, url = sys.argv[1:]
ray.init(address="auto", log_to_driver=False)
killed = pathlib.Path(staging + ".killed")
def values(row):
    number = row["id"]
    if number == 700 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of a write
    return {
        "question": str(number), "answer": "yes", "tensor": numpy.full((2, 2), number, numpy.float32),
        "ragged": numpy.arange(number % 3), "at": datetime.datetime(2024, 1, 2, 3, 4, 5), "id": uuid.UUID(int=number),
    }
rows = ray.data.range(2000, override_num_blocks=6).map(values).filter(lambda row: not 990 < int(row["question"]) < 1400)
sink = BulkupDatasink(staging, destinations=[Nebius(url=url, folder="/tests")], name="numbers")
rows.write_datasink(sink)
assert sink.receipt is not None
lane = sink.receipt.destinations["nebius"]
from ray._private.worker import _global_node as node
print("landed", lane.rows_landed, "sent", lane.this_invocation.requests, "logs", node.get_session_dir_path(), repr(sink))
"""


def test_a_dataset_of_ray_data_is_uploaded_once_whatever_dies_and_however_often_the_job_runs(
    nodes: Nodes, emulator: Spawned, tmp_path: Path
) -> None:
    environment = {**os.environ, **TOKENS, "RAY_ADDRESS": nodes.address}
    command = [sys.executable, "-c", SINK, str(tmp_path / "staging"), emulator.url]
    ran = [
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
        for _ in range(2)
    ]
    assert [one.returncode for one in ran] == [0, 0], ran[-1].stderr[-3000:]
    assert (tmp_path / "staging.killed").exists()
    numbers = [n for n in range(2000) if not 990 < n < 1400]
    assert f"landed {len(numbers)} sent" in ran[0].stdout
    assert f"landed {len(numbers)} sent 0" in ran[1].stdout, "the second job sends nothing"
    staged = b"".join(path.read_bytes() for path in (tmp_path / "staging").glob("part-*"))
    rows = [json.loads(line) for line in staged.splitlines()]
    assert sorted(rows, key=lambda row: int(row["question"])) == [
        {
            "question": str(n),
            "answer": "yes",
            "tensor": [[float(n)] * 2] * 2,
            "ragged": list(range(n % 3)),
            "at": "2024-01-02T03:04:05",
            "id": str(UUID(int=n)),
        }
        for n in numbers
    ]
    assert len(list(emulator.rows("nebius"))) == len(numbers)
    logs = Path(ran[0].stdout.rpartition(" logs ")[2].split()[0]) / "logs"
    spoken = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    spoken += [one.stdout.encode() + one.stderr.encode() for one in ran]
    assert len(spoken) > 10
    assert [token for token in TOKENS.values() for text in spoken if token.encode() in text] == []
