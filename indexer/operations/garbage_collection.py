"""Garbage collection in a home: old versions, log, embeddings, leftovers of killed processes."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from indexer.catalog.attribute_names import forget_unused_names
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.presence import has_catalog, is_built_from
from indexer.catalog.records import photo_file
from indexer.catalog.store import Catalog, open_catalog
from indexer.catalog.upload_notes import collect_uploads, is_note
from indexer.core.atomic_files import is_claimed, remove_folder
from indexer.core.disk_failures import is_disk_full
from indexer.core.errors import BusyError, CatalensError, CatalogBehindError, DiskFullError
from indexer.core.home import Home, walk_home
from indexer.core.manifest import MANIFEST
from indexer.index.version import Versions
from indexer.operations.retention import end_terms
from indexer.operations.retention_terms import RetentionTerms
from indexer.reviews.store import forget_photos

IN_FLIGHT_S = 900.0  # a photo's file may be this much older than the product that will name it
_DEAD_S = 60.0  # what a process that is gone left, after this long
# what looks as if somebody still wrote it (another machine, a number given again)
_FORGOTTEN_S = 86_400.0
_LEFTOVER = re.compile(r"\..+?\.(?P<owner>\d+)(\.[0-9a-f]{8})?(\.tmp)?")
_INCOMING = re.compile(r"\.incoming-\w+")  # of a pull that can still be taken up again
_REMOVED = re.compile(r"\..+\.[0-9a-f]{8}\.removed")
_HASH = re.compile(r"[0-9a-f]{64}")
_PORTION = 5000  # files looked up at a time
# photos, share of all: more than both and the catalog cannot be theirs
_FEW_STRAYS = 20
_MOST_STRAYS = 0.5


@dataclass
class Tidied:
    """What ``tidy`` took away."""

    removed: list[str] = field(default_factory=list)  # index versions
    changes: int = 0  # entries of the change log
    # embedding ids of models that no version needs
    embeddings: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)  # superseded revisions of a decision layer
    leftovers: int = 0  # half-written files and folders
    attributes: int = 0  # names of attributes that no product has
    # why nothing came to its end by its term; None: it did
    held: str | None = None


def tidy(home: Home, terms: RetentionTerms | None = None) -> Tidied:
    """Remove the versions that nobody would go back or forward to, and what only they needed.

    The change log is compacted below the oldest version left, embeddings older than it that no
    version uses are deleted, and so are superseded decision layers. Models that training wrote
    stay. What came to its end by its term goes too. Raises ``BusyError`` while an index is built or
    an erasure runs, whose new versions are in nobody's history yet, and what ``open_catalog``
    raises where the home's catalog is not there.

    On a full disk what needs no room to be removed goes first. Raises ``DiskFullError`` where that
    was not enough, and says what to delete by hand.
    """
    try:
        return _tidied(home, terms)
    except (DiskFullError, OSError) as error:
        if not is_disk_full(error):
            raise
    # Half-written files and versions, which are found without the catalog; it cannot be opened.
    with home.lock("build"):
        removed, leftovers = Versions(home).gc(), sweep(home)
    try:
        done = _tidied(home, terms)
    except (DiskFullError, OSError) as error:
        if not is_disk_full(error):
            raise
        again = ""
        if _originals_are_kept(home):
            again = f", or {home.thumbnails}, whose files are made again when they are shown"
        raise DiskFullError(
            f"{home.path}: its disk is full ({len(removed)} versions and {leftovers} half-written "
            "files were removed, which was not enough): delete something on it that is not the "
            f"home's, such as an old backup or log{again}; then run catalens index gc again"
        ) from error
    done.removed = [*removed, *done.removed]
    done.leftovers += leftovers
    return done


def _originals_are_kept(home: Home) -> bool:
    """Whether the home holds the original of each thumbnail: of others it is the only picture.
    Looks at files alone, since a full disk opens no catalog."""
    return all(
        photo_file(home.photos, path.name[:64]).is_file()
        for path in _named_by_hash(home.thumbnails)
    )


def _tidied(home: Home, terms: RetentionTerms | None) -> Tidied:
    held = None
    if has_catalog(home):
        with open_catalog(home) as catalog, suppress(BusyError):
            # The file of reviews remembers what is still to be done.
            held = end_terms(home, catalog, terms).held
    with home.lock("build"):
        done = tidy_locked(home)
    done.held = held
    return done


def tidy_locked(home: Home) -> Tidied:
    """``tidy`` of versions for whoever holds the lock "build" and has opened the catalog."""
    versions = Versions(home)
    done = Tidied(removed=versions.gc(), leftovers=sweep(home))
    kept = versions.list()
    if not versions.settled() or len(kept) < len(versions.names()):
        return done  # nothing serves yet, or one cannot be read: what it needs is not known
    with open_catalog(home) as catalog:
        clear_uploads(home, catalog)
        history = catalog.change_log
        through = min(manifest.last_sequence for manifest in kept)
        # Before the log is compacted: it tells what was written meanwhile.
        done.attributes = forget_unused_names(catalog)
        if through > history.begins():
            done.changes = history.compact(through)
    done.embeddings = _old_embeddings(home, {manifest.embedding_id for manifest in kept})
    done.models = forget_superseded(home)
    return done


def forget_superseded(home: Home) -> list[str]:
    """Remove revisions of a decision layer that no version would be served with; none while one
    is being written. Call it under the lock "build", where it is known what serves."""
    versions = Versions(home)
    if not versions.settled():
        return []
    with suppress(BusyError), home.lock("decision"):
        return _superseded(home, versions)
    return []


def _old_embeddings(home: Home, used: set[str]) -> list[str]:
    """Stores of embeddings that no version has and that were last written before the oldest version
    was published.

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
    """Revisions that neither serve nor would serve with a version that is left. Holds the lock
    "decision"."""
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
    """Delete what killed processes left half-written anywhere in the home: files and folders;
    returns how many."""
    count = 0
    with suppress(BusyError, OSError):  # what is written right now is no leftover
        count = Versions(home).clear_half_built()
    for path in leftovers(home.path):
        try:
            age = time.time() - path.stat().st_mtime
            if is_claimed(path) or is_note(path):
                # by a process of this container or another; the catalog knows what a note is for
                continue
            match = _LEFTOVER.fullmatch(path.name)
            kept = _INCOMING.fullmatch(path.name) or (
                match is not None and _runs(int(match["owner"]))
            )
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


def leftovers(top: Path) -> Iterator[Path]:
    """What looks half-written or half-removed in a home: by a killed process, or right now."""
    for folder, names, files in walk_home(top):
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


def collect_photos(home: Home, catalog: Catalog) -> int:
    """Delete photos that lost their last product by a write, and thumbnails that nothing needs; how
    many photos.

    A file that the catalog merely does not name stays: see ``stray_photos``.
    """
    store = PhotoStore(home)
    try:
        gone = set(store.collect(catalog, sorted(catalog.change_log.orphans())))
        forget_photos(home, gone)
        files = _named_by_hash(home.thumbnails)
        while part := list(islice(files, _PORTION)):
            hashes = {path.name[:64] for path in part}
            gone.update(
                store.collect_thumbnails(
                    catalog, sorted(hashes - set(catalog.photos_by_hash(hashes)))
                )
            )
    except OSError as error:
        raise CatalensError(f"photos of erased products cannot be deleted: {error}") from error
    return len(gone)


def clear_uploads(home: Home, catalog: Catalog) -> None:
    """Delete photos that killed writes left; before the log is compacted, which tells whether they
    were this catalog's."""
    try:
        if gone := collect_uploads(home, catalog):
            forget_photos(home, gone)
    except OSError as error:
        raise CatalensError(f"photos of killed writes cannot be deleted: {error}") from error


def stray_photos(home: Home, catalog: Catalog) -> int:
    """How many originals no product has though no deletion of them was recorded; young ones are not
    counted.

    An import of an older release that was killed left some (the file comes before the product; see
    ``upload_notes``), and so does a catalog that is not the one these photos belong to. Raises
    ``CatalogBehindError`` where they are so many that it may be that, and no index version shows
    that this is the home's catalog.
    """
    strays, total = count_strays(home, catalog)
    many = strays > max(_FEW_STRAYS, _MOST_STRAYS * total)
    if many and not is_built_from(home, catalog.database):
        raise CatalogBehindError(
            f"of {total:,} photos in {home.photos} {catalog.path} names {total - strays:,}, and no "
            "deletion of the others was recorded: it may be not the catalog of these photos, so "
            "nothing is erased; put theirs back. Where it is theirs, and a killed import or write "
            "left the others: build an index, which shows that, or move those photos out of the "
            "home"
        )
    return strays


def count_strays(home: Home, catalog: Catalog) -> tuple[int, int]:
    """(``stray_photos``, all originals); nothing is raised for many."""
    strays = total = 0
    orphans = catalog.change_log.orphans()
    files = _named_by_hash(home.photos)
    while part := list(islice(files, _PORTION)):
        total += len(part)
        known = catalog.photos_by_hash({path.name for path in part})
        for path in part:
            if path.name not in known and path.name not in orphans:
                try:
                    strays += time.time() - path.stat().st_mtime >= IN_FLIGHT_S
                except FileNotFoundError:
                    continue
    return strays, total


def photo_files(home: Home) -> Iterator[Path]:
    """Every file below ``photos`` and ``thumbnails`` that is named by a content hash."""
    for top in (home.photos, home.thumbnails):
        yield from _named_by_hash(top)


def _named_by_hash(top: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(top):
        yield from (Path(folder, name) for name in names if _HASH.match(name))
