"""Cells named by their numbers: `--number 7`, or `--number 202,205,222-251`."""

from __future__ import annotations

import argparse

__all__ = ["numbers"]


def numbers(text: str) -> frozenset[int]:
    """The numbers that *text* names, each alone or from the first to the last of a range. What is neither is an error of the
    command line."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is neither a number nor a range such as 222-251")
        found.update(range(int(first), int(last) + 1))
    return frozenset(found)
