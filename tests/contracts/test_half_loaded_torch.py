"""Answers while another thread loads torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import indexer
from indexer.core.vectors import log_sum_exp
from tests.contracts.source_trees import read_tree

ROOT = Path(indexer.__file__).parent
SQUARE = np.random.default_rng(0).random((6, 6))
DISTANCES = SQUARE + SQUARE.T - np.diag(2 * np.diag(SQUARE))
# What is called of each name that `indexer` takes from SciPy.
CALLS: dict[str, Callable[[Any], Any]] = {
    "betaincinv": lambda named: named(1, 2, 0.5),
    "binary_fill_holes": lambda named: named(SQUARE > 0.5),
    "binary_opening": lambda named: named(SQUARE > 0.5),
    "connected_components": lambda named: named(SQUARE),
    "coo_array": lambda named: named(SQUARE).sum(axis=0),
    "csr_array": lambda named: named(SQUARE) @ SQUARE,
    "csr_matrix": lambda named: named(SQUARE) @ SQUARE,
    "dct": lambda named: named(SQUARE),
    "dctn": lambda named: named(SQUARE),
    "dijkstra": lambda named: named(SQUARE),
    "erf": lambda named: named(SQUARE),
    "expit": lambda named: named(SQUARE),
    "fcluster": lambda named: named(np.array([[0.0, 1.0, 0.3, 2.0]]), 0.5, "distance"),
    "irfft2": lambda named: named(SQUARE),
    "linkage": lambda named: named(SQUARE[0], "average"),
    "logit": lambda named: named(SQUARE),
    "minimize": lambda named: named(lambda x: float(x @ x), np.ones(2)),
    "minimize_scalar": lambda named: named(lambda x: x * x),
    "ndimage": lambda named: [
        named.gaussian_filter(SQUARE, 1),
        named.label(SQUARE > 0.5),
        named.uniform_filter(SQUARE, 3),
        named.find_objects((SQUARE > 0.5).astype(int)),
    ],
    "rankdata": lambda named: named(SQUARE, axis=0),
    "rfft2": lambda named: named(SQUARE),
    "squareform": lambda named: named(DISTANCES),
}


def names_of_scipy() -> set[tuple[str, str]]:
    """(module, name) of all that `indexer` imports from SciPy."""
    found: set[tuple[str, str]] = set()
    for path in ROOT.rglob("*.py"):
        # This is asked of each process that collects tests: most files need not be parsed.
        if "scipy" not in path.read_text(encoding="utf-8"):
            continue
        for node in ast.walk(read_tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scipy"):
                found |= {(node.module or "", alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize(("module", "name"), sorted(names_of_scipy()))
def test_scipy_is_asked_nothing_that_needs_torch(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question answered while the first that needs torch loaded it was 500: "partially
    initialized module 'torch' has no attribute 'Tensor'"."""
    named = getattr(import_module(module), name)
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    CALLS[name](named)


def test_the_own_log_sum_exp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    values = np.array([[0.0, 0.0], [1e4, 0.0], [-np.inf, -np.inf], [1.0, 2.0]], np.float32)
    expected = [np.log(2), 1e4, -np.inf, np.log(np.e + np.e**2)]
    np.testing.assert_allclose(log_sum_exp(values, axis=1), expected, rtol=1e-12)
    assert log_sum_exp(values, axis=-1, keepdims=True).shape == (4, 1)
