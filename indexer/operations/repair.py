"""Repair of a home: what is derived is made again, what is true and damaged is set aside."""

from __future__ import annotations

import os
import time
from pathlib import Path

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.presence import has_catalog, unfit_versions
from indexer.catalog.records import PhotoRow, photo_file
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import foreign_failure, move_file, remove_folder
from indexer.core.errors import BadHomeError, BadRequestError, CatalensError, NewerFormatError
from indexer.core.home import BACKUP_LIST, Home
from indexer.core.progress import OnStage, no_progress
from indexer.core.sqlite import PASSING
from indexer.feeds.run_memory import forget_runs
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.version import Versions
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.registry import by_version
from indexer.operations.damaged_jobs import remove_damaged_jobs
from indexer.operations.garbage_collection import stray_photos
from indexer.operations.state_files import check_state, remake_marker
from indexer.operations.verification import (
    database_damages,
    file_damages,
    looks_like_home,
    photo_damage,
    photo_rows,
    require_home_readable,
)

# Databases that are made again from the catalog and its photos.
_DERIVED = ("keywords.sqlite3", "signatures.sqlite3", "fetch.sqlite3")


def repair_home(path: Path, *, progress: OnStage = no_progress) -> list[str]:
    """Mend what can be mended without a backup; returns what was done, in sentences.

    Derived files that are damaged go and are made again, an index that serves is built anew, the
    record of what serves is written anew. Damaged originals and reviews are set aside, so that
    they can come again. The catalog is never changed, and nothing is taken away because it does
    not name it. Raises ``CatalogBehindError`` where most photos are of another catalog,
    ``BusyError``, ``StorageError``; of what cannot be read now (no room, no rights), nothing goes.
    A backup is left as it is, by ``BadRequestError``.
    """
    done: list[str] = []
    if (path / BACKUP_LIST).exists():
        raise BadRequestError(
            f"{path} is a backup, which a repair would spoil: restore it (catalens restore {path} "
            "--home NEW), and repair the restored home"
        )
    require_home_readable(path)
    home = _marker(path, done)
    _reviews(home, done)
    with home.lock("build", wait_s=60.0):
        rebuild = _versions(home, done)
        _derived(home, done)
        if has_catalog(home):
            _originals(home, done)
        model = _active(home, rebuild, done)
    if model is not None and has_catalog(home):
        report = build_index(
            home, by_version(home, model), BuildOptions(), activate=True, progress=progress
        )
        done.append(f"index version {report.version} was built and serves")
    return done


def _marker(path: Path, done: list[str]) -> Home:
    """The home; its marker is written anew where it is lost or cannot be read."""
    try:
        return Home(path)
    except (BadHomeError, NewerFormatError):
        if not looks_like_home(path):
            raise
        catalog = path / "catalog.sqlite3"
        if catalog.exists():
            # A newer home has a newer catalog, which is refused here.
            Catalog.open(catalog).close()
        remake_marker(path)
        done.append("home.json was written anew")
        return Home(path)


def _reviews(home: Home, done: list[str]) -> None:
    """A file of reviews that is lost or cannot be read stands aside for a new one."""
    path = home.reviews_file
    if path.exists() and path.stat().st_size and not _bad_pages(path):
        # One row that was changed is no reason to begin anew: a backup mends it.
        return
    if not path.exists() and not home.has_mark("reviews"):
        return
    home.make_folder(home.damaged)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            move_file(file, home.damaged / f"{stamp}-{file.name}")
    home.unmark("reviews")
    done.append("reviews begin anew; what was left of the old ones is in damaged/")


# What cannot be read now may be whole: nothing is set aside or removed for it.
def _bad_pages(path: Path) -> list[str]:
    try:
        return file_damages(path)
    except PASSING:
        raise
    except CatalensError as error:
        return [str(error)]


def _damages(path: Path) -> list[str]:
    try:
        return database_damages(path)
    except PASSING:
        raise
    except CatalensError as error:
        return [str(error)]


def _versions(home: Home, done: list[str]) -> bool:
    """Remove index versions that are damaged or of another catalog; whether any was."""
    versions = Versions(home)
    doomed = set()
    for name in versions.names():
        try:
            versions.verify(name)
        except NewerFormatError:
            continue
        except PASSING:
            raise
        except CatalensError:
            doomed.add(name)
    if has_catalog(home):
        with Catalog.open(home.catalog_file, photos=home.photos) as catalog:
            unfit = unfit_versions(home, catalog.database)
            if unfit:
                # Raises where this is not the catalog of these photos at all.
                stray_photos(home, catalog)
            doomed |= set(unfit)
    with home.lock("activate", wait_s=60.0), home.lock("publish", wait_s=60.0):
        for name in sorted(doomed):
            remove_folder(versions.folder / name)
            done.append(f"index version {name} was removed")
    return bool(doomed)


def _derived(home: Home, done: list[str]) -> None:
    paths = [home.path / name for name in _DERIVED] + sorted(home.embeddings.glob("*.sqlite3"))
    for path in paths:
        if not path.exists():
            continue
        odd = path.parent == home.embeddings and not _forget_changed_vectors(path, done)
        if odd or _damages(path):
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            done.append(f"{path.relative_to(home.path)} was removed; it is made again")
    for damage in check_state(home).damages:
        name = damage.path.relative_to(home.path)
        if not damage.derived or "jobs" in name.parts:
            continue
        damage.path.unlink()
        done.append(f"{name} was removed; it is made again")
    for job_id in remove_damaged_jobs(home):
        done.append(f"jobs/{job_id} was removed, whose file was damaged: start the job again")


def _forget_changed_vectors(path: Path, done: list[str]) -> bool:
    """Forget vectors that do not match their checksum; False where the file cannot be read."""
    try:
        dim = EmbeddingStore.dim_of(path)
        if dim is None or _damages(path):
            return False
        store = EmbeddingStore(path.parent, path.stem, dim)
        with store.database:
            bad = store.damaged()
            store.delete(bad)
    except PASSING:
        raise
    except CatalensError:
        return False
    if len(bad):
        done.append(f"{len(bad):,} vectors of {path.stem} were forgotten; they are made again")
    return True


def _originals(home: Home, done: list[str]) -> None:
    """Set damaged copies aside; the next import reads all rows, and brings them again."""
    store = PhotoStore(home)
    count = 0
    with Catalog.open(home.catalog_file, photos=home.photos) as catalog:
        for row in photo_rows(catalog):
            if row.storage == "copy" and photo_damage(home, row, read=True) is not None:
                count += _set_aside(store, home, catalog, row)
    if count:
        forget_runs(home)
        done.append(f"{count:,} damaged originals were set aside in damaged/: import them again")


def _set_aside(store: PhotoStore, home: Home, catalog: Catalog, seen: PhotoRow) -> bool:
    """Set a damaged copy aside, unless it was deleted or came again meanwhile; nobody writes."""
    with catalog.database.transaction():
        row = catalog.photos_by_id([seen.photo_id]).get(seen.photo_id)
        if row is None or row.storage != "copy" or photo_damage(home, row, read=True) is None:
            return False
        original = photo_file(home.photos, row.content_hash)
        if original.exists() and not os.access(original, os.R_OK):
            raise foreign_failure(original)
        store.set_aside(row.content_hash)
        return True


def _active(home: Home, rebuild: bool, done: list[str]) -> str | None:
    """Write anew what serves, where that is not known; the model to build for where its index is
    gone."""
    versions = Versions(home)
    names = versions.names()
    past = versions.history()
    record = versions.folder / "ACTIVATIONS"
    try:
        active = home.active()
        sound = active is None or versions.is_recorded()
    except BadHomeError:
        active, sound = None, False
    serving = active or (past[-1].pair if past else None)
    if serving is None or not names:
        if rebuild and serving is not None:
            _forget_activations(home)
            return serving.model_version
        if not sound or (record.exists() and not names):
            _forget_activations(home)
            done.append("what served is not known: catalens index build --activate")
        return None
    if serving.index_version not in names:
        return serving.model_version
    if not sound or active is None:
        versions.activate(serving.index_version)
        done.append(f"index version {serving.index_version} was activated again")
    return None


def _forget_activations(home: Home) -> None:
    home.current_file.unlink(missing_ok=True)
    (home.indexes / "ACTIVATIONS").unlink(missing_ok=True)
