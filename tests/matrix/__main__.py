"""`python -m tests.matrix --cells 500 --seed 1`: the crash matrix, as many seeded cells as wanted. With `--postgres` their
journals are in PostgreSQL."""

from __future__ import annotations

import argparse
import sys
import time

from tests.journal.postgres_server import postgres_server
from tests.matrix.cells import Cell, cells, smoke
from tests.matrix.numbers import numbers
from tests.matrix.runner import Came, run_cells, summary

__all__ = ["main"]


def main() -> int:
    """Run the cells; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix")
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--only", help="run only cells in whose line this stands")
    parser.add_argument("--number", type=numbers, help="run only these cells: 7, or 3,12-20")
    parser.add_argument("--smoke", action="store_true", help="the cells of the default suite")
    parser.add_argument("--times", type=int, default=1, help="run each cell so many times")
    parser.add_argument("--postgres", action="store_true", help="keep the journals in a PostgreSQL server of its own")
    given = parser.parse_args()
    chosen: list[Cell] = smoke() if given.smoke else cells(given.cells, given.seed)
    named = given.number
    chosen = [c for c in chosen if (given.only or "") in str(c) and (named is None or c.number in named)] * given.times
    began = time.monotonic()
    journals = postgres_server().new_database if given.postgres else None
    came = run_cells(chosen, jobs=given.jobs, tell=_tell, journals=journals)
    print(f"{summary(came)}; {time.monotonic() - began:.0f} s, seed {given.seed}")
    return any(one.faults for one in came)


def _tell(came: Came) -> None:
    if came.faults:
        print(f"FAILED {came.cell}: {'; '.join(came.faults)}\n{came.log}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
