"""What is found of a secret, however it is written, and what is left alone."""

from __future__ import annotations

import base64
import html
import json
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.tokens import secret
from bulkup.tokens.secret import Token, holds_secret, known_secrets, redact, remember_secret

LONG = "nb/token+4c1d7e02b9-XY_z="
"""With the characters that encodings change."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have made known does not count here."""
    monkeypatch.setattr(secret, "_known", ())


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def unicode_escapes(text: str) -> str:
    return "".join(f"\\u{ord(char):04X}" for char in text)


def references(text: str) -> str:
    return "".join(f"&#{ord(char)};" if ord(char) % 2 else f"&#x{ord(char):X};" for char in text)


ESCAPES: dict[str, Callable[[str], str]] = {
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded with slashes": quote,
    "as in a form": quote_plus,
    "percent-encoded throughout": percent,
    "a JSON string": json.dumps,
    "a JSON string with its slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "escaped throughout": unicode_escapes,
    "a Python string": repr,
    "HTML": html.escape,
    "HTML references": references,
}
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "with its case turned": str.swapcase,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 behind a byte": lambda text: base64.b64encode(b"a" + text.encode()).decode(),
    "base64 behind two bytes": lambda text: base64.b64encode(b"me" + text.encode() + b"!").decode(),
    "base64 of a header": lambda text: base64.b64encode(b"Bearer " + text.encode()).decode(),
    "base64 of capitals": lambda text: base64.b64encode(text.upper().encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal in capitals": lambda text: text.encode().hex().upper(),
}
tokens = st.text(string.ascii_letters + string.digits + "-._~+/=!$&'\"%<>", min_size=secret.LONG, max_size=60)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("escape", ["none", *ESCAPES])
def test_each_form_in_each_escape_is_found(form: str, escape: str) -> None:
    Token(LONG)
    shown = FORMS[form](LONG)
    written = ESCAPES[escape](shown) if escape != "none" else shown
    said = redact(f"the service said: {written} (and more)")
    assert said.startswith("the service said: ")
    assert said.endswith(" (and more)")
    assert "***" in said
    assert written not in said
    assert holds_secret(["x", written])


@given(tokens, st.sampled_from(sorted(FORMS)), st.lists(st.sampled_from(sorted(ESCAPES)), max_size=3))
def test_any_token_is_found_under_several_escapes(text: str, form: str, escapes: list[str]) -> None:
    remember_secret(text)
    written = FORMS[form](text)
    for escape in escapes:
        written = ESCAPES[escape](written)
    said = redact(f"before {written} after")
    assert written not in said
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert holds_secret([written])


@given(st.text(max_size=300), st.sampled_from(["", "%4", "\\", "\\u00", "&#", "&#99999999;", "%%%", "\\u{41"]))
def test_a_text_without_a_secret_is_left_as_it_is(text: str, odd: str) -> None:
    remember_secret(LONG)
    remember_secret("short-1")
    text += odd + text
    if "short-1" not in text.lower():
        assert redact(text) == text
        assert not holds_secret([text])


@pytest.mark.parametrize("text", ["latest", "tokens", "tok_1", "xtok", "a9tok", "dG9rZW4="])
def test_a_short_secret_in_a_word_is_part_of_the_word(text: str) -> None:
    Token("tok")
    assert redact(f"say {text}.") == f"say {text}."
    assert not holds_secret([text])


@pytest.mark.parametrize(
    "text", ["tok", "TOK", "'tok'", "Bearer tok", "a=tok&b", "tok-1", "x:tok@y", "Bearer%20tok", "\\ntok\\n", "dG9r"]
)
def test_a_short_secret_as_a_word_is_found(text: str) -> None:
    Token("tok")
    assert "tok" not in redact(text).lower().replace("***", "")
    assert holds_secret([text])


def test_a_word_of_16_characters_is_found_inside_of_words() -> None:
    text = "x" * secret.LONG
    Token(text)
    assert redact(f"a{text}b") == "a***b"


def test_every_secret_of_the_process_is_known() -> None:
    """The old one, the new one, the other lane's."""
    for text in ("an-old-token-000001", "the-new-token-000002", "the-other-lanes-03"):
        Token(text)
    assert redact("the-new-token-000002 an-old-token-000001 the-other-lanes-03") == "*** *** ***"
    assert len(known_secrets()) == 3
    Token("an-old-token-000001")
    Token("")
    assert len(known_secrets()) == 3


def test_one_secret_inside_another_leaves_nothing_of_either() -> None:
    Token("0123456789abcdef")
    Token("0123456789abcdefghij")
    assert redact("<0123456789abcdefghij>") == "<***>"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("left", [secret.CUT, secret.LONG - 1])
def test_what_is_left_of_a_secret_where_a_text_was_cut_off(form: str, left: int) -> None:
    remember_secret(LONG)
    shown = FORMS[form](LONG)
    begin = len("YWJCRkJlYXJlciA") if "header" in form else 4 if "behind" in form else 0
    cut = shown[: begin + left]
    assert redact(f"it said {cut}") != f"it said {cut}"
    assert redact(f"it said {cut} and more") == f"it said {cut} and more"
    assert redact(LONG[: secret.CUT - 1]) == LONG[: secret.CUT - 1]


def test_ids_are_numbers_too() -> None:
    Token("1234567890123456")
    assert holds_secret([7, 91234567890123456])
    assert not holds_secret([7, 8])
    assert not holds_secret([])
