"""A certificate authority that exists for one run, and the certificate that it gives the sink. Made by `openssl`."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Certificate", "NoCertificate", "make_certificate"]

_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


class NoCertificate(Exception):
    """There is no way to make one here. Its text says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """*chain* and *key* are the server's; *authority* is what a client is to trust (`SSL_CERT_FILE`)."""

    chain: Path
    key: Path
    authority: Path


def make_certificate(folder: Path) -> Certificate:
    """Make one for 127.0.0.1 in *folder*, good for two days. Raises `NoCertificate`."""
    if shutil.which("openssl") is None:
        raise NoCertificate("openssl is not installed")
    made = Certificate(folder / "sink.pem", folder / "sink.key", folder / "authority.pem")
    authority_key, request, extensions = folder / "authority.key", folder / "sink.csr", folder / "names.cnf"
    extensions.write_text(_NAMES)
    new_key = ("-newkey", "rsa:2048", "-nodes")
    _openssl(
        "req", "-x509", *new_key, "-keyout", authority_key, "-out", made.authority, "-days", 2,
        "-subj", "/CN=benchmark authority", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    _openssl("req", *new_key, "-keyout", made.key, "-out", request, "-subj", "/CN=127.0.0.1")
    _openssl(
        "x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial",
        "-days", 2, "-extfile", extensions, "-out", made.chain,
    )  # fmt: skip
    return made


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise NoCertificate(f"openssl {arguments[0]}: {done.stderr.strip()[-300:]}")
