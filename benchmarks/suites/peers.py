"""What people use today, on the same file and the same sink, each as its own documentation has it used."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.measure import sent
from benchmarks.rows import Shape

__all__ = ["PEERS", "Peer", "cases"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer's way: *destinations* that it can send to, *share* of the file that it gets, since it is so slow."""

    name: str
    module: str
    python: str
    destinations: tuple[str, ...]
    share: float
    arguments: tuple[str, ...] = ()
    smoke: bool = False


PEERS = (
    Peer("requests + threads", "peer_requests", "requests", ("collinear", "nebius"), 0.1),
    Peer("aiohttp + gather", "peer_aiohttp", "aiohttp", ("collinear", "nebius"), 0.1, smoke=True),
    Peer("split + curl", "peer_curl", "curl", ("collinear",), 0.2, smoke=True),
    Peer("dlt, dicts", "peer_dlt", "dlt", ("collinear",), 0.03),
    Peer("dlt, Arrow", "peer_dlt", "dlt", ("collinear",), 0.03, ("--arrow",)),
    Peer("Collinear's client", "peer_collinear", "collinear", ("collinear",), 0.02),
)


def cases(_: Bench) -> list[Case]:
    """Each peer into each destination that it can serve, rows as they are and mapped."""
    return [_case(peer, to, mapped=mapped) for mapped in (False, True) for peer in PEERS for to in peer.destinations]


def _case(peer: Peer, to: str, *, mapped: bool) -> Case:
    shape = Shape.CHAT if mapped else Shape.FLAT if to == "nebius" else Shape.COLLINEAR
    ways = {
        ("collinear", False): "identity into Collinear",
        ("nebius", False): "identity into Nebius",
        ("collinear", True): "chat into Collinear",
        ("nebius", True): "chat as text into Nebius",
    }
    way = ways[to, mapped]
    return Case(
        suite="peers",
        name=f"{peer.name}, {way}",
        measure=sent,
        module=f"benchmarks.contenders.{peer.module}",
        arguments=("--to", to, *(("--mapped",) if mapped else ()), *peer.arguments),
        shape=shape,
        share=peer.share,
        peer=peer.python,
        labels={"what": "peer", "peer": peer.name, "way": way},
        smoke=peer.smoke and not mapped and to == peer.destinations[-1],
    )
