"""What a home needs no longer: old versions, the log and the embeddings behind them, what killed processes left."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from indexer.catalog.history import History
from indexer.catalog.photos import PhotoStore
from indexer.catalog.store import Catalog, open_catalog
from indexer.errors import Busy, CatalensError
from indexer.files import remove_folder
from indexer.home import Home
from indexer.index.manifest import MANIFEST
from indexer.index.version import Versions

IN_FLIGHT_S = 900.0  # a photo's file may be this much older than the product that will name it
_DEAD_S = 60.0  # what a process that is gone left, after this long
_FORGOTTEN_S = 86_400.0  # what looks as if somebody still wrote it (another machine, a number given again)
_LEFTOVER = re.compile(r"\..+?\.(?P<owner>\d+)(\.[0-9a-f]{8})?(\.tmp)?")
_INCOMING = re.compile(r"\.incoming-\w+")  # of a pull that can still be taken up again
_REMOVED = re.compile(r"\..+\.[0-9a-f]{8}\.removed")
_HASH = re.compile(r"[0-9a-f]{64}")
_PORTION = 5000  # files looked up at a time


@dataclass
class Tidied:
    """What ``tidy`` took away."""

    removed: list[str] = field(default_factory=list)  # index versions
    changes: int = 0  # entries of the change log
    embeddings: list[str] = field(default_factory=list)  # embedding ids of models that no version needs
    models: list[str] = field(default_factory=list)  # superseded revisions of a decision layer
    leftovers: int = 0  # half-written files and folders


def tidy(home: Home) -> Tidied:
    """Remove the versions that nobody would go back or forward to, and what only they needed.

    The change log is compacted below the oldest version left, embeddings older than it that no version uses are
    deleted, and so are superseded decision layers. Models that training wrote stay. Raises ``Busy``.
    """
    versions = Versions(home)
    done = Tidied(removed=versions.gc(), leftovers=sweep(home))
    kept = versions.list()
    if not kept or len(kept) < len(versions.names()):
        return done  # nothing serves yet, or one cannot be read: what it needs is not known
    with open_catalog(home) as catalog:
        history = History(catalog)
        through = min(manifest.last_sequence for manifest in kept)
        if through > history.begins():
            done.changes = history.compact(through)
    try:
        with home.lock("build"):
            done.embeddings = _old_embeddings(home, {manifest.embedding_id for manifest in kept})
        with home.lock("decision"):
            done.models = _superseded(home, versions)
    except Busy:
        pass  # somebody is making one right now
    return done


def _old_embeddings(home: Home, used: set[str]) -> list[str]:
    """Stores of embeddings that no version has and that were last written before the oldest version was published.

    A store that is newer belongs to a build that goes on, or was killed and will.
    """
    oldest = min(path.stat().st_mtime for path in home.indexes.glob(f"v*/{MANIFEST}"))
    doomed = []
    for path in sorted(home.embeddings.glob("*.sqlite3")):
        files = [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))]
        written = max(file.stat().st_mtime for file in files[:2] if file.exists())
        if path.name.removesuffix(".sqlite3") not in used and written < oldest:
            doomed.append(path.name.removesuffix(".sqlite3"))
            for file in files:
                file.unlink(missing_ok=True)
    return doomed


def _superseded(home: Home, versions: Versions) -> list[str]:
    """Revisions that neither serve nor would serve with a version that is left. Holds the lock "decision"."""
    from indexer.model.registry import origin

    active = home.active()
    kept = {active.model_version} if active else set()
    for manifest in versions.list():
        kept |= {manifest.model_version, versions.pair_of(manifest).model_version}
    doomed = []
    for folder in sorted(home.models.glob("[!.]*")) if home.models.is_dir() else ():
        if folder.name not in kept and origin(home, folder.name) != folder.name:
            remove_folder(folder)
            doomed.append(folder.name)
    return doomed


def sweep(home: Home, *, after_s: float = _DEAD_S) -> int:
    """Delete what killed processes left half-written anywhere in the home: files and folders; returns how many."""
    count = 0
    for path in _leftovers(home.path):
        try:
            age = time.time() - path.stat().st_mtime
            match = _LEFTOVER.fullmatch(path.name)
            kept = _INCOMING.fullmatch(path.name) or (match is not None and _runs(int(match["owner"])))
            if age < (_FORGOTTEN_S if kept else after_s):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
            count += 1
        except OSError:
            continue  # its process has just finished with it
    return count


def _leftovers(top: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(top):
        for name in list(names):
            if any(kind.fullmatch(name) for kind in (_LEFTOVER, _REMOVED, _INCOMING)):
                names.remove(name)
                yield Path(folder, name)
        for name in files:
            if _LEFTOVER.fullmatch(name) and name.endswith(".tmp"):
                yield Path(folder, name)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def collect_photos(home: Home, catalog: Catalog) -> tuple[int, int]:
    """Delete photo files and thumbnails that no product has: (files deleted, files too young to tell).

    A photo's file is written before the product that names it is committed, so young ones are left for another time.
    """
    store, unused, young = PhotoStore(home), set(), 0
    files = photo_files(home)
    while part := list(islice(files, _PORTION)):
        known = catalog.photos_by_hash({path.name[:64] for path in part})
        for path in part:
            if path.name[:64] in known:
                continue
            try:
                fresh = path.is_relative_to(home.photos) and time.time() - path.stat().st_mtime < IN_FLIGHT_S
            except FileNotFoundError:
                continue
            young += fresh
            if not fresh:
                unused.add(path.name[:64])
    try:
        return len(store.collect(catalog, sorted(unused))), young
    except OSError as error:
        raise CatalensError(f"photos of erased products cannot be deleted: {error}") from error


def photo_files(home: Home) -> Iterator[Path]:
    """Every file below ``photos`` and ``thumbnails`` that is named by a content hash."""
    for top in (home.photos, home.thumbnails):
        for folder, _, names in os.walk(top):
            yield from (Path(folder, name) for name in names if _HASH.match(name))
