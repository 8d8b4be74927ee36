"""Digests of a feed's rows, and what the last run of the feed remembers to skip unchanged ones."""

from __future__ import annotations

import hashlib
import io
import json
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from indexer.core.atomic_files import make_folder, write_atomic
from indexer.feeds.spool import Spool

# Keys of rows that are held in memory before they go to the disk.
_PORTION = 16_384
# Rows that are worked on at once where all are sorted.
_SORTED = 1 << 18
_FORMAT = 1
_STEP = np.uint64(0x9E3779B97F4A7C15)


def hash_text(text: str) -> int:
    """64 bits of a text: the same on every machine."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def hash_texts(texts: Iterable[str]) -> np.ndarray:
    """``hash_text`` of each, uint64 [N]."""
    return np.frombuffer(array("Q", map(hash_text, texts)), np.uint64).copy()


def hash_values(values: Mapping[str, Any]) -> bytes:
    """8 bytes that change with any name or value of a record."""
    try:
        data = orjson.dumps(values)
    except TypeError:  # a value that JSON has not, or half a character
        data = repr(values).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=8).digest()


def find(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """bool [N]: which of ``wanted`` are among ``values``, which ascend."""
    if not len(values):
        return np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    found: np.ndarray = values[at] == wanted
    return found


def _mixed(values: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele et al. 2014): each bit depends on all."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class RowGroups:
    """Rows of a feed that belong together, by 64 bits of their common key.

    ``keys``, ``digests`` uint64 [G] with ascending keys, ``counts`` int64 [G] the rows of each;
    ``scattered`` bool [G] where other rows lie between them; ``of_row`` uint32 [N] the group of
    each row, ``row_digests`` uint64 [N].
    """

    keys: np.ndarray
    digests: np.ndarray
    counts: np.ndarray
    scattered: np.ndarray
    of_row: np.ndarray
    row_digests: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


class RowScan:
    """First pass over a feed: a key and a digest for each row, 16 bytes of memory a row."""

    def __init__(self, folder: Path | None = None) -> None:
        self._digests = bytearray()
        self._keys: list[str] = []
        self._portions: Spool[list[str]] = Spool(folder)

    def add(self, key: str, values: Mapping[str, Any]) -> None:
        """Note one row."""
        self._digests += hash_values(values)
        self._keys.append(key)
        if len(self._keys) >= _PORTION:
            self._portions.append(self._keys)
            self._keys = []

    def finish(self, resolve: Callable[[str], str]) -> RowGroups:
        """Group the rows by what ``resolve`` makes of their keys, which may be other names of one
        product."""
        hashes = array("Q")
        last: str | None = None
        last_hash = 0
        for portion in chain(self._portions, [self._keys]):
            for key in portion:
                if key != last:
                    last = key
                    last_hash = hash_text(resolve(key))
                hashes.append(last_hash)
        self._portions.__exit__()
        return group_rows(np.frombuffer(hashes, np.uint64), np.frombuffer(self._digests, np.uint64))


def group_rows(rows: np.ndarray, row_digests: np.ndarray) -> RowGroups:
    """Rows (uint64 [N] key, uint64 [N] digest) as groups; their order within a group matters.

    In portions: beside what is given and returned it holds 12 bytes a row.
    """
    order = np.argsort(rows, kind="stable")
    is_start = np.ones(len(rows), bool)
    for at in _portions(len(rows)):
        keys = rows[order[max(at.start - 1, 0) : at.stop]]
        is_start[max(at.start, 1) : at.stop] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(is_start)
    counts = np.diff(np.append(starts, len(rows)))
    digests = np.zeros(len(starts), np.uint64)
    of_row = np.empty(len(rows), np.uint32)
    group = -1
    for at in _portions(len(rows)):
        places = order[at]
        groups = group + np.cumsum(is_start[at])
        group = int(groups[-1])
        of_row[places] = groups
        number = (np.arange(at.start, at.stop) - starts[groups] + 1).astype(np.uint64)
        mixed = _mixed(row_digests[places] + number * _STEP)
        firsts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
        digests[groups[firsts]] += np.add.reduceat(mixed, firsts)
    scattered = order[starts + counts - 1] - order[starts] + 1 != counts
    return RowGroups(rows[order[starts]], digests, counts, scattered, of_row, row_digests)


def _portions(count: int) -> list[slice]:
    return [slice(at, min(at + _SORTED, count)) for at in range(0, count, _SORTED)]


def _none() -> np.ndarray:
    return np.zeros(0, np.uint64)


@dataclass(frozen=True)
class LastRun:
    """What a run of a feed leaves for the next one. A lost one only costs time.

    ``keys``, ``digests``, ``photo_counts`` uint64 [G]: groups of rows that are in the catalog as
    they stand in the feed, ascending, and how many photos they name. ``product_ids``,
    ``product_groups`` uint64 [P]: hashes of their products' ids, and the key of the group that each
    came from.
    """

    # What else decides what rows become: profile, options, version of the program.
    salt: str = ""
    # Identity of the catalog, and the number of its last change that is accounted for.
    catalog: str = ""
    sequence: int = 0
    # Of the whole feed: products and the photos they name, and products that came through.
    products: int = 0
    photos: int = 0
    usable: int = 0
    keys: np.ndarray = field(default_factory=_none)
    digests: np.ndarray = field(default_factory=_none)
    photo_counts: np.ndarray = field(default_factory=_none)
    product_ids: np.ndarray = field(default_factory=_none)
    product_groups: np.ndarray = field(default_factory=_none)

    def unchanged(self, groups: RowGroups, salt: str) -> np.ndarray:
        """bool [G]: which of ``groups`` are as they were, all rows in their order."""
        if salt != self.salt or not len(self.keys):
            return np.zeros(len(groups), bool)
        at = np.minimum(np.searchsorted(self.keys, groups.keys), len(self.keys) - 1)
        return (self.keys[at] == groups.keys) & (self.digests[at] == groups.digests)

    def groups_of(self, product_ids: np.ndarray) -> np.ndarray:
        """The keys of the groups that these products (hashes, uint64) came from."""
        return self.product_groups[np.isin(self.product_ids, product_ids)]

    def products_of(self, keys: np.ndarray) -> np.ndarray:
        """The hashes of the ids of products that came from groups with these keys."""
        return self.product_ids[np.isin(self.product_groups, keys)]


def read_last_run(path: Path) -> LastRun | None:
    """What ``write_last_run`` stored; None where there is nothing, or nothing whole."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            meta = json.loads(stored["meta"].tobytes())
            arrays = {
                entry.name: stored[entry.name]
                for entry in fields(LastRun)
                if entry.type == "np.ndarray"
            }
        if meta.pop("format") != _FORMAT:
            return None
        run = LastRun(**meta, **arrays)
        whole = len(run.keys) == len(run.digests) == len(run.photo_counts)
        return run if whole and len(run.product_ids) == len(run.product_groups) else None
    except Exception:  # of a damaged file, anything
        return None


def write_last_run(path: Path, run: LastRun) -> None:
    """Store ``run`` in one file, whole or not at all. Raises ``OSError``."""
    meta: dict[str, Any] = {"format": _FORMAT}
    arrays = {}
    for entry in fields(LastRun):
        if entry.type == "np.ndarray":
            arrays[entry.name] = getattr(run, entry.name)
        else:
            meta[entry.name] = getattr(run, entry.name)
    stream = io.BytesIO()
    np.savez(stream, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)
    make_folder(path.parent, below=path.parent.parent)
    write_atomic(path, stream.getvalue())
