"""`python -m tests.mutants [TARGET ...]`: every small change that mutmut makes to what decides about doubt; which does no test see?

Unlike `tests.mutations`, which takes whole rules away, this changes each operator, constant and argument, in a copy of the tree.
Survivors that change nothing but text for people are counted; the others are shown, and each must be killed by a test or be listed
in `EQUAL` with the reason why it changes no decision. mutmut leaves decorated functions alone.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.mutations import NOT_COPIED, ROOT

__all__ = ["TARGETS", "main"]


@dataclass(frozen=True, slots=True)
class Target:
    """*files* are changed, and of *tests* (pytest's arguments) those run for a change that reach it. *text_decides*: the text in
    these files is SQL, so that a change of it counts as any other, but for its capitals."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    text_decides: bool = False


_QUICK_REPLAYS = (
    "test_what_is_asked_later_is_durable_later",
    "test_what_a_failed_transaction_wrote_to_a_log_is_cut_off",
    "test_an_end_is_one",
    "test_many_callers_share_few_commits",
)

TARGETS = {
    "settlement": Target(("bulkup/doubt/settlement.py",), ("tests/settlement/test_judging.py",)),
    "policies": Target(
        tuple(f"bulkup/doubt/{name}.py" for name in ("by_name", "by_count", "late")),
        ("tests/settlement/test_policies.py", "tests/flow/test_settler.py"),
    ),
    "waits": Target(
        ("bulkup/flow/reaction.py", "bulkup/flow/requests.py", "bulkup/pacing/backoff.py"),
        ("tests/flow/test_reaction.py", "tests/flow/test_requests.py", "tests/pacing/test_backoff.py"),
    ),
    "states": Target(
        ("bulkup/chunk.py", "bulkup/journal/queries.py", "bulkup/journal/sqlite.py"),
        (
            "tests/journal/test_contract.py",
            "tests/journal/test_tables.py",
            "tests/journal/test_files.py",
            "tests/settlement/test_standing_still.py",
            *(f"tests/journal/test_replay.py::{name}" for name in _QUICK_REPLAYS),
        ),
        text_decides=True,
    ),
    "delivery": Target(
        tuple(
            f"bulkup/flow/{name}.py"
            for name in ("delivery", "recorder", "pending", "fence", "creation", "isolation", "stop_rules")
        ),
        (
            "tests/flow/test_delivery.py",
            "tests/flow/test_isolation.py",
            "tests/flow/test_creation.py",
            "tests/flow/test_stop_rules.py",
            "tests/settlement/test_standing_still.py",
        ),
    ),
    "settler": Target(
        ("bulkup/flow/settler.py", "bulkup/flow/stored_rows.py", "bulkup/flow/looking.py"),
        ("tests/flow/test_settler.py", "tests/flow/test_looking.py"),
    ),
    "classify": Target(("bulkup/transport/classify.py", "bulkup/outcome.py"), ("tests/test_classify.py",)),
}


@dataclass(frozen=True, slots=True)
class Equal:
    """A change of *old* to *new* (lines of code as this prints them) in *function* decides the same: *why*."""

    function: str
    old: str
    new: str
    why: str


_EDGES = (
    "edges = sorted((edge for edge in {edge for row in bad for edge in (row, row + 1)} "
    "if 0 < edge < prepared.chunk.rows and (edge in at_fault) != (edge - 1 in at_fault)))"
)

EQUAL = (
    Equal(
        "bulkup.pacing.backoff.Refusals.__init__",
        "self._last_s = -inf",
        "self._last_s = +inf",
        "no refusal is in a row yet, and that is asked too",
    ),
    Equal(
        "bulkup.flow.stored_rows.StoredRows.judge",
        "look = looks[-1]",
        "look = looks[-2]",
        "the count has stood still, so the look before shows the same",
    ),
    Equal("bulkup.flow.looking.row_pages", "is_smaller = False", "is_smaller = None", "nobody tells them apart"),
    Equal("bulkup.flow.looking.dated_look", "has_begun = False", "has_begun = None", "nobody tells them apart"),
    Equal(
        "bulkup.flow.looking.row_pages",
        "before: list[StoredRow] = []",
        "before: list[StoredRow] = None",
        "before the first page nobody tells them apart",
    ),
    Equal(
        "bulkup.flow.looking.row_pages",
        "how = {} if page_rows == PAGE_ROWS else {'page_rows': page_rows}",
        "how = {} if page_rows == PAGE_ROWS and False else {'page_rows': page_rows}",
        "so many is what a destination is asked for by default",
    ),
    *(
        Equal(f"bulkup.flow.fence.Fence.{name}", "self._alone = False", "self._alone = None", "nobody tells them apart")
        for name in ("__init__", "close", "open")
    ),
    *(
        Equal(
            "bulkup.flow.stop_rules.StopRules.__init__",
            "self._said = ''",
            f"self._said = {said}",
            "nothing is counted yet, so there is nothing to count anew after other words",
        )
        for said in ("None", "'XXXX'")
    ),
    Equal(
        "bulkup.flow.stop_rules.StopRules.nothing_landed",
        "said = _NUMBERS.sub('#', reason)",
        "said = _NUMBERS.sub('XX#XX', reason)",
        "any mark may stand for a number",
    ),
    *(
        Equal(
            "bulkup.flow.isolation.Splitter.set_aside",
            "draft = await self._chunker.whole(prepared.items, Keep(encoded=False, raw=True))",
            f"draft = await self._chunker.whole(prepared.items, Keep(encoded={kept}, raw=True))",
            "nobody asks this draft for what would be sent",
        )
        for kept in ("None", "True")
    ),
    Equal(
        "bulkup.flow.isolation.Splitter._around",
        _EDGES,
        _EDGES.replace("edge < prepared", "edge <= prepared"),
        "a cut behind the last row cuts nothing off",
    ),
    Equal(
        "bulkup.flow.isolation.Splitter._moved",
        "totals.move(parent, ChunkState.PLANNED, ChunkState.SPLIT)",
        "totals.move(parent, ChunkState.PLANNED, None)",
        "what is split is counted by its children alone",
    ),
    Equal(
        "bulkup.flow.delivery.Delivery._deliver_tree",
        "nothing_landed = False",
        "nothing_landed = None",
        "nobody tells them apart",
    ),
    Equal(
        "bulkup.flow.delivery.Delivery._outcome",
        "return Accepted(chunk.remote_id, chunk.name, RemoteStatus.PENDING)",
        "return Accepted(chunk.remote_id, None, RemoteStatus.PENDING)",
        "what was answered is followed by its id",
    ),
    Equal(
        "bulkup.journal.queries.landed",
        "began = 'last_byte_at' if evidence is Evidence.ANSWER else '0'",
        "began = 'LAST_BYTE_AT' if evidence is Evidence.ANSWER else '0'",
        "it is the name of a column",
    ),
)

_KNOWN = {(equal.function, f"- {equal.old}\n+ {equal.new}") for equal in EQUAL}

_CONFIG = """[mutmut]
source_paths = bulkup
only_mutate =
{files}
also_copy =
    benchmarks
    configs
    docs
    CONTRIBUTING.md
    README.md
timeout_constant = 2
pytest_add_cli_args =
    -o
    addopts=-p no:cacheprovider --strict-markers -m "not slow"
    --timeout=60
pytest_add_cli_args_test_selection =
{tests}
"""

_ALIVE = ("survived", "no tests", "suspicious", "segfault")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to *function*. *name* is mutmut's; *old* and *new* are the whole functions."""

    name: str
    function: str
    old: ast.AST
    new: ast.AST

    @property
    def change(self) -> str:
        """The lines that differ, each beginning with - or +, however the code is laid out."""
        old, new = (ast.unparse(code).splitlines() for code in (self.old, self.new))
        differing = (line for line in difflib.ndiff(old, new) if line[:2] in ("- ", "+ "))
        return "\n".join(f"{line[:2]}{line[2:].strip()}" for line in differing)

    @property
    def is_unreachable(self) -> bool:
        """It changes only what comes after every case, of which mypy knows that it never comes."""
        lines = {line[2:] for line in self.change.splitlines()} - {"case _:"}
        return bool(lines) and all(line.startswith("assert_never(") for line in lines)

    def changes_text_only(self, alike: Callable[[str], str]) -> bool:
        """But for the text of several words, of which what *alike* makes of it counts, the two are one."""
        old, new = (ast.dump(_Text(alike).visit(deepcopy(code))) for code in (self.old, self.new))
        return old == new


class _Text(ast.NodeTransformer):
    """Makes *alike* of the text of several words. A key, a header's name or another single word stays: what it says decides."""

    def __init__(self, alike: Callable[[str], str]) -> None:
        self._alike = alike

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        return ast.JoinedStr([self._piece(part) for part in node.values])

    def _piece(self, part: ast.expr) -> ast.expr:
        if isinstance(part, ast.Constant):
            return ast.Constant(self._alike(str(part.value)))
        return ast.fix_missing_locations(self.visit(part))  # type: ignore[no-any-return]

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(self._alike(node.value)) if isinstance(node.value, str) and " " in node.value else node


def _no_words(_: str) -> str:
    return ""


def _sql_without_capitals(text: str) -> str:
    """But for what stands in quotes."""
    return "'".join(part if place % 2 else part.lower() for place, part in enumerate(text.split("'")))


@cache
def _functions(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name: node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def _mutant(tree: Path, name: str) -> Mutant:
    module, _, called = name.rpartition(".")
    functions = _functions(tree / "mutants" / f"{module.replace('.', '/')}.py")
    changed, _, _ = called.rpartition("__mutmut_")
    codes: list[ast.AST] = []
    for one in (f"{changed}__mutmut_orig", called):
        code = ast.parse(ast.unparse(functions[one])).body[0]
        assert isinstance(code, ast.FunctionDef | ast.AsyncFunctionDef)
        code.name = "_"
        codes.append(code)
    plain = changed.removeprefix("x").removeprefix("_").removeprefix("ǁ").replace("ǁ", ".")
    return Mutant(name, f"{module}.{plain}", *codes)


def verdicts(target: Target, folder: Path, *, jobs: int, only: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each mutant's name, or of those that *only* (patterns) names, and what mutmut says of it. *folder* gets a copy."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED, dirs_exist_ok=True)
    files, tests = ("\n".join(f"    {path}" for path in paths) for paths in (target.files, target.tests))
    (folder / "setup.cfg").write_text(_CONFIG.format(files=files, tests=tests))

    def mutmut(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": "", "COLUMNS": "200"}
        command = [sys.executable, "-m", "mutmut", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)

    ran = mutmut("run", "--max-children", str(jobs), *only)
    if "mutations/second" not in ran.stdout:
        raise SystemExit(f"mutmut did not come to its end\n{ran.stdout[-4000:]}{ran.stderr[-4000:]}")
    for line in mutmut("results", "--all", "true").stdout.splitlines():
        name, colon, verdict = line.strip().partition(": ")
        if colon and not (only and verdict == "not checked"):
            yield name, verdict


def _check(name: str, target: Target, *, jobs: int, only: Sequence[str], show_all: bool) -> int:
    """How many mutants of *target* survive that decide otherwise, each of which is printed."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="bulkup-mutants-") as folder:
        for mutant_name, verdict in verdicts(target, Path(folder), jobs=jobs, only=only):
            counts["in all"] += 1
            if verdict not in _ALIVE:
                counts[verdict] += 1
                continue
            mutant = _mutant(Path(folder), mutant_name)
            if (mutant.function, mutant.change) in _KNOWN or mutant.is_unreachable:
                kind = "decide the same"
            elif mutant.changes_text_only(_sql_without_capitals if target.text_decides else _no_words):
                kind = "change text only"
            else:
                kind = "decide otherwise"
            counts[kind] += 1
            if show_all or kind == "decide otherwise":
                print(f"{mutant_name} ({verdict}, {kind}) in {mutant.function}\n{mutant.change}\n", flush=True)
        _functions.cache_clear()
    print(f"{name}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()), flush=True)
    return counts["decide otherwise"] + counts["not checked"]


def main() -> int:
    """Check the targets named, or all; 1 if a change that decides survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants are tested at a time")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="of mutants' names, as printed")
    parser.add_argument("--all", action="store_true", help="show the survivors that decide nothing, too")
    given = parser.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    alive = 0
    for name in given.targets or TARGETS:
        alive += _check(name, TARGETS[name], jobs=given.jobs, only=given.only, show_all=given.all)
    return alive > 0


if __name__ == "__main__":
    sys.exit(main())
