"""A proxy's URL is read once; what will not do is refused without a word of it."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import UsageProblem
from bulkup.tokens import secret
from bulkup.tokens.secret import redact
from bulkup.transport.proxy import Proxy, parse_proxy, proxy_for

PASSWORD = "hunter2-8ab1-9c"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have made known does not count here."""
    monkeypatch.setattr(secret, "_known", ())


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters=":"), min_size=1, max_size=12
)
passwords = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(names, passwords, st.sampled_from(["proxy.example", "10.0.0.1", "[::1]"]), st.sampled_from(["", ":3128"]))
def test_credentials_go_apart_whatever_is_in_them(user: str, password: str, host: str, port: str) -> None:
    proxy = parse_proxy(f"http://{quote(user, safe='')}:{quote(password, safe='')}@{host}{port}/", "X")
    assert proxy.url == f"http://{host}{port}"
    scheme, _, text = proxy.headers["Proxy-Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(text).decode() == f"{user}:{password}"
    assert text not in repr(proxy)


@given(
    st.text(st.sampled_from("http:/@#?[]%socks5 \\.0123 \u2100"), max_size=12),
    st.text(st.sampled_from("http:/@#?[]%2 \\.0123 \u2100"), max_size=12),
)
def test_whatever_is_wrong_nothing_of_it_is_said(before: str, after: str) -> None:
    url = f"{before}{PASSWORD}{after}"
    found = parsed(url)
    if isinstance(found, Proxy):
        assert PASSWORD not in found.url or "@" not in url
        return
    assert PASSWORD not in str(found)
    assert str(found).startswith("HTTPS_PROXY: ")
    assert found.__cause__ is None
    assert found.__context__ is None


def parsed(url: str) -> Proxy | UsageProblem:
    try:
        return parse_proxy(url, "HTTPS_PROXY")
    except UsageProblem as error:
        return error


def test_a_password_is_known_as_a_secret_from_then_on() -> None:
    parse_proxy(f"http://me:{quote(PASSWORD)}@proxy.example:3128", "X")
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    said = redact(f"<{PASSWORD}> <me:{PASSWORD}@proxy> <Basic {basic}>")
    assert PASSWORD not in said
    assert basic not in said


def test_a_token_in_place_of_the_user_name_is_a_secret_too() -> None:
    parse_proxy(f"http://{PASSWORD}@proxy.example:3128", "X")
    assert redact(f"<{PASSWORD}>") == "<***>"


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_variable_that_named_it_is_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://proxy.example:3128")
    proxy = proxy_for("https://api.example.com")
    assert proxy is not None
    assert proxy.variable == name
    monkeypatch.setenv("no_proxy", "example.com")
    assert proxy_for("https://api.example.com") is None
    assert proxy_for("https://127.0.0.1") is None
