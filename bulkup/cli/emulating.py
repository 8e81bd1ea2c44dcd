"""`bulkup emulator`: switches out of flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkup.errors import UsageProblem
from bulkup.settings.quantities import parse_size

__all__ = ["emulate", "switches"]

READ_BACK = ("on", "off", "forbidden", "lagging")


def emulate(given: Mapping[str, Any]) -> int:
    """Serve until a signal. Raises `UsageProblem` for switches that do not exist and for a port that is taken."""
    from bulkup.emulator import Settings, serve

    try:
        settings = Settings().patched(switches(given))
    except ValueError as error:
        raise UsageProblem(f"the emulator's switches: {error}") from None
    try:
        serve(
            settings,
            host=given["host"],
            port=given["port"],
            db_path=Path(given["db"]) if given["db"] else None,
        )
    except OSError as error:
        raise UsageProblem(
            f"cannot listen on {given['host']}, port {given['port']}: {error.strerror or error}; "
            "choose another --port (0 takes a free one)"
        ) from None
    return 0


def switches(given: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that the flags ask for; single flags go before `--settings`. Raises `UsageProblem`."""
    patch = _settings(given["settings"]) if given["settings"] else {}
    if given["readback"] not in (None, *READ_BACK):
        raise UsageProblem(f"--readback {given['readback']!r}: give {', '.join(READ_BACK[:-1])} or {READ_BACK[-1]}")
    for key in ("latency_ms", "seed", "pending_polls", "readback"):
        if given[key] is not None:
            patch[key] = given[key]
    if given["requests_per_minute"] is not None:
        patch["rate"] = {"requests": given["requests_per_minute"], "window_s": 60.0}
    if given["body_limit"] is not None:
        try:
            patch["body_limit_bytes"] = parse_size(given["body_limit"])
        except ValueError as error:
            raise UsageProblem(f"--body-limit {given['body_limit']!r}: {error}") from None
    for text in given["fault"] or []:
        service, fault, share = _fault(text)
        patch.setdefault("faults", {}).setdefault(service, {})[fault] = share
    return patch


def _settings(text: str) -> dict[str, Any]:
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise UsageProblem(f"--settings {text}: {error.strerror}; give JSON, or a file of it") from None
    except ValueError as error:
        raise UsageProblem(f"--settings: not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageProblem("--settings: give a JSON object")
    return found


def _fault(text: str) -> tuple[str, str, float]:
    from typing import get_args

    from bulkup.emulator import FaultName, ServiceName

    service, _, rest = text.partition(":")
    fault, _, share = rest.partition("=")
    if service not in get_args(ServiceName):
        raise UsageProblem(f"--fault {text!r}: give it as in {get_args(ServiceName)[-1]}:stored_then_reset=0.1")
    if fault not in get_args(FaultName):
        raise UsageProblem(f"--fault {text!r}: there is no fault {fault!r}; there are {', '.join(get_args(FaultName))}")
    try:
        return service, fault, float(share)
    except ValueError:
        raise UsageProblem(f"--fault {text!r}: the probability must be a number from 0 to 1") from None
