"""`bulkup pause | continue | stop | set`: commands to a run that another process works on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bulkup.cli.choices import asked_of
from bulkup.cli.parameters import options_of
from bulkup.cli.streams import put
from bulkup.errors import LocalDisk, RunLocked, UsageProblem
from bulkup.journal.place import holder_in
from bulkup.run.control import answer_to, send_command
from bulkup.run.folder import RunFolder

__all__ = ["command_run", "values_of"]

ANSWERED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.05


def values_of(given: Mapping[str, Any]) -> dict[str, float]:
    """What the flags in *given* set. Raises `UsageProblem`."""
    settings = {setting.field: setting for setting in options_of("set") if "set" in setting.option.commands}
    found = asked_of(given, {}, settings.values())
    for field, value in found.items():
        bounds, flag = settings[field].bounds, settings[field].flag
        if bounds is not None and not bounds.hold(value):
            raise UsageProblem(f"{flag} {value:g}: give a number{bounds.text}")
    return {field: value for field, value in found.items() if isinstance(value, int | float)}


def command_run(run: RunFolder, verb: str, values: Mapping[str, Any] | None = None) -> int:
    """Have the process that works on *run* do it; 0 once it says so.

    Raises `UsageProblem` where none works on it, and `RunLocked` where it does not answer within two seconds.
    """
    holder = holder_in(run.path)
    if holder is None:
        raise UsageProblem(
            f"run {run.run_id}: no process works on it, so there is nothing to {verb}; bulkup status {run.run_id} says how it ended"
        )
    if verb == "set" and not values:
        raise UsageProblem("nothing to set: give --concurrency, --requests-per-minute or --bytes-per-second")
    try:
        id_ = send_command(run.path, verb, values or {})
    except OSError as error:
        raise LocalDisk(f"{run.path}: {error.strerror or error}") from error
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    while time.monotonic() < deadline:
        if (answer := answer_to(run.path, id_)) is not None:
            is_done, text = answer
            if not is_done:
                raise UsageProblem(text)
            put(f"run {run.run_id}: {text}")
            return 0
        time.sleep(LOOK_EVERY_S)
    raise RunLocked(
        f"run {run.run_id}: process {holder.pid} on {holder.host} has not answered within {ANSWERED_WITHIN_S:g} s. It will obey as "
        "soon as it can, if it lives: it may be stopped, or still be opening its source"
    )
