"""Registry: items by name and place, found in their package, each name once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pytest

from indexer.core.registry import LAST, Registry


@dataclass(frozen=True)
class Item:
    name: str
    place: int = LAST


def make_registry(package: str) -> Registry[Item]:
    return Registry(package, name=attrgetter("name"), place=attrgetter("place"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package with one module that registers itself."""
    folder = tmp_path / "some_items"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Items."""\n')
    (folder / "one.py").write_text("import some_registry\nsome_registry.found.append(__name__)\n")
    (tmp_path / "some_registry.py").write_text("found = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("some_items", "some_items.one", "some_registry"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "some_items"


def test_modules_are_imported_when_first_read_only(package: str) -> None:
    """A registry imports its package's modules at the first look, and once."""
    registry = make_registry(package)
    assert package not in sys.modules
    assert registry.names() == ()
    assert len(registry) == 0
    assert sys.modules["some_registry"].found == ["some_items.one"]


def test_items_come_by_place_then_by_name(package: str) -> None:
    """An item without a place stands behind all that have one."""
    registry = make_registry(package)
    for item in (Item("zebra", 10), Item("ant"), Item("bee", 20), Item("cat")):
        registry.register(item)
    assert registry.names() == ("zebra", "bee", "ant", "cat")
    assert registry["ant"] == Item("ant")
    assert "ant" in registry
    assert "dog" not in registry


def test_a_name_is_given_once(package: str) -> None:
    """A second item of the same name is refused, and the first stays."""
    registry = make_registry(package)
    registry.register(Item("ant", 10))
    with pytest.raises(ValueError, match=r"'ant' is registered twice"):
        registry.register(Item("ant", 20))
    assert registry["ant"].place == 10


def test_an_item_may_be_registered_for_a_while(package: str) -> None:
    """``registered`` takes the item away again, whatever happens meanwhile."""
    registry = make_registry(package)
    with registry.registered(Item("ant")):
        assert registry.names() == ("ant",)
    assert registry.names() == ()

    def fail() -> None:
        with registry.registered(Item("bee")):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert registry.names() == ()
