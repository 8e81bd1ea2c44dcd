"""How many processors a container's quota leaves, by the files that the kernel shows."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from bulkup.run import run_workers
from bulkup.run.cpus import cpu_quota, usable_cpus
from bulkup.sources import open_source

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(folder: Path, *, groups: str, mounts: dict[str, tuple[str, str, str]], files: dict[str, str]) -> Path:
    """A `/proc/self`. *mounts*: (root, kind, options) by folder; *files*: what stands in the mounted folders."""
    lines = [
        f"3{number} 29 0:3{number} {root} {folder / place} ro,nosuid shared:{number} - {kind} cgroup {options}"
        for number, (place, (root, kind, options)) in enumerate(mounts.items())
    ]
    (folder / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "\n".join(lines) + "\n")
    (folder / "cgroup").write_text(groups)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


V2 = {"cg": ("/", "cgroup2", "rw,nsdelegate")}
V1 = {"cg/cpu": ("/", "cgroup", "rw,cpu,cpuacct"), "cg/mem": ("/", "cgroup", "rw,memory")}


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        ("0::/\n", V2, {"cg/cpu.max": "200000 100000"}, 2.0),
        ("0::/\n", V2, {"cg/cpu.max": "50000 100000"}, 0.5),
        ("0::/\n", V2, {"cg/cpu.max": "max 100000"}, None),
        ("0::/\n", V2, {}, None),
        ("0::/a/b\n", V2, {"cg/a/b/cpu.max": "max 100000", "cg/a/cpu.max": "300000 100000"}, 3.0),
        ("0::/a/b\n", V2, {"cg/a/b/cpu.max": "400000 100000", "cg/a/cpu.max": "150000 100000"}, 1.5),
        ("0::/docker/ab\n", {"cg": ("/docker/ab", "cgroup2", "rw")}, {"cg/cpu.max": "250000 100000"}, 2.5),
        ("0::/../other\n", V2, {"cg/cpu.max": "100000 100000"}, 1.0),
        (
            "4:cpu,cpuacct:/\n0::/\n",
            V1,
            {"cg/cpu/cpu.cfs_quota_us": "150000", "cg/cpu/cpu.cfs_period_us": "50000"},
            3.0,
        ),
        ("4:cpu,cpuacct:/\n", V1, {"cg/cpu/cpu.cfs_quota_us": "-1", "cg/cpu/cpu.cfs_period_us": "100000"}, None),
        (
            "4:cpu,cpuacct:/docker/ab\n",  # the path is the host's, and what is mounted is the container's own
            V1,
            {"cg/cpu/cpu.cfs_quota_us": "200000", "cg/cpu/cpu.cfs_period_us": "100000"},
            2.0,
        ),
        ("5:memory:/x\n", V1, {"cg/mem/cpu.cfs_quota_us": "1", "cg/mem/cpu.cfs_period_us": "1"}, None),
        (
            "5:memory:/x\n4:cpu,cpuacct:/\n",  # another controller's group says nothing of processors
            V1,
            {
                "cg/cpu/cpu.cfs_quota_us": "300000",
                "cg/cpu/cpu.cfs_period_us": "100000",
                "cg/cpu/x/cpu.cfs_quota_us": "100000",
                "cg/cpu/x/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        ("0::/\n", V2, {"cg/cpu.max": "nonsense"}, None),
        ("0::/\n", V2, {"cg/cpu.max": "1 0"}, None),
        ("nonsense\n", V2, {"cg/cpu.max": "max"}, None),
    ],
)
def test_a_quota(
    tmp_path: Path, groups: str, mounts: dict[str, tuple[str, str, str]], files: dict[str, str], quota: float | None
) -> None:
    proc = machine(tmp_path, groups=groups, mounts=mounts, files=files)
    assert cpu_quota(proc) == quota
    assert usable_cpus(proc) == (CORES if quota is None else max(1, min(CORES, int(quota))))


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none") is None
    assert usable_cpus(tmp_path / "none") == CORES


def test_what_can_only_be_read_forward_is_for_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_workers, "LEAST_BYTES", 1)
    monkeypatch.setattr(run_workers, "usable_cpus", lambda: 8)
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n')
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    found = [open_source([str(tmp_path / name)], max_row_bytes=99) for name in ("rows.jsonl", "rows.jsonl.gz")]
    assert [run_workers.worker_count("auto", source) for source in found] == [8, 1]
    assert [run_workers.worker_count(3, source) for source in found] == [3, 3]


def test_a_small_source_is_for_one_process_and_scanned_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes are slower where the source is sent before the second has paid for its start."""
    monkeypatch.setattr(run_workers, "usable_cpus", lambda: 8)
    counts = []
    for size in (run_workers.LEAST_SCANNED_BYTES - 1, run_workers.LEAST_SCANNED_BYTES, run_workers.LEAST_BYTES):
        with (tmp_path / "rows.jsonl").open("wb") as file:
            file.write(b'{"a": 1}\n')
            file.truncate(size)
        source = open_source([str(tmp_path / "rows.jsonl")], max_row_bytes=99)
        counts.append((run_workers.worker_count("auto", source), run_workers.hand_count("auto", source)))
    assert counts == [(1, 1), (1, 8), (8, 8)]
