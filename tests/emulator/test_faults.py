"""Every fault: what the client sees, and whether the body is stored."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from typing import Any, get_args

import aiohttp
import pytest

from bulkup.emulator import Emulator, FaultName, ServiceName, Settings, running
from bulkup.emulator.faults import PLAIN_STATUS, STORED_STATUS, Dice

from .calls import Client, turn_row, under_way, until
from .conftest import Clock

BOTH: list[ServiceName] = ["nebius", "collinear"]
TEXTS = ["a", "b", "c"]
BIG = ["x" * 200_000, "y" * 200_000]
LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)

pytestmark = pytest.mark.parametrize("service", BOTH)


async def held(client: Client, service: ServiceName) -> int:
    """How many rows are stored."""
    return len(await client.stored(service))


def meet(emulator: Emulator, service: ServiceName, fault: FaultName, **more: Any) -> None:
    emulator.patch(script={service: [fault]}, **more)


@pytest.mark.parametrize("fault", [name for name in get_args(FaultName) if name in PLAIN_STATUS])
async def test_refusals_store_nothing(
    client: Client, emulator: Emulator, service: ServiceName, fault: FaultName
) -> None:
    """The next upload, without a fault left in the script, is stored."""
    meet(emulator, service, fault)
    status, said, headers = await client.send(service, BIG)
    assert (status, bool(said["detail"])) == (PLAIN_STATUS[fault], True)
    assert ("Retry-After" in headers) == (fault in {"429", "503_retry_after"})
    assert await held(client, service) == 0
    assert (await client.send(service, BIG))[0] == 200
    assert await held(client, service) == 2


@pytest.mark.parametrize("fault", ["reset_before_body", "reset_in_body", "reset_after_body"])
async def test_resets_store_nothing(client: Client, emulator: Emulator, service: ServiceName, fault: FaultName) -> None:
    meet(emulator, service, fault)
    with pytest.raises(LOST):
        await client.send(service, BIG)
    assert await held(client, service) == 0
    counted = await client.counted(service)
    assert counted["by_status"] == {"aborted": 1}
    assert counted["by_fault"] == {fault: 1}
    if fault == "reset_after_body":
        assert counted["bytes_received"] > 400_000
    if fault == "reset_in_body":
        assert counted["bytes_received"] >= 200_000


async def test_reset_in_body_takes_half(client: Client, emulator: Emulator, service: ServiceName) -> None:
    """A body larger than any buffer is not read to its end."""
    meet(emulator, service, "reset_in_body")
    with pytest.raises(LOST):
        await client.send(service, BIG * 50)
    half = 10_000_000 if service == "nebius" else 20_000_000
    assert half <= (await client.counted(service))["bytes_received"] < 1.3 * half


async def test_stored_then_reset(client: Client, emulator: Emulator, service: ServiceName) -> None:
    meet(emulator, service, "stored_then_reset")
    with pytest.raises(LOST):
        await client.send(service, TEXTS)
    assert await held(client, service) == 3
    assert (await client.counted(service))["uploads_stored"] == 1


@pytest.mark.parametrize("fault", list(STORED_STATUS))
async def test_stored_then_an_error(client: Client, emulator: Emulator, service: ServiceName, fault: FaultName) -> None:
    meet(emulator, service, fault)
    assert (await client.send(service, TEXTS))[0] == STORED_STATUS[fault]
    assert await held(client, service) == 3


async def test_stored_late(client: Client, emulator: Emulator, service: ServiceName) -> None:
    """The connection breaks first; the rows are there when the emulator is idle again."""
    meet(emulator, service, "stored_late", late_s=0.6)
    with pytest.raises(LOST):
        await client.send(service, TEXTS)
    assert await held(client, service) == 0
    assert (await client.counted(service))["late_pending"] == 1
    await client.get("/_emulator/idle")
    assert await held(client, service) == 3
    counted = await client.counted(service)
    assert (counted["late_pending"], counted["uploads_stored"]) == (0, 1)


async def test_a_reset_of_the_emulator_drops_what_is_late(
    client: Client, emulator: Emulator, service: ServiceName
) -> None:
    meet(emulator, service, "stored_late", late_s=3600)
    with pytest.raises(LOST):
        await client.send(service, TEXTS)
    await client.call("POST", "/_emulator/reset")
    await emulator.idle()
    assert await held(client, service) == 0


@pytest.mark.parametrize("fate", ["stored", "dropped"])
async def test_hang(client: Client, emulator: Emulator, service: ServiceName, fate: str) -> None:
    """No answer comes; a client that gives up is noticed."""
    meet(emulator, service, "hang", hang_body=fate)
    task = asyncio.create_task(client.send(service, TEXTS))
    await until(lambda: emulator.state.tallies[service].bytes_received > 0)
    if fate == "stored":
        await until(lambda: emulator.state.tallies[service].uploads_stored == 1)
    assert not task.done()
    task.cancel()
    await emulator.idle()
    assert await held(client, service) == (3 if fate == "stored" else 0)


async def test_a_hang_ends(client: Client, emulator: Emulator, service: ServiceName) -> None:
    meet(emulator, service, "hang", hang_s=0.1)
    assert (await client.send(service, TEXTS))[0] == 200


@pytest.mark.parametrize("fate", ["stored", "dropped"])
@pytest.mark.parametrize(("fault", "status"), [("accepted_202", 202), ("204", 204), ("conflict_409", 409)])
async def test_answers_that_say_too_little(
    client: Client, emulator: Emulator, service: ServiceName, fault: FaultName, status: int, fate: str
) -> None:
    meet(emulator, service, fault, accepted_body=fate, conflict_body=fate)
    assert (await client.send(service, TEXTS))[0] == status
    assert await held(client, service) == (3 if fate == "stored" else 0)


async def test_garbled(client: Client, emulator: Emulator, service: ServiceName) -> None:
    meet(emulator, service, "garbled_200")
    status, said, _ = await client.send(service, TEXTS)
    assert (status, said) == (200, None)
    assert await held(client, service) == 3


async def test_cut(client: Client, emulator: Emulator, service: ServiceName) -> None:
    """The status and half of the body come."""
    meet(emulator, service, "cut_200")
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.send(service, TEXTS)
    assert await held(client, service) == 3
    assert (await client.counted(service))["by_status"] == {"200": 1}


@pytest.mark.parametrize("how", ["one_less", "one_more"])
async def test_wrong_id_count(client: Client, emulator: Emulator, service: ServiceName, how: str) -> None:
    meet(emulator, service, "wrong_id_count", wrong_ids=how)
    _, said, _ = await client.send(service, TEXTS)
    if service == "collinear":
        assert len({row["id"] for row in said}) == len(said) == (2 if how == "one_less" else 4)
    else:
        assert "id" not in said
    assert await held(client, service) == 3


async def test_repeated_ids(client: Client, emulator: Emulator, service: ServiceName) -> None:
    first = (await client.send(service, TEXTS))[1]
    meet(emulator, service, "repeated_ids")
    _, said, _ = await client.send(service, TEXTS)
    if service == "collinear":
        assert len(said) == 3
        assert len({row["id"] for row in said}) == 2
    else:
        assert said["id"] == first["id"]
    assert await held(client, service) == 6


async def test_slow_drip(client: Client, emulator: Emulator, service: ServiceName) -> None:
    """The answer is whole in the end."""
    meet(emulator, service, "slow_drip", drip_s=0.1, drip_ms=5)
    assert (await client.send(service, TEXTS))[0] == 200
    assert await held(client, service) == 3


@pytest.mark.parametrize("names", ["all", "first", "none"])
async def test_rows_only_the_server_refuses(
    client: Client, emulator: Emulator, service: ServiceName, names: str
) -> None:
    emulator.patch(refuse_rows={service: {"marker": "evil", "names": names}})
    status, said, _ = await client.send(service, ["a", "so evil", "b", "evil"])
    assert status == 422
    root = ["body", "rows" if service == "nebius" else "file"]
    expected: dict[str, list[list[Any]]] = {"all": [[*root, 1], [*root, 3]], "first": [[*root, 1]], "none": [root]}
    assert [item["loc"] for item in said["detail"]] == expected[names]
    assert await held(client, service) == 0
    assert (await client.send(service, ["a", "b"]))[0] == 200


async def test_marked_rows_can_be_refused_by_400(client: Client, emulator: Emulator, service: ServiceName) -> None:
    emulator.patch(refuse_rows={"marker": "evil", "status": 400})
    assert (await client.send(service, ["a", "evil"]))[0] == 400
    assert await held(client, service) == 0


async def test_a_bad_body_is_refused_whatever_the_fault(
    client: Client, emulator: Emulator, service: ServiceName
) -> None:
    """Faults of the connection hide the refusal; nothing is stored."""
    emulator.patch(script={service: ["garbled_200", "stored_then_500"]}, refuse_rows={"marker": "evil"})
    assert (await client.send(service, ["evil"]))[0] == 422
    assert (await client.send(service, ["evil"]))[0] == 500
    assert await held(client, service) == 0


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_in_both_forms(
    client: Client, emulator: Emulator, clock: Clock, service: ServiceName, form: str
) -> None:
    meet(emulator, service, "503_retry_after", retry_after=form, retry_after_s=7)
    _, _, headers = await client.send(service, TEXTS)
    wait = headers["Retry-After"]
    if form == "seconds":
        assert wait == "7"
    else:
        assert parsedate_to_datetime(wait).timestamp() == clock.now + 7


async def test_a_table_of_probabilities_is_drawn_from_its_seed(
    client: Client, emulator: Emulator, service: ServiceName
) -> None:
    """The same seed gives the same faults; the counters say which."""
    seen = []
    for _ in range(2):
        emulator.patch(seed=7, faults={service: {"503_plain": 0.4, "stored_then_500": 0.2}})
        await client.call("POST", "/_emulator/reset")
        seen.append([(await client.send(service, ["a"]))[0] for _ in range(20)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 503, 500}
    counted = await client.counted(service)
    assert sum(counted["by_fault"].values()) == 20
    assert await held(client, service) == counted["by_fault"]["ok"] + counted["by_fault"]["stored_then_500"]


def test_probabilities_hold_over_many_draws(service: ServiceName) -> None:
    settings = Settings(seed=1, faults={service: {"429": 0.1, "stored_late": 0.3}})
    dice = Dice(settings)
    drawn = [dice.upload(service, settings) for _ in range(10_000)]
    assert 850 < drawn.count("429") < 1150
    assert 2800 < drawn.count("stored_late") < 3200


async def test_the_script_comes_first_and_is_used_up(client: Client, emulator: Emulator, service: ServiceName) -> None:
    emulator.patch(script={service: ["ok", "503_plain", "ok"]}, faults={service: {"payment_402": 1.0}})
    assert [(await client.send(service, ["a"]))[0] for _ in range(2)] == [200, 503]
    assert (await client.counted(service))["script_left"] == ["ok"]


async def test_readback_has_faults_of_its_own(client: Client, emulator: Emulator, service: ServiceName) -> None:
    """Uploads do not meet them."""
    # aiohttp sends a GET whose connection was lost once more by itself.
    resets = ["reset_after_body"] * (2 if service == "nebius" else 1)
    emulator.patch(readback_script={service: ["503_plain", "garbled_200", "cut_200", *resets]})
    assert (await client.send(service, TEXTS))[0] == 200
    assert (await look(client, service))[0] == 503
    assert (await look(client, service))[:2] == (200, None)
    for _ in range(2):
        with pytest.raises(LOST):
            await look(client, service)
    assert (await look(client, service))[0] == 200
    emulator.patch(readback_faults={service: {"not_stored_500": 1.0}})
    assert (await look(client, service))[0] == 500


@pytest.mark.parametrize(("mode", "status"), [("off", 404), ("forbidden", 403)])
async def test_readback_can_be_off(
    client: Client, emulator: Emulator, service: ServiceName, mode: str, status: int
) -> None:
    emulator.patch(readback={service: mode})
    assert (await client.send(service, TEXTS))[0] == 200
    assert (await look(client, service))[0] == status
    assert (await client.counted(service))["readback_by_status"] == {str(status): 1}


async def look(client: Client, service: ServiceName) -> tuple[int, Any, Any]:
    if service == "nebius":
        return await client.call("GET", "/v1/datasets")
    return await client.call("POST", "/graphql", json={"query": "{ x }"})


async def test_a_client_killed_before_storing_is_stored_all_the_same(service: ServiceName) -> None:
    """Its body had arrived; `store_delay_ms` holds it back until after the client is gone."""
    async with running(Settings(store_delay_ms=100)) as emulator, aiohttp.ClientSession() as session:
        client = Client(session, emulator.url)
        task = asyncio.create_task(client.send(service, TEXTS))
        await until(lambda: emulator.state.tallies[service].bytes_received > 0)
        task.cancel()
        await emulator.idle()
        assert await held(client, service) == 3


async def test_a_client_killed_in_mid_body_is_not_stored(
    client: Client, emulator: Emulator, service: ServiceName
) -> None:
    async def endless() -> Any:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    path = "/v1/datasets" if service == "nebius" else "/api/v1/dataset/upload"
    task = asyncio.create_task(client.call("POST", path, data=endless()))
    await until(lambda: under_way(emulator, service) == 1)
    task.cancel()
    await emulator.idle()
    counted = await client.counted(service)
    assert counted["by_status"] == {"gone": 1}
    assert counted["datasets"] == []


async def test_an_upload_stores_fast(client: Client, service: ServiceName) -> None:
    """20,000 rows are well under a second's work, whatever else the machine does."""
    began = time.process_time()
    if service == "nebius":
        status = (await client.create([{"text": "x" * 500}] * 20_000))[0]
    else:
        status = (await client.upload([turn_row("x" * 250)] * 20_000))[0]
    assert status == 200
    assert time.process_time() - began < 5
