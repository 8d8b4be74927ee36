"""The exception family and the tree of it that its module shows."""

from __future__ import annotations

import inspect

from indexer.core import errors
from indexer.core.errors import CatalensError


def tree(kind: type[CatalensError], depth: int = 0) -> list[str]:
    """A class and its subclasses of the same module, indented, in the order of their names."""
    below = sorted(
        (one for one in kind.__subclasses__() if one.__module__ == errors.__name__),
        key=lambda one: one.__name__,
    )
    lines = ["  " * depth + kind.__name__]
    for one in below:
        lines += tree(one, depth + 1)
    return lines


def test_the_module_shows_its_family() -> None:
    """The tree at the top of indexer/core/errors.py is the one that Python knows."""
    shown = (inspect.getdoc(errors) or "").splitlines()
    start = shown.index("* CatalensError")
    assert [line.replace("* ", "", 1) for line in shown[start:]] == tree(CatalensError)
