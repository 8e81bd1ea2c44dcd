"""The runs of a database: which there are, who holds them, and what is done with a run as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bulkup.errors import BulkupError, RunLocked
from bulkup.journal.locks import Holder
from bulkup.journal.postgres.client import Connection, connect, meaning
from bulkup.journal.postgres.lease import TAKEN_OVER, standing_of
from bulkup.journal.postgres.schema import check

__all__ = ["connected", "discard_run", "has_run", "holder_of_run", "names_of_runs", "rename_run"]

_TABLES = ("chunks", "tiles", "facts", "logs", "sums", "datasets", "commits", "targets", "runs")


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """A connection to the database at *address*, whose errors are bulkup's."""
    db: Connection = None
    try:
        db = connect(address)
        yield db
    except BulkupError:
        raise
    except Exception as error:  # noqa: BLE001 - psycopg's, which need not be there to be named
        raise (meaning(error, address) if type(error).__module__.startswith("psycopg") else error) from None
    finally:
        if db is not None:
            db.close()


def names_of_runs(address: str) -> list[tuple[float, str]]:
    """Every run's name, with the Unix time at which a process last took it."""
    with connected(address) as db:
        if not check(db):
            return []
        found = db.execute("SELECT extract(epoch FROM changed_at)::float8, name FROM bulkup.runs").fetchall()
        return [(float(at), str(name)) for at, name in found]


def has_run(address: str, name: str) -> bool:
    """Whether there is a run called *name*."""
    with connected(address) as db:
        return standing_of(db, name) is not None


def holder_of_run(address: str, name: str) -> Holder | None:
    """The process that holds the run called *name*, as long as its lease goes on."""
    with connected(address) as db:
        standing = standing_of(db, name)
        return None if standing is None else standing.process


def rename_run(address: str, name: str, other: str, epoch: int) -> None:
    """Call the run *name*, whose last holder had *epoch*, otherwise: another begins under its name. Raises `RunLocked` where
    another process has taken it over: then it is that one's, and keeps its name."""
    with connected(address) as db:
        renamed = db.execute(
            "UPDATE bulkup.runs SET name = %s WHERE name = %s AND epoch = %s", (other, name, epoch)
        ).rowcount
        if not renamed:
            raise RunLocked(TAKEN_OVER)


def discard_run(address: str, name: str, epoch: int) -> bool:
    """Forget the run called *name*, which nobody holds, and whose last holder had *epoch*. False where another has taken it over:
    then it is that one's, and stays."""
    with connected(address) as db, db.transaction():
        row = db.execute(
            "SELECT run, expires_at <= clock_timestamp() FROM bulkup.runs WHERE name = %s AND epoch = %s FOR UPDATE",
            (name, epoch),
        ).fetchone()
        if row is None:
            return db.execute("SELECT 1 FROM bulkup.runs WHERE name = %s", (name,)).fetchone() is None
        run, is_free = row
        for table in _TABLES if is_free else ():
            db.execute(f"DELETE FROM bulkup.{table} WHERE run = %s", (run,))  # noqa: S608 - of our tables
        return True
