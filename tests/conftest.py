"""How much the property tests try: little by default, ten times as much with the slow tests."""

from __future__ import annotations

import os
import sys

import pytest

from bulkup.encoding import rows
from tests.examples import try_deeply

SLOW = "slow"
LONGEST_S = 900

# Else each process that a test starts compiles all of bulkup anew; what is in `__pycache__` is nobody's but git's to ignore.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


setattr(rows, "_LEAST_COMPILED_BYTES", 0)  # noqa: B010 - a few rows are to meet all that many would


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == SLOW:
        try_deeply()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`-m slow` takes the property tests too, since it tries more of them than the default suite does."""
    if config.option.markexpr == SLOW:
        for item in items:
            if isinstance(item, pytest.Function) and getattr(item.obj, "is_hypothesis_test", False):
                item.add_marker(SLOW)
                item.add_marker(pytest.mark.timeout(LONGEST_S))
