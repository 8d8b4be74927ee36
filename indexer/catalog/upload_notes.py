"""Notes of photos' files that are written before the product that will have them.

A process that is killed between the two leaves files that no product leads to. The note names them
beside the state of the catalog that the product was for, so that a later run may remove them: that
a catalog merely does not name a photo is no reason to.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from indexer.catalog.change_log import CatalogState
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import claimed_aside, is_claimed, storage_failure
from indexer.core.errors import StorageError
from indexer.core.home import Home
from indexer.core.regular_files import read_json

# Of the files' names; what else is half-written is swept away.
NOTE = "uploads"
# Seconds that a note without a process is left alone, where the disk knows no locks.
_YOUNG_S = 60.0
# Photos that come one by one are named in notes of so many: each rewrites the last note.
_FULL = 64


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
    with ExitStack() as stack:
        note = stack.enter_context(_noted(home, catalog, pending))
        try:
            yield pending
        finally:
            if not pending:
                with suppress(OSError):
                    note.unlink(missing_ok=True)


@contextmanager
def _noted(home: Home, catalog: Catalog, hashes: Iterable[str]) -> Iterator[Path]:
    """A note of ``hashes``, which no other process takes up inside."""
    # A catalog that was never written to would not know the note again.
    catalog.change_log.identify()
    text = json.dumps({"catalog": catalog.change_log.state(), "hashes": sorted(hashes)})
    with ExitStack() as stack:
        try:
            home.make_folder(home.photos)
            note = stack.enter_context(claimed_aside(home.photos / NOTE, text.encode()))
        except OSError as error:
            raise storage_failure(home.photos, error) from error
        yield note


class _OpenNote(NamedTuple):
    """A note of a process that is at it."""

    path: Path
    hashes: frozenset[str]
    claim: ExitStack

    def end(self) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.claim.close()


class UploadNotes:
    """Notes of the photos' files that one import writes, as it goes on; safe from threads.

    Raises ``StorageError`` where those before cannot be read. What is not settled when they are
    closed, or the process is killed, stays noted for ``collect_uploads``.
    """

    def __init__(self, home: Home, catalog: Catalog) -> None:
        self._home = home
        self._catalog = catalog
        self._lock = threading.Lock()
        self._notes: list[_OpenNote] = []
        try:
            self._left = _left_hashes(home, catalog)
        except OSError as error:
            raise storage_failure(home.photos, error) from error

    def is_left(self, content_hash: str) -> bool:
        """Whether a killed process noted this photo for this catalog: whoever uses its file notes
        it too, so that it stays."""
        return content_hash in self._left

    @property
    def pending(self) -> frozenset[str]:
        """What is noted."""
        return frozenset[str]().union(*(note.hashes for note in self._notes))

    def add(self, hashes: Iterable[str]) -> None:
        """Note photos before their files are written. Raises as ``noted_uploads``."""
        with self._lock:
            if fresh := frozenset(hashes) - self.pending:
                last = [note for note in self._notes[-1:] if len(note.hashes) < _FULL]
                self._replace(last, fresh.union(*(note.hashes for note in last)))

    def settle(self, hashes: Iterable[str]) -> None:
        """These have a product now, or their files are gone."""
        with self._lock:
            pending = self.pending
            # On a full disk the old notes do: what has a product stays whatever they say.
            if not pending.isdisjoint(settled := frozenset(hashes)):
                with suppress(StorageError):
                    self._replace(self._notes, pending - settled)

    def _replace(self, old: Sequence[_OpenNote], hashes: frozenset[str]) -> None:
        kept = [note for note in self._notes if note not in old]
        if hashes:
            claim = ExitStack()
            path = claim.enter_context(_noted(self._home, self._catalog, hashes))
            kept.append(_OpenNote(path, hashes, claim))
        self._notes = kept
        for note in old:
            note.end()

    def close(self) -> None:
        """Leave what is pending to ``collect_uploads``."""
        with self._lock:
            for note in self._notes:
                note.claim.close()
            self._notes = []


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
    for that catalog. What a process that is at it noted as well is that one's. Raises ``OSError``.
    """
    gone: list[str] = []
    store = PhotoStore(home)
    for path in _left(home):
        note = _read(path)
        if note is not None:
            if _is_of_another(note.state, catalog):
                continue
            if catalog.change_log.had(note.state):
                gone += store.collect(catalog, (), own=set(note.hashes) - _noted_by_others(home))
        path.unlink(missing_ok=True)
    return gone


def is_note(path: Path) -> bool:
    """Whether a file that looks half-written is a note."""
    return path.parent.name == "photos" and path.name.startswith(f".{NOTE}.")


def _all(home: Home) -> Iterator[Path]:
    return home.photos.glob(f".{NOTE}.*.tmp")


def _left(home: Home) -> list[Path]:
    return [path for path in _all(home) if _is_left(path)]


def _is_left(path: Path) -> bool:
    return _age(path) >= _YOUNG_S and not is_claimed(path)


def _left_hashes(home: Home, catalog: Catalog) -> frozenset[str]:
    """What notes without a process name, young ones too."""
    notes = [_read(path) for path in _all(home) if not is_claimed(path)]
    own = [note for note in notes if note is not None and catalog.change_log.had(note.state)]
    return frozenset(found for note in own for found in note.hashes)


def _noted_by_others(home: Home) -> set[str]:
    notes = [_read(path) for path in _all(home) if not _is_left(path)]
    return {found for note in notes if note is not None for found in note.hashes}


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
