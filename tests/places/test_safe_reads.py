"""Where a read may go, and who gets the credentials."""

from __future__ import annotations

import base64
import pickle
import socket

import pytest

from bulkup.api import make_upload
from bulkup.destinations.registry import service_named
from bulkup.errors import TokenRefused, UsageProblem
from bulkup.run.wish import Upload, run_id
from bulkup.sources import hide, open_source
from bulkup.sources.places import hosts
from bulkup.sources.places.address import Access, Hidden, PlaceAt, full, is_many
from bulkup.sources.places.place import Unreachable, opened
from bulkup.tokens.secret import redact
from tests.places.servers import Web, WebFile

DATA = b'{"a": 1}\n{"a": 2}\n'
PASSWORD = "hunter2-5e1d"


def look(url: str) -> None:
    open_source([hide(url)], max_row_bytes=1000)


def chained(web: Web, redirects: int) -> str:
    for number in range(redirects):
        web.redirects[f"/{number}"] = f"/{number + 1}"
    web.files[f"/{redirects}"] = WebFile(DATA)
    return f"{web.url}/0"


def test_five_redirects_are_followed_and_no_more(web: Web) -> None:
    look(chained(web, 5))
    with pytest.raises(UsageProblem, match="redirects more than 5 times"):
        look(chained(web, 6))


@pytest.mark.parametrize(
    "where", ["http://192.0.2.1/x", "ftp://localhost/x", "file:///etc/passwd", "http://example.invalid/x"]
)
def test_a_redirect_leads_to_https_only(web: Web, where: str) -> None:
    web.redirects["/x"] = where
    with pytest.raises(UsageProblem, match=r"only https is followed|no address"):
        look(f"{web.url}/x")


def test_plain_http_is_for_this_machine_alone() -> None:
    with pytest.raises(UsageProblem, match="only https"):
        look("http://192.0.2.1/x.jsonl")


@pytest.mark.parametrize(
    "where", ["localhost", "127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "[fd00::1]", "inner.example"]
)
def test_no_public_server_sends_us_inside(web: Web, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The web server is called public here; all other names are what they are."""
    real = hosts.looked_up

    def looked_up(name: str, port: int) -> hosts.Host:
        if name == "data.example":
            return _Public(name, ("127.0.0.1",))
        return hosts.Host(name, ("10.0.0.8",)) if name == "inner.example" else real(name, port)

    monkeypatch.setattr("bulkup.sources.places.web.looked_up", looked_up)
    monkeypatch.setattr(
        "bulkup.sources.places.web.is_loopback", lambda name: name == "data.example" or hosts.is_loopback(name)
    )
    web.redirects["/x"] = f"https://{where}/secret"
    with pytest.raises(UsageProblem, match="an address inside a private network; that is not followed"):
        look(f"http://data.example:{web.port}/x")
    assert len(web.asked) == 1


class _Public(hosts.Host):
    @property
    def is_public(self) -> bool:
        return True


def test_what_is_inside() -> None:
    inner = [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "fe80::1%1",
        "fd00::1",
        "100.64.0.1",
    ]
    within = [
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::808:808",
        "2002:7f00:1::",
        "2001:0::80ff:fffe",
    ]
    others = ["0.0.0.0", "224.0.0.1", "ff02::1", "fec0::1", "255.255.255.255"]
    for address in (*inner, *within, *others):
        assert not hosts.Host("x", (address,)).is_public
        assert not hosts.Host("x", ("8.8.8.8", address)).is_public
        assert not hosts.Host(address, ()).is_public
    for address in ("8.8.8.8", "2001:4860:4860::8888"):
        assert hosts.Host("x", (address,)).is_public
    for name in ("example.com", "1.example.com", "0xfeed.example", "face.b00c.example", "134744072", "8.8.2056"):
        assert hosts.Host(name, ()).is_public, name
    for name in (
        "localhost",
        "localhost.",
        "a.localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0xA9FEA9FE",
        "0",
    ):
        assert not hosts.Host(name, ()).is_public, name  # a proxy looks it up


@pytest.mark.parametrize(
    "where", ["2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:10.0.0.1]", "[::ffff:a9fe:a9fe]", "0"]
)
def test_however_an_address_inside_is_written(web: Web, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    test_no_public_server_sends_us_inside(web, monkeypatch, where)


async def test_a_name_that_means_another_host_later_is_not_followed_there(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public server sends us to a public name, which leads inside once the first look was good."""
    meant: dict[str, type[hosts.Host]] = {"data.example": _Public, "other.example": _Public}
    loopback = ("127.0.0.1",)

    def looked_up(name: str, port: int) -> hosts.Host:
        return meant[name](name, loopback)

    monkeypatch.setattr("bulkup.sources.places.web.looked_up", looked_up)
    monkeypatch.setattr("bulkup.sources.places.web.is_loopback", lambda name: name.endswith(".example"))
    web.redirects["/x"] = f"http://other.example:{web.port}/rows.jsonl"
    web.files["/rows.jsonl"] = WebFile(DATA * 100)
    at = opened(PlaceAt("https", "", Access()))
    url = f"http://data.example:{web.port}/x"
    found = at.look("x", url)
    assert at.read("x", found.remote, 0, 10) == DATA[:10]
    meant["other.example"] = hosts.Host
    at._hosts.clear()  # type: ignore[attr-defined]
    web.asked.clear()
    with pytest.raises(UsageProblem, match=r"a public server redirects to other\.example, an address inside"):
        at.read("x", found.remote, 0, 10)
    assert {asked.path for asked in web.asked} == {"/x"}


def test_a_drip_without_end_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/rows.jsonl"] = WebFile(DATA)
    at = opened(PlaceAt("https", "", Access()))
    found = at.look("x", f"{web.url}/rows.jsonl")
    monkeypatch.setattr("bulkup.sources.places.web.FREE_S", -1.0)
    web.faults.append(("drip", 0.01))
    with pytest.raises(Unreachable, match=r"only \d+ bytes came in 0 s"):
        at.read("x", found.remote, 0, len(DATA))


def test_credentials_go_to_the_first_host_alone(web: Web) -> None:
    web.files["/there"] = WebFile(DATA)
    web.redirects["/here"] = f"http://localhost:{web.port}/there"
    web.redirects["/near"] = "/there"
    look(f"http://me:{PASSWORD}@127.0.0.1:{web.port}/here")
    word = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert [asked.authorization for asked in web.asked[:2]] == [word, None]
    assert not any(asked.authorization for asked in web.asked if asked.path == "/there")
    web.asked.clear()
    look(f"http://me:{PASSWORD}@127.0.0.1:{web.port}/near")
    assert {asked.authorization for asked in web.asked} == {word}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_what_was_used_and_not_what_it_is(web: Web, status: int) -> None:
    for url, words in (
        (f"http://me:{PASSWORD}@127.0.0.1:{web.port}/x", "the user and password in the URL"),
        (f"{web.url}/x?X-Signature=9f8e7d6c5b4a39281706", "the query of the URL"),
        (f"{web.url}/x", "no credentials"),
    ):
        web.faults.append(status)
        said = rf"/x: the server refused to give it \({status}\); it was asked with {words}"
        with pytest.raises(TokenRefused, match=said) as caught:
            look(url)
        assert PASSWORD not in str(caught.value)
        assert "9f8e7d" not in str(caught.value)


def uploaded(*sources: str) -> Upload:
    settings = service_named("nebius").settings
    return make_upload(sources, [settings.model_validate({})], "rows", {})


def test_a_query_and_a_password_are_no_part_of_a_run() -> None:
    plain = "https://data.example/a/rows.jsonl"
    one = uploaded(f"https://me:{PASSWORD}@data.example/a/rows.jsonl?X-Amz-Signature=00112233445566778899#x")
    assert one.sources == (plain,)
    assert PASSWORD not in repr(one.to_record())
    assert "00112233445566778899" not in repr(one.to_record())
    assert full(plain).text.startswith(f"https://me:{PASSWORD}@data.example/a/rows.jsonl?X-Amz")
    assert run_id(one) == run_id(uploaded(f"{plain}?X-Amz-Signature=99887766554433221100")) == run_id(uploaded(plain))
    assert redact("a 00112233445566778899 b") == "a *** b"
    assert repr(full(plain)) == "Hidden(***)"
    assert pickle.loads(pickle.dumps(Hidden("x"))) == Hidden("x")


@pytest.mark.parametrize(
    ("locator", "several"),
    [
        ("https://data.example/x?y=*", False), ("s3://b/x.jsonl", False), ("s3://b/x/", True), ("s3://b", True),
        ("gs://b/*.gz", True),
        ("hf://datasets/o/n", True), ("hf://datasets/o/n@v/x.jsonl", False), ("hf://datasets/o/n/d/", True),
    ],
)  # fmt: skip
def test_which_locators_mean_several_files(locator: str, several: bool) -> None:
    assert is_many(hide(locator)) is several
    if several:
        with pytest.raises(UsageProblem, match="needs --name NAME"):
            make_upload([locator], [service_named("nebius").settings.model_validate({})], None, {})


def test_a_url_gives_the_dataset_its_name() -> None:
    settings = [service_named("nebius").settings.model_validate({})]
    for url, name in (("https://data.example/a%20b.jsonl.gz?x=y.z", "a b"), ("s3://b/c/train.jsonl", "train")):
        assert make_upload([url], settings, None, {}).settings.name == name


def test_a_name_that_is_not_found_is_tried_again_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    monkeypatch.setattr("bulkup.sources.places.listing.LOOK_S", 0.0)
    with pytest.raises(
        Exception, match=r"https://data\.example/x: cannot be read now: the name data\.example is not found"
    ):
        look("https://data.example/x")
