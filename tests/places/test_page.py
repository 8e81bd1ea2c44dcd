"""Every source that `docs/places.md` names is read as it stands there, from the servers of the tests."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from bulkup.sources import PlaceAccess, Selection, open_source
from bulkup.sources.locators import listed_in
from tests.places.servers import BUCKET, S3, Hub, Web, WebFile
from tests.sources.reading import read_all

PAGE = (Path(__file__).parents[2] / "docs" / "places.md").read_text()
TABLE = PAGE.partition("| source |")[2].partition("\n\n")[0]
SOURCES = [code for cell in re.findall(r"^\| (`.*?) \|", TABLE, re.MULTILINE) for code in re.findall("`(.+?)`", cell)]
FILES = (
    "rows.jsonl", "folder/a.jsonl", "folder/below/b.json", "folder/_SUCCESS", "folder/README.md", "train/part-2.jsonl",
    "train/part-10.jsonl", "train/part-3-draft.jsonl", "deep/er/c.jsonl.gz",
)  # fmt: skip
TRAIN = {"train/part-2.jsonl", "train/part-10.jsonl", "train/part-3-draft.jsonl"}
FOUND: dict[str, set[str]] = {
    "rows.jsonl": {"rows.jsonl"},
    "folder/": {"folder/a.jsonl", "folder/below/b.json"},
    "'train/*.jsonl'": TRAIN,
    "'**/*.jsonl.gz'": {"deep/er/c.jsonl.gz"},
    "--files-from LIST": {"rows.jsonl", "folder/a.jsonl"},
    "https://host/rows.jsonl": {"rows.jsonl"},
    "s3://bucket/rows.jsonl": {"rows.jsonl"},
    "s3://bucket/train/": TRAIN,
    "'s3://bucket/**/*.gz'": {"deep/er/c.jsonl.gz"},
    "hf://datasets/OWNER/NAME": {name for name in FILES if name not in ("folder/_SUCCESS", "folder/README.md")},
    "…/NAME@REVISION/train/*.jsonl": TRAIN,
}
PIPED = {"-"}
"""`tests/sources/test_stdin.py` reads it."""


def content(name: str) -> bytes:
    rows = json.dumps({"file": name}).encode() + b"\n"
    return gzip.compress(rows) if name.endswith(".gz") else rows


def read(*locators: str, selection: Selection = Selection(), endpoint: str | None = None) -> set[str]:  # noqa: B008
    access = PlaceAccess(endpoint_url=endpoint)
    source = open_source(list(locators), max_row_bytes=1000, selection=selection, access=access)
    try:
        found = [json.loads(row.data)["file"] for row in read_all(source)]
    finally:
        source.close()
    assert len(set(found)) == len(found)
    return set(found)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name))
    (tmp_path / "LIST").write_text("rows.jsonl\nfolder/a.jsonl\n")
    monkeypatch.chdir(tmp_path)


def test_the_page_names_what_is_read_here() -> None:
    assert set(SOURCES) == FOUND.keys() | PIPED


@pytest.mark.parametrize("source", FOUND)
@pytest.mark.usefixtures("here")
def test_a_source_of_the_page_is_read(source: str, web: Web, s3: S3, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    locator = source.strip("'")
    if locator.startswith("--files-from"):
        assert read(*listed_in("LIST", lambda path: Path(path).read_bytes())) == FOUND[source]
    elif locator.startswith("https:"):
        web.files["/rows.jsonl"] = WebFile(content("rows.jsonl"))
        assert read(locator.replace("https://host", web.url)) == FOUND[source]
    elif locator.startswith("s3:"):
        for name in FILES:
            s3.put(name, content(name))
        assert read(locator.replace("bucket", BUCKET), endpoint=s3.url) == FOUND[source]
    elif "NAME" in locator:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.put("main", "1" * 40, {name: content(name) for name in FILES})
        hub.put("v2", "2" * 40, {name: content(name) for name in TRAIN})
        locator = locator.replace("…/", "hf://datasets/OWNER/").replace("OWNER/NAME", "ours/rows")
        assert read(locator.replace("REVISION", "v2")) == FOUND[source]
    else:
        assert read(locator) == FOUND[source]


@pytest.mark.usefixtures("here")
def test_what_the_page_says_of_patterns() -> None:
    for text in ("--include '*.jsonl'", "--exclude '*-draft*'", "train/**/*.jsonl", "`part-2` before `part-10`"):
        assert text in PAGE
    assert read("folder/", selection=Selection(include=("*.jsonl",))) == {"folder/a.jsonl"}
    assert read("train/", selection=Selection(exclude=("*-draft*",))) == TRAIN - {"train/part-3-draft.jsonl"}
    assert read(os.curdir, selection=Selection(include=("train/**/*.jsonl",))) == TRAIN
    files = open_source(["train/"], max_row_bytes=1000).files
    assert [Path(file.uri).name for file in files] == ["part-2.jsonl", "part-3-draft.jsonl", "part-10.jsonl"]
