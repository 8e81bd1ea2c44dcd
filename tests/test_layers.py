"""The design's layers: imports point down, leaves are imported by nobody, and one package knows the HTTP client."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bulkup

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bulkup"

WORDS, PURE, EDGES, FLOW, WIRING, SURFACE = range(6)
LAYERS = {
    WORDS: (
        "model",
        "authority",
        "chunk",
        "outcome",
        "errors",
        "refusal",
        "event",
        "path_text",
        "settings",
        "tokens",
        "version",
        "light_dataclass",
        "machine",
    ),
    PURE: (
        *("rows", "encoding", "scan", "account", "doubt"),
        *("tokens.logs", "transport.classify", "transport.stalls", "flow.tiling", "bench.sweep"),
    ),
    EDGES: ("sources", "destinations", "transport", "pacing", "journal", "workers", "tokens.token_source"),
    FLOW: ("flow", "scan.scanner", "scan.spread"),
    WIRING: ("run", "bench", "api", "notebook", "ray_data", "ray_lines", "cli.picture", "cli.figures"),
    SURFACE: ("", "cli", "__main__"),
}
"""Packages and loose modules; a module that lies lower or higher than its package is named by itself."""
RANK = {part: rank for rank, parts in LAYERS.items() for part in parts}
LEAVES = {"emulator", "demo_data"}
MAY_IMPORT_LEAVES = {"cli"}
"""Lazily: `bulkup emulator` and `bulkup demo` start one."""

EDGE_TO_EDGE = {
    ("destinations", "transport"),
    ("destinations", "tokens"),
    ("destinations", "sources"),
}
"""Edges do not know each other, with these exceptions: a service speaks over the wire, with a token, and may answer with a JSON
array that is cut as an array in a file is."""

HTTP = {"aiohttp", "httpx", "requests", "urllib3"}
IMPURE = {"anyio", "aiohttp", "sqlite3", "asyncio", "aiolimiter", "socket", "threading"}


@dataclass(frozen=True, order=True)
class Import:
    """*importer* names *imported*, a whole module's name; *lazy* where that is inside a function."""

    importer: str
    imported: str
    lazy: bool = False

    @property
    def pair(self) -> tuple[str, str]:
        return self.importer, self.imported


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def part_of(module: str) -> str:
    """The part of bulkup that *module* belongs to: the second word of its name."""
    return [*module.split("."), ""][1]


def rank_of(module: str) -> int:
    """Its own layer, where it is named by itself, else its package's."""
    own = module.removeprefix("bulkup").removeprefix(".")
    return RANK[own] if own in RANK else RANK[part_of(module)]


def names_in(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        home = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*home[: len(home) - node.level + 1], *([base] if base else [])])
    for alias in node.names:
        whole = f"{base}.{alias.name}"
        yield whole if whole in MODULES else base


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_bytes())


def imports_of(module: str) -> Iterator[Import]:
    for node, lazy in statements_in(tree_of(module)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (Import(module, name, lazy) for name in names_in(node, module))


def statements_in(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All below *node* but the expressions, which hold no import and are most of a tree; *lazy* within a function."""
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):
            yield child, inside
            yield from statements_in(child, inside)


@functools.cache
def everything() -> list[Import]:
    """Read by the first test that asks, not by every process that collects tests."""
    return sorted({found for module in MODULES for found in imports_of(module)})


def inner() -> list[Import]:
    return [found for found in everything() if found.imported.split(".")[0] == "bulkup"]


def engine() -> list[Import]:
    return [found for found in inner() if part_of(found.importer) not in LEAVES]


def breaks_layers() -> set[tuple[str, str]]:
    broken = set()
    for found in engine():
        above, below = part_of(found.importer), part_of(found.imported)
        if above == below or below in LEAVES or above == "":
            continue
        mine, its = rank_of(found.importer), rank_of(found.imported)
        sideways = mine == its == EDGES and (above, below) not in EDGE_TO_EDGE
        if its > mine or sideways:
            broken.add(found.pair)
    return broken


def breaks_purity() -> set[tuple[str, str]]:
    return {
        (found.importer, found.imported.split(".")[0])
        for found in everything()
        if part_of(found.importer) not in LEAVES
        and rank_of(found.importer) <= PURE
        and found.imported.split(".")[0] in IMPURE
    }


def test_every_module_has_a_layer() -> None:
    """A new module is put into a layer before it is written."""
    assert {part_of(module) for module in MODULES} - LEAVES - RANK.keys() == set()


def test_the_table_names_what_there_is() -> None:
    """What the table says of modules that are gone would go unnoticed."""
    there = {part_of(module) for module in MODULES} | {module.removeprefix("bulkup.") for module in MODULES}
    assert RANK.keys() - there == set()


def test_imports_point_down() -> None:
    """No module imports one of a layer above, and edges do not import each other."""
    assert breaks_layers() == set()


def test_words_and_pure_parts_touch_no_loop_no_wire_and_no_disk() -> None:
    """What decides needs no event loop to be tested."""
    assert breaks_purity() == set()


def test_leaves_are_imported_by_nobody() -> None:
    """The engine knows neither the emulator nor the benchmarks nor the tests; the command line starts an emulator lazily."""
    allowed = [found for found in engine() if found.lazy and part_of(found.importer) in MAY_IMPORT_LEAVES]
    below = {found.pair for found in engine() if part_of(found.imported) in LEAVES} - {found.pair for found in allowed}
    outer = {found.pair for found in everything() if found.imported.split(".")[0] in {"benchmarks", "tests"}}
    assert below | outer == set()


def test_the_emulator_knows_nothing_of_the_engine() -> None:
    """What the engine gets wrong the emulator must not get wrong in the same way."""
    leaves = [found for found in inner() if part_of(found.importer) == "emulator"]
    assert {found.pair for found in leaves if part_of(found.imported) not in {"emulator", "version"}} == set()


def test_one_package_imports_the_http_client() -> None:
    """Foreign errors are translated at one place."""
    users = {found.importer for found in everything() if found.imported.split(".")[0] in HTTP}
    assert {part_of(user) for user in users} - LEAVES == {"transport"}


def test_the_journal_imports_sqlite_and_what_lists_datasets() -> None:
    """Each stands behind one small interface; the flow never sees a connection."""
    users = {found.importer for found in everything() if found.imported.split(".")[0] == "sqlite3"}
    assert {part_of(user) for user in users - {"bulkup.destinations.scratch"}} - LEAVES == {"journal"}


def test_one_service_does_not_know_the_other_and_the_registry_alone_knows_both() -> None:
    """A third service is one more package, and one more line of the registry. The public names are the package's own."""
    services = ("nebius", "collinear")
    for found in inner():
        own = [name for name in services if found.importer.startswith(f"bulkup.destinations.{name}")]
        other = [name for name in services if found.imported.startswith(f"bulkup.destinations.{name}")]
        assert not own or not other or own == other, found
        assert not other or own or found.importer in {"bulkup.destinations.registry", "bulkup"}, found


def names_a_service() -> set[str]:
    named = re.compile(rb"nebius|collinear", re.IGNORECASE)
    own = {PACKAGE / "__init__.py", PACKAGE / "cli" / "demo.py"}
    apart = {"destinations", "emulator", "demo_data", "__pycache__"}
    names = {path.relative_to(PACKAGE): path for path in PACKAGE.rglob("*") if path.is_file() and path not in own}
    return {
        str(name) for name, path in names.items() if not apart & set(name.parts) and named.search(path.read_bytes())
    }


def test_no_other_code_names_a_service() -> None:
    """Not in a comment either: what differs between services is said by themselves. The public names and the demo are of two."""
    assert names_a_service() == set()


def test_no_module_takes_a_public_function_s_name() -> None:
    """`from package import name` must be one thing, whatever was imported before: no module is called as one of bulkup's own
    functions, and none as what its package offers."""
    public = {name for name in bulkup.__all__ if inspect.isfunction(getattr(bulkup, name))}
    assert public == {
        *("check", "events", "rejects", "resume", "settle", "status", "upload", "upload_sync", "verify"),
    }
    assert [module for module in MODULES if module.rpartition(".")[2] in public] == []
    for module, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        tree = tree_of(module)
        offered = {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                offered |= {alias.asname or alias.name for alias in node.names}
        below = {other.rpartition(".")[2] for other in MODULES if other.rpartition(".")[0] == module}
        assert not offered & below, (module, offered & below)


def test_concrete_parts_are_built_at_few_sites() -> None:
    """Transport, journal and destinations are opened at one construction site in each process; everything else is handed them."""
    sites = {"bulkup.run.open_lane", "bulkup.run.worker", "bulkup.bench.sweeping"}
    built = {"Transport"}
    for module in MODULES:
        if part_of(module) in LEAVES:
            continue
        calls = {
            node.func.id
            for node in ast.walk(tree_of(module))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & built or module in sites, (module, calls & built)
