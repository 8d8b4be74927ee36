"""Notes of photos' files that are written before the product that will have them.

A process that is killed between the two leaves files that no product leads to. The note names them
beside the state of the catalog that the product was for, so that a later run may remove them: that
a catalog merely does not name a photo is no reason to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from indexer.catalog.change_log import CatalogState
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import claimed_aside, is_claimed, storage_failure
from indexer.core.home import Home
from indexer.core.regular_files import read_json

# Of the files' names; what else is half-written is swept away.
NOTE = "uploads"
# Seconds that a note without a process is left alone, where the disk knows no locks.
_YOUNG_S = 60.0


@contextmanager
def noted_uploads(home: Home, catalog: Catalog, hashes: Iterable[str]) -> Iterator[set[str]]:
    """Inside, a note beside the photos names ``hashes``, whose files are written here for products
    to come. Gives what is still to be cleared: where that is not empty at the end, or the block
    fails with it, the note stays for ``collect_uploads``.

    Raises ``StorageError`` where it cannot be written, and as ``Home.require``.
    """
    pending = set(hashes)
    if not pending:
        yield pending
        return
    state = catalog.change_log.state()
    text = json.dumps({"catalog": state, "hashes": sorted(pending)})
    with ExitStack() as stack:
        try:
            home.make_folder(home.photos)
            note = stack.enter_context(claimed_aside(home.photos / NOTE, text.encode()))
        except OSError as error:
            raise storage_failure(home.photos, error) from error
        try:
            yield pending
        finally:
            if not pending:
                with suppress(OSError):
                    note.unlink(missing_ok=True)


def are_uploads_left(home: Home) -> bool:
    """Whether a process that is gone left a note; cheap."""
    return bool(_left(home))


def collect_uploads(home: Home, catalog: Catalog) -> list[str]:
    """Remove the photos that killed processes wrote for products that never came; returns them.

    Of another catalog, or a state that this one never had, nothing is removed. Raises ``OSError``.
    """
    gone: list[str] = []
    store = PhotoStore(home)
    for path in _left(home):
        with suppress(ValueError, TypeError, KeyError):
            # Else it was killed while it wrote the note, before any photo.
            note = read_json(path)
            if catalog.change_log.had(CatalogState(*note["catalog"])):
                gone += store.collect(catalog, (), own=map(str, note["hashes"]))
        path.unlink(missing_ok=True)
    return gone


def is_note(path: Path) -> bool:
    """Whether a file that looks half-written is a note."""
    return path.parent.name == "photos" and path.name.startswith(f".{NOTE}.")


def _left(home: Home) -> list[Path]:
    notes = home.photos.glob(f".{NOTE}.*.tmp")
    return [path for path in notes if _age(path) >= _YOUNG_S and not is_claimed(path)]


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
