"""Stores, opened with the credentials that each cloud's own tools find."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from bulkup.errors import BulkupError, TokenRefused, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.sources.places.address import PlaceAt, remember_query
from bulkup.tokens.secret import redact, remember_secret

__all__ = ["INSTALL", "Opened", "opened_store"]

INSTALL = "pip install 'bulkup[remote]'"
_TTL = timedelta(minutes=5)
"""So often obstore asks for credentials again: they may be renewed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """*credential* says which credentials are used, and never what they are."""

    store: Any
    credential: str


def opened_store(at: PlaceAt, options: dict[str, Any]) -> Opened:
    """Open the bucket. Raises `UsageProblem` where a library is missing, `TokenRefused` where there are no credentials."""
    if find_spec("obstore") is None:
        raise UsageProblem(f"{at.scheme}://{at.name}: needs the package obstore: {INSTALL}")
    endpoint = at.access.endpoint_url or _endpoint_in_environment(at)
    client = dict(options["client_options"])
    if endpoint is not None:
        endpoint = _checked_endpoint(endpoint)
        client["allow_http"] = endpoint.startswith("http://")
    given = {"client_options": client, "retry_config": options["retry_config"]}
    try:
        if at.scheme == "s3":
            return _s3(at, endpoint, given)
        return _google(at, endpoint, given) if at.scheme == "gs" else _azure(at, endpoint, given)
    except BulkupError:
        raise
    except Exception as error:
        text = redact(str(error).partition("\n")[0])
        raise UsageProblem(f"{at.scheme}://{at.name}: cannot be opened: {text}") from error


def _s3(at: PlaceAt, endpoint: str | None, given: dict[str, Any]) -> Opened:
    from obstore.store import S3Store

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint is not None:
        given["endpoint"] = endpoint
    if at.access.anonymous:
        given["region"] = region or _region_of(at.name, endpoint)
        return Opened(S3Store(at.name, skip_signature=True, **given), "no credentials (--anonymous)")
    try:
        import boto3
    except ImportError as error:
        raise UsageProblem(f"s3://{at.name}: needs the package boto3: {INSTALL}") from error
    session = boto3.Session()
    found = session.get_credentials()
    if found is None:
        raise TokenRefused(
            f"s3://{at.name}: there are no AWS credentials (environment, ~/.aws, instance role): set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket give --anonymous"
        )

    def credentials() -> Any:
        frozen = found.get_frozen_credentials()
        for secret in (frozen.access_key, frozen.secret_key, frozen.token):
            remember_secret(secret or "")
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _TTL,
        }

    credentials()
    given["region"] = region or session.region_name or _region_of(at.name, endpoint)
    store = S3Store(at.name, credential_provider=credentials, **given)
    profile = f" of profile {session.profile_name}" if found.method != "env" else ""
    return Opened(store, f"the AWS credentials found by {found.method}{profile}")


def _google(at: PlaceAt, endpoint: str | None, given: dict[str, Any]) -> Opened:
    from obstore.store import GCSStore

    if endpoint is not None:
        given["base_url"] = endpoint
    if at.access.anonymous:
        return Opened(GCSStore(at.name, skip_signature=True, **given), "no credentials (--anonymous)")
    name = next((n for n in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT") if os.environ.get(n)), None)
    return Opened(GCSStore(at.name, **given), name or "Google's application default credentials")


def _azure(at: PlaceAt, endpoint: str | None, given: dict[str, Any]) -> Opened:
    from obstore.store import AzureStore

    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or os.environ.get("AZURE_STORAGE_ACCOUNT")
    if account is None:
        raise UsageProblem(
            f"az://{at.name}: set AZURE_STORAGE_ACCOUNT to the storage account that has the container {at.name}"
        )
    given["account_name"] = account
    if endpoint is not None:
        given["endpoint"] = endpoint
    if at.access.anonymous:
        return Opened(AzureStore(at.name, skip_signature=True, **given), "no credentials (--anonymous)")
    for variable, setting in (
        ("AZURE_STORAGE_KEY", "account_key"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "account_key"),
        ("AZURE_STORAGE_SAS_TOKEN", "sas_key"),
    ):
        if secret := os.environ.get(variable):
            remember_secret(secret)
            if setting == "sas_key":
                remember_query(secret.removeprefix("?"))
            given[setting] = secret
            return Opened(AzureStore(at.name, **given), variable)
    if os.environ.get("AZURE_CLIENT_ID"):
        return Opened(AzureStore(at.name, **given), "the service principal in AZURE_CLIENT_ID")
    return Opened(AzureStore(at.name, use_azure_cli=True, **given), "the login of the Azure CLI (az login)")


def _endpoint_in_environment(at: PlaceAt) -> str | None:
    names = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",), "az": ()}[at.scheme]
    return next((value for name in names if (value := os.environ.get(name))), None)


def _checked_endpoint(url: str) -> str:
    """*url*, if a bucket can be there. Raises `UsageProblem`."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or "@" in url or "?" in url:
        raise UsageProblem(
            "--endpoint-url: give a URL such as https://minio.example.com:9000, without user, password and query"
        )
    return url.rstrip("/")


def _region_of(bucket: str, endpoint: str | None) -> str:
    """The region of a bucket of AWS's own: anybody may ask for it. Elsewhere the name of the region mostly means nothing."""
    if endpoint is None:
        import http.client
        from contextlib import suppress

        with suppress(OSError, http.client.HTTPException):
            asked = http.client.HTTPSConnection("s3.amazonaws.com", timeout=5)
            asked.request("HEAD", f"/{bucket}")
            return asked.getresponse().getheader("x-amz-bucket-region") or "us-east-1"
    return "us-east-1"
