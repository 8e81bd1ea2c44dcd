"""Failures to connect that no waiting mends: what is wrong, and what to do about it."""

from __future__ import annotations

import ssl

import aiohttp

from bulkup.errors import ExitCode
from bulkup.tokens.secret import redact
from bulkup.transport.failure import LastingFailure, Phase
from bulkup.transport.proxy import Proxy
from bulkup.transport.trust import BUNDLE_VARIABLE, unreadable_authorities

__all__ = ["lasting_failure"]

_CLOCK = "If it is not, this machine's clock is wrong"
_NOT_YET, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
"""Codes of X509_verify_cert. [openssl-verification-options(1), x509_vfy.h]"""

_PLAIN_TEXT = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"}
"""What OpenSSL says of bytes that are no TLS at all."""
_NO_COMMON_TLS = {
    *("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"),
    *("NO_SHARED_CIPHER", "DH_KEY_TOO_SMALL", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
}

_PASSING = {408, 425, 429}
"""Answers of a proxy below 500 that another time may be different."""


def lasting_failure(error: BaseException, proxy: Proxy | None) -> LastingFailure | None:
    """What *error*, which kept a request from being connected, says about the settings; None where another attempt may do.

    A name that does not resolve, a port that is closed, and a connection that is cut may all be an outage.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(error.status, proxy)
    and_proxy = f", and {proxy.variable}" if proxy is not None else ""
    if isinstance(error, aiohttp.InvalidURL):
        return _usage("the base URL cannot be used: check its host name and its port" + and_proxy)
    cause = _tls_error(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _usage(_of_certificate(cause))
    if cause is not None and cause.reason in _PLAIN_TEXT:
        return _usage("what listens there does not speak TLS: check the port in the base URL" + and_proxy)
    if cause is not None and cause.reason in _NO_COMMON_TLS:
        return _usage(f"the service and this machine have no form of TLS in common ({cause.reason})")
    return None


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner: BaseException = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
    else:
        inner = error
    return inner if isinstance(inner, ssl.SSLError) else None


def _refused_by_proxy(status: int, proxy: Proxy | None) -> LastingFailure | None:
    name = proxy.variable if proxy is not None else "the proxy's variable"
    if status == 407:
        return LastingFailure(
            Phase.CONNECT,
            f"the proxy wants another user name and password (407): check those in {name}",
            ExitCode.NO_PERMISSION,
        )
    if status >= 500 or status in _PASSING:
        return None
    return LastingFailure(
        Phase.CONNECT,
        f"the proxy does not connect to this host ({status}): have it allowed there, or check {name}",
        ExitCode.NO_PERMISSION if status == 403 else ExitCode.USAGE,
    )


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    said = redact(error.verify_message or "it does not verify")
    match error.verify_code:
        case code if code == _EXPIRED:
            return f"the service's certificate has expired: whoever runs it must renew it. {_CLOCK}"
        case code if code == _NOT_YET:
            return f"the service's certificate is not valid yet: whoever runs it must look. {_CLOCK}"
        case code if code in (_OTHER_HOST, _OTHER_ADDRESS):
            return f"the service's certificate is for another host ({said}): check the host in the base URL"
        case code if code in _UNKNOWN_AUTHORITY:
            hint = unreadable_authorities()
            return (
                f"no authority known here signed the service's certificate ({said}): "
                f"name your authority's file with --ca-file, {BUNDLE_VARIABLE} or SSL_CERT_FILE"
                + (f" ({hint})" if hint else "")
            )
        case _:
            return f"the service's certificate does not verify ({said})"


def _usage(reason: str) -> LastingFailure:
    return LastingFailure(Phase.CONNECT, reason, ExitCode.USAGE)
