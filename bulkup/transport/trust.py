"""Whose certificates are taken: the system's authorities, and those that the user adds."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from bulkup.errors import UsageProblem

__all__ = ["BUNDLE_VARIABLE", "trusting", "unreadable_authorities"]

BUNDLE_VARIABLE = "REQUESTS_CA_BUNDLE"
_SYSTEM_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def trusting(ca_file: Path | None, environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """A context that trusts the system's authorities (in their place those of `SSL_CERT_FILE` and `SSL_CERT_DIR`), and those of
    `REQUESTS_CA_BUNDLE` and of *ca_file*: PEM files, or folders as `openssl rehash` makes them.

    Raises `UsageProblem` where one of the latter two cannot be used.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    bundle = environment.get(BUNDLE_VARIABLE)
    if bundle:
        _add(context, Path(bundle), BUNDLE_VARIABLE)
    if ca_file is not None:
        _add(context, ca_file, "ca_file (--ca-file)")
    return context


def unreadable_authorities(environment: Mapping[str, str] = os.environ) -> str | None:
    """Which variable names authorities that are not there, in words; OpenSSL says nothing of it."""
    for variable in _SYSTEM_VARIABLES:
        for place in environment.get(variable, "").split(os.pathsep if variable.endswith("DIR") else "\0"):
            if place and not os.access(place, os.R_OK):
                return f"{variable} names {place}, which cannot be read"
    return None


def _add(context: ssl.SSLContext, place: Path, named_by: str) -> None:
    try:
        if place.is_dir():
            next(place.iterdir(), None)  # a folder is looked into only when a certificate is checked
            context.load_verify_locations(capath=place)
        else:
            context.load_verify_locations(cafile=place)
    except ssl.SSLError:
        raise UsageProblem(f"{named_by}: {place} holds no certificate in PEM form") from None
    except OSError as error:
        raise UsageProblem(f"{named_by}: {place}: {error.strerror}") from None
