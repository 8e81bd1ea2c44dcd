"""How many examples a property test tries. However long one takes: a busy machine says nothing about the code."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

__all__ = ["examples", "try_deeply"]

USUAL = 30
DEEPER = 10

settings.register_profile("quick", max_examples=USUAL, deadline=None)
settings.register_profile("deep", max_examples=USUAL * DEEPER, deadline=None)
settings.load_profile("quick")


def try_deeply() -> None:
    """From now on every property test tries ten times as much; to be said before the tests are imported."""
    settings.load_profile("deep")


def examples(count: int, **more: Any) -> settings:
    """*count* examples, and ten times as many in the slow suite. What would try more than a few tries half of them by default."""
    is_deep = settings.get_current_profile_name() == "deep"
    return settings(max_examples=count * DEEPER if is_deep else max(min(count, USUAL), count // 2), **more)
