"""Datasets of the hub: listed, pinned to a commit, and read with the token that the hub alone gets."""

from __future__ import annotations

import pytest

from bulkup.errors import TokenRefused, UsageProblem
from bulkup.sources import PlaceAccess, Source, hide, open_source
from tests.places.servers import Hub
from tests.places.test_reading import lines, read
from tests.sources.reading import expected_rows

TOKEN = "hf_WxYzAbCdEfGhIjKlMn"
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture(autouse=True)
def _hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def opened(locator: str, *, anonymous: bool = False) -> Source:
    return open_source([hide(locator)], max_row_bytes=5000, block_bytes=400, access=PlaceAccess(anonymous=anonymous))


async def test_a_dataset_is_read_as_it_was_when_it_was_listed(hub: Hub) -> None:
    data = {
        "train/a-2.jsonl": lines(1, 30),
        "train/a-10.jsonl": lines(2, 20),
        "README.md": b"# ours",
        ".gitattributes": b"x",
    }
    hub.token = TOKEN
    hub.put("main", FIRST, data)
    hub.put("v2", SECOND, {"train/b.jsonl": lines(3, 10)})
    source = opened("hf://datasets/ours/rows")
    assert [file.uri.removeprefix("hf://datasets/ours/rows/") for file in source.files] == [
        "train/a-2.jsonl",
        "train/a-10.jsonl",
    ]
    hub.put("main", SECOND, {"train/a-2.jsonl": b"{}\n"})
    expected = expected_rows([data["train/a-2.jsonl"], data["train/a-10.jsonl"]], 5000)
    assert await read(source, 999) == expected
    assert {asked.authorization for asked in hub.asked if "/datasets/" in asked.path} == {f"Bearer {TOKEN}"}
    assert {asked.authorization for asked in hub.store.asked} == {None}
    assert hub.store.asked


async def test_a_revision_a_folder_and_a_glob_are_chosen(hub: Hub) -> None:
    hub.put("main", FIRST, {"train/a.jsonl": lines(1, 3), "test/b.jsonl": lines(2, 3), "c.jsonl": lines(3, 3)})
    hub.put("refs/convert/x", SECOND, {"train/d.jsonl": lines(4, 3)})
    for locator, names in (
        ("hf://datasets/ours/rows/train/", ["/train/a.jsonl"]),
        ("hf://datasets/ours/rows/**/*.jsonl", ["/c.jsonl", "/test/b.jsonl", "/train/a.jsonl"]),
        ("hf://datasets/ours/rows/c.jsonl", ["/c.jsonl"]),
        ("hf://datasets/ours/rows@refs%2Fconvert%2Fx/train/*", ["@refs%2Fconvert%2Fx/train/d.jsonl"]),
        (f"hf://datasets/ours/rows@{SECOND}/train/d.jsonl", [f"@{SECOND}/train/d.jsonl"]),
    ):
        files = opened(locator, anonymous=True).files
        assert [file.uri for file in files] == [f"hf://datasets/ours/rows{name}" for name in names]


def test_what_the_hub_refuses_is_named(hub: Hub) -> None:
    hub.put("main", FIRST, {"train/a.jsonl": lines(1, 3)})
    for locator, words in (
        (
            "hf://datasets/ours/none/a.jsonl",
            r"there is no such dataset, or it is private; it was asked with the hub's token",
        ),
        ("hf://datasets/ours/rows@v9/a.jsonl", "has no such revision"),
        ("hf://datasets/ours/rows/b.jsonl", "there is no such file"),
        ("hf://datasets/ours/rows/*.csv", "no object matches"),
        ("hf://models/ours/rows/x.jsonl", r"is not hf://datasets/OWNER/NAME"),
    ):
        with pytest.raises(UsageProblem, match=words):
            opened(locator)
    hub.token = "another"
    for anonymous, words in ((True, "no token"), (False, "the hub's token")):
        with pytest.raises(TokenRefused, match=rf"the hub refused it \(401\).*it was asked with {words}") as caught:
            opened("hf://datasets/ours/rows/train/", anonymous=anonymous)
        assert TOKEN not in str(caught.value)
