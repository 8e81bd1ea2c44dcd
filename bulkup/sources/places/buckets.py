"""Buckets of S3, Google Cloud Storage and Azure, and of what speaks as they do, by obstore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from bulkup.errors import BulkupError, SourceChanged, SourceUnreadable, TokenRefused, UsageProblem
from bulkup.sources.places.address import Hidden, PlaceAt, Remote
from bulkup.sources.places.clouds import Opened, opened_store
from bulkup.sources.places.place import Entry, Unreachable
from bulkup.tokens.secret import redact

__all__ = ["Bucket"]

T = TypeVar("T")

_OPTIONS: dict[str, Any] = {
    "client_options": {
        "timeout": timedelta(minutes=10),
        "read_timeout": timedelta(seconds=30),
        "connect_timeout": timedelta(seconds=15),
    },
    "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=20)},
}
"""bulkup tries again by itself, so that a run that is told to stop is not held up."""

_STATUS = re.compile(r"status code: (\d{3})")
_LOOKED_FOR = ("az account get-access-token", "169.254.169.254", "metadata.google.internal")
"""Where credentials are looked for last: a failure there means that there are none."""

_WORN_OUT = ("ExpiredToken", "TokenRefreshRequired", "RequestTimeTooSkewed")
_UNKNOWN_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed")


class Bucket:
    """As `Place` promises. A key is the object's name in the bucket."""

    def __init__(self, at: PlaceAt) -> None:
        self._at = at
        self._store: Opened = opened_store(at, _OPTIONS)

    def below(self, uri: str, prefix: str) -> list[Entry]:
        import obstore

        folder = prefix.rpartition("/")[0]  # obstore lists below whole folders

        def listed() -> list[Any]:
            return [
                meta for metas in obstore.list(self._store.store, folder or None, chunk_size=1000) for meta in metas
            ]

        found = self._asked(uri, listed, UsageProblem)
        entries = [
            self._entry(meta) for meta in found if meta["path"].startswith(prefix) and not meta["path"].endswith("/")
        ]
        return [entry for entry in entries if entry is not None]

    def look(self, uri: str, key: str) -> Entry:
        import obstore

        def looked() -> Any:
            try:
                return obstore.head(self._store.store, key)
            except (FileNotFoundError, obstore.exceptions.BaseError) as error:  # a HEAD's answer gives no reason
                below = next(iter(obstore.list(self._store.store, key, chunk_size=1)), None)
                if not below or not isinstance(error, FileNotFoundError):
                    raise
                raise UsageProblem(f"{uri}: there is no such object; for all below it, write {uri}/") from None

        return self._entry(self._asked(uri, looked, UsageProblem))

    def read(self, uri: str, remote: Remote, start: int, stop: int) -> memoryview:
        import obstore

        def got() -> memoryview:
            options: Any = {"range": (start, stop)}
            if remote.version is not None:
                options["if_match"] = f'"{remote.version}"'
            try:
                result = obstore.get(self._store.store, remote.key.text, options=options)
            except obstore.exceptions.PreconditionError:
                obstore.head(self._store.store, remote.key.text)  # raises where it is gone: Azure does not say so
                raise
            if _version(result.meta) != remote.version:  # a server that takes no conditions
                raise _changed(uri)
            return memoryview(result.bytes())

        data = self._asked(uri, got, SourceChanged)
        if len(data) != stop - start:
            raise Unreachable(f"the connection ended after {len(data):,} of {stop - start:,} bytes")
        return data

    def close(self) -> None:
        """obstore lets go of its connections by itself."""

    def stream(self, uri: str, remote: Remote) -> Iterator[bytes]:
        raise AssertionError("an object is read by ranges")

    def _entry(self, meta: Any) -> Entry:
        key = str(meta["path"])
        uri = f"{self._at.scheme}://{self._at.name}/{key}"
        return Entry(uri, int(meta["size"]), Remote(self._at, Hidden(key), _version(meta), ranges=True))

    def _asked(self, uri: str, ask: Callable[[], T], gone: type[BulkupError]) -> T:
        """What *ask* gives. obstore's errors become ours; *gone* is raised where there is no such object."""
        from obstore import exceptions

        try:
            return ask()
        except BulkupError:
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise UsageProblem(f"{uri}: there is no bucket called {self._at.name}") from error
            what = "there is no such object" if gone is UsageProblem else "is gone"
            raise gone(f"{uri}: {what}") from error
        except exceptions.PreconditionError as error:
            raise _changed(uri) from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise self._refused(uri, str(error)) from error
        except exceptions.InvalidPathError as error:
            raise UsageProblem(
                f"{uri}: an object's name cannot be read ({_first_line(error)}); name the others"
            ) from error
        except exceptions.BaseError as error:
            raise self._meaning(uri, error) from error
        except ValueError as error:
            raise UsageProblem(f"{uri}: cannot be asked for: {_first_line(error)}") from error
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # of Rust: it is no Exception
                raise SourceUnreadable(f"{uri}: cannot be read ({_first_line(error)})") from error
            raise

    def _meaning(self, uri: str, error: Exception) -> Exception:
        text = str(error)
        if any(mark in text for mark in _LOOKED_FOR):
            return TokenRefused(
                f"{uri}: there are no credentials for it ({_first_line(error)}); for a public bucket give --anonymous"
            )
        found = _STATUS.search(text)
        status = int(found[1]) if found else 0
        if "NoSuchBucket" in text or status == 404:  # an object that is not there is told in another way
            return UsageProblem(f"{uri}: there is no bucket called {self._at.name}")
        if status in (401, 403) or any(word in text for word in (*_WORN_OUT, *_UNKNOWN_KEYS)):
            return self._refused(uri, text)
        if status in (301, 400) or "without LOCATION" in text or "BadScheme" in text:
            return UsageProblem(
                f"{uri}: the store does not take the request ({_first_line(error)}). Perhaps AWS_REGION or --endpoint-url is wrong"
            )
        return Unreachable(_first_line(error))

    def _refused(self, uri: str, text: str) -> TokenRefused:
        worn_out = any(word in text for word in _WORN_OUT)
        why = (
            "they have expired"
            if worn_out
            else "it does not know them"
            if any(w in text for w in _UNKNOWN_KEYS)
            else "403"
        )
        hint = "" if self._at.access.anonymous else ". For a public bucket give --anonymous"
        return TokenRefused(f"{uri}: the store refused it ({why}); it was asked with {self._store.credential}{hint}")


def _version(meta: Any) -> str | None:
    """The ETag without its quotes: in Azure's lists, and in Google's, it has none."""
    return None if meta["e_tag"] is None else str(meta["e_tag"]).removeprefix("W/").strip('"')


def _changed(uri: str) -> SourceChanged:
    return SourceChanged(f"{uri}: has changed since this run looked at it")


def _first_line(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    for before in ("Generic S3 error: ", "Generic GCS error: ", "Generic MicrosoftAzure error: "):
        text = text.removeprefix(before)
    return redact(text.strip().rstrip("."))
