"""`python -m tests.mutants [TARGET ...]`: every small change that mutmut makes to what decides about doubt, and which of them no test sees.

Unlike `tests.mutations`, which takes whole rules away, this changes each operator, constant and argument. A copy of the tree is used.
Survivors that change nothing but text are counted; the others are shown, and each must be killed by a test or be listed in `EQUAL`
with the reason why it changes no decision.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutations import NOT_COPIED, ROOT

__all__ = ["TARGETS", "main"]


@dataclass(frozen=True, slots=True)
class Target:
    """*files* (patterns) are changed, and *tests* run for each change that they reach."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


TARGETS = {
    "settlement": Target(("bulkup/settlement.py",), ("tests/settlement",)),
    "classify": Target(("bulkup/classify.py",), ("tests/test_classify.py",)),
}

EQUAL: dict[str, str] = {}
"""A mutant's changed line as `- old` `+ new`, and why it decides the same."""

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
pytest_add_cli_args =
    -o
    addopts=-p no:cacheprovider --strict-markers -m "not slow"
    --timeout=60
pytest_add_cli_args_test_selection =
{tests}
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: *name* is mutmut's, *old* and *new* are the lines that differ."""

    name: str
    old: str
    new: str

    @property
    def change(self) -> str:
        return f"- {self.old}\n+ {self.new}"

    @property
    def changes_words_only(self) -> bool:
        """But for the text of strings the two are one."""
        return _without_text(self.old) == _without_text(self.new)


def _without_text(code: str) -> str:
    """*code* with every string's text taken out; as it is where it does not parse by itself."""
    for wrapped in (code, f"{code} pass", f"({code})", f"f({code})", f"match x:\n {code} pass"):
        try:
            tree = ast.parse(wrapped)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = ""
        return ast.dump(tree)
    return re.sub(r"([\"']).*?\1", '""', code)


def survivors(target: Target, *, jobs: int) -> Iterator[Mutant]:
    """The mutants of *target* that no test has killed."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=NOT_COPIED)
        files, tests = ("\n".join(f"    {path}" for path in paths) for paths in (target.files, target.tests))
        (tree / "setup.cfg").write_text(_CONFIG.format(files=files, tests=tests))
        environment = {**os.environ, "PYTHONPATH": "", "COLUMNS": "200"}
        mutmut = [sys.executable, "-m", "mutmut"]
        ran = subprocess.run([*mutmut, "run", "--max-children", str(jobs)], cwd=tree, env=environment, text=True, capture_output=True)  # fmt: skip
        print(ran.stdout.splitlines()[-1] if ran.stdout else ran.stderr[-2000:], flush=True)
        if ran.returncode and "survived" not in ran.stdout + ran.stderr and not (tree / "mutants").exists():
            raise SystemExit(ran.stdout[-4000:] + ran.stderr[-4000:])
        results = subprocess.run([*mutmut, "results"], cwd=tree, env=environment, text=True, capture_output=True, check=True)  # fmt: skip
        for line in results.stdout.splitlines():
            name, _, verdict = line.strip().partition(": ")
            if verdict in ("survived", "no tests", "suspicious", "not checked"):
                shown = subprocess.run([*mutmut, "show", name], cwd=tree, env=environment, text=True, capture_output=True)  # fmt: skip
                lines = [x for x in shown.stdout.splitlines() if x[:1] in "+-" and x[:3] not in ("+++", "---")]
                old, new = ("\n".join(x[1:].strip() for x in lines if x[0] == sign) for sign in "-+")
                yield Mutant(f"{name} ({verdict})", old, new)


def main() -> int:
    """Run the targets named, or all; 1 if a change that decides survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    alive = 0
    for name in given.targets or TARGETS:
        found = list(survivors(TARGETS[name], jobs=given.jobs))
        words = [mutant for mutant in found if mutant.changes_words_only]
        equal = [mutant for mutant in found if mutant.change in EQUAL]
        left = [mutant for mutant in found if mutant not in words and mutant not in equal]
        for mutant in left:
            print(f"{mutant.name}\n{mutant.change}\n", flush=True)
        print(
            f"{name}: {len(found)} survive: {len(words)} change words only, {len(equal)} decide the same, {len(left)} decide otherwise"
        )
        alive += len(left)
    return alive > 0


if __name__ == "__main__":
    sys.exit(main())
