"""Memory of a feed's last run: which rows need not be read again, and what this run leaves."""

from __future__ import annotations

import hashlib
import json
import re
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from itertools import islice
from pathlib import Path

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.errors import OutdatedVersionError
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.photo_evidence import PhotoEvidence, changed_groups, write_evidence
from indexer.feeds.row_digests import (
    LastRun,
    RowGroups,
    find,
    hash_texts,
    read_last_run,
    write_last_run,
)
from indexer.feeds.spool import Spool

# Counts as another program where what rows become changed without the version's number.
_SALT = 1
_PORTION = 10_000
# Names of feeds that were sent begin so in the folder; so many of them are remembered, the last
# ones.
_SENT = "sent-"
_MOST_SENT = 100
# Of a feed, and what is half-written of one.
_FILE = re.compile(rf"({_SENT})?[0-9a-f]{{16}}\.(npz|photos)")
_ASIDE = re.compile(rf"\.{_FILE.pattern}\..+\.tmp")


def make_salt(fingerprint: str, options: ImportOptions, keep: frozenset[str]) -> str:
    """What decides, beside the rows, what they become."""
    parts = [
        _SALT,
        metadata.version("catalens"),
        fingerprint,
        options.photos,
        sorted(options.types.items()),
        str(options.photos_root),
        str(options.photos_within),
        options.encoding,
        options.delimiter,
        sorted(options.only) if options.only is not None else None,
        options.join,
        sorted(keep),
        options.fetch,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class RunMemory:
    """What one feed left in its home when it was imported last, and will leave this time."""

    def __init__(
        self, home: Home, name: str, catalog: Catalog | None, *, sent_as: str | None = None
    ) -> None:
        """``name``: the feed's address or path. ``sent_as``: what whoever sent it calls it, of
        which the last ``_MOST_SENT`` are remembered."""
        told = name if sent_as is None else sent_as
        digest = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self._sent = sent_as is not None
        self._file = home.feeds / f"{_SENT if self._sent else ''}{digest}.npz"
        self._evidence = self._file.with_suffix(".photos")
        self._store = PhotoStore(home)
        self._catalog = catalog
        # The catalog's last change when the run began.
        self.sequence = 0 if catalog is None else catalog.last_sequence()
        self.last = read_last_run(self._file)

    def unchanged(self, groups: RowGroups, salt: str, recheck_s: float | None) -> np.ndarray:
        """bool [G]: which of ``groups`` are in the catalog as they stand, with their photos.

        ``recheck_s``: age in seconds from which photos by address are asked for again; None: never.
        """
        nothing = np.zeros(len(groups), bool)
        if self.last is None or self._catalog is None or self.last.salt != salt:
            return nothing
        if self._state(self.last.sequence) != self.last.catalog:
            # Another catalog, or one that was put back from a backup since.
            return nothing
        found = self.last.unchanged(groups, salt)
        touched = self._touched(self.last)
        if touched is None or not found.any():
            return nothing
        oldest = 0 if recheck_s is None else int(time.time() - recheck_s)
        photos = changed_groups(self._evidence, self._store, oldest)
        if photos is None:
            return nothing
        stale = np.concatenate([self.last.groups_of(touched), photos])
        return found & ~np.isin(groups.keys, stale)

    def _state(self, sequence: int) -> str:
        """The name of the catalog's state that ended with this change."""
        assert self._catalog is not None
        history = self._catalog.change_log
        return f"{history.identity() or ''} {history.stamp(sequence) or ''}"

    def _touched(self, last: LastRun) -> np.ndarray | None:
        """Hashes of the ids of products that were written or deleted by others since; None where
        that cannot be told."""
        assert self._catalog is not None
        try:
            changes = self._catalog.change_log.since(last.sequence)
        except OutdatedVersionError:
            return None
        touched = hash_texts(self._catalog.ids_of(np.unique(changes.pids).tolist()).values())
        if changes.deleted:
            there = np.concatenate(
                [np.zeros(0, np.uint64), *map(hash_texts, _portions(self._catalog.iterate_ids()))]
            )
            gone = last.product_ids[~np.isin(last.product_ids, there)]
            touched = np.concatenate([touched, gone])
        return touched

    def write(
        self,
        groups: RowGroups,
        run: LastRun,
        unchanged: np.ndarray,
        done: np.ndarray,
        evidence: Spool[list[PhotoEvidence]],
        own: array[int],
    ) -> None:
        """Store what the next run needs. ``run``: aligned with ``groups``, its products those of
        all groups; ``unchanged`` bool [G]: those that were not read, ``done``: those that are in
        the catalog as they stand now; ``own``: numbers of the changes that this run made. Raises
        ``OSError``."""
        assert self._catalog is not None
        changes = self._catalog.change_log.since(self.sequence)
        if self._is_same(groups, unchanged, len(changes.sequences)):
            return
        kept = unchanged | done
        foreign = ~np.isin(changes.sequences, np.frombuffer(own, np.int64))
        if foreign.any():
            ids = self._catalog.ids_of(np.unique(changes.pids[foreign]).tolist()).values()
            stale = run.groups_of(hash_texts(ids))
            kept &= ~np.isin(groups.keys, stale)
            if changes.deleted:
                # Which products those were is no longer known.
                kept[:] = False
        sequence = int(changes.sequences[-1]) if len(changes.sequences) else self.sequence
        keys = groups.keys[kept]
        stays = find(keys, run.product_groups)
        stored = replace(
            run,
            catalog=self._state(sequence),
            sequence=sequence,
            keys=keys,
            digests=groups.digests[kept],
            photo_counts=run.photo_counts[kept],
            product_ids=run.product_ids[stays],
            product_groups=run.product_groups[stays],
        )
        read = kept & ~unchanged
        fresh = (entry for batch in evidence for entry in batch if read[entry.group])
        # Removed first: it is believed only with the evidence that belongs to it.
        self._file.unlink(missing_ok=True)
        write_evidence(self._evidence, groups.keys[kept & unchanged], fresh, groups.keys)
        write_last_run(self._file, stored)
        if self._sent:
            self._forget_sent()

    def _forget_sent(self) -> None:
        """Remove what was sent longest ago beyond ``_MOST_SENT``. Raises ``OSError``."""
        found = list(self._file.parent.glob(f"{_SENT}*.npz"))
        found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in found[_MOST_SENT:]:
            path.unlink(missing_ok=True)
            path.with_suffix(".photos").unlink(missing_ok=True)

    def _is_same(self, groups: RowGroups, unchanged: np.ndarray, changes: int) -> bool:
        """Whether what is stored holds for the next run, too."""
        last = self.last
        same = last is not None and len(last.keys) == len(groups) and bool(unchanged.all())
        return same and last is not None and not changes and last.sequence == self.sequence


def forget_runs(home: Home) -> list[Path]:
    """Delete what imports remember of all feeds, what one writes right now too; returns what else
    lies there, which no import wrote and which stays: the folder may be a link to any other.

    Raises ``OSError``.
    """
    others = []
    for path in sorted(home.feeds.iterdir()) if home.feeds.is_dir() else ():
        named = _FILE.fullmatch(path.name) or _ASIDE.fullmatch(path.name)
        if named and not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            others.append(path)
    return others


def _portions(ids: Iterable[str]) -> Iterator[list[str]]:
    source = iter(ids)
    while portion := list(islice(source, _PORTION)):
        yield portion


def missing_ids(catalog: Catalog, mentioned: np.ndarray) -> Iterator[str]:
    """The ids of the catalog's products that are not among ``mentioned`` (hashes, uint64)."""
    mentioned = np.unique(mentioned)
    for portion in _portions(catalog.iterate_ids()):
        there = find(mentioned, hash_texts(portion))
        yield from (found for found, known in zip(portion, there, strict=True) if not known)
