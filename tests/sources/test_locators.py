"""Locators: what each one means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.errors import UsageProblem
from bulkup.sources import Selection, listed_in, open_source, resolve
from bulkup.sources.selection import glob_pattern, natural_key


@pytest.fixture(autouse=True)
def _tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", "sub/deep/d.jsonl", "x[1].jsonl", "x1.jsonl", "e.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    (tmp_path / "empty").mkdir()


def test_a_glob_is_sorted_and_locators_keep_their_order() -> None:
    assert resolve(["e.txt", "?.jsonl"]).uris == ("e.txt", "a.jsonl", "b.jsonl")


def test_two_stars_go_into_directories_and_directories_are_no_files() -> None:
    assert resolve(["sub/**"]).uris == ("sub/c.jsonl", "sub/deep/d.jsonl")
    assert resolve(["**/[cd].jsonl"]).uris == ("sub/c.jsonl", "sub/deep/d.jsonl")


def test_a_path_that_exists_wins_over_its_meaning_as_a_glob() -> None:
    assert resolve(["x[1].jsonl"]).uris == ("x[1].jsonl",)


def test_standard_input_stands_alone() -> None:
    assert resolve(["-"]).uris == ("-",)
    with pytest.raises(UsageProblem, match="alone"):
        resolve(["-", "a.jsonl"])


@pytest.mark.parametrize(
    ("locators", "message"),
    [
        ([], "no source"),
        (["missing.jsonl"], r"missing\.jsonl: there is no such file"),
        (["*.csv"], r"\*\.csv: no file matches"),
        (["a.jsonl", "a.jsonl"], r"a\.jsonl: is named twice;"),
        (["empty"], r"empty: there is no file in this folder"),
        (["ftp://bucket/a.jsonl"], "ftp://: is not read"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(locators: list[str], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        resolve(locators)


def _made(folder: Path, *names: str, text: str = '{"a": 1}\n') -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_folder_is_all_that_may_hold_rows_in_the_order_of_its_names(tmp_path: Path) -> None:
    _made(
        tmp_path / "f",
        "part-10.jsonl",
        "part-2.jsonl",
        "B/x.json.gz",
        "b/y.ndjson",
        "notes.md",
        "_SUCCESS",
        ".hidden.jsonl",
    )
    _made(tmp_path / "f", "w.jsonlines", "w.ldjson.gz", "w.geojsonl")
    _made(tmp_path / "f", ".cache/z.jsonl", "_temporary/z.jsonl", "part-00000", "old.tar.gz")
    found = resolve(["f"])
    names = ["B/x.json.gz", "b/y.ndjson", "old.tar.gz", "part-00000", "part-2.jsonl", "part-10.jsonl"]
    names += ["w.geojsonl", "w.jsonlines", "w.ldjson.gz"]
    assert list(found.uris) == [f"f/{name}" for name in names]
    assert found.perhaps == {"f/part-00000"}
    assert found.notes == ("f: 9 files; passed over: f/notes.md",)


def test_what_says_nothing_by_its_name_counts_if_it_begins_as_json(tmp_path: Path) -> None:
    _made(tmp_path / "f", "part-00000", "a.jsonl")
    _made(tmp_path / "f", "LICENSE", text="Do as you like.\n")
    source = open_source(["f"], max_row_bytes=1024)
    assert [file.uri for file in source.files] == ["f/a.jsonl", "f/part-00000"]
    assert source.notes == ("passed over, for they hold no JSON: f/LICENSE",)
    with pytest.raises(UsageProblem, match="no file that holds rows; passed over: g/LICENSE"):
        _made(tmp_path / "g", "LICENSE", text="Do as you like.\n")
        open_source(["g"], max_row_bytes=1024)


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(include=("*.txt",)), ["e.txt"]),
        (Selection(include=("sub/**",)), ["sub/c.jsonl", "sub/deep/d.jsonl"]),
        (Selection(include=("sub/*",)), ["sub/c.jsonl"]),
        (Selection(exclude=("x*", "**/deep/*", "e.*")), ["a.jsonl", "b.jsonl", "sub/c.jsonl"]),
        (Selection(include=("*.jsonl",), exclude=("[!a]*",)), ["a.jsonl"]),
        (Selection(include=("_*",)), ["_kept.jsonl"]),
        (Selection(include=("_old/*",)), ["_old/kept.jsonl"]),
    ],
)
def test_patterns_choose_among_a_folders_files(tmp_path: Path, selection: Selection, names: list[str]) -> None:
    _made(tmp_path, "_kept.jsonl", "_old/kept.jsonl")
    assert [uri.removeprefix("./") for uri in resolve(["."], selection).uris] == names


def test_patterns_choose_among_a_globs_files() -> None:
    assert resolve(["*.jsonl"], Selection(exclude=("x*",))).uris == ("a.jsonl", "b.jsonl")
    with pytest.raises(UsageProblem, match="leave out all 4 that do"):
        resolve(["*.jsonl"], Selection(include=("*.csv",)))


def test_links_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "sub" / "loop").symlink_to(tmp_path / "sub")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "there").symlink_to(tmp_path / "sub")
    assert resolve(["sub"]).uris == ("sub/c.jsonl", "sub/deep/d.jsonl")
    assert resolve(["more"]).uris == ("more/there/c.jsonl", "more/there/deep/d.jsonl")


def test_a_file_that_is_named_twice_is_refused_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to("b.jsonl")
    for twice in ("./a.jsonl", "link.jsonl"):
        with pytest.raises(UsageProblem, match=rf"{twice}: is named twice \(as a\.jsonl\)"):
            open_source(["a.jsonl", twice], max_row_bytes=1024)
    assert len(open_source(["b.jsonl", "hard.jsonl"], max_row_bytes=1024).files) == 2


def test_a_list_names_the_sources(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.jsonl\r\n\n b.jsonl\n")
    (tmp_path / "zeros").write_bytes(b"a\nb.jsonl\0c.jsonl\0")
    (tmp_path / "nothing").write_bytes(b"\n\n")
    read = lambda name: Path(name).read_bytes()  # noqa: E731
    assert listed_in("list", read) == ["a.jsonl", " b.jsonl"]
    assert listed_in("zeros", read) == ["a\nb.jsonl", "c.jsonl"]
    for name, message in (("nothing", "names no file"), ("missing", "--files-from missing: cannot be read")):
        with pytest.raises(UsageProblem, match=message):
            listed_in(name, read)


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.jsonl", ["a.jsonl", ".jsonl"], ["a.json", "b/a.jsonl"]),
        ("**/a?", ["ab", "x/ab", "x/y/ab"], ["a", "ab/c"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("[!a-c^]", ["d"], ["a", "b", "^", "/", "dd"]),
        ("[^a]\\", ["^\\", "a\\"], ["b\\"]),
        ("[a", ["[a"], ["a"]),
    ],
)
def test_a_pattern_means_what_it_means_in_a_shell(pattern: str, taken: list[str], left: list[str]) -> None:
    assert [name for name in (*taken, *left) if glob_pattern(pattern).fullmatch(name)] == taken


def test_numbers_in_names_count_by_their_value() -> None:
    assert sorted(["p10", "p9", "p", "q/1", "p9a"], key=natural_key) == ["p", "p9", "p9a", "p10", "q/1"]
