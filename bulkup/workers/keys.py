"""What lets a worker on another machine in: a certificate for each side, made for one run, and a secret.

The authority that signs both certificates exists for a moment: no other certificate can ever be made by it. The run's end takes a
worker's certificate only, a worker's end the run's only; so a worker that is taken over cannot play the run to others.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from bulkup.errors import UsageProblem
from bulkup.tokens.secret import remember_secret

__all__ = ["RunKey", "WorkerKey", "make_keys"]

_Text = Annotated[str, Meta(min_length=16, max_length=16_384)]

GOOD_FOR = timedelta(days=3650)
"""A certificate has to have an end. A run may take months, and its key is thrown away with its folder."""


class _Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both sides have. *certificate* and *private_key* are the side's own, *authority* has signed the other's (PEM)."""

    authority: _Text
    certificate: _Text
    private_key: _Text
    secret: _Text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def to_json(self) -> bytes:
        """As it is kept in a file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the certificate is made for the run, wherever it is
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=self.authority)
            _load_chain(context, self.certificate + self.private_key)
        except (ssl.SSLError, ValueError) as error:
            raise UsageProblem(f"the worker key is damaged: {error}") from None
        return context


class RunKey(_Key, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="run's end", tag_field="bulkup_key"):
    """The run's side."""

    @classmethod
    def of_json(cls, data: bytes) -> RunKey:
        """Out of its file. Raises `ValueError`."""
        return _read(cls, data)

    def is_secret(self, text: str) -> bool:
        """Whether *text* is the secret; how long that takes tells nothing of it."""
        return hmac.compare_digest(text.encode(), self.secret.encode())

    def context(self) -> ssl.SSLContext:
        """TLS in which only a worker's certificate is taken. Raises `UsageProblem`."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)


class WorkerKey(_Key, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker's", tag_field="bulkup_key"):
    """A worker's side. *fingerprint*: the SHA-256 of the run's certificate, in hexadecimal."""

    fingerprint: _Text

    @classmethod
    def of_json(cls, data: bytes) -> WorkerKey:
        """Out of its file, or a variable of the environment. Raises `ValueError`."""
        return _read(cls, data)

    def context(self) -> ssl.SSLContext:
        """TLS in which only the run's certificate is taken. Raises `UsageProblem`."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def is_runs(self, certificate: bytes | None) -> bool:
        """Whether the *certificate* (DER) that the other end has shown is the run's."""
        shown = hashlib.sha256(certificate or b"").hexdigest()
        return certificate is not None and hmac.compare_digest(shown, self.fingerprint)


K = TypeVar("K", bound=_Key)


def _read(kind: type[K], data: bytes) -> K:
    try:
        key = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no key: {error}") from None
    remember_secret(key.secret)
    return key


def make_keys() -> tuple[RunKey, WorkerKey]:
    """Keys for a run and its workers. Raises `UsageProblem` where the package that makes certificates is not installed."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError:
        raise UsageProblem(
            "--listen needs the package cryptography, which makes the run's certificates: pip install 'bulkup[cluster]'"
        ) from None
    begin = datetime.now(UTC) - timedelta(days=1)  # clocks of machines differ
    signer = ec.generate_private_key(ec.SECP256R1())
    signer_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bulkup run")])

    def certificate(name: x509.Name, key: Any, use: Any) -> Any:
        is_authority = use is None
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(signer_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + GOOD_FOR)
            .add_extension(
                x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(_usage(x509, is_authority=is_authority), critical=True)
        )
        if use is not None:
            made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=True)
        return made.sign(signer, hashes.SHA256())

    def pem(found: Any) -> str:
        return str(found.public_bytes(serialization.Encoding.PEM).decode())

    def side(word: str, use: Any) -> tuple[Any, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, word)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate(name, key, use), private.decode()

    authority = pem(certificate(signer_name, signer, None))
    run, run_private = side("bulkup run's end", ExtendedKeyUsageOID.SERVER_AUTH)
    worker, worker_private = side("bulkup worker", ExtendedKeyUsageOID.CLIENT_AUTH)
    secret = token_hex(32)
    remember_secret(secret)
    return (
        RunKey(authority=authority, certificate=pem(run), private_key=run_private, secret=secret),
        WorkerKey(
            authority=authority,
            certificate=pem(worker),
            private_key=worker_private,
            secret=secret,
            fingerprint=hashlib.sha256(run.public_bytes(serialization.Encoding.DER)).hexdigest(),
        ),
    )


def _usage(x509: Any, *, is_authority: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_chain(context: ssl.SSLContext, pem: str) -> None:
    """The library takes a file only: it gets one that has no name, where the system has such."""
    if hasattr(os, "memfd_create"):
        with suppress(FileNotFoundError, PermissionError), os.fdopen(os.memfd_create("key"), "wb") as file:
            file.write(pem.encode())
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
            return
    with tempfile.NamedTemporaryFile("wb") as named:  # the owner's alone
        named.write(pem.encode())
        named.flush()
        context.load_cert_chain(named.name)
