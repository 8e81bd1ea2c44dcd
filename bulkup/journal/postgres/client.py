"""Connections to the database, and what its errors mean. psycopg is loaded here, when a journal is in PostgreSQL."""

from __future__ import annotations

import logging
import math
import re
from typing import Any

from bulkup.errors import BulkupError, ExitCode, JournalUnusable, TokenRefused, UsageProblem
from bulkup.tokens.database import full_address
from bulkup.tokens.secret import redact, remember_secret

__all__ = ["IDLE_S", "Connection", "DatabaseAway", "connect", "is_outage", "meaning", "said_of"]

Connection = Any
"""A `psycopg.Connection`: named so here, since psycopg need not be installed."""

_psycopg_log = logging.getLogger("psycopg")

CONNECT_S = 10
"""How long one attempt to connect may take."""

IDLE_S = 10
"""The database ends a transaction that says nothing for so long: a process that was stopped in one keeps nobody out."""

SILENT_S = 10.0
"""A connection on which nothing is acknowledged for so long is given up."""

_OUTAGES = ("08", "53", "57", "40", "55P03", "25006", "25P03", "58")
"""Classes and codes of errors that another time may not bring: connection, resources, shutdown, deadlock, a standby, its disk.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_NOT_PERMITTED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|permission denied|not permitted"
)
_NOT_THERE = re.compile(r'(database|role) "[^"]*" does not exist')


class DatabaseAway(BulkupError):
    """The database cannot be reached, or has failed over: another time it may be there."""

    exit_code = ExitCode.TRY_LATER


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise UsageProblem(
            f"--journal postgresql://… needs psycopg, which cannot be loaded here ({str(error).splitlines()[0]}): "
            "pip install 'bulkup[postgres]'"
        ) from None
    if not _psycopg_log.handlers:
        _psycopg_log.addHandler(logging.NullHandler())  # what it warns of, this module tells
    return psycopg


def connect(address: str, *, called: str = "bulkup", silent_s: float = SILENT_S) -> Connection:
    """A connection to *address* (as it is shown), every statement a transaction of its own, durable when it returns. *called*:
    how the database shows it. It is given up where nothing is acknowledged for *silent_s*. Raises as psycopg does; `UsageProblem`
    where that is not installed."""
    psycopg = _psycopg()
    connection = psycopg.connect(
        full_address(address),
        autocommit=True,
        connect_timeout=min(CONNECT_S, math.ceil(silent_s)),
        application_name=called,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=int(silent_s * 1000),
    )
    if connection.pgconn.password:
        remember_secret(connection.pgconn.password.decode("utf-8", "replace"))
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'")
    connection.execute("SET search_path = pg_catalog")
    # what is kept must be found by index, whatever the database's figures of young tables say
    connection.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off")
    found = connection.execute("SHOW synchronous_commit").fetchone()
    if found is None or found[0] in ("off", "local"):
        connection.execute("SET synchronous_commit = on")
    return connection


def is_outage(error: BaseException) -> bool:
    """Whether *error* says that the database is away for now."""
    psycopg = _psycopg()
    if not isinstance(error, psycopg.OperationalError | psycopg.InternalError | psycopg.InterfaceError):
        return False
    code = getattr(error, "sqlstate", None)
    if code is not None:
        return str(code).startswith(_OUTAGES)
    said = str(error)
    return not _NOT_PERMITTED.search(said) and not _NOT_THERE.search(said)


def said_of(error: BaseException) -> str:
    """The first line of what *error* says, without secrets."""
    lines = [line.strip() for line in redact(str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def meaning(error: BaseException, address: str) -> BulkupError:
    """What psycopg's *error* says of the journal in *address* (as it is shown)."""
    said = said_of(error)
    if is_outage(error):
        return DatabaseAway(
            f"{address}: the database cannot be reached ({said}); the same command goes on when it is back"
        )
    if _NOT_PERMITTED.search(said):
        return TokenRefused(
            f"{address}: the database does not let this user in ({said}); check the user, PGPASSWORD and ~/.pgpass"
        )
    if _NOT_THERE.search(said):
        return UsageProblem(f"{address}: {said}; create it, or name another with --journal")
    return JournalUnusable(f"{address}: unusable journal ({said})")
