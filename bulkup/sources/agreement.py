"""What files of a format agree on before their rows are read: decided by all of their rows, or as it was decided before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkup.sources.format import SourceFile
from bulkup.sources.sequential import SequentialSource
from bulkup.sources.source import Source

__all__ = ["Agreed", "agree", "agreed_files", "needs_agreement"]

Agreed = Mapping[str, Mapping[str, str]]
"""What files agree on, by the names of their formats. It is kept in journals."""


def needs_agreement(source: Source) -> bool:
    """Whether `agree` has anything to do."""
    return isinstance(source, SequentialSource) and source.undecided is not None


def agree(source: Source, known: Agreed | None) -> Agreed:
    """Have the files of *source*, which was opened for that, agree as *known*, or where that is None by their rows. What they agree
    on. Blocks, and reads the files through where nothing is known. May be done anew as long as nothing was read."""
    if not isinstance(source, SequentialSource) or source.undecided is None:
        return {}
    files, found = agreed_files(source.undecided, known)
    source.decide(files)
    return found


def agreed_files(files: Sequence[SourceFile], known: Agreed | None = None) -> tuple[tuple[SourceFile, ...], Agreed]:
    """*files*, those of each format having agreed with each other, and on what. Blocks."""
    made = dict(enumerate(files))
    found: dict[str, Mapping[str, str]] = {}
    for one in dict.fromkeys(file.format for file in files if file.format.agree is not None):
        assert one.agree is not None
        numbers = [number for number, file in made.items() if file.format is one]
        before = None if known is None else known.get(one.name, {})
        agreed, found[one.name] = one.agree([made[number] for number in numbers], before)
        made.update(zip(numbers, agreed, strict=True))
    return tuple(made.values()), found
