"""Where a token comes from, and what is said of one that is none."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bulkup.errors import TokenRefused
from bulkup.tokens.secret import Token
from bulkup.tokens.token_source import TokenSource

TEXT = "v1.tok-SECRET-0123456789"


@pytest.mark.parametrize("text", [TEXT, f" {TEXT}\n", f"{TEXT}==", "bearer-of-news", "it's", 'a"b'])
def test_a_token_is_taken_as_it_is(text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\ufeff" + text, encoding="utf-8")
    for source in (
        TokenSource(variable="T", file=None, environment={"T": text}),
        TokenSource(variable="T", file=file, environment={}),
    ):
        assert source.current.header() == f"Bearer {text.strip()}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'"{TEXT}"', "quotes"),
        (f"'{TEXT}'", "quotes"),
        (f'"{TEXT}', "quotes"),
        (f"{TEXT}'", "quotes"),
        (f"`{TEXT}`", "quotes"),
        (f"\u201c{TEXT}\u201d", "quotes"),
        (f"Bearer {TEXT}", "Bearer"),
        (f"bearer\t{TEXT}", "Bearer"),
        (f"Authorization: Bearer {TEXT}", "Bearer"),
        ("Bearer", "Bearer"),
        (f'"Bearer {TEXT}"', "quotes"),
        (f"NEBIUS_API_KEY={TEXT}", "NAME=TOKEN"),
        (f"export COLLINEAR_API_KEY={TEXT}", "NAME=TOKEN"),
        (f'{{"token": "{TEXT}"}}', "JSON"),
        (f"{TEXT} {TEXT}", "without spaces"),
        (f"{TEXT}\n{TEXT}", "without spaces"),
        (f"{TEXT}\u00e9", "ASCII"),
    ],
)
@pytest.mark.parametrize("place", ["variable", "file"])
def test_what_is_no_token_is_said_and_not_repeated(text: str, words: str, place: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TokenRefused) as caught:
        if place == "variable":
            TokenSource(variable="NEBIUS_API_KEY", file=None, environment={"NEBIUS_API_KEY": text})
        else:
            TokenSource(variable="NEBIUS_API_KEY", file=file, environment={})
    said = str(caught.value)
    assert words in said
    assert ("NEBIUS_API_KEY" if place == "variable" else str(file)) in said
    assert "SECRET" not in said


async def test_a_file_is_read_anew_once_for_each_token_that_was_rejected(tmp_path: Path) -> None:
    """Whoever comes with an older one is given the newer one; a file that still holds what was rejected helps nobody."""
    file = tmp_path / "token"
    file.write_text("first-token")
    source = TokenSource(variable="T", file=file, environment={})
    first = source.current
    assert not await source.renew(first)
    file.write_text("second-token")
    assert not await source.renew(first), "it was read anew for this one"
    source = TokenSource(variable="T", file=file, environment={})
    second = source.current
    file.write_text("third-token")
    assert await source.renew(second)
    file.unlink()
    assert await source.renew(second), "somebody has renewed it: the file is not read"
    assert source.current.header() == "Bearer third-token"


@pytest.mark.parametrize("meanwhile", ["", "   \n", None])
async def test_a_file_that_is_being_written_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str | None
) -> None:
    """Whoever renews a token may empty the file, or take it away, before the new one is there."""
    file = tmp_path / "token"
    file.write_text("first")
    source = TokenSource(variable="T", file=file, environment={})
    if meanwhile is None:
        file.unlink()
    else:
        file.write_text(meanwhile)

    async def written(seconds: float) -> None:
        file.write_text("second")

    monkeypatch.setattr(anyio, "sleep", written)
    assert await source.renew(source.current)
    assert source.current == Token("second")


async def test_a_file_that_stays_without_a_token_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    source = TokenSource(variable="T", file=file, environment={})
    file.write_text("")
    waited: list[float] = []

    async def waits(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(anyio, "sleep", waits)
    with pytest.raises(TokenRefused, match="holds no token"):
        await source.renew(source.current)
    assert sum(waited) == pytest.approx(1.8)
