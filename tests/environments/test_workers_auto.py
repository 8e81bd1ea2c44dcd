"""`--workers auto` in a container with a quota of CPU time: what the kernel shows there is mounted over what is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = "from bulkup.run.cpus import usable_cpus; print(usable_cpus())"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def may_mount() -> bool:
    if shutil.which("unshare") is None or not Path("/sys/fs/cgroup").is_dir():
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False, timeout=30).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="a mount of one's own needs root")
@pytest.mark.parametrize(
    ("quota", "cpus"), [("100000 100000", 1), ("max 100000", CORES), (f"{CORES * 50_000} 100000", max(1, CORES // 2))]
)
def test_a_containers_quota(tmp_path: Path, quota: str, cpus: int) -> None:
    """Its `/proc/self/mountinfo` and `/proc/self/cgroup`, and the file of its control group."""
    group, proc = tmp_path / "group", tmp_path / "proc"
    group.mkdir()
    proc.mkdir()
    (group / "cpu.max").write_text(quota + "\n")
    (proc / "cgroup").write_text("0::/\n")
    (proc / "mountinfo").write_text("31 29 0:27 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n")
    binds = [f"mount --bind {group} /sys/fs/cgroup"]
    binds += [f"mount --bind {proc / name} /proc/$$/{name}" for name in ("cgroup", "mountinfo")]
    script = " && ".join([*binds, f'exec {sys.executable} -c "{ASK}"'])
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == cpus
    bound = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", ASK], capture_output=True, text=True, check=False, timeout=60
    )
    assert bound.stdout.strip() == "1", bound.stderr
