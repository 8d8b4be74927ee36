"""Evidence of photos: how the files behind unchanged rows stood, so that a new photo is noticed."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

import numpy as np
import orjson

from indexer.catalog.photo_store import PhotoStore
from indexer.core.atomic_files import make_folder, written_aside
from indexer.feeds.photo_intake import TakenPhoto
from indexer.feeds.row_digests import find

_PORTION = 4096
# States of files that are remembered within one check: products share photos.
_REMEMBERED = 1 << 16


@dataclass(frozen=True)
class PhotoEvidence:
    """One photo of a group of rows. ``group`` is the group's number within a run, its key on disk.

    ``path``, ``size`` and ``changed`` (nanoseconds since 1970) are those of its file; of a photo
    that came from an address "", 0 and when it was asked for, in seconds. ``copied``: a copy of it
    must lie in the home.
    """

    group: int
    content_hash: str
    copied: bool
    path: str = ""
    size: int = 0
    changed: int = 0

    @classmethod
    def of(cls, group: int, taken: TakenPhoto) -> PhotoEvidence:
        copied = taken.new.storage == "copy"
        if taken.file is None:
            return cls(group, taken.new.content_hash, copied, changed=int(time.time()))
        file = taken.file
        return cls(group, taken.new.content_hash, copied, file.path, file.size, file.changed)


def changed_groups(path: Path, store: PhotoStore, oldest: int) -> np.ndarray | None:
    """Keys of groups (uint64) whose photos are no longer as they were; None where the evidence is
    lost.

    ``oldest``: seconds since 1970, before which no photo by address may have been asked for.
    """
    found = array("Q")
    states: dict[str, tuple[int, int]] = {}
    copies: dict[str, bool] = {}
    try:
        with path.open("rb") as stream:
            for key, content_hash, copied, file, size, changed in map(orjson.loads, stream):
                if file:
                    state = states.get(file)
                    if state is None:
                        if len(states) >= _REMEMBERED:
                            states.clear()
                        state = states[file] = _state(file)
                    if state != (size, changed):
                        found.append(key)
                        continue
                elif changed < oldest:
                    found.append(key)
                    continue
                if copied:
                    there = copies.get(content_hash)
                    if there is None:
                        if len(copies) >= _REMEMBERED:
                            copies.clear()
                        there = copies[content_hash] = store.has_copy(content_hash)
                    if not there:
                        found.append(key)
    except (OSError, ValueError, TypeError):
        return None
    return np.unique(np.frombuffer(found, np.uint64))


def write_evidence(
    path: Path, kept: np.ndarray, fresh: Iterable[PhotoEvidence], keys: np.ndarray
) -> None:
    """Store the evidence of groups with the keys ``kept`` (uint64, ascending) as it was, and the
    ``fresh``, whose groups have the numbers of ``keys``. Raises ``OSError``."""
    make_folder(path.parent, below=path.parent.parent)
    with written_aside(path) as aside, aside.open("wb") as stream:
        if len(kept) and path.exists():
            with path.open("rb") as old:
                while lines := list(islice(old, _PORTION)):
                    found = np.array([int(line[1 : line.index(b",")]) for line in lines], np.uint64)
                    stream.writelines(compress(lines, find(kept, found)))
        for entry in fresh:
            stream.write(_line(int(keys[entry.group]), entry))


def _line(key: int, entry: PhotoEvidence) -> bytes:
    text = entry.path.encode("utf-8", "replace").decode()
    values = [key, entry.content_hash, entry.copied, text, entry.size, entry.changed]
    return orjson.dumps(values) + b"\n"


def _state(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)
