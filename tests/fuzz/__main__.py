"""`python -m tests.fuzz [NAME ...] --seconds 15 --seed 1`: seeded fuzzers, each for so many seconds."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

__all__ = ["fuzz", "main", "names"]

MOST_FINDINGS = 5
"""After so many findings a fuzzer ends: they are mostly one."""

One = Callable[[Random, Path], int | None]
"""A case; how many rows it had, where it counts them."""


def names() -> list[str]:
    """The fuzzers there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def fuzz(name: str, *, seconds: float, seed: int, case: int | None = None, rows: int | None = None) -> int:
    """Try cases of the fuzzer *name* until *seconds* have passed, or if *rows* is given until they had so many, or only that one
    *case*; the number of findings."""
    one: One = importlib.import_module(f"tests.fuzz.{name}").one
    until = time.monotonic() + seconds
    tried = findings = had = 0
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        # a fuzzer that counts no rows would never come to so many
        while findings < MOST_FINDINGS and (not tried or (had < rows if rows and had else time.monotonic() < until)):
            number = tried if case is None else case
            tried += 1
            scratch = Path(folder) / str(number)
            scratch.mkdir()
            try:
                had += one(Random(f"{seed}:{number}"), scratch) or 0
            except AssertionError as finding:
                findings += 1
                print(f"{name}: case {number} of seed {seed}: {finding}", flush=True)
                print(f"  again: python -m tests.fuzz {name} --seed {seed} --case {number}", flush=True)
            except BaseException:
                print(f"{name}: case {number} of seed {seed} raised", flush=True)
                raise
            if case is not None:
                break
            _remove(scratch)
    of = f" of {had:,} rows" if had else ""
    print(f"{name}: {tried:,} cases{of}, {findings} findings, seed {seed}", flush=True)
    return findings


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def main() -> int:
    """Run the fuzzers named, or all; 1 if one of them finds something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all by default")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each")
    parser.add_argument("--rows", type=int, help="until the cases had so many rows, for fuzzers that count them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only the case of this number")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names()):
        parser.error(f"no such fuzzer: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    chosen = given.names or names()
    return (
        sum(fuzz(name, seconds=given.seconds, seed=given.seed, case=given.case, rows=given.rows) for name in chosen) > 0
    )


if __name__ == "__main__":
    sys.exit(main())
