"""What a user may import stands in each package's ``__init__``, and costs nothing until used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("indexer", "service", "tools")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_is_there(name: str) -> None:
    """``__all__`` is sorted, each name can be imported, and ``dir`` lists the same."""
    package = import_module(name)
    assert package.__all__ == sorted(package.__all__)
    assert dir(package) == package.__all__
    for exported in package.__all__:
        found = getattr(package, exported)
        assert found.__name__ == exported
        assert found.__module__.split(".")[0] in PACKAGES
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_the_same_names(name: str) -> None:
    """The imports under ``TYPE_CHECKING`` name each export, and the same object."""
    package = import_module(name)
    tree = ast.parse((ROOT / name / "__init__.py").read_text(encoding="utf-8"))
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                seen |= dict.fromkeys([alias.name for alias in statement.names], statement.module)
    assert sorted(seen) == package.__all__
    for exported, module in seen.items():
        assert getattr(import_module(module), exported) is getattr(package, exported)
    assert (ROOT / name / "py.typed").exists()


def test_importing_the_packages_loads_no_heavy_library() -> None:
    """``import indexer, service, tools`` loads none of torch, faiss, Flask, pyarrow or numpy."""
    code = (
        "import indexer, service, tools, sys; "
        "print(sorted({'torch', 'faiss', 'flask', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
