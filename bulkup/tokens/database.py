"""Addresses of databases: what is shown of one, and what is known of it besides."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from bulkup.errors import UsageProblem
from bulkup.tokens.secret import remember_secret

__all__ = ["full_address", "shown_address"]

_SCHEMES = ("postgresql", "postgres")
_SECRET = ("password", "sslpassword")
_WANTED = "give postgresql://USER@HOST/DATABASE, and the password by PGPASSWORD or ~/.pgpass"

_full: dict[str, str] = {}
"""Addresses with their passwords, by what is shown of them."""


def shown_address(address: str) -> str:
    """*address* without its password, which is a secret from here on: what may be kept, compared and shown. `full_address` has the
    rest. Raises `UsageProblem` where it is no address of a database, without repeating it."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username
        password = parts.password
    except ValueError:
        raise UsageProblem(f"--journal: this is not an address of a database; {_WANTED}") from None
    if parts.scheme not in _SCHEMES or parts.fragment or not address.isprintable():
        raise UsageProblem(f"--journal: this is not an address of a database; {_WANTED}")
    asked = parse_qsl(parts.query, keep_blank_values=True)
    for secret in (password, *(value for name, value in asked if name in _SECRET), os.environ.get("PGPASSWORD")):
        if secret:
            remember_secret(secret)
            remember_secret(unquote(secret))
    kept = urlencode([(name, value) for name, value in asked if name not in _SECRET], safe="/,:")
    netloc = f"{user}@{host}" if user is not None else host
    shown = f"postgresql://{urlunsplit(('', netloc, parts.path or '/', kept, '')).removeprefix('//')}"
    if password is not None or len(kept) != len(parts.query):
        _full[shown] = address
    return shown


def full_address(shown: str) -> str:
    """What `shown_address` was told of *shown*, its password too; *shown* itself where it had none."""
    return _full.get(shown, shown)
