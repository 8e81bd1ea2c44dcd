"""What is permanent stops the lane, with the right code, and keeps what has landed."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from bulkup.account.finished import Event
from bulkup.errors import DestinationNotEmpty, SourceChanged, TokenRefused
from bulkup.run.story import execute
from tests.e2e.harness import SPACE, Bench

LANES = ("nebius", "collinear")


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("fault", "code"),
    [("unauthorized_401", 77), ("payment_402", 77), ("forbidden_403", 77), ("redirect_307", 2)],
)
async def test_a_permanent_answer_stops_its_lane_alone(small: Bench, lane: str, fault: str, code: int) -> None:
    other = LANES[1 - LANES.index(lane)]
    small.emulator.patch(script={lane: ["ok", *[fault] * 20]})
    receipt = await small.run(small.nebius(max_chunk_bytes=50_000), small.collinear(max_chunk_bytes=50_000))
    assert receipt.exit_code == receipt.destinations[lane].exit_code == code
    assert receipt.destinations[other].exit_code == 0
    assert small.stored(other) == small.expected(other)
    assert receipt.destinations[lane].rows_left > 0
    assert small.stored(lane).total() == receipt.destinations[lane].rows_landed > 0
    small.emulator.patch(script={})
    assert (
        await small.run(small.nebius(max_chunk_bytes=50_000), small.collinear(max_chunk_bytes=50_000))
    ).exit_code == 0
    assert small.stored(lane) == small.expected(lane)


async def test_a_wrong_token_is_refused_before_anything_is_sent(small: Bench) -> None:
    small.emulator.patch(tokens=["another"])
    with pytest.raises(TokenRefused, match="the service rejected NEBIUS_API_KEY"):
        await small.run()
    assert small.emulator.summary()["nebius"]["uploads_received"] == 0


async def test_a_token_file_is_read_anew_when_its_token_expires(small: Bench, tmp_path: Path) -> None:
    """Each of the two tokens is good for six requests, and the look and the uploads are more than six."""
    token = tmp_path / "token"
    token.write_text("first-token\n")
    small.emulator.patch(tokens=["first-token", "second-token"], token_requests=6)

    def renew(event: Event) -> None:
        """The first token is read when the run is opened, before anything is said."""
        token.write_text("second-token\n")

    upload = small.upload(small.nebius(token_file=token, max_chunk_bytes=60_000))
    receipt = await execute(upload, tell=renew)
    assert receipt.exit_code == 0
    assert receipt.destinations["nebius"].this_invocation.attempts_by_outcome["token_rejected"] > 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_a_service_that_is_down_for_too_long(small: Bench) -> None:
    with socket.socket() as bound:  # to a port on which nobody listens
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        receipt = await small.run(small.nebius(url=url), retry_for_s=0.2)
    assert receipt.exit_code == 75
    assert receipt.destinations["nebius"].rows_landed == 0


@pytest.mark.parametrize("lane", LANES)
async def test_what_is_there_already_is_refused_unless_append(small: Bench, lane: str) -> None:
    row = small.rows[0]
    if lane == "collinear":
        from tests.e2e.harness import as_collinear

        small.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[as_collinear(row)])
    else:
        schema = [{"name": key, "type": {"name": "string"}} for key in row]
        small.emulator.write("nebius", name="rows", folder="/tests", schema=schema, rows=[row])
    with pytest.raises(DestinationNotEmpty, match="--append"):
        await small.run()
    for service in LANES:
        assert small.emulator.summary()[service]["uploads_received"] == 0, "nothing is sent anywhere"
    receipt = await small.run(append=True)
    assert receipt.exit_code == 0
    assert small.stored(lane).total() == len(small.rows) + 1


@pytest.mark.parametrize("how", ["off", "forbidden"])
async def test_where_it_cannot_be_looked_up_it_says_so_and_goes_on(small: Bench, how: str) -> None:
    small.emulator.patch(readback=how)
    receipt = await small.run()
    assert receipt.exit_code == 0
    assert sum("cannot look" in note.text for note in small.notes) == 2


async def test_a_source_that_changed_is_refused(small: Bench) -> None:
    small.emulator.patch(script={"nebius": ["ok", *["forbidden_403"] * 9]})
    await small.run(small.nebius(max_chunk_bytes=50_000))
    small.emulator.patch(script={})
    lines = small.source.read_text().splitlines(keepends=True)
    small.source.write_text(lines[0].replace("Natalia", "Nathalie") + "".join(lines[1:]))
    with pytest.raises(SourceChanged, match="has changed"):
        await small.run(small.nebius(max_chunk_bytes=50_000))
    small.source.write_text("x" + "".join(lines)[1:])
    with pytest.raises(SourceChanged, match="not what they were"):
        await small.run(small.nebius(max_chunk_bytes=50_000))
    small.source.write_text("".join(lines))
    assert (await small.run(small.nebius(max_chunk_bytes=50_000))).exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


@pytest.mark.parametrize("names", ["all", "none"])
@pytest.mark.parametrize("lane", LANES)
async def test_a_row_that_only_the_service_refuses(small: Bench, lane: str, names: str) -> None:
    marked = dict(small.rows[137], answer="FORBIDDEN-WORD " + small.rows[137]["answer"])
    small.rows = [*small.rows[:137], marked, *small.rows[138:]]
    small.source.write_text("".join(json.dumps(row) + "\n" for row in small.rows))
    small.emulator.patch(refuse_rows={"marker": "FORBIDDEN-WORD", "names": names})
    receipt = await small.run(getattr(small, lane)(max_chunk_bytes=None))
    done = receipt.destinations[lane]
    assert receipt.exit_code == 3
    assert (done.rows_landed, done.rows_rejected) == (len(small.rows) - 1, 1)
    assert small.stored(lane) == small.expected(lane, [*small.rows[:137], *small.rows[138:]])
    folder = small.folder / "state" / receipt.run_id
    letters = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    assert [json.loads(letter["row"]) for letter in letters] == [marked]
    assert letters[0]["stage"] == "server"
    assert done.this_invocation.requests <= 2 * 10 + 2


async def test_a_400_from_collinear_is_in_doubt_where_nothing_can_be_counted(small: Bench) -> None:
    small.emulator.patch(refuse_rows={"marker": "Natalia", "status": 400}, readback="off")
    receipt = await small.run(small.collinear(max_chunk_bytes=None))
    assert receipt.exit_code == 4
    assert receipt.destinations["collinear"].rows_in_doubt == len(small.rows)


async def test_a_400_from_collinear_is_cut_once_a_count_has_shown_that_it_stores_nothing(small: Bench) -> None:
    small.emulator.patch(refuse_rows={"marker": "Natalia", "status": 400})
    receipt = await small.run(small.collinear(max_chunk_bytes=None))
    assert receipt.exit_code == 3
    good = [row for row in small.rows if "Natalia" not in json.dumps(row)]
    assert small.stored("collinear") == small.expected("collinear", good)
