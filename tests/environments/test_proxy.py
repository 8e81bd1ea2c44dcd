"""Proxies, each as a process meets it: exit code, one line that names the variable, and its password nowhere."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from tests.cli.conftest import emulator, one_emulator  # noqa: F401 - fixtures
from tests.cli.shell import Done, Shell
from tests.environments.test_certificates import SOON_S, last_line, ours, port_of, run, shell  # noqa: F401 - fixtures
from tests.environments.wires import Authority, answer, listening, proxying, relaying

SERVICE = "https://bulkup.test"
USER, PASSWORD = "some-user", "p#ss/w?rd:9f2c-%"
QUOTED = "p%23ss%2Fw%3Frd%3A9f2c-%25"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
UPLOAD = ("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", SERVICE)


def hunt(shell: Shell, *done: Done, secrets: tuple[str, ...] = (PASSWORD, QUOTED, BASIC)) -> None:  # noqa: F811
    for one in done:
        assert not any(secret in one.out + one.err for secret in secrets), one
    for path in Path(shell.folder).rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in secrets), path


async def test_what_is_behind_a_proxy_with_a_password(shell: Shell, ours: Authority) -> None:  # noqa: F811
    heads: list[bytes] = []
    tls = ours.certificate(names="DNS:bulkup.test").context
    async with listening(relaying(port_of(shell)), tls) as port, listening(proxying(port, heads)) as proxy:
        environment = {"HTTPS_PROXY": f"http://{USER}:{QUOTED}@127.0.0.1:{proxy}", "BULKUP_CA_FILE": str(ours.file)}
        done = await run(shell, *UPLOAD, "-v", "--json", **environment)
        assert done.code == 0, done
        workers = await run(shell, *UPLOAD, "--name", "other", "--workers", "2", "-v", **environment)
        assert workers.code == 0, workers
        refusal = answer(407, PASSWORD.encode(), Basic=BASIC)
        async with listening(proxying(port, [], refusal)) as refusing:
            environment["HTTPS_PROXY"] = environment["HTTPS_PROXY"].replace(str(proxy), str(refusing))
            verified = await run(shell, "verify", done.json["run_id"], "-v", "--json", **environment)
    assert verified.code == 77, verified
    assert "HTTPS_PROXY" in verified.out + verified.err
    hunt(shell, done, workers, verified)
    assert all(head.startswith(b"CONNECT bulkup.test:443 ") for head in heads)
    assert all(f"Proxy-Authorization: Basic {BASIC}\r\n".encode() in head for head in heads)
    assert not any(token.encode() in head for head in heads for token in shell.environment.values())


@pytest.mark.parametrize(("status", "code"), [(407, 77), (403, 77), (404, 2), (502, 75), (503, 75)])
async def test_a_proxy_that_refuses(shell: Shell, status: int, code: int) -> None:  # noqa: F811
    """At once where waiting mends nothing. It repeats the password as proxies do, in its own words too."""
    heads: list[bytes] = []
    refusal = answer(status, f"{BASIC} {PASSWORD} {USER}:{PASSWORD}".encode(), Said=PASSWORD, Basic=BASIC)
    retry = ("--retry-for", "0") if code == 75 else ()
    began_s = time.monotonic()
    async with listening(proxying(1, heads, refusal.replace(b"Said", f"no {PASSWORD}".encode(), 1))) as proxy:
        environment = {"https_proxy": f"http://{USER}:{QUOTED}@127.0.0.1:{proxy}"}
        done = await run(shell, *UPLOAD, *retry, "-v", **environment)
        more = [await run(shell, "status", *options, **environment) for options in (("-v",), ("--json",))]
        if code == 75:  # else there is no run yet
            run_id = more[1].json["run_id"]
            commands = [(name, run_id, *retry, "-v", "--json") for name in ("resume", "verify", "settle")]
            more += [await run(shell, *command, **environment) for command in commands]
    assert time.monotonic() - began_s < SOON_S * 2
    assert done.code == code, done
    assert 1 not in {one.code for one in more}, more
    if code != 75:
        assert "https_proxy" in last_line(done)
        assert len(heads) <= 3
    hunt(shell, done, *more)


SECRET = "hunter2-8ab1"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"me:{SECRET}@127.0.0.1:3128", "http://HOST:PORT"),
        ("127.0.0.1:3128", "http://HOST:PORT"),
        ("proxy.example:3128", "http://HOST:PORT"),
        (f"//me:{SECRET}@127.0.0.1:3128", "http://HOST:PORT"),
        (f"http://me:{SECRET}@127.0.0.1:port", "port"),
        (f"http://me:{SECRET}@127.0.0.1:99999", "port"),
        (f"http://me:{SECRET}@127.0.0.1:0", "port"),
        (f"http://me:{SECRET}@:3128", "host"),
        (f"http://me:{SECRET}@[::1", "http://HOST:PORT"),
        (f"http://me:1#{SECRET}@127.0.0.1:3128", "%23"),
        (f"http://me:1/{SECRET}@127.0.0.1:3128", "%2F"),
        (f"http://me:1?{SECRET}@127.0.0.1:3128", "%3F"),
        (f"http://me:{SECRET}\u2100@127.0.0.1:3128", "http://HOST:PORT"),
        (f"ftp://me:{SECRET}@127.0.0.1:3128", "http://HOST:PORT"),
        (f"socks5://me:{SECRET}@127.0.0.1:1080", "socks5://"),
        (f"socks5h://me:{SECRET}@127.0.0.1:1080", "socks5h://"),
        (f"socks4://{SECRET}@127.0.0.1:1080", "socks4://"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_refused(shell: Shell, url: str, words: str) -> None:  # noqa: F811
    """Before anything is asked; nothing of it is repeated."""
    done = await run(shell, *UPLOAD, "-v", ALL_PROXY=url)
    assert done.code == 2, done
    line = last_line(done)
    assert "ALL_PROXY" in line
    assert words in line
    hunt(shell, done, secrets=(SECRET,))


async def test_bench_refuses_it_too_and_loopback_needs_no_proxy(shell: Shell) -> None:  # noqa: F811
    url = f"http://me:1#{SECRET}@127.0.0.1:3128"
    refused = await run(shell, "bench", "--to", "nebius", "--url", SERVICE, "--yes", "-v", HTTPS_PROXY=url)
    assert refused.code == 2, refused
    assert "HTTPS_PROXY" in last_line(refused)
    done = await run(shell, *UPLOAD[:4], *shell.urls, "-v", HTTPS_PROXY=url, http_proxy=url)
    assert done.code == 0, done
    hunt(shell, refused, done, secrets=(SECRET,))
