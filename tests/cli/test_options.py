"""An option is one entry of a table: flag, environment, config file, help and checks all come of it."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from bulkup.cli.choices import asked_of
from bulkup.cli.parameters import EACH, RUN, options_of
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import UsageProblem
from bulkup.settings.config import RejectLimit, RunSettings, settings_from
from bulkup.settings.option import Bounds, Option, OptionTable, settings_of
from bulkup.settings.quantities import parse_seconds, parse_size


class Toy(OptionTable):
    """A table of one entry."""

    patience_s: Annotated[
        float,
        Bounds(ge=1),
        Option(
            metavar="SECONDS", meaning="how long to wait, `0` not at all", parse=parse_seconds, commands=("upload",)
        ),
    ] = 5.0


class CheckedToy(Toy, BaseModel):
    """The same, checked."""


def test_one_entry_is_enough() -> None:
    (setting,) = settings_of(Toy)
    assert (setting.flag, setting.variable, setting.key) == ("--patience", "BULKUP_PATIENCE", "patience_s")
    assert setting.help == "How long to wait, 0 not at all. Default: 5."
    assert asked_of({"patience": "2m"}, {"BULKUP_PATIENCE": "3"}, [setting]) == {"patience_s": 120.0}
    assert asked_of({"patience": None}, {"BULKUP_PATIENCE": "3"}, [setting]) == {"patience_s": 3.0}
    assert asked_of({}, {}, [setting]) == {}
    with pytest.raises(UsageProblem, match=r"^--patience 'long': a time is a number"):
        asked_of({"patience": "long"}, {}, [setting])
    assert CheckedToy().patience_s == 5.0
    assert CheckedToy.model_validate({"patience_s": 1}).patience_s == 1.0
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        CheckedToy.model_validate({"patience_s": 0.5})


def test_every_setting_is_an_entry() -> None:
    """And no name is there twice."""
    assert [setting.field for setting in RUN] == list(RunSettings.model_fields)
    assert [setting.field for setting in EACH] == list(DestinationSettings.model_fields)
    flags = [setting.name for setting in (*RUN, *EACH) if setting.has_flag]
    assert len(set(flags)) == len(flags)
    assert len({setting.key for setting in RUN}) == len(RUN)
    for setting in (*RUN, *EACH):
        assert setting.has_flag == bool(setting.option.commands), setting.field
    assert {setting.name for setting in options_of("resume")} < {setting.name for setting in options_of("upload")}


def test_a_default_is_said_as_it_may_be_typed() -> None:
    """What the pages print as a value is one: read as the flag's text, it is the default."""
    said = [s for s in (*RUN, *EACH) if s.has_flag and s.default_text and s.option.default is None]
    assert len(said) > 8
    for setting in said:
        assert setting.option.parse(setting.default_text.strip("`")) in (setting.default, str(setting.default))
    sizes = {setting.field: setting for setting in RUN if setting.field.endswith("_bytes")}
    assert {field: parse_size(setting.default_text) for field, setting in sizes.items()} == {
        field: setting.default for field, setting in sizes.items()
    }


def test_a_limit_of_rejects_is_checked_wherever_it_comes_from() -> None:
    for wrong in ({"rows": "many"}, {"percent": float("inf")}, {"share": 1}, RejectLimit(rows="many")):  # type: ignore[arg-type]
        with pytest.raises(UsageProblem, match="max_rejects"):
            settings_from(RunSettings, {"name": "n", "max_rejects": wrong}, "settings")


def test_tables_load_nothing_heavy() -> None:
    """`bulkup --help` reads them."""
    program = (
        "import sys, bulkup.cli.parameters; "
        "print([m for m in ('pydantic', 'annotated_types', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
