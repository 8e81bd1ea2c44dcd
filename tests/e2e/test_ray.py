"""Uploads whose workers Ray starts: three nodes on this machine, each with an address of the loopback range.

    pip install 'ray>=2.40,<3'
    python -m pytest -m slow tests/e2e/test_ray.py -n 0 -s

Two minutes. Ray is in an extra of its own, so these are skipped where it is not installed. `test_ray_launcher.py` tests without it
what is placed and replaced.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bulkup.emulator import ServiceName, Spawned
from tests.cli.shell import eventually
from tests.e2e.harness import SPACE, TOKENS, as_collinear, canonical, gsm8k_rows, write_rows
from tests.e2e.test_workers import has_received

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]

ROWS = 300_000
NODES = """
import sys
from ray.cluster_utils import Cluster
given = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024}
cluster = Cluster(initialize_head=True, head_node_args={**given, "node_ip_address": "127.0.0.2", "include_dashboard": False})
nodes = [cluster.add_node(**given, node_ip_address=f"127.0.0.{n}") for n in (3, 4)]
print(cluster.address, flush=True)
for line in sys.stdin:
    match line.strip():
        case "kill a node":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        case "kill the head":
            cluster.head_node.kill_gcs_server()
    print("done", flush=True)
"""


class Nodes:
    """The cluster, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
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
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.end()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = gsm8k_rows()
    path = tmp_path_factory.mktemp("ray") / "rows.jsonl"
    return write_rows(path, ({**rows[n % len(rows)], "n": n} for n in range(ROWS)))


def workers() -> list[int]:
    """The processes that work: forked by those that Ray's actors have started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"bulkup\0worker" in (path / "cmdline").read_bytes():
                found[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return [pid for pid, parent in found.items() if parent in found]


def happened(folder: Path, text: str) -> float | None:
    """When the run has said it first, as its log has it."""
    for path in (folder / "state").glob("*/events.jsonl"):
        for line in path.read_text().splitlines():
            if text in line:
                return float(Path(path).stat().st_mtime)
    return None


@pytest.mark.parametrize("what", ["nothing", "kill a node", "kill the head", "freeze a worker"])
def test_it_ends_exact_whatever_dies(nodes: Nodes, source: Path, emulator: Spawned, tmp_path: Path, what: str) -> None:
    emulator.patch(latency_ms=5000)  # until the workers are there: Ray takes its time
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (
        "upload", str(source), "--to", "nebius", "--to", "collinear", "--name", "rows", "--folder", "/tests", "--space-id", SPACE,
        "--nebius-url", emulator.url, "--collinear-url", emulator.url, "--state-dir", str(tmp_path / "state"),
        "--drop", "n", "--max-chunk-bytes", "1MiB", "--concurrency", "4", "--settle-after", "2", "--json",
        "--engine", "ray", "--listen", f"127.0.0.1:{port}",
    )  # fmt: skip
    environment = {**os.environ, **TOKENS, "RAY_ADDRESS": nodes.address}
    began = time.monotonic()
    log = tmp_path / "said.txt"
    with (
        log.open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", "bulkup", *command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as run,
    ):
        eventually(lambda: len(workers()) == 3 or run.poll() is not None, deadline_s=200)
        assert run.poll() is None, log.read_text()
        emulator.patch(latency_ms=300)
        received = sum(emulator.summary()[lane]["uploads_received"] for lane in ("nebius", "collinear"))
        eventually(partial(has_received, emulator, received + 24), deadline_s=60)
        seen = ""
        lost_at = time.monotonic()
        if what == "freeze a worker":
            pid = workers()[0]
            os.kill(pid, signal.SIGSTOP)
            eventually(lambda: happened(tmp_path, "is lost") is not None, deadline_s=60)
            seen = f", noticed after {time.monotonic() - lost_at:.1f} s"
            assert time.monotonic() - lost_at < 15
            os.kill(pid, signal.SIGCONT)
        elif what != "nothing":
            nodes.do(what)
        out, _ = run.communicate(timeout=200)
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
    print(f"\n{what}: {time.monotonic() - began:.1f} s in all, {sum(doubts)} requests in doubt{seen}; exact")


SINK = """
import sys, ray
from bulkup import Nebius
from bulkup.ray_data import BulkupDatasink
staging, url = sys.argv[1:]
ray.init(address="auto", log_to_driver=False)
rows = ray.data.range(2000, override_num_blocks=6).map(lambda row: {"question": str(row["id"]), "answer": "yes"})
sink = BulkupDatasink(staging, destinations=[Nebius(url=url, folder="/tests")], name="numbers")
rows.write_datasink(sink)
assert sink.receipt is not None
lane = sink.receipt.destinations["nebius"]
print("landed", lane.rows_landed, "sent", lane.this_invocation.requests)
"""


def test_a_dataset_of_ray_data_is_uploaded_once_however_often_the_job_runs(
    nodes: Nodes, emulator: Spawned, tmp_path: Path
) -> None:
    environment = {**os.environ, **TOKENS, "RAY_ADDRESS": nodes.address}
    command = [sys.executable, "-c", SINK, str(tmp_path / "staging"), emulator.url]
    said = [
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250)
        for _ in range(2)
    ]
    assert [one.returncode for one in said] == [0, 0], said[-1].stderr[-3000:]
    assert "landed 2000" in said[0].stdout
    assert "landed 2000 sent 0" in said[1].stdout, "the second job sends nothing"
    stored = [json.loads(row) if isinstance(row, str | bytes) else row for row in emulator.rows("nebius")]
    assert sorted(int(row["question"]) for row in stored) == list(range(2000))


def test_of_a_write_that_ray_runs_twice_the_one_that_it_counts_is_uploaded(emulator: Spawned, tmp_path: Path) -> None:
    import pyarrow as pa

    from bulkup import Nebius
    from bulkup.ray_data import BulkupDatasink

    sink = BulkupDatasink(tmp_path / "s", destinations=[Nebius(url=emulator.url, folder="/tests")], name="twice")
    sink.on_write_start()
    blocks = [pa.table({"question": ["a", "b"], "answer": ["1", "2"]})]
    context = SimpleNamespace(task_idx=3)
    counted = [sink.write(blocks, context) for _ in range(2)][1]
    sink.on_write_complete(SimpleNamespace(write_returns=[counted, []]))
    assert sink.receipt is not None
    assert sink.receipt.destinations["nebius"].rows_landed == 2
    assert len(list(emulator.rows("nebius"))) == 2
