"""A list that shows only its beginning: a chunk that stands behind it must not be called absent, and sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from bulkup import Collinear, Nebius
from bulkup.account.receipt import Receipt
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from tests.e2e.harness import SPACE, TOKENS, as_collinear, canonical, gsm8k_rows, write_rows
from tests.hostile.service import Answer, Request, Service, answer_bytes, serving

ROWS = gsm8k_rows(40)


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


async def run(service: Service, folder: Path, **chosen: Any) -> Receipt:
    place = {"url": service.url, "max_chunk_rows": 10, "concurrency": 1}
    destination = (
        Collinear.model_validate({**place, "space_id": SPACE})
        if chosen.pop("lane") == "collinear"
        else Nebius.model_validate({**place, "folder": "/f"})
    )
    settings = RunSettings.model_validate(
        {"name": "rows", "state_dir": folder / "state", "settle_after_s": 0.02, "retry_for_s": 5.0, "workers": 1}
        | chosen
    )
    source = write_rows(folder / "rows.jsonl", ROWS)
    return await execute(Upload((str(source),), (destination,), settings), tell=lambda _: None)


def losing(service: Service, number: int, look: Any) -> Service:
    """The upload of that *number* (from 1) is stored and its answer lost; afterwards *look* changes what lists show."""
    uploads = 0

    def chooses(request: Request) -> bool:
        nonlocal uploads
        uploads += request.is_upload
        return uploads == number if request.is_upload else uploads >= number and look(request) is not None

    async def hostile(request: Request) -> None:
        if not request.is_upload:
            answer = look(request)
            await request.reply(answer_bytes(Answer(answer.status, answer.body, (("Connection", "close"),))))

    service.chooses, service.hostile = chooses, hostile
    return service


async def test_a_cursor_that_is_ignored(tmp_path: Path) -> None:
    """The first page shows all that has landed, and not what was lost: 0.1.0 took it for the whole list and sent the rows again."""
    service = Service()

    def look(request: Request) -> Answer | None:
        if request.path != "/v1/datasets" or request.method != "GET":
            return None
        shown = [dataset for number, dataset in enumerate(service.datasets) if number != 1]
        last = shown[-1]["id"]
        keys = ("id", "name", "status", "folder")
        data = [{key: dataset[key] for key in keys} for dataset in shown]
        return Answer(200, orjson.dumps({"object": "list", "data": data, "has_more": True, "last_id": last}))

    async with serving(losing(service, 2, look)):
        receipt = await run(service, tmp_path, lane="nebius")
    sent = canonical(map(dict, ROWS))
    assert (canonical(service.rows) - sent).total() == 0, "no row is there twice"
    assert receipt.exit_code == 4
    assert canonical(service.rows) == sent


async def test_a_page_that_comes_again(tmp_path: Path) -> None:
    """Collinear's list counts two datasets and shows the other one twice: ours, which the lost upload made, is not gone."""
    service = Service()
    other = '{"id":"other","name":"other","rows":3}'
    again = '{"data":{"getUploadedDatasetByPageAndSpaceId":{"count":2,"datasets":[' + other + "]}}}"

    def look(request: Request) -> Answer | None:
        return Answer(200, again.encode()) if request.path == "/graphql" else None

    async with serving(losing(service, 1, look)):
        receipt = await run(service, tmp_path, lane="collinear")
    sent = canonical(map(as_collinear, ROWS))
    assert (canonical(service.rows) - sent).total() == 0, "no row is there twice"
    assert receipt.exit_code == 4
