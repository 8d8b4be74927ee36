"""The rooms' contract: imports go tools -> service -> indexer, never in a circle, and importing
does no work."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from indexer.core.sqlite_library import LIBRARY
from tests.contracts.source_trees import ROOT, nodes, read_tree, tree_of

MAY_IMPORT = {
    "indexer": {"indexer"},
    "service": {"service", "indexer"},
    "tools": {"tools", "service", "indexer"},
}
ROOMS = set(MAY_IMPORT) | {"tests"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))
}


@cache
def imported(path: Path, *, top_level_only: bool = False) -> tuple[str, ...]:
    """Modules that the file imports; ``from a import b`` yields both ``a`` and ``a.b``."""
    if top_level_only:
        return tuple(_imported(_outside_functions(tree_of(path))))
    if path.relative_to(ROOT).parts[0] not in MAY_IMPORT:
        # Nothing else is asked of the tests, whose trees are not kept.
        return tuple(_imported(ast.walk(read_tree(path))))
    return tuple(_imported(nodes(tree_of(path), ast.Import, ast.ImportFrom)))


def _imported(among: Iterable[ast.AST]) -> Iterator[str]:
    for node in among:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import, line {node.lineno}"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run at import: not the bodies of functions, nor of ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _outside_functions(node)


def test_imports_go_one_way() -> None:
    """indexer knows neither service nor tools, service not tools, and none of them the tests."""
    wrong = [
        f"{name} imports {target}"
        for name, path in SOURCES.items()
        for target in imported(path)
        if (room := target.partition(".")[0]) in ROOMS
        and room not in MAY_IMPORT[name.partition(".")[0]]
    ]
    assert wrong == []


def test_flask_stays_in_the_service() -> None:
    """No module outside ``service`` imports Flask or one of its extensions; a benchmark's peer is
    its own process."""
    wrong = [
        f"{name} imports {target}"
        for name, path in SOURCES.items()
        if not name.startswith("service") and name != "tools.bench.peers.plain_service"
        for target in imported(path)
        if target.partition(".")[0] in {"flask", "flask_openapi", "werkzeug", "waitress"}
    ]
    assert wrong == []


def test_native_libraries_have_one_door() -> None:
    """torch and faiss are imported by ``indexer.core.native`` only, which sets threads and order
    first."""
    wrong = [
        f"{name} imports {target}"
        for name, path in SOURCES.items()
        if name != "indexer.core.native"
        for target in imported(path)
        if target == "faiss" or target == "torch"
    ]
    assert wrong == []


SQLITE_LIBRARIES = frozenset(
    {
        *("sqlite3", "_sqlite3", "pysqlite3", "apsw", "sqlalchemy", "dbm", "sqlean"),
        # Locks that open files with the standard library's SQLite.
        *("filelock.ReadWriteLock", "filelock.AsyncReadWriteLock"),
    }
)


def test_sqlite_has_one_door() -> None:
    """No code, test, tool or benchmark imports a SQLite library: ``indexer.core.sqlite_library``
    chooses one, and ``indexer.core.sqlite`` opens files with it, by ``sqlite_rewrite`` and
    ``sqlite_files`` too; ``sqlite_failures`` knows its exceptions."""
    tests = {module_name(path): path for path in sorted((ROOT / "tests").rglob("*.py"))}
    wrong = [
        f"{name} imports {target}"
        for name, path in {**SOURCES, **tests}.items()
        if name != "indexer.core.sqlite_library"
        for target in imported(path)
        if target in SQLITE_LIBRARIES
        or target.partition(".")[0] in SQLITE_LIBRARIES
        or (
            target == "indexer.core.sqlite_library.library"
            and name
            not in (
                "indexer.core.sqlite",
                "indexer.core.sqlite_rewrite",
                "indexer.core.sqlite_files",
                "indexer.core.sqlite_failures",
            )
        )
    ]
    assert wrong == []


def test_every_checkpoint_looks_at_busy() -> None:
    """Whether a log was emptied is looked at wherever that was asked for, and SQLite is asked in
    one place, as for a new form of a file: no VACUUM in place, which may hold all in memory."""
    wrong = []
    for name, path in SOURCES.items():
        tree = tree_of(path)
        wrong += [
            f"{name}:{node.lineno} ignores what checkpoint() says"
            for node in nodes(tree, ast.Expr)
            if isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and node.value.func.attr == "checkpoint"
        ]
        for node in nodes(tree, ast.Constant):
            if not isinstance(node.value, str):
                continue
            if "wal_checkpoint" in node.value and name != "indexer.core.sqlite":
                wrong.append(f"{name}:{node.lineno} folds a log in by itself")
            if node.value.strip().upper().startswith("VACUUM") and (
                name != "indexer.core.sqlite_rewrite" or "INTO" not in node.value
            ):
                wrong.append(f"{name}:{node.lineno} writes a database anew by itself")
    assert wrong == []


def test_ids_are_looked_up_together() -> None:
    """No loop asks the catalog for one product's number after the other: ``Catalog.pids`` takes
    many in one statement."""
    loops = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    wrong = {
        f"{name}:{call.lineno}"
        for name, path in SOURCES.items()
        # The command that erases deletes each before it asks for the next.
        if not name.startswith("tools.bench") and name != "tools.erase_command"
        for loop in nodes(tree_of(path), *loops)
        for call in ast.walk(loop)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "pid"
    }
    assert wrong == set()


SAMPLE_AND_BENCH = ("tools.bench", "tools.sample", "tools.sample_catalog")


def test_only_demo_and_bench_reach_the_sample_and_the_benchmarks() -> None:
    """Drawn clothes and benchmarks are no part of the product: two commands use them, and tests."""
    may = ("tools.demo", "tools.commands.bench", "tools.screenshots")
    wrong = [
        f"{name} imports {target}"
        for name, path in SOURCES.items()
        if name not in may and not is_below(name, SAMPLE_AND_BENCH)
        for target in imported(path)
        if is_below(target, SAMPLE_AND_BENCH)
    ]
    assert wrong == []


def is_below(name: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of ``packages`` or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_benchmarks_stand_alone_at_the_top() -> None:
    """A module at the top of ``tools.bench`` is a benchmark; the list names all of them."""
    from tools.bench.harness.framework import BENCHMARKS

    top = {
        name.rpartition(".")[2]
        for name, path in SOURCES.items()
        if path.parent == ROOT / "tools" / "bench" and path.stem != "__init__"
    }
    assert top == set(BENCHMARKS)
    for name in sorted(top):
        tree = tree_of(ROOT / "tools" / "bench" / f"{name}.py")
        assert {"PARTS", "GOALS", "measure"} <= set(defined(tree)), name


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that a module's top level defines."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_no_import_circles() -> None:
    """The modules' own imports, at top level, form no circle."""
    graph = {
        name: {
            target
            for target in imported(path, top_level_only=True)
            if target in SOURCES and target != name
        }
        for name, path in SOURCES.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"import circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_file_says_what_it_is_for() -> None:
    """The first statement of every file that holds code is its docstring, one line that says what
    it is for."""
    bare = []
    for name, path in SOURCES.items():
        tree = tree_of(path)
        if tree.body and not (ast.get_docstring(tree) or "").strip():
            bare.append(name)
    assert bare == []


# Imports every module in a fresh interpreter that watches what our own code does meanwhile (not
# what torch does).
IMPORT_ALL = """
import importlib, json, logging, os, sys, threading
root, stdlib = sys.argv[1], os.path.dirname(os.__file__)
watched = {"socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.rename",
    "os.remove", "open"}
deeds = []

def ours():
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        library = "site-packages" in name
        if library or not (name.startswith("<") or name.startswith(stdlib)):
            return not library and name.startswith(root)
        frame = frame.f_back
    return False

def hook(event, args):
    if event in watched and (event != "open" or set(str(args[1])) & set("wax+")) and ours():
        deeds.append(f"{event} {args}")

handlers = len(logging.getLogger().handlers)
sys.addaudithook(hook)
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
added = len(logging.getLogger().handlers) - handlers
sqlite = sorted({"_sqlite3", "pysqlite3", "apsw"} & set(sys.modules))
found = {"deeds": deeds, "threads": threads, "handlers": added, "sqlite": sqlite}
print(json.dumps({**found, "pictures": sorted({"cv2", "rapidocr"} & set(sys.modules))}))
"""


@pytest.mark.slow
def test_importing_does_no_work() -> None:
    """Importing every module connects nowhere, writes nothing, starts no process or thread, adds no
    log handler, loads one SQLite library, and none of those that look for emblems and text."""
    names = [name for name in SOURCES if not name.endswith("__main__")]
    command = [sys.executable, "-B", "-c", IMPORT_ALL, str(ROOT), json.dumps(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    chosen = "_sqlite3" if LIBRARY.module == "sqlite3" else LIBRARY.module
    assert json.loads(done.stdout) == {
        "deeds": [],
        "threads": [],
        "handlers": 0,
        "sqlite": [chosen],
        "pictures": [],
    }


@pytest.mark.parametrize(
    "module",
    ["tools.cli", "tools.doctor", "tools.output", "indexer.core.errors", "indexer.core.home"],
)
def test_light_modules_stay_light(module: str) -> None:
    """The command line answers ``--help`` without loading torch, faiss, Flask or pyarrow."""
    code = (
        f"import {module}, sys; print(sorted({{'torch', 'faiss', 'flask', 'pyarrow', 'sklearn'}} & "
        "set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_errors_imports_nothing() -> None:
    """``indexer.core.errors`` can be imported from anywhere, because it imports nothing itself."""
    assert set(imported(SOURCES["indexer.core.errors"])) <= {
        "__future__",
        "__future__.annotations",
    }
