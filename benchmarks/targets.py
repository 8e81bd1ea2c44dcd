"""What the project wants to reach, each target with what this run has measured. Computed from the run's own figures alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.kinds import Kind
from benchmarks.results import Results
from benchmarks.suites.formats import PACKED
from benchmarks.suites.growth import SIZES
from benchmarks.suites.peers import PEERS
from benchmarks.suites.quota import FIXED, PLATEAUS
from benchmarks.suites.uploads import IDENTITY, MAPPED

__all__ = ["TARGETS", "Bound", "Target", "Verdict", "best_upload", "judged"]

MIB_OF_TWO_PASS, MIB_OF_ANY = 64.0, 250.0


class Bound(StrEnum):
    """Which way is good."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Target:
    """*value* reads the figure from the results; None: this run has not measured what it needs."""

    group: str
    text: str
    bound: Bound
    limit: float
    value: Callable[[Results], float | None]
    unit: str = "×"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with what was measured."""

    target: Target
    value: float | None

    @property
    def word(self) -> str:
        """`met`, `missed`, or `not measured`."""
        if self.value is None:
            return "not measured"
        good = (
            self.value >= self.target.limit if self.target.bound is Bound.AT_LEAST else self.value <= self.target.limit
        )
        return "met" if good else "missed"


def judged(results: Results) -> list[Verdict]:
    """Every target."""
    return [Verdict(target, target.value(results)) for target in TARGETS]


def _value(results: Results, key: str, **labels: str) -> float | None:
    line = results.find(**labels)
    return None if line is None else line.value(key)


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _upload(way: str, *, validation: str = "full", workers: int = 1, wire: str = "plain") -> dict[str, str]:
    return {
        "what": "bulkup", "way": way, "validation": validation, "workers": str(workers), "wire": wire, "source": "plain",
    }  # fmt: skip


def _speed(results: Results, labels: dict[str, str]) -> float | None:
    return _value(results, "mb_per_s", **labels)


def _against(mine: dict[str, str], its: dict[str, str]) -> Callable[[Results], float | None]:
    return lambda results: _ratio(_speed(results, mine), _speed(results, its))


def best_upload(results: Results, way: str, validation: str = "full") -> float | None:
    """MB/s of bulkup at its fastest with that validation: by one worker or two."""
    found = [_speed(results, _upload(way, validation=validation, workers=workers)) for workers in (1, 2)]
    return max((speed for speed in found if speed is not None), default=None)


def _over_peer(peer: str, way: str) -> Callable[[Results], float | None]:
    return lambda results: _ratio(
        best_upload(results, way), _speed(results, {"what": "peer", "peer": peer, "way": way})
    )


def _cpu(way: str, workers: int) -> Callable[[Results], float | None]:
    return lambda results: _value(results, "cpu_s_per_gb", **_upload(way, workers=workers))


def _memory(results: Results, labels: dict[str, str], workers: int) -> float | None:
    """Above the baseline of the imports, a worker."""
    peak, base = _value(results, "peak_pss_mib", **labels), _value(results, "peak_pss_mib", what="baseline")
    return None if peak is None or base is None else (peak - base) / workers


def _two_pass_memory(workers: int) -> Callable[[Results], float | None]:
    return lambda results: _memory(results, _upload(IDENTITY[0].name, workers=workers), workers)


def _any_memory(results: Results) -> float | None:
    found = [
        line.value("peak_pss_mib")
        for line in results.lines()
        if line.labels.get("what") in {"bulkup", "growth"}
        and (line.labels.get("way") not in {way.name for way in IDENTITY} or line.labels.get("source") == "gz")
    ]
    return max((peak for peak in found if peak is not None), default=None)


def _spread(way: str, workers: int) -> Callable[[Results], float | None]:
    """The greatest peak over the least, over all sizes; None unless all were measured."""

    def value(results: Results) -> float | None:
        peaks = [
            _value(results, "peak_pss_mib", what="growth", way=way, size=f"{size:g}", workers=str(workers))
            for size in SIZES
        ]
        known = [peak for peak in peaks if peak is not None]
        return max(known) / min(known) if len(known) == len(SIZES) else None

    return value


def _plateau(place: int) -> Callable[[Results], float | None]:
    """Against the best of the fixed concurrencies on the same plateau; None unless all were measured."""

    def value(results: Results) -> float | None:
        key = f"plateau_{place + 1}_mb_per_s"
        fixed = [_value(results, key, what="capacity", concurrency=str(concurrency)) for concurrency in FIXED]
        known = [speed for speed in fixed if speed is not None]
        mine = _value(results, key, what="capacity", concurrency="adaptive")
        return _ratio(mine, max(known)) if len(known) == len(FIXED) else None

    return value


def _journal_share(results: Results) -> float | None:
    """CPU seconds that 1,000 journaled chunks take, of the one second in which they are sent: in %."""
    on, off = (results.find(what="cost", thing="journal", state=state) for state in ("on", "off"))
    if on is None or off is None:
        return None
    each = [_ratio(line.value("cpu_s"), line.value("requests")) for line in (on, off)]
    return None if each[0] is None or each[1] is None else (each[0] - each[1]) * 1000 * 100


def _progress_share(results: Results) -> float | None:
    """CPU seconds inside the display and its snapshots over those of the upload without them: in %. The first of each is left out:
    it imports what draws."""
    progress, start, cpu = (
        _value(results, key, what="cost", thing="progress", state="on")
        for key in ("progress_cpu_s", "progress_start_cpu_s", "cpu_s")
    )
    if progress is None or start is None or cpu is None:
        return None
    return progress / (cpu - progress - start) * 100


def _on_top(thing: str) -> Callable[[Results], float | None]:
    """CPU seconds with it over those without, less one: in %."""

    def value(results: Results) -> float | None:
        on, off = (_value(results, "cpu_s", what="cost", thing=thing, state=state) for state in ("on", "off"))
        ratio = _ratio(on, off)
        return None if ratio is None else (ratio - 1) * 100

    return value


def _quota(key: str, *hows: str) -> Callable[[Results], float | None]:
    """The worst of *hows*; None unless all were measured."""

    def value(results: Results) -> float | None:
        found = [_value(results, key, what="quota", how=how) for how in hows]
        known = [figure for figure in found if figure is not None]
        return max(known) if len(known) == len(hows) else None

    return value


def _format(rows: str, kind: str) -> Callable[[Results], float | None]:
    return lambda results: _ratio(
        _speed(results, {"what": "format", "rows": rows, "kind": kind}),
        _speed(results, {"what": "format", "rows": rows, "kind": "jsonl"}),
    )


def _packed(kind: Kind) -> Callable[[Results], float | None]:
    """Of what it takes to unpack the file alone, or to send its rows as JSON lines: whichever is slower."""

    def value(results: Results) -> float | None:
        rows = {"what": "format", "rows": "rows as they are"}
        bounds = [
            _speed(results, {"what": "unpacking", "kind": str(kind)}),
            _speed(results, {**rows, "kind": str(Kind.JSON_LINES)}),
        ]
        known = [speed for speed in bounds if speed is not None]
        return _ratio(_speed(results, {**rows, "kind": str(kind)}), min(known)) if len(known) == len(bounds) else None

    return value


def _format_memory(results: Results) -> float | None:
    found = [line.value("peak_pss_mib") for line in results.lines() if line.labels.get("what") == "format"]
    return max((peak for peak in found if peak is not None), default=None)


def _percent(of: Callable[[Results], float | None]) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        found = of(results)
        return None if found is None else found * 100

    return value


def _placed(key: str, place: str) -> Callable[[Results], float | None]:
    """Of one local file."""
    its, file = ({"what": "place", "place": one, "workers": "1", "source": "plain"} for one in (place, "file"))
    return lambda results: _ratio(_value(results, key, **its), _value(results, key, **file))


def _auto(source: str) -> Callable[[Results], float | None]:
    auto, one = ({"what": "place", "place": "file", "workers": workers, "source": source} for workers in ("auto", "1"))
    return _against(auto, one)


_INTO = IDENTITY[0].name
_MSGSPEC = {"what": "msgspec", "cores": "1"}
_TOLD = ("told", "told by headers")
_FOUND = ("found out, Retry-After", "found out, no Retry-After")
_TIMES = {"requests + threads": 10, "aiohttp + gather": 10, "split + curl": 4, "dlt, dicts": 50, "dlt, Arrow": 10}
_TIMES |= {"Collinear's client": 50}
_WAY_OF = {"collinear": _INTO, "nebius": IDENTITY[1].name}

TARGETS: tuple[Target, ...] = (
    Target("1", "identity, full, 2 workers, of msgspec on one core", Bound.AT_LEAST, 0.9,
           _against(_upload(_INTO, workers=2), _MSGSPEC)),
    Target("1", "identity, full, 1 worker, of msgspec on one core", Bound.AT_LEAST, 0.6, _against(_upload(_INTO), _MSGSPEC)),
    *(
        Target("1", f"identity, trust, {workers} worker{'s' * (workers > 1)}, of wrk", Bound.AT_LEAST, 0.4,
               _against(_upload(_INTO, validation="trust", workers=workers), {"what": "wrk", "wire": "plain"}))
        for workers in (1, 2)
    ),
    *(
        Target("1", f"identity, {validation}, TLS, 2 workers, of wrk over TLS", Bound.AT_LEAST, 0.35,
               _against(_upload(_INTO, validation=validation, workers=2, wire="TLS"), {"what": "wrk", "wire": "TLS"}))
        for validation in ("full", "trust")
    ),
    *(
        Target("1", f"{way.name}, {workers} worker{'s' * (workers > 1)}, of the bare codec", Bound.AT_LEAST, limit,
               _against(_upload(way.name, workers=workers), {"what": "codec", "way": way.name}))
        for way in MAPPED
        for workers, limit in ((1, 0.7), (2, 1.2))
    ),
    *(
        Target("2", f"identity, against {peer.name} into {to.title()}", Bound.AT_LEAST, _TIMES[peer.name],
               _over_peer(peer.name, _WAY_OF[to]))
        for peer in PEERS
        for to in peer.destinations
    ),
    *(
        Target("2", f"identity, full, {workers} worker{'s' * (workers > 1)}: CPU seconds a GB", Bound.AT_MOST, 3.0,
               _cpu(_INTO, workers), "s")
        for workers in (1, 2)
    ),
    *(
        Target("3", f"two-pass path, {workers} worker{'s' * (workers > 1)}: peak a worker above the imports", Bound.AT_MOST,
               MIB_OF_TWO_PASS, _two_pass_memory(workers), "MiB")
        for workers in (1, 2)
    ),
    Target("3", "any other path: peak in all", Bound.AT_MOST, MIB_OF_ANY, _any_memory, "MiB"),
    *(
        Target("3", f"{way.name}, {workers} worker{'s' * (workers > 1)}: greatest peak over least, all sizes", Bound.AT_MOST, 1.1,
               _spread(way.name, workers))
        for way in (IDENTITY[0], MAPPED[0])
        for workers in (1, 2)
    ),
    *(
        Target("6", f"{rows} as {kind}, of the same rows as JSON lines", Bound.AT_LEAST, limit, _format(rows, kind))
        for rows, kind, limit in (
            ("chats", "parquet", 0.6), ("chats", "large.parquet", 0.6), ("chats", "arrow", 0.6), ("prompts", "csv", 0.4),
            ("small rows", "csv", 0.4),
        )
    ),
    *(
        Target("6", f"{kind}, of the slower of unpacking alone and JSON lines", Bound.AT_LEAST, 0.8, _packed(kind))
        for kind in PACKED
    ),
    Target("6", "any format: peak in all", Bound.AT_MOST, MIB_OF_ANY, _format_memory, "MiB"),
    Target("4", "quota told, or told by headers: of the least time", Bound.AT_MOST, 1.05, _quota("times_least", *_TOLD)),
    Target("4", "quota told, or told by headers: refused", Bound.AT_MOST, 0.0, _percent(_quota("limited_share", *_TOLD)), "%"),
    *(
        Target("4", f"quota {how}: of the least time", Bound.AT_MOST, 1.15, _quota("times_least", how)) for how in _FOUND
    ),
    *(
        Target("4", f"quota {how}: refused", Bound.AT_MOST, 2.0, _percent(_quota("limited_share", how)), "%") for how in _FOUND
    ),
    *(
        Target("4", f"capacity, plateau {place + 1}: of the best fixed concurrency", Bound.AT_LEAST, 0.9, _plateau(place))
        for place in range(len(PLATEAUS))
    ),
    Target("5", "journal: CPU at 1,000 chunks a second", Bound.AT_MOST, 2.0, _journal_share, "%"),
    Target("5", "echo: CPU on top", Bound.AT_MOST, 50.0, _on_top("echo"), "%"),
    Target("5", "progress: CPU on top", Bound.AT_MOST, 1.0, _progress_share, "%"),
    Target("5", "resume of 1,000,000 chunks: to the first byte", Bound.AT_MOST, 2.0,
           lambda results: _value(results, "seconds", what="resume", chunks="1000000"), "s"),
    Target("6", "JSON lines from a bucket: speed, of the local file", Bound.AT_LEAST, 0.7, _placed("mb_per_s", "bucket")),
    Target("6", "10,000 files of 20 KB: CPU, of one file of their size", Bound.AT_MOST, 1.5, _placed("cpu_s", "folder")),
    Target("6", "--workers auto: speed, of one worker, a file", Bound.AT_LEAST, 0.97, _auto("plain")),
    Target("6", "--workers auto: speed, of one worker, a packed file", Bound.AT_LEAST, 0.97, _auto("gz")),
    Target("5", "bulkup --help", Bound.AT_MOST, 0.2,
           lambda results: _value(results, "seconds", what="start", command="bulkup --help"), "s"),
)  # fmt: skip
"""By the number of the goal that each belongs to."""
