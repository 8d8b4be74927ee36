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
from typing import NamedTuple

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


class _Note(NamedTuple):
    """For what state of a catalog photos were written, and which."""

    state: CatalogState
    hashes: tuple[str, ...]


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


def are_uploads_left(home: Home, catalog: Catalog) -> bool:
    """Whether a process that is gone left a note that is not another catalog's; cheap."""
    try:
        noted = [_read(path) for path in _left(home)]
    except OSError:
        # ``collect_uploads`` says what it is.
        return True
    return any(note is None or not _is_of_another(note.state, catalog) for note in noted)


def collect_uploads(home: Home, catalog: Catalog) -> list[str]:
    """Remove the photos that killed processes wrote for products that never came; returns them.

    Of another catalog, or a state that this one never had, nothing is removed, and the note stays
    for that catalog. Raises ``OSError``.
    """
    gone: list[str] = []
    store = PhotoStore(home)
    for path in _left(home):
        note = _read(path)
        if note is not None:
            if _is_of_another(note.state, catalog):
                continue
            if catalog.change_log.had(note.state):
                gone += store.collect(catalog, (), own=note.hashes)
        path.unlink(missing_ok=True)
    return gone


def is_note(path: Path) -> bool:
    """Whether a file that looks half-written is a note."""
    return path.parent.name == "photos" and path.name.startswith(f".{NOTE}.")


def _left(home: Home) -> list[Path]:
    notes = home.photos.glob(f".{NOTE}.*.tmp")
    return [path for path in notes if _age(path) >= _YOUNG_S and not is_claimed(path)]


def _read(path: Path) -> _Note | None:
    """What a note says; None for one whose process was killed while it wrote it, before any photo,
    and for one that is gone. Raises ``OSError``."""
    try:
        note = read_json(path)
        identity, sequence, stamp = note["catalog"]
        return _Note(CatalogState(identity, int(sequence), stamp), tuple(map(str, note["hashes"])))
    except (ValueError, TypeError, KeyError, FileNotFoundError):
        return None


def _is_of_another(state: CatalogState, catalog: Catalog) -> bool:
    """Whether another catalog may have had ``state``, or this one before an older copy took its
    place; not where this one's stamp of it was compacted away, which nothing brings back."""
    log = catalog.change_log
    if state.identity is None:
        return False
    if state.identity != log.identity():
        return True
    stamp = log.stamp(state.sequence)
    if stamp is None:
        return state.sequence > log.state().sequence
    return stamp != state.stamp


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
