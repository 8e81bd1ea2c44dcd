"""Who may write a run: a row with an epoch, its holder, and when that one's right ends by the database's clock.

A holder renews its lease as long as it runs. Another takes the run over only where the lease was given back, has ended, or was
not renewed for half of its time while the database answered; and raises the epoch: every commit of the old holder looks for its
own, finds none, and comes to nothing. No advisory lock is part of it: a process that is stopped would keep one.

Who is taken over before its lease ends may still send what it has recorded as sending, until then, and nothing else: that needs a
commit. So the new holder knows until when that goes on (`Claim.earlier_until`), and puts what was being sent in doubt as of then.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from bulkup.errors import RunLocked
from bulkup.journal.facts import EARLIER_UNTIL
from bulkup.journal.lease_cell import LeaseCell
from bulkup.journal.locks import Holder
from bulkup.journal.postgres.client import IDLE_S, Connection, connect, is_outage
from bulkup.journal.postgres.schema import check, prepare
from bulkup.light_dataclass import dataclass
from bulkup.machine import machine_boot, machine_clock

__all__ = ["TAKEN_OVER", "Claim", "Lease", "Silence", "Standing", "acquire", "claim_dataset", "standing_of"]

MARGIN = 0.04
"""So much of its time earlier the holder takes its lease for ended: clocks of two machines do not run quite alike."""

RENEWALS = 5
"""So often a lease is renewed in its time."""

SILENT_SHARE = 0.5
"""A holder that has renewed nothing for so much of its lease is taken for gone: two renewals in a row did not come."""

TAKEN_OVER = "another process has taken this run over: nothing more is sent by this one, and nothing is written"
"""What is said to a process whose epoch is not the run's any more."""

_LOOK_S = 0.25
_LONGEST_LOOK_S = 2 * _LOOK_S
"""A look that took longer counts for no more: the database may have stood still, for the holder too."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who holds a run, as the database has it. *left_s*: how long its lease goes on by the database's clock; 0 where it has
    ended. *until*: when it ends, Unix time by that clock."""

    run: int
    epoch: int
    holder: dict[str, Any]
    left_s: float
    until: float = -inf

    @property
    def process(self) -> Holder | None:
        """The holder, where its lease goes on."""
        try:
            found = Holder(int(self.holder["pid"]), str(self.holder["host"]))
        except (KeyError, TypeError, ValueError):
            found = Holder(0, "another machine")
        return found if self.left_s > 0 else None

    @property
    def silent_after_s(self) -> float:
        """Where nothing is heard of the holder for so long it is taken for gone; without end where it does not say how long its
        lease is, as versions before this one did not."""
        lease_s = self.holder.get("lease_s")
        return SILENT_SHARE * lease_s if isinstance(lease_s, float | int) else inf


class Silence:
    """For how long a holder has renewed nothing, in time in which the database has answered."""

    def __init__(self) -> None:
        self._seen: Standing | None = None
        self._at = self._silent_s = 0.0

    def look(self, standing: Standing, at: float) -> bool:
        """The database shows *standing* at *at* (this machine's clock). Whether its lease was renewed since the look before."""
        seen, self._seen = self._seen, standing
        is_same = seen is not None and (seen.epoch, seen.until) == (standing.epoch, standing.until)
        self._silent_s = self._silent_s + min(at - self._at, _LONGEST_LOOK_S) if is_same else 0.0
        self._at = at
        return seen is not None and (seen.epoch != standing.epoch or standing.until > seen.until)

    def is_over(self, standing: Standing) -> bool:
        """Whether the holder is taken for gone: *standing* is what was seen all the time, for long enough."""
        seen = self._seen
        return (
            seen is not None
            and (seen.epoch, seen.until) == (standing.epoch, standing.until)
            and self._silent_s >= standing.silent_after_s
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that was taken: its number, this process's epoch, and until when (this machine's clock) it may send."""

    run: int
    epoch: int
    until: float
    database: tuple[int | None, int | None]
    """The system's id and its timeline."""
    has_failed_over: bool
    earlier_until: float = 0.0
    """Until when (this machine's clock) those that were taken over before their lease had ended may end what they were sending."""

    @property
    def writer(self) -> str:
        """What the database calls this process's connection that writes: by that name whoever takes over ends it."""
        return _writer(self.run, self.epoch)


def _writer(run: int, epoch: int) -> str:
    return f"bulkup {run} {epoch}"


_STANDING = """SELECT run, epoch, holder, CASE WHEN expires_at > clock_timestamp() THEN extract(epoch FROM expires_at -
clock_timestamp()) ELSE 0 END::float8, extract(epoch FROM expires_at)::float8 FROM bulkup.runs WHERE name = %s"""


def standing_of(db: Connection, name: str) -> Standing | None:
    """Who holds the run called *name*; None where there is no such run."""
    if not check(db):
        return None
    row = db.execute(_STANDING, (name,)).fetchone()
    return None if row is None else _standing(row)


def _standing(row: Any) -> Standing:
    run, epoch, holder, left_s, until = row
    try:
        found = json.loads(holder or "{}")
    except ValueError:
        found = {}
    return Standing(run, epoch, found if isinstance(found, dict) else {}, float(left_s), float(until))


def database_of(db: Connection) -> tuple[int | None, int | None]:
    """The system's id and the timeline that it writes now, None where this user may not know."""
    found: list[int | None] = []
    for query in (
        "SELECT system_identifier FROM pg_control_system()",
        "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int",
    ):
        try:
            row = db.execute(query).fetchone()
            found.append(None if row is None else int(row[0]))
        except Exception as error:
            if is_outage(error):
                raise
            found.append(None)
    return found[0], found[1]


def _take(
    db: Connection,
    name: str,
    holder: str,
    lease_s: float,
    *,
    is_known_dead: Callable[[Standing], bool],
    is_silent: Callable[[Standing], bool] = lambda _: False,
) -> Claim | Standing:
    """The run, or who holds it. In one transaction with the rows of the datasets that it writes to."""

    def is_held(standing: Standing) -> bool:
        return standing.left_s > 0 and not is_known_dead(standing) and not is_silent(standing)

    database = database_of(db)
    db.execute(
        "INSERT INTO bulkup.runs (name, epoch, holder, expires_at) VALUES (%s, 0, '', '-infinity') ON CONFLICT DO NOTHING",
        (name,),
    )
    row = db.execute(
        _STANDING, (name,)
    ).fetchone()  # its lock is taken only where it may be: a process that is stopped may have it
    if row is not None:
        if is_held(standing := _standing(row)):
            return standing
        _end_writer(db, standing.run, standing.epoch)
    with db.transaction():
        db.execute(f"SET LOCAL lock_timeout = '{IDLE_S + 5}s'")
        row = db.execute(_STANDING + " FOR UPDATE", (name,)).fetchone()
        if row is None:  # it was discarded just now
            return Standing(0, 0, {}, _LOOK_S)
        standing = _standing(row)
        if is_held(standing):
            return standing
        began = machine_clock()
        told = db.execute(
            """UPDATE bulkup.runs SET epoch = epoch + 1, holder = %s, expires_at = clock_timestamp() + make_interval(secs => %s),
                changed_at = clock_timestamp() WHERE run = %s RETURNING epoch, system_id, timeline""",
            (holder, lease_s, standing.run),
        ).fetchone()
        assert told is not None
        epoch, *before = told
        # Where another database answers now, it may not know what was sent: all that is not at its end counts as being sent.
        failed_over = any(
            old is not None and new is not None and old != new for old, new in zip(before, database, strict=True)
        )
        if failed_over:
            db.execute(
                "UPDATE bulkup.chunks SET state = 'sending' WHERE run = %s AND ended = 0 AND state = 'planned'",
                (standing.run,),
            )
        db.execute(
            "UPDATE bulkup.runs SET system_id = coalesce(%s, system_id), timeline = coalesce(%s, timeline) WHERE run = %s",
            (*database, standing.run),
        )
        db.execute("UPDATE bulkup.targets SET epoch = %s WHERE run = %s", (epoch, standing.run))
        db.execute(
            """INSERT INTO bulkup.commits VALUES (%s, %s, 0)
                ON CONFLICT (run) DO UPDATE SET epoch = excluded.epoch, number = 0""",
            (standing.run, epoch),
        )
        left_s = 0.0 if is_known_dead(standing) else standing.left_s
        earlier_until = _sent_until(db, standing.run, standing.until if left_s > 0 else 0.0)
    return Claim(standing.run, epoch, began + lease_s * (1 - MARGIN), database, failed_over, earlier_until)


def _sent_until(db: Connection, run: int, until: float) -> float:
    """Until when, by this machine's clock, earlier holders of *run* may end what they were sending; 0 where they may not. *until*:
    of the last one, where its lease goes on. It is kept, since whoever takes the run next has to know it too."""
    if until:
        db.execute(
            """INSERT INTO bulkup.facts AS f VALUES (%s, '', %s, %s) ON CONFLICT (run, lane, key)
                DO UPDATE SET value = greatest(f.value::float8, excluded.value::float8)::text""",
            (run, EARLIER_UNTIL.key, EARLIER_UNTIL.to_text(until)),
        )
    row = db.execute(
        """SELECT (value::float8 - extract(epoch FROM clock_timestamp()))::float8 FROM bulkup.facts
            WHERE run = %s AND lane = '' AND key = %s""",
        (run, EARLIER_UNTIL.key),
    ).fetchone()
    return machine_clock() + float(row[0]) if row is not None and row[0] > 0 else 0.0


def _end_writer(db: Connection, run: int, epoch: int) -> None:
    """End the connection by which the holder of *run* in *epoch* writes. It may be taken over, so what it says no longer counts.

    A process that was stopped in the middle of sending a group keeps the run's row locked: the database waits for the rest of
    it, and its own limit (`IDLE_S`) begins only behind that."""
    with suppress(Exception):  # of another user, and this one may not: then its limit is waited for, if it comes
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
            (_writer(run, epoch),),
        )


def acquire(
    db: Connection,
    name: str,
    folder: Path,
    *,
    lease_s: float,
    has_lock: bool,
    stands_by: bool,
    say: Callable[[str], None],
    given_up: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> Claim:
    """Take the run called *name* for this process, whose files are in *folder*.

    *has_lock*: this process holds the folder's lock, which all processes of a holder on this machine hold too: so one that had it
    is dead. Else a holder's lease must have ended, or not have been renewed for long enough (`Silence`): that is waited for where
    it is not renewed, and *stands_by* waits for that as long as it takes, or until it is *given_up*. Raises `RunLocked` where the
    holder is alive, and as psycopg does.
    """
    prepare(db)
    here = {**_place(folder), "locked": True}
    me = json.dumps({**here, "pid": os.getpid(), "locked": has_lock, "lease_s": lease_s})

    def is_known_dead(standing: Standing) -> bool:
        return has_lock and here["boot"] is not None and here.items() <= standing.holder.items()

    silence, has_said = Silence(), False
    while True:
        found = _take(db, name, me, lease_s, is_known_dead=is_known_dead, is_silent=silence.is_over)
        if isinstance(found, Claim):
            return found
        is_renewed = silence.look(found, machine_clock())
        if (is_renewed and not stands_by) or given_up():
            raise RunLocked(f"run {name} is held by {_named(found)}; wait for it to end, or stop it")
        if not has_said:
            longest_s = min(found.left_s, found.silent_after_s)
            until = "until it ends or dies" if stands_by else f"to see whether it lives, {longest_s:.0f} s at most"
            say(f"run {name} was last held by {_named(found)}: waiting {until}")
            has_said = True
        sleep(_LOOK_S)


def _place(folder: Path) -> dict[str, Any]:
    """What tells *folder* from all others: names do not. Another machine may have this one's name, and a folder of its own at the
    same path, as a pod has that is placed anew on another node while the first one goes on."""
    found = folder.stat()
    return {
        "host": socket.gethostname(),
        "folder": os.path.realpath(folder),
        "boot": machine_boot(),
        "inode": [found.st_dev, found.st_ino],
    }


def _named(standing: Standing) -> str:
    holder = standing.holder
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'another machine')}"


def claim_dataset(
    db: Connection, claim: Claim, identity: str, *, sleep: Callable[[float], None] = time.sleep, waits: bool = True
) -> None:
    """Take the dataset *identity* for the run. Another run that has it, and whose lease has ended, loses its epoch with it.

    Raises `RunLocked` where another run that is alive holds it, or this one has been taken over."""
    seen: float | None = None
    while True:
        with db.transaction():
            mine = db.execute(
                "SELECT 1 FROM bulkup.runs WHERE run = %s AND epoch = %s FOR SHARE", (claim.run, claim.epoch)
            ).fetchone()
            if mine is None:
                raise RunLocked(TAKEN_OVER)
            db.execute(
                "INSERT INTO bulkup.targets VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (identity, claim.run, claim.epoch),
            )
            row = db.execute(
                """SELECT t.run, t.epoch, r.name, r.holder, r.epoch = t.epoch,
                    greatest(extract(epoch FROM r.expires_at)::float8, f.value::float8, '-infinity'::float8),
                    extract(epoch FROM clock_timestamp())::float8
                FROM bulkup.targets t LEFT JOIN bulkup.runs r ON r.run = t.run
                LEFT JOIN bulkup.facts f ON f.run = t.run AND f.lane = '' AND f.key = %s
                WHERE identity = %s FOR UPDATE OF t""",
                (EARLIER_UNTIL.key, identity),
            ).fetchone()
            assert row is not None
            run, epoch, name, holder, is_current, until, now = row
            left_s = max(0.0, until - now)
            if run == claim.run or not is_current or not left_s:
                if run != claim.run and is_current:
                    _end_writer(db, run, epoch)
                    ended = db.execute(
                        """UPDATE bulkup.runs SET epoch = epoch + 1, expires_at = '-infinity', holder = ''
                            WHERE run = %s AND epoch = %s AND expires_at <= clock_timestamp()""",
                        (run, epoch),
                    ).rowcount
                    if not ended:  # it was renewed just now, or taken: then that one has the dataset
                        continue
                db.execute(
                    "UPDATE bulkup.targets SET run = %s, epoch = %s WHERE identity = %s",
                    (claim.run, claim.epoch, identity),
                )
                return
        if not waits or (seen is not None and left_s > seen):
            named = _named(_standing((run, 0, holder, left_s, until)))
            raise RunLocked(f"the dataset ({identity}) is held by run {name}, {named}; wait for it to end, or stop it")
        seen = left_s
        sleep(_LOOK_S)


class Lease:
    """This process's right to write and to send: an `Authority`. A thread with a connection of its own renews it."""

    def __init__(self, address: str, claim: Claim, lease_s: float, folder: Path) -> None:
        """*folder*: where this machine's workers find the lease."""
        self._cell = LeaseCell(folder, claim.epoch)
        self._cell.set(claim.until)
        self._address = address
        self._claim = claim
        self._lease_s = lease_s
        self._until = claim.until
        self._is_lost = False
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="bulkup-lease", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        return self._claim.epoch

    def holds(self) -> bool:
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        return 0.0 if self._is_lost else self._until - machine_clock()

    @property
    def is_lost(self) -> bool:
        """Another process has taken the run over."""
        return self._is_lost

    def lose(self) -> None:
        """Another process has taken the run over: nothing is sent from here on."""
        self._is_lost = True
        self._cell.set(0.0)

    @property
    def shared(self) -> tuple[Path, int]:
        """Where this machine's workers find it, and of which epoch it is."""
        return self._cell.path, self._claim.epoch

    def close(self) -> None:
        """Give the lease back. Blocks until the thread has ended."""
        self._ends.set()
        self._thread.join()
        self._cell.close()

    def _renew(self) -> None:
        db: Connection = None
        while not self._ends.wait(self._lease_s / RENEWALS if db is not None else 0.0 if self._until else 0.2):
            if self._is_lost:
                break
            try:
                if db is None or db.closed:
                    db = self._connected()
                began = machine_clock()
                renewed = db.execute(
                    """UPDATE bulkup.runs SET expires_at = clock_timestamp() + make_interval(secs => %s)
                        WHERE run = %s AND epoch = %s""",
                    (self._lease_s, self._claim.run, self._claim.epoch),
                ).rowcount
                if renewed:
                    self._until = began + self._lease_s * (1 - MARGIN)
                    self._cell.set(self._until)
                else:
                    self.lose()
            except Exception:  # noqa: BLE001 - the lease ends by itself where it cannot be renewed; the writer tells why
                _close(db)
                db = None
                if self._ends.wait(min(1.0, self._lease_s / RENEWALS / 2)):
                    break
        self._give_back(db)

    def _connected(self) -> Connection:
        # a connection that hangs is noticed, and another made, before this process is taken for silent
        db = connect(self._address, silent_s=max(1.0, self._lease_s / RENEWALS / 2))
        db.execute(f"SET statement_timeout = {int(self._lease_s * 1000 / RENEWALS / 2) + 1000}")
        return db

    def _give_back(self, db: Connection) -> None:
        if self._is_lost:
            _close(db)
            return
        with suppress(Exception):  # else it ends by itself
            if db is None or db.closed:
                db = self._connected()
            db.execute(
                "UPDATE bulkup.runs SET expires_at = '-infinity', holder = '' WHERE run = %s AND epoch = %s",
                (self._claim.run, self._claim.epoch),
            )
        _close(db)


def _close(db: Connection) -> None:
    if db is not None:
        with suppress(Exception):
            db.close()
