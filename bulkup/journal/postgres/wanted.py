"""How a run is taken whose journal is in a database."""

from __future__ import annotations

from collections.abc import Callable

from bulkup.light_dataclass import dataclass

__all__ = ["LEASE_S", "Wanted"]

LEASE_S = 25.0
"""How long a holder may send after it last reached the database. It is longer than these together: a worker's lease (10 s), the
time after which the kernel gives up a connection that takes nothing (10 s), and a margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a run is taken. *has_lock*: this process has the lock of the run's folder. *stands_by*: wait as long as another process
    works on it. *retry_for_s*: how long the database may be away, *open_for_s* before the run is taken. *say* is told, from another
    thread too, what is waited for; *given_up* is asked meanwhile whether anybody still wants the run."""

    has_lock: bool = True
    stands_by: bool = False
    lease_s: float = LEASE_S
    retry_for_s: float = 600.0
    open_for_s: float = 0.0
    say: Callable[[str], None] = lambda _: None
    given_up: Callable[[], bool] = lambda: False
