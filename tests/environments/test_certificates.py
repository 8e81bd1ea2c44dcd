"""Certificates, each as a process meets it: its exit code, in seconds, and one line that says what to do."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import anyio.to_thread
import pytest

from tests.cli.conftest import emulator, one_emulator  # noqa: F401 - fixtures
from tests.cli.shell import Done, Shell
from tests.environments.wires import Authority, listening, relaying

SOON_S = 30.0
"""Far from the ten minutes of `--retry-for`, however busy the machine is."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def shell(emulator: object, tmp_path: Path) -> Shell:  # noqa: F811
    (tmp_path / "rows.jsonl").write_text('{"a":1}\n{"a":2}\n')
    return Shell(tmp_path, emulator)  # type: ignore[arg-type]


async def run(shell: Shell, *command: str, **environment: str) -> Done:
    return await anyio.to_thread.run_sync(lambda: shell.run(*command, environment=environment))


async def upload(shell: Shell, port: int, *options: str, host: str = "127.0.0.1", **environment: str) -> Done:
    url = f"https://{host}:{port}"
    return await run(
        shell, "upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url, *options, **environment
    )  # fmt: skip


def last_line(done: Done) -> str:
    lines = [line for line in done.err.splitlines() if line.startswith("bulkup: ")]
    assert len(lines) == 1, done
    return lines[0]


@pytest.mark.parametrize("way", ["flag", "environment", "file", "section", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
async def test_an_authority_of_ones_own(shell: Shell, ours: Authority, way: str) -> None:
    (shell.folder / "mine.pem").write_bytes(ours.file.read_bytes())
    options: list[str] = []
    environment: dict[str, str] = {}
    match way:
        case "flag":
            options = ["--ca-file", "mine.pem"]
        case "environment":
            environment = {"BULKUP_CA_FILE": "mine.pem"}
        case "file":
            (shell.folder / "c.toml").write_text('ca_file = "mine.pem"\n')
            options = ["--config", "c.toml"]
        case "section":
            (shell.folder / "c.toml").write_text('ca_file = "none.pem"\n[nebius]\nca_file = "mine.pem"\n')
            options = ["--config", "c.toml"]
        case _:
            environment = {way: "mine.pem"}
    async with listening(relaying(port_of(shell)), ours.certificate().context) as port:
        done = await upload(shell, port, *options, **environment)
        assert done.code == 0, done
        if way == "flag":  # the run knows it: the other commands need no flag, wherever they are given
            record = shell.receipt()["run_id"]
            verified = await run(shell, "verify", record, "--sample", "1.0")
            assert verified.code == 0, verified


async def test_an_authority_is_known_to_worker_processes(shell: Shell, ours: Authority) -> None:
    async with listening(relaying(port_of(shell)), ours.certificate().context) as port:
        done = await upload(shell, port, "--ca-file", str(ours.file), "--workers", "2")
    assert done.code == 0, done


async def test_a_folder_of_authorities(shell: Shell, ours: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "mine.pem").write_bytes(ours.file.read_bytes())
    subprocess.run(["openssl", "rehash", str(folder)], check=True, timeout=30)
    async with listening(relaying(port_of(shell)), ours.certificate().context) as port:
        assert (await upload(shell, port, "--ca-file", str(folder))).code == 0


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("bench", "unknown authority", ["--ca-file", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]),
        ("upload", "unknown authority", ["--ca-file", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]),
        ("upload", "self-signed", ["--ca-file", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]),
        ("upload", "expired", ["has expired", "clock"]),
        ("upload", "another host", ["another host", "base URL"]),
        ("upload", "another address", ["another host", "base URL"]),
        ("upload", "no TLS", ["does not speak TLS", "port"]),
    ],
)
async def test_a_fault_that_lasts_ends_at_once(
    shell: Shell, ours: Authority, command: str, kind: str, words: list[str]
) -> None:
    """With `--retry-for` as it is by default. `bench` hears of it as `upload` does."""
    trusted = ["--ca-file", str(ours.file)]
    tls: ssl.SSLContext | None = None
    match kind:
        case "unknown authority":
            tls, trusted = ours.certificate().context, []
        case "self-signed":
            tls, trusted = ours.itself.context, []
        case "expired":
            tls = ours.certificate(days=-1).context
        case "another host":
            tls = ours.certificate(names="DNS:other.example").context
        case "another address":
            tls = ours.certificate(names="IP:127.0.0.2").context
        case _:  # no TLS
            pass
    host = "localhost" if kind == "another host" else "127.0.0.1"
    began_s = time.monotonic()
    async with listening(relaying(port_of(shell)), tls) as port:
        if command == "upload":
            done = await upload(shell, port, *trusted, host=host)
        else:
            done = await run(
                shell, "bench", "--to", "nebius", "--url", f"https://{host}:{port}", *trusted, "--yes", "--sizes", "4KiB"
            )  # fmt: skip
    assert time.monotonic() - began_s < SOON_S
    assert done.code == 2, done
    line = last_line(done) if command == "upload" else done.err
    assert all(word in line for word in words), line


async def test_a_variable_that_names_nothing_is_said(shell: Shell, ours: Authority) -> None:
    """OpenSSL passes over it in silence."""
    async with listening(relaying(port_of(shell)), ours.certificate().context) as port:
        done = await upload(shell, port, SSL_CERT_FILE="/nowhere/mine.pem")
    assert done.code == 2
    assert "SSL_CERT_FILE names /nowhere/mine.pem, which cannot be read" in last_line(done)


@pytest.mark.parametrize("way", ["--ca-file", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("place", "words"), [("none.pem", "No such file"), ("rows.jsonl", "no certificate in PEM form")]
)
async def test_authorities_that_cannot_be_read(shell: Shell, way: str, place: str, words: str) -> None:
    """Before anything is asked or sent."""
    options = [way, place] if way.startswith("--") else []
    environment = {} if options else {way: place}
    done = await upload(shell, 1, *options, **environment)
    assert done.code == 2
    line = last_line(done)
    assert way in line
    assert words in line


async def test_a_name_that_does_not_resolve_may_be_an_outage(shell: Shell) -> None:
    done = await upload(shell, 443, "--retry-for", "0", host="nowhere.invalid")
    assert done.code == 75, done


def port_of(shell: Shell) -> int:
    return int(shell.emulator.url.rpartition(":")[2])
