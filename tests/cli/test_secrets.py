"""A token is nowhere but in the Authorization header."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio.to_thread
import pytest

from tests.cli.shell import SPACE, TOKENS, Done, Shell
from tests.environments.wires import Request, answer, answering, listening

PASSWORD = "hunter2-8ab1"
OLD = "nb/old-token+07e1b5d2c9"
"""One that was renewed since, with characters that encodings change."""

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded throughout": lambda text: "".join(f"%{ord(char):02X}" for char in text),
    "escaped": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "slashes escaped": lambda text: text.replace("/", "\\/"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of the header": lambda text: base64.b64encode(f"Bearer {text}".encode()).decode(),
}


def hunt(shell: Shell, *done: Done) -> None:
    """No secret, in any of `FORMS`, is in what was printed or written."""
    secrets = [*TOKENS.values(), OLD]
    written = {form(secret) for secret in secrets for form in FORMS.values()}
    shown = re.compile("|".join(map(re.escape, [*written, PASSWORD])).encode(), re.IGNORECASE)
    for one in done:
        assert not shown.search(one.out.encode()), one.out
        assert not shown.search(one.err.encode()), one.err
    for path in Path(shell.folder).rglob("*"):
        if path.is_file() and path.suffix != ".token":
            data = path.read_bytes()
            data += gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""
            assert not shown.search(data), path


@pytest.mark.parametrize(
    "fault", ["unauthorized_401", "forbidden_403", "payment_402", "not_stored_500", "stored_then_502"]
)
def test_no_command_repeats_what_a_server_echoes(shell: Shell, rows: list[Any], fault: str) -> None:
    """The server's errors hold the Authorization header; nothing that a command says or writes does."""
    shell.emulator.patch(
        faults={"nebius": {fault: 1.0}, "collinear": {fault: 1.0}},
        echo_authorization=True,
    )
    (shell.folder / "c.toml").write_text('[nebius]\ntoken_file = "x.token"\n')
    (shell.folder / "x.token").write_text(TOKENS["NEBIUS_API_KEY"] + "\n")
    command = ["upload", "rows.jsonl", *shell.both, "--preset", "question-answer", "--retry-for", "0", "-v"]
    command += ["--settle-after", "0.1"]
    done = [shell.run(*command, "--config", "c.toml"), shell.run(*command, "--json")]
    assert done[0].code not in (0, 1), done
    assert done[1].code != 1, done
    assert done[1].code != 0 or fault.startswith("stored"), done  # what was stored is found by looking
    run = shell.receipt()["run_id"]
    shell.emulator.patch(readback_faults={"nebius": {fault: 1.0}, "collinear": {fault: 1.0}})
    more = [
        shell.run("status", "-v"),
        shell.run("status", "--json"),
        shell.run("rejects", run, "-v"),
        shell.run("resume", run, "-v", "--json"),
        shell.run("settle", run, "-v", "--json"),
        shell.run("verify", run, "-v", "--json"),
    ]
    hunt(shell, *done, *more)


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{PASSWORD}@127.0.0.1:1",
        f"https://{PASSWORD}@example.com",
        f"me:{PASSWORD}@127.0.0.1",
        f"http://127.0.0.1:1/?token={PASSWORD}",
        f"http://me:{PASSWORD}@[::1",
        f"http://me:{PASSWORD}\u2100@example.com",
    ],
)
def test_a_url_with_credentials_is_refused_and_not_repeated(shell: Shell, rows: list[Any], url: str) -> None:
    """Neither the message, nor a traceback, nor a file of a run that never was."""
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url, "-v")
    assert done.code == 2
    hunt(shell, done)


def test_a_token_given_as_an_option_is_not_repeated(shell: Shell, rows: list[Any]) -> None:
    for form in (["--token", PASSWORD], [f"--nebius-token={PASSWORD}"], ["--api-key", PASSWORD]):
        done = shell.run("upload", "rows.jsonl", "--to", "nebius", *form, "-v")
        assert done.code == 2
        assert "NEBIUS_API_KEY" in done.err
        hunt(shell, done)


def test_a_bad_token_is_not_repeated(shell: Shell, rows: list[Any]) -> None:
    shell.environment["NEBIUS_API_KEY"] = f"{PASSWORD} with spaces"
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "-v")
    assert done.code == 77
    hunt(shell, done)


class Service:
    """Both services for a run whose Nebius token is renewed: the old one is known in the run before anything else is answered."""

    def __init__(self, shell: Shell, answers: Callable[[Service, Request], bytes | None]) -> None:
        self._answers = answers
        self._file = shell.folder / "x.token"
        self._file.write_text(OLD)
        self.secrets = {OLD, TOKENS["COLLINEAR_API_KEY"]}
        self.datasets: list[dict[str, Any]] = []
        self.uploads = 0

    def __call__(self, request: Request) -> bytes:
        self.secrets.add(request.token)
        is_upload = request.method == "POST" and request.path != "/graphql"
        if is_upload and request.token == OLD:
            self._file.write_text(TOKENS["NEBIUS_API_KEY"])
            return answer(401, {"detail": "renew it"})
        self.uploads += is_upload
        found = self._answers(self, request)
        if found is not None:
            return found
        match request.method, request.path.partition("?")[0]:
            case "GET", "/v1/datasets":
                return answer(200, {"data": self.datasets, "has_more": False})
            case "POST", "/graphql":
                return answer(200, {"data": {"getUploadedDatasetByPageAndSpaceId": {"count": 0, "datasets": []}}})
            case _:
                return answer(404, {"detail": "there is no such thing"})

    def say(self, form: Callable[[str], str]) -> str:
        """Every secret that the process at work has had: the old token, both that are in use, and so the other lane's."""
        return " / ".join(map(form, sorted(self.secrets)))


UPLOAD = ["upload", "rows.jsonl", "--to", "nebius", "--to", "collinear", "--space-id", SPACE, "--config", "c.toml"]
UPLOAD += ["--preset", "question-answer", "--retry-for", "0", "--settle-after", "0.05", "-v"]


async def runs(shell: Shell, service: Service, *options: str) -> list[Done]:
    """An upload to *service* and every command that looks at it afterwards, whatever they come to."""
    (shell.folder / "c.toml").write_text('[nebius]\ntoken_file = "x.token"\n[collinear]\n')
    (shell.folder / "rows.jsonl").write_text(
        "".join(json.dumps({"question": f"what is {i}", "answer": f"it is {i}"}) + "\n" for i in range(3))
    )

    def all_of(port: int) -> list[Done]:
        url = f"http://127.0.0.1:{port}"
        urls = ["--nebius-url", url, "--collinear-url", url]
        upload = shell.run(*UPLOAD, "--json", *urls, *options)
        service.secrets = set(TOKENS.values())  # another process never had the old one
        run = shell.receipt()["run_id"]
        done = [shell.run(name, run, "--retry-for", "0", "-v", "--json") for name in ("resume", "verify", "settle")]
        return [
            upload,
            *done,
            shell.run("status", "-v"),
            shell.run("status", "--json"),
            shell.run("rejects", run, "-v"),
        ]

    async with listening(answering(service)) as port:
        return await anyio.to_thread.run_sync(all_of, port)


@pytest.mark.parametrize(
    ("status", "form"),
    [
        *((403, "as it is"), (400, "percent-encoded"), (422, "escaped")),
        *(
            pytest.param(
                *one, marks=pytest.mark.slow
            )  # what a form of a secret is has its tests in `tests/test_secret.py`
            for one in ((500, "in capitals"), (500, "base64 of the header"), (422, "slashes escaped"))
        ),
    ],
)
async def test_no_secret_of_the_run_is_kept_however_a_service_writes_it(shell: Shell, status: int, form: str) -> None:
    """The old token of a renewed file, and the other lane's. 400 and 500 stay in doubt, 422 goes to the rejects, 403 stops."""

    def refuses(service: Service, request: Request) -> bytes | None:
        is_upload = request.method == "POST" and "graphql" not in request.path
        said = service.say(FORMS[form])
        item = {"loc": ["body", 0], "msg": said} if status == 422 else said
        return answer(status, {"detail": [item]}, X_Said=said) if is_upload else None

    done = await runs(shell, Service(shell, refuses))
    assert 1 not in {one.code for one in done}, done
    texts = [done[0].out, *(path.read_text("latin-1") for path in shell.folder.glob(".bulkup/*/*"))]
    assert any("***" in text for text in texts), "what a service said is kept, without the secrets"
    hunt(shell, *done)


async def test_worker_processes_keep_quiet_of_every_secret_too(shell: Shell) -> None:
    """The other lane's, which no attempt of theirs went with."""

    def refuses(service: Service, request: Request) -> bytes | None:
        return answer(403, {"detail": service.say(str)}) if "graphql" not in request.path else None

    done = await runs(shell, Service(shell, refuses), "--workers", "2")
    assert 1 not in {one.code for one in done}, done
    hunt(shell, *done)


def nebius_record(service: Service, request: Request, **said: Any) -> dict[str, Any]:
    sent = json.loads(request.body)
    made = {"id": f"ds-{service.uploads}", "name": sent["name"], "folder": sent["folder"], "status": "READY"}
    return {**made, "schema": sent["schema"], **said}


def echo(request: Request) -> list[dict[str, Any]]:
    rows = json.loads(re.findall(rb"\r\n\r\n(\[.*\])\r\n--", request.body, re.DOTALL)[0])
    return [{"id": f"row-{number}", **row} for number, row in enumerate(rows)]


def by_dataset_id(service: Service, request: Request, text: str) -> bytes | None:
    if (request.method, request.path) == ("POST", "/v1/datasets"):
        return answer(200, nebius_record(service, request, id=f"ds-{text}-1"))
    return None


def by_dataset_name(service: Service, request: Request, text: str) -> bytes | None:
    if (request.method, request.path) == ("POST", "/v1/datasets"):
        return answer(200, nebius_record(service, request, name=f"ds-{text}"))
    return None


def by_file_name(_: Service, request: Request, text: str) -> bytes | None:
    if request.path == "/api/v1/dataset/upload":
        disposition = f'attachment; filename="{text}.json"'
        return answer(200, echo(request), Content_Disposition=disposition)
    return None


def by_row_id(_: Service, request: Request, text: str) -> bytes | None:
    if request.path == "/api/v1/dataset/upload":
        rows = echo(request)
        rows[-1]["id"] = f"row-{text}"
        return answer(200, rows)
    return None


@pytest.mark.parametrize(
    ("where", "secret", "form"),
    [
        (by_dataset_id, "old", "as it is"),
        pytest.param(by_dataset_id, "other lane's", "in capitals", marks=pytest.mark.slow),
        (by_dataset_name, "own", "base64"),
        (by_file_name, "old", "in capitals"),
        (by_row_id, "own", "as it is"),
        pytest.param(by_row_id, "old", "base64", marks=pytest.mark.slow),
    ],
)
async def test_an_answer_with_a_secret_in_an_id_or_a_name_is_in_doubt(
    shell: Shell, where: Callable[[Service, Request, str], bytes | None], secret: str, form: str
) -> None:
    """It is neither kept nor rewritten."""
    lane = "nebius" if where in (by_dataset_id, by_dataset_name) else "collinear"
    other = "COLLINEAR_API_KEY" if lane == "nebius" else "NEBIUS_API_KEY"
    own = "NEBIUS_API_KEY" if lane == "nebius" else "COLLINEAR_API_KEY"
    text = {"old": OLD, "other lane's": TOKENS[other], "own": TOKENS[own]}[secret]
    shown = FORMS[form](text).rstrip("=")
    if where is by_dataset_id:
        shown = shown.replace("/", "_").replace("+", "-")  # as an id may have it, in the other alphabet of base64

    def answers(service: Service, request: Request) -> bytes | None:
        return where(service, request, shown if secret != "old" or OLD in service.secrets else "x")

    done = await runs(shell, Service(shell, answers))
    assert 1 not in {one.code for one in done}, done
    receipt = json.loads((shell.folder / ".bulkup" / shell.receipt()["run_id"] / "receipt.json").read_text())
    assert receipt["destinations"][lane]["rows_landed"] == 0 or secret == "old"
    assert done[0].json["destinations"][lane]["rows_in_doubt"] == 3, done[0]
    assert shown not in "".join(one.out + one.err for one in done)
    hunt(shell, *done)


async def test_a_list_with_a_secret_in_an_id_is_no_look(shell: Shell) -> None:
    """What was landed before it, and what was there before the run, are not known by such an id."""

    def lists(service: Service, request: Request) -> bytes | None:
        if request.method == "POST" and request.path == "/v1/datasets":
            service.datasets.append(nebius_record(service, request, id=f"ds-{min(service.secrets)}"))
            return answer(500, {"detail": "stored, and then lost"})
        if request.path == "/graphql":
            listed = [{"id": f"c-{min(service.secrets)}", "name": "rows", "rows": 3, "createdAt": ""}]
            return answer(200, {"data": {"getUploadedDatasetByPageAndSpaceId": {"count": 1, "datasets": listed}}})
        return answer(500, {}) if request.path == "/api/v1/dataset/upload" else None

    done = await runs(shell, Service(shell, lists))
    assert 1 not in {one.code for one in done}, done
    assert done[0].json["destinations"]["nebius"]["rows_in_doubt"] == 3, done[0]
    hunt(shell, *done)


@pytest.mark.parametrize(
    ("text", "words"), [(f'"{PASSWORD}"', "quotes"), (f"Bearer {PASSWORD}", "Bearer"), (f"{PASSWORD} x", "spaces")]
)
def test_what_is_no_token_is_said_and_not_repeated(shell: Shell, rows: list[Any], text: str, words: str) -> None:
    for command in (
        ["upload", "rows.jsonl", "--to", "nebius", *shell.urls],
        ["bench", "--to", "nebius", "--url", shell.emulator.url],
    ):
        done = shell.run(*command, "-v", environment={"NEBIUS_API_KEY": text})
        assert done.code == 77, done
        assert "NEBIUS_API_KEY" in done.err
        assert words in done.err
        hunt(shell, done)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (["--name", "x-{}"], "settings.name"),
        (["--drop", "{}"], "destinations.nebius.drop"),
        (["--nebius-url", "https://example.com/{}"], "destinations.nebius.url"),
    ],
)
def test_a_token_that_went_into_another_setting_is_refused(
    shell: Shell, rows: list[Any], options: list[str], place: str
) -> None:
    given = [option.format(TOKENS["COLLINEAR_API_KEY"]) for option in options]
    done = shell.run("upload", "rows.jsonl", *shell.both, *given, "-v")
    assert done.code == 2, done
    assert f"{place} holds a token" in done.err
    hunt(shell, done)


def test_a_short_token_is_a_word_of_its_own(shell: Shell, rows: list[Any]) -> None:
    """Nothing else of what a service says is lost to it."""
    shell.emulator.patch(faults={"nebius": {"forbidden_403": 1.0}}, echo_authorization=True)
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, environment={"NEBIUS_API_KEY": "or"})
    assert done.code == 77
    assert "Authorization: Bearer ***" in done.err + done.out
