"""`bulkup --version -v`: what a bug report needs, and nothing secret: of variables only which of ours are set."""

from __future__ import annotations

import locale
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bulkup.destinations.registry import BUILT_IN, service_names

__all__ = ["surroundings"]

PACKAGES = (
    "aiohttp",
    "anyio",
    "aiolimiter",
    "msgspec",
    "orjson",
    "polars",
    "pydantic",
    "typer",
    "rich",
    "isal",
    "zstandard",
    "obstore",
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def surroundings() -> list[str]:
    """Lines about this installation and this machine."""
    tokens = {service.token_variable for service in BUILT_IN.values()}
    ours = sorted(
        name for name in os.environ if name.startswith("BULKUP_") or name in tokens or name.upper() in PROXIES
    )
    return [
        f"python {platform.python_version()} ({sys.executable})",
        f"installed in {Path(__file__).parent.parent}",
        f"system {platform.platform()}, {os.cpu_count()} CPUs, locale {locale.setlocale(locale.LC_CTYPE)}",
        f"packages {', '.join(_versions())}",
        f"destinations {', '.join(service_names())}",
        f"variables that are set: {', '.join(ours) or 'none'}",
    ]


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
