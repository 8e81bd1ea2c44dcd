"""The public names: what `bulkup.…` gives, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import bulkup

NAMES = """
import bulkup, bulkup.run.story  # which imports all there is
modules = {type(bulkup)}
print([name for name in bulkup.__all__ if type(getattr(bulkup, name)) in modules])
import inspect
print(inspect.iscoroutinefunction(bulkup.upload), inspect.isasyncgenfunction(bulkup.events))
"""


def test_no_public_name_is_hidden_by_a_module_of_that_name() -> None:
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True True"]


def test_every_public_name_is_there() -> None:
    assert all(getattr(bulkup, name) is not None for name in bulkup.__all__)
