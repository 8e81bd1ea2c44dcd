"""Tokens, quotas, limits, the port, and what `/_emulator` says."""

from __future__ import annotations

import asyncio
import contextlib
import io
import stat
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from bulkup.emulator import Emulator, Growth, Rate, Settings, Window, create_app, running
from bulkup.emulator.limits import Limits

from .calls import SPACE, Client, turn_row, under_way, until
from .conftest import Clock


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "token"}])
async def test_without_a_token_nothing_goes(client: Client, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/datasets"), ("GET", "/v1/datasets"), ("POST", "/graphql")):
        status, said, answered = await client.call(method, path, headers=headers, json={})
        assert (status, bool(said["detail"])) == (401, True)
        assert answered["WWW-Authenticate"] == "Bearer"
    assert (await client.upload(headers=headers))[0] == 401
    assert (await client.counted("collinear"))["by_status"] == {"401": 1}


async def test_only_known_tokens_are_taken(client: Client, emulator: Emulator) -> None:
    emulator.patch(tokens=["token-2"])
    assert (await client.create())[0] == 401
    assert (await client.call("GET", "/v1/datasets", headers={"Authorization": "Bearer token-2"}))[0] == 200


async def test_a_token_can_be_used_up(client: Client, emulator: Emulator) -> None:
    """Each one by itself."""
    emulator.patch(token_requests=2)
    assert [(await client.create())[0] for _ in range(4)] == [200, 200, 401, 401]
    assert (await client.call("GET", "/v1/datasets", headers={"Authorization": "Bearer new"}))[0] == 200


async def test_errors_can_repeat_the_token(client: Client, emulator: Emulator) -> None:
    """In the body, in each sentence of it, and in a header; never in an answer that is no error."""
    emulator.patch(echo_authorization=True, script={"nebius": ["ok", "ok", "503_plain"]})
    _, said, headers = await client.create()
    assert "token-1" not in str(said) + str(headers)
    _, said, headers = await client.create([{"text": 1}])
    assert "token-1" in said["detail"][0]["msg"]
    assert headers["x-received-authorization"] == said["received"]["authorization"] == "Bearer token-1"
    assert "token-1" in (await client.create())[1]["detail"]


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
async def test_past_the_quota_is_429_with_its_headers(
    client: Client, emulator: Emulator, clock: Clock, form: str
) -> None:
    emulator.patch(rate={"requests": 2, "window_s": 10, "retry_after": form})
    found = []
    for _ in range(3):
        status, _, headers = await client.create()
        found.append((status, headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]))
        assert headers["x-ratelimit-reset-requests"] == "10"
    assert found == [(200, "2", "1"), (200, "2", "0"), (429, "2", "0")]
    if form == "date":
        assert parsedate_to_datetime(headers["Retry-After"]).timestamp() == clock.now + 10
    else:
        assert headers.get("Retry-After") == ("10" if form == "seconds" else None)
    assert (await client.upload())[0] == 200
    clock.now += 10
    assert (await client.create())[0] == 200


async def test_a_quota_can_be_for_uploads_only_and_silent(client: Client, emulator: Emulator) -> None:
    emulator.patch(rate={"nebius": {"requests": 1, "counts": "uploads", "headers": "off"}})
    assert {(await client.call("GET", "/v1/datasets"))[0] for _ in range(3)} == {200}
    assert [(await client.create())[0] for _ in range(2)] == [200, 429]
    assert "x-ratelimit-limit-requests" not in (await client.create())[2]


def test_a_bucket_refills_evenly(clock: Clock) -> None:
    limits = Limits(clock)
    rate = Rate(requests=10, window_s=10, algorithm="bucket", reset="duration")
    assert [limits.take("nebius", rate).allowed for _ in range(11)] == [True] * 10 + [False]
    clock.now += 1
    quota = limits.take("nebius", rate)
    assert quota.allowed
    assert quota.headers(clock.now)["x-ratelimit-reset-requests"] == "10.000s"
    assert not limits.take("nebius", rate).allowed


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        ({"reset": "floor"}, {"x-ratelimit-reset-requests": "4"}),
        ({"reset": "unix"}, {"x-ratelimit-reset-requests": "5"}),
        ({"reset": "date"}, {"x-ratelimit-reset-requests": "Thu, 01 Jan 1970 00:00:05 GMT"}),
        ({"tells": "ietf"}, {"RateLimit-Policy": '"default";q=3;w=5, "also1";q=2;w=60'}),
        ({"tells": "ietf"}, {"RateLimit": '"default";r=1;t=5, "also1";r=0;t=60'}),
        ({"tells": "ietf-07"}, {"RateLimit-Policy": "3;w=5", "RateLimit": "limit=3, remaining=1, reset=5"}),
        ({"tells": "ietf-06"}, {"RateLimit-Limit": "3, 3;w=5", "RateLimit-Remaining": "1", "RateLimit-Reset": "5"}),
    ],
)
def test_a_quota_is_told_in_each_form_and_all_its_windows_hold(
    clock: Clock, rate: dict[str, Any], told: dict[str, str]
) -> None:
    """The third request would have had room in the first window; it waits for the second, and costs nothing."""
    clock.now = 0.25
    limits = Limits(clock)
    of = Rate(requests=3, window_s=5, starts="clock", also=(Window(requests=2, window_s=60),), **rate)
    limits.take("nebius", of)
    second, third = limits.take("nebius", of), limits.take("nebius", of)
    assert (second.allowed, third.allowed) == (True, False)
    found = second.headers(clock.now)
    assert found == found | told
    assert third.headers(clock.now)["Retry-After"] == "60"
    clock.now = 60
    assert [limits.take("nebius", of).allowed for _ in range(3)] == [True, True, False]


def test_a_quota_grows_by_its_use_and_shrinks_without(clock: Clock) -> None:
    """[vendor docs]: four fifths raise it by a fifth, half or less lowers it by a third; never below where it began."""
    limits = Limits(clock)
    rate = Rate(requests=10, window_s=10, grows=Growth(every_s=100, most=2))

    def period(uses: int) -> str:
        """Use so much of every window of one period; the limit told in the last of them."""
        for _ in range(10):
            for _ in range(uses):
                told = limits.take("nebius", rate).headers(clock.now)["x-ratelimit-limit-requests"]
            clock.now += 10
        return told

    assert [period(uses) for uses in (7, 8, 8, 12, 14, 16, 20, 20, 1, 1, 1)] == [
        *("10", "10", "12", "12", "14", "17", "20", "20", "20", "13", "10")
    ]


async def test_a_capacity_makes_uploads_wait_in_line(client: Client, emulator: Emulator) -> None:
    """Two places, then four, with everybody let in and nobody refused."""
    emulator.patch(capacity={"nebius": 2}, latency_ms=60_000)
    places = emulator.state.capacities["nebius"]
    calls = [asyncio.ensure_future(client.create()) for _ in range(5)]
    await until(lambda: under_way(emulator, "nebius") == 5 and places.taken == 2)
    emulator.patch(capacity=4)
    await until(lambda: places.taken == 4)
    assert not any(call.done() for call in calls)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("early", ["after_body", "at_once"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(client: Client, emulator: Emulator, early: str, chunked: bool) -> None:
    """The client can always read the answer."""
    emulator.patch(body_limit_bytes={"nebius": 1_000_000}, early_answers=early)

    async def pieces() -> Any:
        for _ in range(80):
            yield b"x" * 100_000

    data: Any = pieces() if chunked else io.BytesIO(b"x" * 8_000_000)
    status, said, _ = await client.call("POST", "/v1/datasets", data=data)
    assert (status, bool(said["detail"])) == (413, True)
    assert (await client.create())[0] == 200
    assert (await client.upload([turn_row("x" * 1_000_000)]))[0] == 200


async def test_a_413_can_close_the_connection(client: Client, emulator: Emulator) -> None:
    """The client reads the answer or loses the connection, as it happens; nothing is stored."""
    emulator.patch(body_limit_bytes=1000, close_on_413=True)
    with contextlib.suppress(aiohttp.ClientConnectionError):
        assert (await client.call("POST", "/v1/datasets", data=io.BytesIO(b"x" * 50_000_000)))[0] == 413
    counted = await client.counted("nebius")
    assert counted["by_status"] == {"413": 1}
    assert counted["datasets"] == []


async def test_the_port_closes_and_opens_again(client: Client) -> None:
    """Shut when the call answers, and back by itself."""
    assert (await client.create())[0] == 200
    status, said, _ = await client.call("POST", "/_emulator/close", json={"seconds": 0.5})
    assert (status, said) == (200, {"closed_for_s": 0.5})
    refused = 0
    while True:
        try:
            assert (await client.create())[0] == 200
            break
        except aiohttp.ClientConnectorError:
            refused += 1
            await asyncio.sleep(0.01)
    assert refused
    assert len(await client.stored("nebius")) == 2


async def test_closing_breaks_open_connections(client: Client, emulator: Emulator) -> None:
    emulator.patch(latency_ms=60_000)
    task = asyncio.create_task(client.create())
    while not emulator.state.tallies["nebius"].uploads_stored:
        await asyncio.sleep(0)
    await emulator.shut()
    with pytest.raises(aiohttp.ClientConnectionError):
        await task
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get("/_emulator/summary")
    await emulator.open()
    assert len(await client.stored("nebius")) == 1


async def test_the_port_can_be_closed_at_the_start() -> None:
    async with running(Settings(closed_at_start_s=3600)) as emulator, aiohttp.ClientSession() as session:
        client = Client(session, emulator.url)
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.create()
        await emulator.shut(0)
        while True:
            try:
                assert (await client.create())[0] == 200
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


async def test_idle_connections_are_closed() -> None:
    async with running(Settings(keepalive_s=0.05)) as emulator, aiohttp.ClientSession() as session:
        await Client(session, emulator.url).create()
        reader, writer = await asyncio.open_connection(emulator.host, emulator.port)
        writer.write(b"GET /_emulator/settings HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_latency_comes_before_the_answer(client: Client, emulator: Emulator) -> None:
    emulator.patch(latency_ms=100)
    began = asyncio.get_running_loop().time()
    await client.create()
    assert asyncio.get_running_loop().time() - began >= 0.1


async def test_a_redirect_leads_into_a_trap(client: Client, emulator: Emulator) -> None:
    """Whoever follows is counted, and whether a token came along."""
    emulator.patch(script={"collinear": ["redirect_307"]})
    status, _, headers = await client.upload()
    assert status == 307
    await client.call("POST", headers["Location"], data=b"x")
    counted = await client.counted("collinear")
    assert (counted["redirects_followed"], counted["tokens_sent_after_redirect"]) == (1, 1)


async def test_settings_are_patched_over_http(client: Client) -> None:
    """A table's service is replaced whole, the other one's stays; a plain value holds for both."""
    path = "/_emulator/settings"
    await client.call("POST", path, json={"faults": {"nebius": {"429": 0.5}, "collinear": {"204": 0.5}}})
    status, said, _ = await client.call("POST", path, json={"faults": {"nebius": {"hang": 0.1}}, "readback": "off"})
    assert status == 200
    assert said == await client.get(path)
    assert said["faults"] == {"nebius": {"hang": 0.1}, "collinear": {"204": 0.5}}
    assert said["readback"] == {"nebius": "off", "collinear": "off"}
    assert (await client.call("POST", path, json={"faults": {}}))[1]["faults"] == {}


@pytest.mark.parametrize(
    "patch",
    [
        {"unknown": 1},
        {"faults": {"elsewhere": {}}},
        {"faults": {"nebius": {"unknown": 0.1}}},
        {"faults": {"nebius": {"429": 0.6, "204": 0.6}}},
        {"faults": 3},
        {"latency_ms": "long"},
        {"rate": {"requests": 0}},
        {"keepalive_s": 1},
    ],
)
async def test_a_wrong_patch_changes_nothing(client: Client, patch: dict[str, Any]) -> None:
    before = await client.get("/_emulator/settings")
    status, said, _ = await client.call("POST", "/_emulator/settings", json=patch)
    assert (status, bool(said["detail"])) == (400, True)
    assert await client.get("/_emulator/settings") == before


async def test_another_writer_needs_no_token_and_counts_nothing(client: Client) -> None:
    rows = [turn_row("theirs")]
    given = {"service": "collinear", "dataset_name": "d", "space_id": SPACE, "rows": rows}
    assert (await client.call("POST", "/_emulator/rows", json=given, headers={}))[1]["rows"] == 1
    _, said, _ = await client.call("POST", "/_emulator/rows", json=given)
    assert said["rows"] == 2
    theirs = {"service": "nebius", "name": "n", "folder": "/f", "rows": [{"a": "x"}]}
    schema = [{"name": "a", "type": {"name": "string"}}]
    assert (await client.call("POST", "/_emulator/rows", json={**theirs, "schema": schema}))[0] == 200
    assert (await client.call("POST", "/_emulator/rows", json=theirs))[0] == 422
    assert (await client.upload([turn_row("ours")]))[0] == 200
    assert len(await client.stored("collinear")) == 3
    assert await client.stored("nebius") == [{"a": "x"}]
    assert (await client.counted("nebius"))["uploads_received"] == 0


async def test_the_summary_counts(client: Client) -> None:
    await asyncio.gather(*(client.create() for _ in range(5)))
    await client.create([{"text": 1}])
    await client.call("GET", "/v1/datasets")
    counted = await client.counted("nebius")
    assert (counted["uploads_received"], counted["uploads_stored"], counted["rows_stored"]) == (6, 5, 5)
    assert (counted["requests"], counted["readback_requests"]) == (7, 1)
    assert counted["by_status"] == {"200": 5, "422": 1}
    assert counted["by_fault"] == {"ok": 6}
    assert 2 <= counted["peak_concurrent_uploads"] <= 5
    assert counted["concurrent_uploads"] == 0
    assert [(held["name"], held["folder"], held["rows"], held["status"]) for held in counted["datasets"]] == [
        ("n", "/f", 1, "READY")
    ] * 5


async def test_reset_forgets_rows_and_counters_and_keeps_settings(client: Client, emulator: Emulator) -> None:
    emulator.patch(script={"nebius": ["503_plain"]}, latency_ms=1)
    assert [(await client.create())[0] for _ in range(2)] == [503, 200]
    await client.call("POST", "/_emulator/reset")
    counted = await client.counted("nebius")
    assert (counted["uploads_received"], counted["datasets"], counted["script_left"]) == (0, [], ["503_plain"])
    assert emulator.settings.latency_ms == 1
    assert await client.stored("nebius") == []


async def test_rows_outlive_the_emulator_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    for _ in range(2):
        async with running(db_path=path) as emulator, aiohttp.ClientSession() as session:
            client = Client(session, emulator.url)
            await client.upload()
            assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
            rows = await client.stored("collinear")
            assert len((await client.counted("collinear"))["datasets"]) == 1
    assert len(rows) == 2


async def test_an_application_alone_can_be_mounted_anywhere(tmp_path: Path) -> None:
    """`create_app` needs no listener of ours; only closing the port does."""
    app = create_app(db_path=tmp_path / "rows.db")
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{site.port}")
        assert (await client.create())[0] == 200
        assert (await client.call("POST", "/_emulator/close", json={"seconds": 1}))[0] == 400
    await runner.cleanup()
