"""Remote locators made into objects: one by its name, or all that a prefix or a glob means, in the order of their names."""

from __future__ import annotations

import re
from contextlib import suppress

from bulkup.errors import UsageProblem
from bulkup.sources.named_places import refuse_table, without_companions
from bulkup.sources.places.address import HUB, WEB, Access, PlaceAt, full, is_many, scheme_of
from bulkup.sources.places.fetching import LOOK_S, persist
from bulkup.sources.places.place import Entry, Place, opened
from bulkup.sources.selection import Listed, Selection, Wanted, glob_pattern, natural_key, some_of

__all__ = ["found_at"]

_BEFORE_MAGIC = re.compile(r"[^*?\[]*")


def found_at(locator: str, selection: Selection, access: Access) -> Listed:
    """What *locator* comes to. Blocks. Raises as `Place.look` and `Place.below`, `OutOfReach`, and `UsageProblem` for nothing."""
    scheme = scheme_of(locator)
    assert scheme is not None
    if scheme in WEB:
        place = opened(PlaceAt("https", "", Access()))
        return _one(persist(locator, lambda: place.look(locator, full(locator).text), LOOK_S))
    rest = locator.split("://", 1)[1]
    if scheme == HUB:
        place, inside = opened(PlaceAt(scheme, "", access)), rest
    else:
        name, _, inside = rest.partition("/")
        if not name:
            raise UsageProblem(f"{locator}: names no bucket")
        place = opened(PlaceAt(scheme, name, access))
    if not is_many(locator):
        return _one(persist(locator, lambda: place.look(locator, inside), LOOK_S))
    return _many(locator, inside, place, selection)


def _one(entry: Entry) -> Listed:
    found = Listed()
    found.taken.append(entry.uri)
    found.entries[entry.uri] = entry
    return found


def _many(locator: str, inside: str, place: Place, selection: Selection) -> Listed:
    before = _BEFORE_MAGIC.match(inside)
    assert before is not None
    prefix = before[0]
    is_glob = prefix != inside
    entries = persist(locator, lambda: place.below(locator, prefix), LOOK_S)
    found = Listed()
    base = locator[: len(locator) - len(inside)]
    keys = {entry.uri: entry.uri.removeprefix(base) for entry in entries}
    if not is_glob:
        below = [key.removeprefix(prefix).lstrip("/") for key in keys.values()]
        refuse_table(locator, below)
        kept = set(without_companions(below))
    for entry in sorted(entries, key=lambda entry: natural_key(entry.uri)):
        key = keys[entry.uri]
        if is_glob:
            if not glob_pattern(inside).fullmatch(key):
                continue
            wanted = Wanted.YES if selection.takes(key) else Wanted.NO
        else:
            key = key.removeprefix(prefix).lstrip("/")
            if key not in kept:
                continue
            wanted = selection.wants(key)
        found.sort(key, wanted, entry.uri)
        found.entries[entry.uri] = entry
    if not found.taken and is_glob:
        with suppress(UsageProblem):  # it may be an object's name, whatever it would mean in a glob
            return _one(persist(locator, lambda: place.look(locator, inside), LOOK_S))
    if not found.taken:
        passed = f"; passed over: {some_of(found.passed)}" if found.passed else ""
        what = "no object matches" if is_glob else "there is no object below it that may hold rows"
        raise UsageProblem(f"{locator}: {what}{passed}")
    return found
