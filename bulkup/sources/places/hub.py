"""Datasets of the Hugging Face hub: huggingface_hub lists their files and knows the token; the files come from web servers.

A revision is pinned to its commit when it is listed, so what is read later is what was listed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

from bulkup.errors import TokenRefused, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.sources.places.address import Access, Hidden, PlaceAt, Remote
from bulkup.sources.places.clouds import INSTALL
from bulkup.sources.places.place import Buffer, Entry, Unreachable
from bulkup.sources.places.web import Web
from bulkup.tokens.secret import redact, remember_secret

__all__ = ["Hub"]

T = TypeVar("T")

_PATH = re.compile(r"datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _InDataset:
    """A path in a dataset, as the person gave it: *before* is what stands before the path."""

    dataset: str
    revision: str | None
    path: str
    before: str


class _HubWeb(Web):
    """The hub's own server gets the token; where it redirects to gets none."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        super().__init__(PlaceAt("https", "", Access()))
        self._own = urlsplit(endpoint)
        self._token = token

    def headers_for(self, url: SplitResult) -> Mapping[str, str]:
        is_own = (url.scheme, url.netloc) == (self._own.scheme, self._own.netloc)
        return {"Authorization": f"Bearer {self._token}"} if self._token and is_own else {}

    def credential_for(self, url: SplitResult) -> str:
        return _credential(self._token)


class Hub:
    """As `Place` promises. A key is the URL of a file in one commit."""

    def __init__(self, at: PlaceAt) -> None:
        if find_spec("huggingface_hub") is None:
            raise UsageProblem(f"hf://: needs the package huggingface_hub: {INSTALL}")
        import huggingface_hub

        self._at = at
        self._api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        self._token = None if at.access.anonymous else huggingface_hub.get_token()
        remember_secret(self._token or "")
        self._web = _HubWeb(self._api.endpoint, self._token)

    def below(self, uri: str, prefix: str) -> list[Entry]:
        place = _in_dataset(uri, prefix)
        folder = place.path.rpartition("/")[0]

        def listed() -> list[Any]:
            return list(
                self._api.list_repo_tree(
                    place.dataset,
                    folder or None,
                    recursive=True,
                    revision=commit,
                    repo_type="dataset",
                    token=self._sent,
                )
            )

        commit = self._commit(uri, place)
        found = [one for one in self._asked(uri, listed) if hasattr(one, "blob_id")]
        return [self._entry(place, commit, one) for one in found if one.path.startswith(place.path)]

    def look(self, uri: str, key: str) -> Entry:
        place = _in_dataset(uri, key)
        commit = self._commit(uri, place)

        def asked() -> list[Any]:
            return list(
                self._api.get_paths_info(
                    place.dataset, [place.path], revision=commit, repo_type="dataset", token=self._sent
                )
            )

        found = [one for one in self._asked(uri, asked) if hasattr(one, "blob_id")]
        if not found:
            raise UsageProblem(f"{uri}: there is no such file; for all below it, write a / behind it")
        return self._entry(place, commit, found[0])

    def read(self, uri: str, remote: Remote, start: int, stop: int) -> Buffer:
        return self._web.read(uri, replace(remote, version=None), start, stop)  # a commit does not change

    def stream(self, uri: str, remote: Remote) -> Iterator[bytes]:
        return self._web.stream(uri, replace(remote, version=None))

    def close(self) -> None:
        self._web.close()

    @property
    def _sent(self) -> str | bool:
        return self._token or False

    def _commit(self, uri: str, place: _InDataset) -> str:
        def asked() -> Any:
            return self._api.dataset_info(place.dataset, revision=place.revision, token=self._sent)

        return str(self._asked(uri, asked).sha)

    def _entry(self, place: _InDataset, commit: str, found: Any) -> Entry:
        url = f"{self._api.endpoint}/datasets/{place.dataset}/resolve/{commit}/{quote(found.path)}"
        version = found.lfs.sha256 if found.lfs is not None else found.blob_id
        remote = Remote(self._at, Hidden(url), version, ranges=True)
        return Entry(f"{place.before}/{found.path}", found.size, remote)

    def _asked(self, uri: str, ask: Callable[[], T]) -> T:
        """What *ask* gives; the hub's errors become ours."""
        from huggingface_hub import errors

        try:
            return ask()
        except errors.GatedRepoError as error:
            raise TokenRefused(
                f"{uri}: the dataset is gated: accept its conditions on its page, with the account of {_credential(self._token)}"
            ) from error
        except errors.HfHubHTTPError as error:
            raise self._meaning(uri, error) from error
        except errors.HFValidationError as error:
            raise UsageProblem(f"{uri}: is not hf://datasets/OWNER/NAME[@REVISION]/path") from error
        except Exception as error:
            if any(word in type(error).__name__ for word in ("Connect", "Timeout", "Read", "Network", "Protocol")):
                raise Unreachable(redact(str(error).partition("\n")[0]) or type(error).__name__) from error
            raise

    def _meaning(self, uri: str, error: Any) -> Exception:
        from huggingface_hub import errors

        status = getattr(error.response, "status_code", 0)
        if isinstance(error, errors.RevisionNotFoundError):
            return UsageProblem(f"{uri}: the dataset has no such revision")
        if status in (401, 403):
            return TokenRefused(
                f"{uri}: the hub refused it ({status}): there is no such dataset, or it is private; it was asked with "
                f"{_credential(self._token)}"
            )
        if status in (404, 410):
            return UsageProblem(
                f"{uri}: there is no such dataset, or it is private; it was asked with {_credential(self._token)}"
            )
        if status in (408, 429) or status >= 500:
            return Unreachable(f"the hub answered {status}")
        return UsageProblem(f"{uri}: the hub answered {status}")


def _in_dataset(uri: str, path: str) -> _InDataset:
    found = _PATH.fullmatch(path)
    if found is None:
        raise UsageProblem(f"{uri}: is not hf://datasets/OWNER/NAME[@REVISION]/path")
    dataset, revision, inside = found[1], found[2], found[3] or ""
    before = f"hf://datasets/{dataset}" + (f"@{revision}" if revision else "")
    return _InDataset(dataset, unquote(revision) if revision else None, inside, before)


def _credential(token: str | None) -> str:
    return "the hub's token (HF_TOKEN, or hf auth login)" if token else "no token (set HF_TOKEN, or hf auth login)"
