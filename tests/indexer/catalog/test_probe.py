"""A service says that it is not ready once its catalog is not the one that it opened."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.catalog.probe import CatalogProbe
from indexer.catalog.store import Catalog
from indexer.core.errors import ReplacedFileError
from tests.indexer.catalog.test_store import product, put


def _moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _removed(path: Path) -> None:
    path.unlink()


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _no_database(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database at all " * 2000)


def _another(path: Path) -> None:
    other = path.with_name("other.sqlite3")
    Catalog.create(other).close()
    with path.open("r+b") as file:
        file.write(other.read_bytes())
        file.truncate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "catalog.sqlite3"


@pytest.mark.parametrize("harm", [_moved, _removed, _emptied, _no_database, _another])
def test_a_catalog_that_was_taken_away_or_overwritten_is_told(
    path: Path, harm: Callable[[Path], None]
) -> None:
    with Catalog.create(path) as catalog:
        put(catalog, product("p1", title="one"))
        probe = CatalogProbe(catalog.database)
        put(catalog, product("p2", title="two"))
        catalog.database.checkpoint()
        probe.require()
        harm(path)
        with pytest.raises(ReplacedFileError, match="start it again"):
            probe.require()
        # What is open may know some of its pages still: they fit to nothing that lies there.
        with pytest.raises(ReplacedFileError, match="start it again"):
            catalog.get("p1")


def test_a_catalog_that_was_put_back_is_read_again(path: Path) -> None:
    """What was doubted is asked once more: its disk may have been away for a moment."""
    with Catalog.create(path) as catalog:
        put(catalog, product("p1", title="one"))
        catalog.database.checkpoint()
        probe, whole = CatalogProbe(catalog.database), path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(ReplacedFileError):
            probe.require()
        path.write_bytes(whole)
        probe.require()
        assert catalog.get("p1").title == "one"


def test_an_older_state_of_the_catalog_is_told(path: Path) -> None:
    """A backup that is copied over the file in use is of the same catalog, and lacks changes."""
    with Catalog.create(path) as catalog:
        put(catalog, product("p1", title="one"))
        catalog.database.checkpoint()
        shutil.copy(path, path.with_name("copy"))
        put(catalog, product("p2", title="two"))
        catalog.database.checkpoint()
        probe = CatalogProbe(catalog.database)
        path.write_bytes(path.with_name("copy").read_bytes())
        with pytest.raises(ReplacedFileError, match="older state"):
            probe.require()


def test_a_probe_waits_for_no_writer_and_lets_go_of_no_lock(path: Path) -> None:
    """Other threads write and fold the log in all the while: that is no fault of the file."""
    with Catalog.create(path) as catalog:
        put(catalog, product("p", title="first"))
        probe = CatalogProbe(catalog.database)
        done = threading.Event()

        def write() -> None:
            for number in range(40):
                put(catalog, product(f"p{number}", title="x" * 900))
                catalog.database.checkpoint()
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        while not done.is_set():
            probe.require()
        writer.join()
        with catalog.database.transaction():
            probe.require()
        assert catalog.last_sequence() == 41
