"""The syntax trees of the source, read once for all contracts that a process holds."""

from __future__ import annotations

import ast
import gc
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
Node = TypeVar("Node", bound=ast.AST)


def read_tree(path: Path) -> ast.Module:
    """Read a file. The collector stands still meanwhile: it would go through each new node again
    and again, which takes twice as long as to read them."""
    runs = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    finally:
        if runs:
            gc.enable()


@cache
def tree_of(path: Path) -> ast.Module:
    """The file's tree, which nobody changes."""
    return read_tree(path)


@cache
def package_trees(package: str) -> dict[Path, ast.Module]:
    """Path below the root -> syntax tree, of all modules of a package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT): tree_of(path) for path in paths}


@cache
def _by_kind(tree: ast.Module) -> dict[type[ast.AST], list[ast.AST]]:
    found: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
    for node in ast.walk(tree):
        found[type(node)].append(node)
    return found


def nodes(tree: ast.Module, *kinds: type[Node]) -> list[Node]:
    """The nodes of a tree that are of one of these kinds, at whatever depth."""
    known = _by_kind(tree)
    return [node for kind in kinds for node in known.get(kind, ())]  # type: ignore[misc]


def forget_trees() -> None:
    """Let the memory go that they take: some hundred megabytes."""
    for remembered in (tree_of, package_trees, _by_kind):
        remembered.cache_clear()
