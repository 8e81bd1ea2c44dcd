"""Whatever way a request ends in, nothing of it is stored once the service reads on: 0 rows doubled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.ends.runner import ENDS, Schedule, run_schedules, schedules, summary


def _check(chosen: Sequence[Schedule], jobs: int) -> None:
    came = run_schedules(chosen, jobs=jobs)
    print(summary(came))
    failed = [f"{one.schedule}: {'; '.join(one.faults)}" for one in came if one.faults]
    assert not failed, "\n".join(failed)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="which process sends is read from /proc")


@needs_openssl
@needs_proc
@pytest.mark.timeout(300)
def test_each_end() -> None:
    """Each end once, over the one and the other in turn, on the one lane and the other. The slow test has the whole grid."""
    grid = {(one.end, one.tls, one.lane): one for one in schedules(20, seed=1)}
    lanes = ("nebius", "collinear")
    chosen = [grid[end, number % 2 == 0, lanes[number // 2 % 2]] for number, end in enumerate(ENDS)]
    assert {(one.tls, one.lane) for one in chosen} == {(tls, lane) for tls in (False, True) for lane in lanes}
    _check(chosen, jobs=3)


@needs_openssl
@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_schedules() -> None:
    seed = int(os.environ.get("BULKUP_TEST_SEED", "1"))
    _check(schedules(int(os.environ.get("BULKUP_TEST_SCHEDULES", "500")), seed), jobs=6)
