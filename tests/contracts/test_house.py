"""Figures of the layout: floors, type names, callbacks, loose dicts, long functions and lines.

``python -m pytest tests/contracts/test_house.py -s`` prints each figure beside its goal.
"""

from __future__ import annotations

import ast
import collections
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contracts.source_trees import ROOT, nodes, package_trees

# A room may import only rooms that stand before it in its own package's tuple. Rooms of one
# nested tuple stand beside each other: none of them imports another.
INDEXER = (
    "core",
    "imaging",
    "fetch",
    ("catalog", "model"),
    ("text", "feeds"),
    "index",
    (
        "classification",
        "tagging",
        "duplicates",
        "quality",
        "moderation",
        "recommendation",
        "reviews",
    ),
    ("training", "index_build"),
    ("evaluation", "operations"),
)
SERVICE = (
    ("settings", "logging"),
    ("alerts", "access"),
    "inference",
    "state",
    "query",
    ("review", "products", "background"),
    "engine",
    "api",
    "server",
    "app",
    "client",
)


def levels(order: tuple[str | tuple[str, ...], ...]) -> dict[str, int]:
    """Room -> its place, equal for rooms that stand beside each other."""
    return {
        room: place
        for place, rooms in enumerate(order)
        for room in (rooms if isinstance(rooms, tuple) else (rooms,))
    }


LEVELS = {"indexer": levels(INDEXER), "service": levels(SERVICE)}


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The rooms of ``package`` that a module imports, at whatever depth, types included."""
    for node in nodes(tree, ast.ImportFrom, ast.Import):
        if isinstance(node, ast.ImportFrom) and node.module:
            head, _, rest = node.module.partition(".")
            if head == package and rest:
                yield rest.split(".")[0]
            elif head == package:
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == package and len(parts) > 1:
                    yield parts[1]


def room_of(path: Path) -> str:
    """``indexer/index/live.py`` -> ``index``; ``service/app.py`` -> ``app``."""
    return path.parts[1].removesuffix(".py")


@pytest.mark.parametrize("package", ["indexer", "service"])
def test_no_room_imports_upwards_or_sideways(package: str) -> None:
    """Imports between rooms go down only, so there are no circles between folders either."""
    order = LEVELS[package]
    upwards = []
    for path, tree in package_trees(package).items():
        here = room_of(path)
        if here == "__init__":
            continue
        assert here in order, f"{path}: a new room; give it a place in the order"
        upwards += [
            f"{path} imports {package}.{there}"
            for there in imports(tree, package)
            if there != here and there in order and order[there] >= order[here]
        ]
    print(f"{package}: imports upwards or sideways {len(upwards)} (goal 0)")
    assert upwards == []


def test_every_module_lives_in_a_room() -> None:
    """``indexer/`` holds no loose module, ``service/`` at most six beside its engine's face."""
    loose = {
        package: [path.name for path in package_trees(package) if len(path.parts) == 2]
        for package in ("indexer", "service")
    }
    for names in loose.values():
        names.remove("__init__.py")
    print(f"loose modules: {len(loose['indexer'])} (goal 0), {len(loose['service'])} (goal <= 6)")
    assert loose["indexer"] == []
    assert len(loose["service"]) <= 6, loose["service"]


def type_names(tree: ast.Module) -> Iterator[str]:
    """Classes at any depth and type aliases at top level."""
    for node in nodes(tree, ast.ClassDef):
        yield node.name
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name.lstrip("_")[:1].isupper() and not name.lstrip("_").isupper():
                yield name


def test_a_type_name_means_one_thing() -> None:
    """No class or type alias of the three packages has the name of another one."""
    places: dict[str, list[str]] = collections.defaultdict(list)
    for package in ("indexer", "service", "tools"):
        for path, tree in package_trees(package).items():
            for name in type_names(tree):
                places[name].append(str(path))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    print(f"type names defined twice: {len(twice)} (goal 0)")
    assert twice == {}


def is_callable_type(node: ast.expr | None) -> bool:
    """Whether an annotation names ``Callable`` anywhere."""
    return node is not None and any(
        (isinstance(part, ast.Name) and part.id == "Callable")
        or (isinstance(part, ast.Attribute) and part.attr == "Callable")
        for part in ast.walk(node)
    )


def callable_fields(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Parameters and fields whose annotation, or the alias that it names, holds ``Callable``."""
    aliases = {
        statement.targets[0].id
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and is_callable_type(statement.value)
    }

    def counts(node: ast.expr | None) -> bool:
        if is_callable_type(node):
            return True
        return node is not None and any(
            isinstance(part, ast.Name) and part.id in aliases for part in ast.walk(node)
        )

    for node in nodes(tree, ast.arg, ast.AnnAssign):
        if isinstance(node, ast.arg) and counts(node.annotation):
            yield node.arg, node.lineno
        elif isinstance(node, ast.AnnAssign) and counts(node.annotation):
            yield ast.unparse(node.target), node.lineno


def test_the_service_injects_no_callbacks() -> None:
    """No parameter and no field of ``service/`` is a function: arrays and objects are passed."""
    found = [
        f"{path}:{line} {name}"
        for path, tree in package_trees("service").items()
        for name, line in callable_fields(tree)
    ]
    print(f"parameters and fields annotated Callable in service/: {len(found)} (goal 0)")
    assert found == []


def loose_dicts(tree: ast.Module) -> int:
    """How often ``dict`` or ``Mapping`` of ``str`` to ``Any`` or ``object`` is written."""
    loose = re.compile(r"(?:dict|Dict|Mapping|MutableMapping)\[str, (?:Any|object)\]")
    found = 0
    for node in nodes(tree, ast.Subscript):
        found += bool(loose.fullmatch(ast.unparse(node)))
    return found


def test_results_between_rooms_are_typed() -> None:
    """Of 1,000 lines of ``service/`` at most six name a dict of anything."""
    total = sum(loose_dicts(tree) for tree in package_trees("service").values())
    lines = sum(len((ROOT / path).read_text().splitlines()) for path in package_trees("service"))
    rate = 1000 * total / lines
    print(f"dict[str, Any] per 1,000 lines of service/: {rate:.1f} (goal <= 6)")
    assert rate <= 6


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(package: str) -> Iterator[tuple[Path, Function]]:
    for path, tree in package_trees(package).items():
        for node in nodes(tree, ast.FunctionDef, ast.AsyncFunctionDef):
            yield path, node


def length(function: Function) -> int:
    """Lines from ``def`` to the end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def parameters(function: Function) -> int:
    """Parameters without ``self`` and ``cls``."""
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in given)


@pytest.mark.parametrize(
    ("measure", "limit", "what"),
    [(length, 60, "lines"), (parameters, 9, "parameters")],
    ids=["lines", "parameters"],
)
def test_functions_stay_small(measure: Callable[[Function], int], limit: int, what: str) -> None:
    """No function of ``indexer/`` and ``service/`` is longer, or takes more, than can be held."""
    large = {
        f"{path}:{function.lineno} {function.name}": size
        for package in ("indexer", "service")
        for path, function in functions(package)
        if (size := measure(function)) > limit
    }
    print(f"functions over {limit} {what}: {len(large)} (goal 0)")
    assert large == {}


def nested_comprehensions(tree: ast.Module) -> Iterator[int]:
    """Lines of comprehensions that stand inside another comprehension."""
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for node in nodes(tree, *kinds):
        for inner in ast.walk(node):
            if inner is not node and isinstance(inner, kinds):
                yield inner.lineno


def test_no_comprehension_inside_another() -> None:
    """A comprehension inside a comprehension is a loop or a function with a name."""
    found = [
        f"{path}:{line}"
        for package in ("indexer", "service", "tools")
        for path, tree in package_trees(package).items()
        for line in nested_comprehensions(tree)
    ]
    print(f"nested comprehensions: {len(found)} (goal 0)")
    assert found == []


PRAGMA = re.compile(r"\s+# (?:type:|noqa).*$")


def test_lines_are_at_most_100_columns() -> None:
    """Ruff holds it too; here it is counted, tests included."""
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("indexer", "service", "tools", "tests")
        for path in sorted((ROOT / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(PRAGMA.sub("", line)) > 100
    ]
    print(f"lines over 100 columns: {len(long)} (goal 0)")
    assert long == []


RENAMES = ("rename", "replace", "renames", "link", "move")


def renames(tree: ast.Module) -> Iterator[int]:
    """Lines that rename or replace a file, or look like it: text is replaced by two arguments."""
    for node in nodes(tree, ast.Call):
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in RENAMES:
            continue
        name = node.func.attr
        of = ast.unparse(node.func.value)
        plain = len(node.args) == 1 and not node.keywords
        if (of == "os" and name in ("rename", "replace", "renames", "link")) or (
            (of == "shutil" and name == "move") or (plain and name in ("rename", "replace"))
        ):
            yield node.lineno


def test_one_place_renames_and_replaces_files() -> None:
    """``indexer/core/atomic_files.py`` does, so that each is flushed and locked; ``os.link`` makes
    a second name and stays where it is named here."""
    links = {
        "indexer/model/bundle.py",
        "indexer/index/transfer.py",
        "indexer/operations/backup_files.py",
    }
    found = {
        str(path)
        for package in ("indexer", "service", "tools")
        for path, tree in package_trees(package).items()
        if any(renames(tree))
    }
    print(f"files that rename: {len(found)} (goal 1 and {len(links)} with links)")
    assert found == {"indexer/core/atomic_files.py", *links}


def is_error(base: str) -> bool:
    return base in ("Exception", "BaseException") or base.endswith("Error")


# They write feeds as other programs do.
_FOREIGN_CSV = {"tools/bench/data/feed_fixtures.py", "tools/bench/data/feed_formats.py"}


def test_one_place_writes_csv() -> None:
    """Python's own writer leaves a bare carriage return without quotes: the row ends there."""
    found = {
        str(path)
        for package in ("indexer", "service", "tools")
        for path, tree in package_trees(package).items()
        for node in nodes(tree, ast.Attribute)
        if node.attr in ("writer", "DictWriter")
        and isinstance(node.value, ast.Name)
        and node.value.id == "csv"
    }
    assert found == {"indexer/core/csv_text.py", *_FOREIGN_CSV}


def test_errors_end_in_error() -> None:
    """Every exception class of the three packages says so in its name."""
    wrong = [
        f"{path}: {node.name}"
        for package in ("indexer", "service", "tools")
        for path, tree in package_trees(package).items()
        for node in nodes(tree, ast.ClassDef)
        if any(is_error(ast.unparse(base)) for base in node.bases)
        and not node.name.endswith("Error")
    ]
    assert wrong == []


def test_json_of_files_is_read_through_one_door() -> None:
    """``indexer/core/regular_files.py`` reads it: no pipe is waited for, and no size or nesting
    takes the process."""
    wrong = [
        f"{path}:{node.lineno}"
        for package in ("indexer", "service")
        for path, tree in package_trees(package).items()
        for node in nodes(tree, ast.Call)
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "loads"
        and ast.unparse(node.func) in ("json.loads", "orjson.loads")
        and re.search(r"\.read(_text|_bytes)?\(", ast.unparse(node))
    ]
    print(f"places that read JSON of files themselves: {len(wrong)} (goal 0)")
    assert wrong == []


LOGGED = ("debug", "info", "warning", "error", "exception", "critical")


def test_no_field_of_the_log_can_be_given_twice() -> None:
    """A mapping that is unpacked into a line of the log stands alone there, or is written out in
    the call: a field of both is a ``TypeError`` in the place of the line."""
    wrong = []
    for package in ("indexer", "service", "tools"):
        for path, tree in package_trees(package).items():
            for node in nodes(tree, ast.Call):
                if not isinstance(node.func, ast.Attribute) or node.func.attr not in LOGGED:
                    continue
                unpacked = [field.value for field in node.keywords if field.arg is None]
                named = len(node.keywords) > len(unpacked)
                if (named or len(unpacked) > 1) and not all(map(is_written_out, unpacked)):
                    wrong.append(f"{path}:{node.lineno}")
    assert wrong == []


def is_written_out(value: ast.expr) -> bool:
    """Whether each key of a mapping stands in the code."""
    if isinstance(value, ast.IfExp):
        return is_written_out(value.body) and is_written_out(value.orelse)
    return isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys)
