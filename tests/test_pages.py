"""The pages are true: what they link to and name is there, and their tables say what the code does."""

from __future__ import annotations

import importlib.util
import re
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import pytest

from bulkup import outcome
from bulkup.chunk import ChunkState
from bulkup.outcome import Outcome
from bulkup.transport.classify import BadRequest, classify_status

ROOT = Path(__file__).parents[1]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OWN_PATH = re.compile(r"(?:bulkup|tests|benchmarks|docs|configs|\.ci)/[\w./*-]*")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [*PAGES, *sorted(DECISIONS.glob("*.md"))], ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        found = (page.parent / file) if file else page
        assert found.exists(), target
        assert not heading or heading in headings_of(found), target


def headings_of(page: Path) -> set[str]:
    """As a link writes them."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    """Records of decisions are dated, and may name what has moved since."""
    text = page.read_text(encoding="utf-8")
    for path in {path for code in CODE.findall(text) for path in OWN_PATH.findall(code)}:
        assert list(ROOT.glob(path.rstrip("/"))), path
    for module in re.findall(r"python -m ((?:bulkup|tests|benchmarks)[\w.]*)", text):
        assert importlib.util.find_spec(module), module


def test_every_record_of_a_decision_is_listed() -> None:
    listed = {target.partition("/")[2] for target in LINK.findall(DESIGN) if target.startswith("decisions/")}
    assert listed == {path.name for path in DECISIONS.glob("*.md")}
    assert all(re.match(r"\d{4}-\d\d-\d\d-", name) for name in listed)


def section(title: str) -> list[list[str]]:
    """The rows of the tables below the heading *title*, as their cells."""
    _, found, text = DESIGN.partition(f"\n## {title}\n")
    assert found, title
    lines = text.partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("| ")]
    return [row for row in cells if set(row[0]) != {"-"}]


def test_every_package_has_a_paragraph() -> None:
    packages = {f"`{path.parent.relative_to(ROOT)}/`" for path in (ROOT / "bulkup").rglob("*.py")}
    text = " ".join(cell for row in section("Where things live") for cell in row)
    assert {package for package in packages if package not in text} == set()


def test_what_is_decided_where_is_decided_there() -> None:
    """A row names functions and classes, and the file that has them."""
    rows = [row for row in section("Where things live") if len(row) == 3 and row[0] != "what"]
    assert len(rows) > 30
    for what, names, file in rows:
        code = (ROOT / file.strip("`")).read_text(encoding="utf-8")
        for name in CODE.findall(names):
            defines = rf"^(?:(?:async )?def |class )?{name}\b\s*[(:=\[]|^class {name}\("
            assert re.search(defines, code, re.MULTILINE), (what, name, file)


def test_each_word_is_explained_once() -> None:
    words = [row for row in section("The words") if row[0] != "word" and not row[0].startswith("**")]
    assert len(words) > 70
    assert all(len(row) == 2 and row[1] for row in words)
    explained = [word.strip().lower() for row in words for word in row[0].split(",")]
    assert sorted(explained) == sorted(set(explained))


def test_the_states_are_those_of_chunks() -> None:
    rows = [row for row in section("A chunk's life") if row[0] != "from"]
    states = {state.value for state in ChunkState}
    assert {state for row in rows for state in row[:2]} - {"–"} == states
    assert {row[1] for row in rows} == states, "each is come to"
    ends = next(line for line in DESIGN.splitlines() if "are ends: nothing leaves them" in line)
    assert {word.lower() for word in re.findall(r"[A-Z]{4,}", ends)} == states - {row[0] for row in rows}


def answers() -> list[tuple[str, str]]:
    rows = takewhile(lambda row: row[0] != "what", section("What an answer means"))
    return [(row[0], row[1].strip("`")) for row in rows if row[0] != "what came"]


def test_every_outcome_has_its_answers() -> None:
    assert {name for _, name in answers()} == {kind.__name__ for kind in Outcome.__args__}


STATUS = re.compile(r"(?:(\d{3})|(\d)xx|(\d\d)x)\b(?: (with|without) Retry-After)?(?: (by name|by count))?")


def statuses() -> list[tuple[int, bool | None, BadRequest | None, str]]:
    """What the table says of each status: (status, with Retry-After, whose 400, outcome)."""
    found = []
    for came, name in answers():
        if re.match(r"\d", came):
            for exact, hundred, ten, retry, policy in STATUS.findall(came):
                status = int(exact or (hundred + "07" if hundred else ten + "2"))
                if hundred == "4":
                    status = 418
                bad = {"by name": BadRequest.NOTHING_STORED, "by count": BadRequest.OPEN}.get(policy)
                found.append((status, {"with": True, "without": False}.get(retry), bad, name))
    return found


def test_the_table_of_answers_is_what_an_answer_is_taken_for() -> None:
    table = statuses()
    assert len(table) > 20
    for status, with_retry, bad, name in table:
        for bad_request in (bad,) if bad else tuple(BadRequest):
            for headers in ({"Retry-After": "5"}, {}):
                if with_retry is None or with_retry is bool(headers):
                    became = classify_status(status, headers, "", bad_request=bad_request, now=datetime.now(UTC))
                    assert type(became) is getattr(outcome, name), (status, headers)


def test_the_table_of_answers_has_every_status_that_is_decided_by_itself() -> None:
    """What a status comes to that has no line of its own is the same for all of its hundred."""
    own = {status for status, *_ in statuses()}
    code = (ROOT / "bulkup" / "transport" / "classify.py").read_text(encoding="utf-8")
    decided = code.partition("match status:")[2].partition("def counts_early")[0]
    cases = " ".join(re.findall(r"case (\d.*):", decided))
    assert {int(number) for number in re.findall(r"\b\d{3}\b", cases)} <= own


BAD_WORDS = re.compile(r"dead letter|\bmend|accepts? doubles|is told of", re.IGNORECASE)
"""Words that have a better one here: rejected row, fix, may create duplicates, is reported."""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_pages_use_the_words_of_this_project(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        assert not BAD_WORDS.search(line), line


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_sentences_are_short_on_average(page: Path) -> None:
    """At most 20 words: most readers have another first language."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    prose = [line for line in text.splitlines() if not re.match(r"\||#|<!--|    |\[", line)]
    sentences = [s for part in "\n".join(prose).split("\n\n") for s in re.split(r"[.:;?!](?=\s|\*\*)", part)]
    counts = [len(re.findall(r"\w[\w'`-]*", sentence)) for sentence in sentences]
    counts = [count for count in counts if count > 2]
    assert sum(counts) <= 20 * len(counts)
