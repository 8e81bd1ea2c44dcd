"""The emulator's switches: one frozen value, settable from Python, the command line and over HTTP.

Every behaviour that the references leave open is a switch here, with the worst case or the plainest one as default.
Keys that hold a table by service (`faults`, `script`, `rate`, …) may be given for one service only: a patch replaces
the whole value of the service it names and leaves the other's alone, and `{}` empties the table. Some of them also
take one plain value in a patch, which then holds for both services (`BOTH`).
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

__all__ = ["BOTH", "SERVICES", "FaultName", "Growth", "Rate", "RefuseRows", "ServiceName", "Settings", "Window"]

ServiceName = Literal["nebius", "collinear"]
SERVICES: Final[tuple[ServiceName, ...]] = get_args(ServiceName)

FaultName = Literal[
    "ok",
    # nothing is stored
    "reset_before_body",
    "reset_in_body",
    "reset_after_body",
    "not_stored_500",
    "not_stored_502",
    "not_stored_503",
    "not_stored_504",
    "not_stored_408",
    "not_stored_520",
    "503_retry_after",
    "503_plain",
    "429",
    "redirect_307",
    "unauthorized_401",
    "payment_402",
    "forbidden_403",
    # stored, and the answer does not say so
    "stored_then_reset",
    "stored_then_500",
    "stored_then_502",
    "stored_then_504",
    "stored_late",
    "garbled_200",
    "cut_200",
    "wrong_id_count",
    "repeated_ids",
    # stored, and the answer says so, slowly or badly
    "slow_drip",
    "failed_status",
    # stored or not, by a switch of its own
    "hang",
    "accepted_202",
    "204",
    "conflict_409",
]
Fate = Literal["stored", "dropped"]

BOTH: Final = frozenset({"body_limit_bytes", "capacity", "rate", "readback", "refuse_rows"})
"""Keys of which a patch may give one plain value for both services."""

_TABLES: Final = BOTH | {"faults", "script", "readback_faults", "readback_script"}
_FIXED: Final = frozenset({"keepalive_s", "closed_at_start_s"})


class Growth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quota that moves every *every_s* seconds by the use made of it on average [vendor docs].

    From *above* on it is multiplied by *by*, up to *most* times the base; at *below* or less by *shrinks_to*. That it does not
    shrink below its base is taken for granted [open].
    """

    every_s: float = 900.0
    by: float = 1.2
    above: float = 0.8
    below: float = 0.5
    shrinks_to: float = 2 / 3
    most: float = 20.0

    def __post_init__(self) -> None:
        if self.every_s <= 0 or self.by < 1 or not 0 < self.shrinks_to <= 1 or self.most < 1:
            raise ValueError("a growth needs every_s > 0, by >= 1, 0 < shrinks_to <= 1 and most >= 1")


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """*requests* in each *window_s* seconds, which must hold too."""

    requests: int
    window_s: float

    def __post_init__(self) -> None:
        if self.requests < 1 or self.window_s <= 0:
            raise ValueError("a window needs requests >= 1 and window_s > 0")


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """*requests* in each *window_s* seconds, by a fixed window or a token bucket that starts full; and in the windows of *also*.

    A fixed window *starts* with its first request, or by the clock. The names of the `x-ratelimit-…` headers are published [vendor
    docs]; what `reset` looks like is not [open]: *reset* says. A `date` in Retry-After has a resolution of a second and is rounded
    up. *tells* `ietf` are the fields of draft-ietf-httpapi-ratelimit-headers, `ietf-07` and `ietf-06` those of older drafts; of
    several windows, `x-ratelimit` and the older drafts tell the first one.
    """

    requests: int
    window_s: float = 60.0
    algorithm: Literal["fixed", "bucket"] = "fixed"
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    counts: Literal["all", "uploads"] = "all"
    headers: Literal["on", "off"] = "on"
    tells: Literal["x-ratelimit", "ietf", "ietf-07", "ietf-06"] = "x-ratelimit"
    reset: Literal["seconds", "floor", "duration", "unix", "date"] = "seconds"
    starts: Literal["first request", "clock"] = "first request"
    also: tuple[Window, ...] = ()
    grows: Growth | None = None

    def __post_init__(self) -> None:
        if self.requests < 1 or self.window_s <= 0:
            raise ValueError("a rate needs requests >= 1 and window_s > 0")


class RefuseRows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule only the server knows: rows whose JSON text holds *marker* are refused, and the upload with them.

    *names*: whether the answer's `loc` names all such rows, the first one, or none [openapi: it can name a row index].
    """

    marker: str
    status: Literal[422, 400] = 422
    names: Literal["all", "first", "none"] = "all"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All switches. A default emulator is fast, healthy, and strict as published."""

    seed: int = 0

    # who may come in
    tokens: tuple[str, ...] | None = None
    """Tokens that are known; None takes any that is not empty."""
    token_requests: int | None = None
    """How many requests each token is good for; from then on it is answered 401."""
    echo_authorization: bool = False
    """Errors repeat the Authorization header they received, in the body and in a header: a hunt for leaks."""

    # time
    latency_ms: float = 0.0
    """Between storing (or deciding) and the answer."""
    jitter_ms: float = 0.0
    """Up to this much more latency, uniformly."""
    store_delay_ms: float = 0.0
    """Between an upload's last byte and storing it. A client killed in between is stored all the same."""
    keepalive_s: float = 75.0
    """How long an idle connection stays open. Fixed at the start."""
    closed_at_start_s: float = 0.0
    """The port is bound, and refuses connections for so long. Fixed at the start."""

    # quota and limits [open]
    rate: dict[ServiceName, Rate | None] = {}
    body_limit_bytes: dict[ServiceName, int | None] = {}
    """A body (Content-Length, or what came of a chunked one) over this is answered 413."""
    capacity: dict[ServiceName, int | None] = {}
    """How many uploads are worked on at once, from the body's end to the answer, `latency_ms` included; others wait in line."""
    close_on_413: bool = False
    """Answer 413 at once and close, unread bytes and all, as a proxy does; else as `early_answers` says."""
    early_answers: Literal["after_body", "at_once"] = "after_body"
    """401, 413 and 429 that need no body: after it was read and discarded (`drain_s` at most), or before."""
    drain_s: float = 10.0

    # what is open in the contracts
    racing_creates: Literal["two", "one"] = "two"
    """Whether overlapping first uploads of one Collinear name make two datasets [open]. Overlapping: each began
    before the other had been stored."""
    partial_400: Literal["none", "rows_before"] = "none"
    """What a Collinear 400 has stored [open]."""
    last_turn: Literal["user", "any"] = "user"
    """Whether the last turn of `conv_prefix` must be the user's [vendor docs]."""
    missing_columns: Literal["null", "absent"] = "null"
    """How Nebius gives back an option column that a row left out [open]."""
    list_scope: Literal["all", "project"] = "all"
    """Whether Nebius's list without `ai_project_id` leaves out datasets of a project [open]."""
    graphql_page_cap: int | None = None
    list_stuck_at: int | None = None
    """Nebius's list shows its first so many datasets on every page, whatever `after` says: it never comes to its end."""
    """Collinear's GraphQL silently gives no more than so many items a page [open]."""

    # PENDING (Nebius)
    pending_polls: int = 0
    """A new dataset is PENDING for so many `GET /v1/datasets/{id}`; -1 is for ever."""
    pending_ends: Literal["READY", "FAILED"] = "READY"

    # read-back
    readback: dict[ServiceName, Literal["on", "off", "forbidden", "lagging"]] = {}
    """`off` answers 404, `forbidden` 403; `lagging` shows only what was stored over `readback_lag_s` ago."""
    readback_lag_s: float = 5.0
    readback_faults: dict[ServiceName, dict[FaultName, float]] = {}
    readback_script: dict[ServiceName, tuple[FaultName, ...]] = {}

    # faults of uploads
    faults: dict[ServiceName, dict[FaultName, float]] = {}
    """The probability of each fault, by service; what is left of 1 is no fault."""
    script: dict[ServiceName, tuple[FaultName, ...]] = {}
    """Faults for the next uploads, one each ("ok" for none), before the probabilities have their turn."""
    refuse_rows: dict[ServiceName, RefuseRows | None] = {}
    retry_after: Literal["seconds", "date"] = "seconds"
    """The form in the faults `429` and `503_retry_after`."""
    retry_after_s: int = 1
    late_s: float = 1.0
    """How long after the connection broke `stored_late` stores."""
    hang_s: float = 3600.0
    hang_body: Fate = "stored"
    accepted_body: Fate = "stored"
    """Whether `accepted_202` and `204` have stored."""
    conflict_body: Fate = "dropped"
    wrong_ids: Literal["one_less", "one_more", "either"] = "either"
    drip_s: float = 2.0
    """How long `slow_drip` drips before the rest comes at once; `drip_bytes` at a time, `drip_ms` apart."""
    drip_bytes: int = 7
    drip_ms: float = 20.0

    def __post_init__(self) -> None:
        if any(places is not None and places < 1 for places in self.capacity.values()):
            raise ValueError("a capacity is 1 or more")
        for table in (*self.faults.values(), *self.readback_faults.values()):
            if any(share < 0 for share in table.values()) or sum(table.values()) > 1 + 1e-9:
                raise ValueError("a fault table's probabilities are not negative and sum to 1 at most")

    def patched(self, patch: dict[str, Any], *, running: bool = False) -> Settings:
        """These settings with *patch* (JSON's shape) over them. Raises ValueError for what is unknown or mistyped.

        *running* refuses to change what is fixed at the start.
        """
        merged = msgspec.to_builtins(self)
        for key, value in patch.items():
            if running and key in _FIXED and value != merged[key]:
                raise ValueError(f"{key} is fixed when the emulator starts")
            if key not in _TABLES or value == {}:
                merged[key] = value
            elif _by_service(value):
                merged[key] = {**merged[key], **value}
            elif key in BOTH:
                merged[key] = dict.fromkeys(SERVICES, value)
            else:
                raise ValueError(f"{key} is a table by service: nebius, collinear")
        try:
            return msgspec.convert(merged, Settings)
        except msgspec.ValidationError as problem:
            raise ValueError(str(problem)) from problem


def _by_service(value: object) -> bool:
    return isinstance(value, dict) and value.keys() <= set(SERVICES)
