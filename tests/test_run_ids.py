"""A run's name, and what its journal keeps of the options: as 0.1.0 had them, so that its runs are found again."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest

from bulkup import Collinear, Nebius
from bulkup.destinations.settings import DestinationSettings
from bulkup.journal.facts import UPLOAD
from bulkup.run.wish import Upload, run_id
from bulkup.settings.config import RunSettings

SPACE = "3c90c3cc-0d44-4b50-8888-8dd25736052a"

WHOLE_NEBIUS: dict[str, Any] = {
    "url": "http://127.0.0.1:8080", "folder": "/f", "ai_project_id": "p-1", "preset": "chat", "drop": ("x", "y"),
    "columns": {"n": "integer"}, "nested": "as-is", "pending_timeout_s": 5, "token_file": "t", "max_chunk_bytes": 4096,
    "concurrency": 3, "requests_per_minute": 60,
}  # fmt: skip

OF_0_1_0: list[tuple[tuple[str, ...], list[DestinationSettings], dict[str, Any], str, str]] = [
    (("rows.jsonl",), [Nebius()], {"name": "rows"}, "rows-78efc2eb", "e5178a2261aa9a7d"),
    (("rows.jsonl",), [Nebius(), Collinear(space_id=SPACE)], {"name": "rows"}, "rows-95dcbffa", "540305788376eac6"),
    (
        ("a.jsonl", "b/*.jsonl.gz"),
        [Nebius.model_validate(WHOLE_NEBIUS)],
        {"name": "A set", "settle_after_s": 1.5},
        "A-set-e31e9634",
        "7695fd1a8fe4a672",
    ),
    (
        ("rows.jsonl",),
        [Nebius.model_validate({"schema": {"text": "string"}, "mapping": {"text": "{a}"}})],
        {"name": "rows"},
        "rows-e2a10a3e",
        "497c21a9aeaa15f1",
    ),
    (
        ("rows.jsonl",),
        [Collinear.model_validate({"space_id": SPACE.upper(), "preset": "question-answer", "ca_file": "/ca.pem"})],
        {"name": "gsm8k", "state_dir": "s"},
        "gsm8k-2685a567",
        "fda2e4fd4a7123b8",
    ),
]
"""Sources, destinations, settings; the run's id, and the SHA-256 of its destinations' options in the journal."""


@pytest.mark.parametrize(
    ("sources", "destinations", "settings", "known", "journaled"), OF_0_1_0, ids=lambda it: str(it)[:14]
)
def test_they_are_those_of_0_1_0(
    sources: tuple[str, ...],
    destinations: list[DestinationSettings],
    settings: dict[str, Any],
    known: str,
    journaled: str,
) -> None:
    upload = Upload(sources, tuple(destinations), RunSettings(**settings))
    assert run_id(upload) == known
    record = UPLOAD.of_text(UPLOAD.to_text(upload.to_record()))
    assert record is not None
    assert hashlib.sha256(orjson.dumps(record.destinations)).hexdigest()[:16] == journaled
    assert Upload.of_record(record) == upload


ELSEWHERE = [
    {"url": "http://127.0.0.1:2"}, {"folder": "/g"}, {"ai_project_id": "p-2"}, {"preset": "text"}, {"drop": ("x",)},
    {"columns": {"n": "string"}}, {"nested": "text"}, {"schema": {"n": "string"}},
    {"turns": "t"}, {"repair": "nan=null"}, {"column": ("n=text",)},
]  # fmt: skip
SAME = [
    {"token_file": "u"}, {"ca_file": "/c"}, {"max_chunk_bytes": 8192}, {"concurrency": 4}, {"requests_per_minute": 61},
    {"pending_timeout_s": 6},
]  # fmt: skip


@pytest.mark.parametrize("changed", ELSEWHERE + SAME, ids=str)
def test_what_goes_elsewhere_or_makes_other_rows_is_another_run(changed: dict[str, Any]) -> None:
    """And what only concerns the pace is the same."""

    def made(**more: Any) -> str:
        return run_id(Upload(("a",), (Nebius.model_validate({**WHOLE_NEBIUS, **more}),), RunSettings(name="a")))

    assert (made(**changed) != made()) is (changed in ELSEWHERE)


def test_another_space_is_another_run() -> None:
    ids = {
        run_id(Upload(("a",), (Collinear(space_id=space),), RunSettings(name="a")))
        for space in (SPACE, SPACE.replace("3", "4"))
    }
    assert len(ids) == 2
