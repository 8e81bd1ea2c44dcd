"""What goes wrong with a place is one clear line with the right exit code, shows no secret, and the same command goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkup.errors import ExitCode, TokenRefused, UsageProblem
from bulkup.sources import PlaceAccess, open_source
from bulkup.sources.places import fetching, place
from tests.cli.shell import Shell, eventually
from tests.e2e.harness import Bench
from tests.places.servers import AWS, S3, SIGNATURE, Web, WebFile

SECRET = AWS["AWS_SECRET_ACCESS_KEY"]
QUERY = "X-Amz-Signature=77aa0f3c9be1d25846&token=short"
PASSWORD = "hunter2-77cd"
FORBIDDEN = re.compile(
    "|".join(map(re.escape, (SECRET, QUERY, "77aa0f3c9be1d25846", PASSWORD, SIGNATURE))).encode(), re.IGNORECASE
)


def hunted(shell: Shell, *texts: str) -> None:
    for text in texts:
        assert not FORBIDDEN.search(text.encode()), text
    for path in Path(shell.folder).rglob("*"):
        if path.is_file():
            assert not FORBIDDEN.search(path.read_bytes()), path


def test_every_command_keeps_the_secrets_of_a_source(shell: Shell, web: Web) -> None:
    """In what succeeds, and where the server refuses; the run goes on with another signature."""
    web.files["/rows.jsonl"] = WebFile(b'{"text": "a"}\n' * 50)
    url = f"http://me:{PASSWORD}@127.0.0.1:{web.port}/rows.jsonl?{QUERY}"
    command = ["upload", url, "--to", "nebius", *shell.urls, "-v"]
    web.faults.append(403)
    refused = shell.run(*command)
    assert (refused.code, "the user and password in the URL" in refused.err) == (77, True)
    done = shell.run(*command, "--json")
    assert done.code == 0, done.err
    run = shell.receipt()["run_id"]
    assert shell.receipt()["source"]["uris"] == [f"http://127.0.0.1:{web.port}/rows.jsonl"]
    again = shell.run("upload", url.replace("77aa0f", "88bb1a"), "--to", "nebius", *shell.urls, "--json")
    assert (again.code, again.json["run_id"]) == (0, run)
    more = [
        shell.run(*words, run) for words in (("status", "--json"), ("resume", "-v"), ("verify", "-v"), ("rejects",))
    ]
    hunted(shell, *(text for one in (refused, done, again, *more) for text in (one.out, one.err)))


def test_what_is_wrong_with_a_bucket_is_one_line(shell: Shell, s3: S3) -> None:
    s3.put("rows.jsonl", b'{"text": "a"}\n' * 50)
    there = ["--endpoint-url", s3.url, "--to", "nebius", "--name", "rows", *shell.urls]
    nothing = dict.fromkeys(AWS, "") | {"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none"}
    nothing["AWS_EC2_METADATA_DISABLED"] = "true"
    for locator, environment, code, words in (
        ("s3://no-such-bucket-here/rows.jsonl", AWS, 2, "there is no bucket called no-such-bucket-here"),
        ("s3://rows-of-ours/gone.jsonl", AWS, 2, "s3://rows-of-ours/gone.jsonl: there is no such object"),
        ("s3://rows-of-ours/rows.jsonl", nothing, 77, "there are no AWS credentials"),
        ("s3://rows-of-ours/rows.jsonl", AWS, 0, ""),
    ):
        done = shell.run("upload", locator, *there, "-q", environment=environment)
        assert done.code == code, done.err
        assert words in done.err
        assert len(done.err.splitlines()) == (code != 0), done.err
        hunted(shell, done.out, done.err)


Damage = Callable[[Web], None]


def _gone(web: Web) -> None:
    web.files.pop("/rows.jsonl", None)


def _changed(web: Web) -> None:
    web.files["/rows.jsonl"].etag = '"v2"'


def _refused(web: Web) -> None:
    web.faults.append(403)


def _away(web: Web) -> None:
    web.faults.extend([503] * 3)


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (_gone, ExitCode.SOURCE_CHANGED, "is gone"),
        (_changed, ExitCode.SOURCE_CHANGED, "has changed since this run looked at it"),
        (_refused, ExitCode.NO_PERMISSION, "refused to give it (403)"),
        (_away, ExitCode.TRY_LATER, "cannot be read now: the server answered 503"),
    ],
)
async def test_what_happens_in_the_middle_ends_in_order_and_goes_on(
    shell: Shell, web: Web, monkeypatch: pytest.MonkeyPatch, damage: Damage, code: ExitCode, words: str
) -> None:
    monkeypatch.setenv("NEBIUS_API_KEY", "nb-token-4c1d7e02b9")
    monkeypatch.setattr(fetching, "WINDOW_BYTES", 4000)
    monkeypatch.setattr(fetching, "GIVE_UP_S", 0.0)
    rows = [{"text": f"row {number}", "note": "x" * 100} for number in range(5000)]
    bench = Bench(shell.emulator, shell.folder, rows)
    file = web.files["/rows.jsonl"] = WebFile(bench.source.read_bytes())

    def on_request(_: object) -> None:
        if len(web.asked) == 200:
            eventually(lambda: shell.emulator.summary()["nebius"]["uploads_received"] >= 3)
            damage(web)

    web.on_request = on_request
    lane = bench.nebius(max_chunk_bytes=8000)

    first = await bench.run(lane, source=f"{web.url}/rows.jsonl", scan="none")  # type: ignore[arg-type]
    assert first.exit_code == code
    reason = first.destinations["nebius"].reason
    assert reason is not None
    assert words in reason
    assert 0 < bench.stored("nebius").total() < len(rows)
    web.faults.clear()
    web.files["/rows.jsonl"] = file
    file.etag = '"v1"'
    second = await bench.run(lane, source=f"{web.url}/rows.jsonl", scan="none")  # type: ignore[arg-type]
    assert second.exit_code == 0, second.destinations["nebius"].reason
    assert bench.stored("nebius") == bench.expected("nebius")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ExpiredToken", r"they have expired\); it was asked with the AWS credentials found by env"),
        (403, "InvalidAccessKeyId", r"it does not know them\); it was asked with the AWS credentials found by env"),
        (403, "AccessDenied", r"403\); it was asked with the AWS credentials found by env"),
    ],
)
@pytest.mark.parametrize("locator", ["s3://rows-of-ours/rows.jsonl", "s3://rows-of-ours/rows/"])
def test_credentials_that_s3_refuses_are_named(web: Web, locator: str, status: int, code: str, words: str) -> None:
    web.faults.extend([("s3", status, code)] * 4)
    with pytest.raises(TokenRefused, match=words) as caught:
        open_source([locator], max_row_bytes=1000, access=PlaceAccess(endpoint_url=web.url))
    assert "--anonymous" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_credentials_for_azure_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "ours")
    with pytest.raises(TokenRefused, match=r"az://rows/a\.jsonl: there are no credentials for it.*--anonymous"):
        open_source(["az://rows/a.jsonl"], max_row_bytes=1000)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT")
    place.close_all()
    with pytest.raises(UsageProblem, match="set AZURE_STORAGE_ACCOUNT"):
        open_source(["az://rows/a.jsonl"], max_row_bytes=1000)
