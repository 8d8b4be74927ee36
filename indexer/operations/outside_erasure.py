"""Erasure outside the home: the cache of features, and folders that versions were pushed to."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from indexer.catalog.deletions import Deletions
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadHomeError, CatalensError
from indexer.core.home import Home
from indexer.index.pushed import PushedErasure, erase_pushed, pushed_folders
from indexer.model.feature_store import (
    CACHE_MARK,
    FeatureCache,
    cache_folders,
    default_cache,
    is_cache_there,
)
from indexer.operations.class_erasure import models_of_erased
from indexer.training.feature_cache import recapture_key

_FILES = "f" + "[0-9a-f]" * 32 + ".sqlite3"


@dataclass
class OutsideErasure:
    """What was erased outside the home, and what was not asked for."""

    # Features of photos; None: not asked for.
    cached: int | None = None
    # Folder -> what was done there.
    pushed: dict[str, PushedErasure] = field(default_factory=dict)
    # Folder or cache -> why it is not erased.
    failed: dict[str, str] = field(default_factory=dict)
    # Folders that versions were pushed to and that were not named.
    not_named: list[str] = field(default_factory=list)


def erase_outside(home: Home, *, cache: bool, pushed: Iterable[Path]) -> OutsideErasure:
    """Erase what the home, which is erased already, still has outside of it.

    A place that fails keeps no other from being erased.
    """
    done = OutsideErasure()
    folders = [path.absolute() for path in pushed]
    with open_catalog(home) as catalog:
        if cache:
            _erase_caches(catalog, done)
        for folder in folders:
            try:
                held = models_of_erased(folder / "models", catalog)
                found = done.pushed[str(folder)] = erase_pushed(home, catalog, folder, held)
            except (CatalensError, OSError) as error:
                done.failed[str(folder)] = _said(error)
            else:
                reasons = [f"{name}: {reason}" for name, reason in found.failed.items()]
                if reasons:
                    done.failed[str(folder)] = "; ".join(reasons)
    try:
        done.not_named = [str(path) for path in pushed_folders(home) if path not in folders]
    except BadHomeError as error:
        done.failed["pushed.json"] = str(error)
    return done


def _erase_caches(catalog: Catalog, done: OutsideErasure) -> None:
    """Erase in each cache of this user; in the default one also where the others are not known."""
    try:
        folders: list[Path | None] = [None, *cache_folders()[1:]]
    except CatalensError as error:
        folders = [None]
        done.failed["caches"] = str(error)
    for folder in folders:
        try:
            # What cannot be listed looks empty to a search for its files.
            if folder is not None and not is_cache_there(folder):
                done.failed[str(folder)] = _missing(folder)
                continue
            done.cached = (done.cached or 0) + erase_cached(catalog, folder)
        except (CatalensError, OSError) as error:
            done.failed["cache" if folder is None else str(folder)] = _said(error)


def _missing(folder: Path) -> str:
    return (
        "it is not there: mount its disk and erase again; if it was deleted for good, make it "
        f"anew, empty (mkdir -p {shlex.quote(str(folder))} && "
        f"touch {shlex.quote(str(folder / CACHE_MARK))})"
    )


def _said(error: Exception) -> str:
    """What is wrong and where, in one line."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return str(error)


def cached_files(folder: Path | None = None) -> list[Path]:
    """The files of a cache, by default of this user's default one."""
    return sorted((folder or default_cache()).glob(_FILES))


def erase_cached(catalog: Catalog, folder: Path | None = None) -> int:
    """Delete the features of photos that lost their last product lately, and of their recaptures;
    how many.

    Photos are known by salted digests for as long as their tombstones stand. A photo that is stored
    again keeps its features. Raises ``BusyError``, ``StorageError``.
    """
    record = Deletions(catalog.database)
    salted = record.salted()
    erased = record.photos()
    if salted is None or not erased:
        return 0
    count = 0
    for path in cached_files(folder):
        with closing(FeatureCache(path.parent, path.stem)) as cache:
            held = [found for found in cache.contents() if salted.digest(found) in erased]
            stored = set(catalog.photos_by_hash(held))
            gone = [content for content in held if content not in stored]
            if gone:
                count += cache.forget([*gone, *map(recapture_key, gone)])
    return count
