"""`python -m tests.ends --schedules 500 --seed 1`: 0 rows doubled, however requests end. With `--figures`, what still arrives."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from statistics import median

from tests.ends.runner import ENDS, HELD, Came, run_schedules, schedules, summary

__all__ = ["main"]


def main() -> int:
    """Run the schedules; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.ends")
    parser.add_argument("--schedules", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--only", help="run only schedules in whose line this stands")
    parser.add_argument(
        "--figures", action="store_true", help="print what the service received after it read on, by end"
    )
    given = parser.parse_args()
    chosen = [one for one in schedules(given.schedules, given.seed) if (given.only or "") in str(one)]
    began = time.monotonic()
    came = run_schedules(chosen, jobs=given.jobs, tell=_tell)
    if given.figures:
        _print_figures(came)
    print(f"{summary(came)}; {time.monotonic() - began:.0f} s, seed {given.seed}")
    return any(one.faults for one in came)


def _tell(came: Came) -> None:
    if came.faults:
        print(f"FAILED {came.schedule}: {'; '.join(came.faults)}", flush=True)


def _print_figures(came: list[Came]) -> None:
    """A row for each end, plain and TLS, and whether the body had been handed over whole."""
    groups: dict[tuple[str, bool, bool], list[Came]] = defaultdict(list)
    for one in came:
        if one.stopped is not None:
            groups[one.schedule.end, one.schedule.tls, one.schedule.row_bytes == HELD].append(one)
    print(
        "| end | | body of | arrived after reading on, median (most) | whole bodies |\n| --- | --- | --- | --- | --- |"
    )
    for end, tls, is_held in sorted(groups, key=lambda key: (ENDS.index(key[0]), key[1:])):
        group = [one.stopped for one in groups[end, tls, is_held] if one.stopped is not None]
        after = [one.after for one in group]
        print(
            f"| {end} | {'TLS' if tls else 'plain'} | {median(one.length for one in group):,.0f} bytes "
            f"| {median(after):,.0f} ({max(after):,}) | {sum(one.is_whole for one in group)} of {len(group)} |"
        )


if __name__ == "__main__":
    sys.exit(main())
