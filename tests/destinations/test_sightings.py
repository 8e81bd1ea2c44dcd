"""Datasets that a look shows, kept on disk, against the plain list of them."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.sightings import Sightings
from bulkup.doubt.settlement import Look, Seen

SEEN = st.builds(
    Seen,
    st.sampled_from("abcdef"),
    st.text(max_size=3),
    st.sampled_from(["READY", "FAILED"]),
    st.none() | st.integers(0, 9),
)


@given(st.lists(st.lists(SEEN, max_size=5), max_size=5))
def test_it_is_the_list_of_what_was_seen_last_of_each(pages: list[list[Seen]]) -> None:
    there = Sightings()
    for page in pages:
        there.add(page)
    last = {one.id: one for page in pages for one in page}
    seen = list(last.values())
    assert list(there) == seen
    assert len(there) == len(seen)
    assert [there.of_id(id_) for id_ in "abcdefg"] == [last.get(id_) for id_ in "abcdefg"]
    for one in seen:
        assert there.of_name(one.name) == [other for other in seen if other.name == one.name]
    for place in range(-len(seen), len(seen)):
        assert there[place] == seen[place]
    for place in (len(seen), -len(seen) - 1):
        with pytest.raises(IndexError):
            there[place]
    assert there[:2] == seen[:2]
    look = Look(0.0, there)
    assert (look.ids, look.rows, bool(look.seen)) == (frozenset(last), sum(one.rows or 0 for one in seen), bool(seen))


def test_several_are_apart_and_nothing_is_left_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    one, other = Sightings([Seen("a", "n", "READY", None)]), Sightings()
    assert (len(one), len(other)) == (1, 0)
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    one.add(Seen(f"{number:036}", "n" * 60, "READY", None) for number in range(50_000))
    assert len(list(Path("/proc/self/fd").iterdir())) > open_files, "it is more than stays in memory"
    assert list(tmp_path.iterdir()) == [], "its file has no name"
    del one
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


MOST_MIB = 32


@pytest.mark.slow
def test_a_million_take_little_memory() -> None:
    """Also while each is looked for. A list of them takes about 300 MiB."""
    done = subprocess.run([sys.executable, "-m", "tests.destinations.test_sightings"], capture_output=True, check=True)
    assert int(done.stdout) < MOST_MIB


def _mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _take_a_million() -> None:
    from bulkup.destinations.listing import Listing

    before = _mib()
    there, listing = Sightings(), Listing("GET", 1_000_000)
    for page in range(10_000):
        ids = [f"{page * 7919 % 10_007:05}{number:031}" for number in range(100)]
        there.add(Seen(id_, f"name-{id_}", "READY", None) for id_ in ids)
        listing.page(ids)
        listing.cursor(ids[-1])
    for one in there:
        assert there.of_name(one.name) == [one]
    assert (len(there), listing.datasets) == (1_000_000, 1_000_000)
    print(_mib() - before)


if __name__ == "__main__":
    _take_a_million()
