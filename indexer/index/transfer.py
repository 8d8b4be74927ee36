"""Push and pull of index versions with their models, verified by checksum."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import (
    make_folder,
    publish_folder,
    replace_file,
    replace_folder,
    sha256_file,
    write_atomic,
)
from indexer.core.errors import (
    BadHomeError,
    BadModelError,
    BusyError,
    CatalogMismatchError,
    DamagedIndexError,
    NewerFormatError,
    OutdatedVersionError,
    UnknownVersionError,
)
from indexer.core.file_owner import lock_file
from indexer.core.home import Home
from indexer.core.manifest import MANIFEST, Manifest, read_manifest, version_number
from indexer.core.regular_files import open_regular
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.filter_columns import FilterColumns
from indexer.index.registry import engine_of
from indexer.index.version import Versions
from indexer.index.version_files import VECTORS, VERSION_FILES, IndexVersion, open_files
from indexer.model.bundle import MANIFEST as MODEL_MANIFEST
from indexer.model.bundle import load_bundle
from indexer.model.registry import by_version, mend_shared_files, whole_model

_CHUNK = 1 << 22
# Vectors stored in one transaction.
_PORTION = 8192
_INCOMING = ".incoming-"

# Name -> {"sha256", "size"}.
Files = Mapping[str, Mapping[str, Any]]
# File, bytes done, bytes in all.
OnTransfer = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TransferReport:
    """What a push or a pull did. ``version`` may differ from ``source_version``: numbers are never
    used twice."""

    # Its name where it is now.
    version: str
    source_version: str
    model_version: str
    # What was not there yet.
    copied_bytes: int
    files_copied: list[str]
    # The whole version was.
    already_there: bool


def push(
    home: Home, folder: Path, version: str | None = None, *, progress: OnTransfer | None = None
) -> TransferReport:
    """Bring a version (the active one) and its model into ``folder``, which another machine can
    pull from.

    The folder holds ``indexes/`` and ``models/`` like a home, but no catalog. Everything is
    verified here before and there after it is copied, published by one rename; a push that was
    killed goes on where it stopped, and what lies there already is not copied again. Raises
    ``UnknownVersionError``, ``DamagedIndexError``, ``BadModelError``, ``NewerFormatError``,
    ``BusyError``; ``BadHomeError`` where ``folder`` is a home or has another version of that
    number.
    """
    if (folder / "home.json").exists():
        raise BadHomeError(
            f"{folder} is a home: push to a folder, and pull from it there (catalens index pull "
            "FOLDER)"
        )
    versions = Versions(home)
    if version is None:
        active = home.active()
        if active is None:
            raise UnknownVersionError("no index version is active: name the one to push")
        version = active.index_version
    manifest = versions.verify(version)
    # Verifies its files.
    bundle = by_version(home, manifest.model_version)
    with locked_folder(folder):
        copy = _Copy(progress)
        copy.model(bundle.path, folder / "models")
        there = folder / "indexes" / version
        if there.exists():
            if read_manifest(there).content != manifest.content:
                raise BadHomeError(
                    f"{folder} has another index version {version}, of "
                    f"{read_manifest(there).created}: "
                    "push to a folder of its own, since numbers are never used twice"
                )
            copy.repair(versions.folder / version, there, manifest.files)
        else:
            copy.version(versions.folder / version, folder / "indexes", manifest, manifest)
    return copy.report(manifest, manifest)


def pull(
    folder: Path, home: Home, version: str | None = None, *, progress: OnTransfer | None = None
) -> TransferReport:
    """Bring a version (the newest) and its model from ``folder`` into ``home``; activates nothing.

    A version's rows are numbers of its catalog, so it is taken only into a home that has that
    catalog, or a copy of it with the same history up to the version's last change; later changes
    are overlaid on it as ever. Where the home has another version of its number, it gets the home's
    next one. Raises as ``push``; ``CatalogMismatchError`` and ``OutdatedVersionError`` where the
    catalog is another one or its log begins too late.
    """
    version = _named_or_newest(folder, version)
    source = folder / "indexes" / version
    with _naming(folder):
        manifest = read_manifest(source)
        model = folder / "models" / manifest.model_version
        if not (model / MODEL_MANIFEST).is_file():
            raise BadModelError(
                f"{folder} lacks model {manifest.model_version}, which {version} needs: push again"
            )
    _check_files(manifest)
    _check_catalog(home, manifest)
    versions = Versions(home)
    copy = _Copy(progress)
    home.make_folder(home.indexes)
    with locked_folder(home.indexes), _naming(folder):
        copy.model(model, home.models)
        for own in versions.list():
            if own.content == manifest.content:
                copy.repair(source, versions.folder / own.version, manifest.files)
                versions.stamp(own)
                _keep_embeddings(home, versions.open(own.version))
                return copy.report(own, manifest)
        aside = copy.stage(source, home.indexes, manifest)
        _check_content(aside, manifest)
        with home.lock("publish", wait_s=60.0):
            free = not (home.indexes / version).exists() and _not_given(home, version)
            if free:
                _give(home, version)
            origin = {
                name: value
                for name, value in (manifest.source or {}).items()
                if name != "rewrite_of"
            }
            own = replace(
                manifest, version=version if free else versions.next_name(), source=origin or None
            )
            copy.finish(aside, home.indexes / own.version, own)
        versions.verify(own.version)
    _keep_embeddings(home, versions.open(own.version))
    return copy.report(own, manifest)


def _named_or_newest(folder: Path, version: str | None) -> str:
    """A version that lies in ``folder``. Raises ``UnknownVersionError``."""
    if not (folder / "indexes").is_dir():
        raise UnknownVersionError(
            f"{folder} holds no index versions: push one there (catalens index push {folder})"
        )
    known = sorted(
        (n for p in (folder / "indexes").iterdir() if (n := version_number(p.name))), reverse=True
    )
    names = [f"v{number:06d}" for number in known]
    version = version or next(iter(names), None)
    if version is None or version not in names:
        raise UnknownVersionError(
            f"{folder} holds no index version {version!r}; there are: {', '.join(names) or 'none'}"
        )
    return version


def _keep_embeddings(home: Home, opened: IndexVersion) -> None:
    """What the other machine embedded need not be embedded here: the next build finds it."""
    manifest = opened.manifest
    with (
        open_catalog(home) as catalog,
        closing(
            EmbeddingStore(home.embeddings, manifest.embedding_id, manifest.dim, catalog=catalog)
        ) as store,
    ):
        photo_ids, places = np.unique(opened.rows[:, 1], return_index=True)
        living = np.isin(photo_ids, catalog.change_log.living()[2]) & np.isin(
            photo_ids, store.missing(photo_ids)
        )
        for start in range(0, int(living.sum()), _PORTION):
            part = places[living][start : start + _PORTION]
            store.put(opened.rows[part, 1], opened.stored[part])


class _Copy:
    """Files by checksum, counting what was copied."""

    def __init__(self, progress: OnTransfer | None) -> None:
        self._progress = progress or (lambda name, done, total: None)
        self.copied = 0
        self.files: list[str] = []

    def report(self, own: Manifest, source: Manifest) -> TransferReport:
        return TransferReport(
            own.version,
            source.version,
            source.model_version,
            self.copied,
            self.files,
            already_there=not self.files,
        )

    def model(self, source: Path, models: Path) -> None:
        """A model folder, verified before and after; files that another model there has are linked,
        not copied."""
        bundle = load_bundle(source)
        final = models / bundle.model_version
        if (found := whole_model(final)) is not None:
            mend_shared_files(models, found)
            return
        files = {
            name: {"sha256": checksum, "size": (source / name).stat().st_size}
            for name, checksum in bundle.checksums.items()
        }
        aside = models / f"{_INCOMING}{bundle.model_version}"
        self._files(source, aside, files, [path for path in models.glob("[!.]*") if path.is_dir()])
        write_atomic(aside / MODEL_MANIFEST, (source / MODEL_MANIFEST).read_bytes())
        replace_folder(aside, final)
        mend_shared_files(models, load_bundle(final))

    def version(self, source: Path, indexes: Path, manifest: Manifest, own: Manifest) -> None:
        self.finish(self.stage(source, indexes, manifest), indexes / own.version, own)

    def stage(self, source: Path, indexes: Path, manifest: Manifest) -> Path:
        """All files of a version in a folder aside, verified; named by content, so that a later try
        goes on there."""
        aside = indexes / f"{_INCOMING}{manifest.content[:16]}"
        self._files(source, aside, manifest.files, sorted(indexes.glob("v*")))
        return aside

    def finish(self, aside: Path, final: Path, own: Manifest) -> None:
        write_atomic(aside / MANIFEST, own.to_bytes())
        publish_folder(aside, final)

    def repair(self, source: Path, there: Path, files: Files) -> None:
        """A version that lies there already: what is damaged or missing is copied again."""
        for name, known in files.items():
            if not _is(there / name, known):
                self._file(source / name, there / f".{name}.part", known)
                replace_file(there / f".{name}.part", there / name)

    def _files(self, source: Path, aside: Path, files: Files, siblings: list[Path]) -> None:
        if aside.is_symlink():
            # Of somebody who shares the folder: it would have files elsewhere removed and written.
            aside.unlink()
        make_folder(aside)
        for name in {path.name for path in aside.iterdir()} - {
            n for file in files for n in (file, f".{file}.part")
        }:
            (aside / name).unlink()
        for name, known in files.items():
            if _is(aside / name, known) or _linked(aside / name, known, siblings):
                continue
            part = aside / f".{name}.part"
            self._file(source / name, part, known)
            replace_file(part, aside / name)

    def _file(self, source: Path, part: Path, known: Mapping[str, Any]) -> None:
        """Copy, going on after what an interrupted copy left; verified as it lies there."""
        for again in (False, True):
            done = 0 if again else _begun(part)
            with open_regular(source) as read, part.open("r+b" if done else "xb") as write:
                read.seek(done)
                write.seek(done)
                while chunk := read.read(_CHUNK):
                    write.write(chunk)
                    done += len(chunk)
                    self.copied += len(chunk)
                    self._progress(source.name, done, known["size"])
                write.truncate()
            if _is(part, known):
                self.files.append(source.name)
                return
            part.unlink()
        side = "its source" if not _is(source, known) else "the copy"
        raise DamagedIndexError(
            f"{source}: {side} does not match its checksum; nothing was published"
        )


def _begun(part: Path) -> int:
    """Bytes of what an interrupted copy left. Anything else goes: a link, or a second name of a
    file, would have that written to."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return 0
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size:
        return found.st_size
    part.unlink()
    return 0


def _is(path: Path, known: Mapping[str, Any]) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == known["size"]
        and sha256_file(path) == known["sha256"]
    )


def _linked(path: Path, known: Mapping[str, Any], siblings: list[Path]) -> bool:
    """Whether a folder beside it has the same file, which is then used: by a hard link, or copied
    where there is none.

    A version is immutable and a revision of a model shares its weights, so a shared file changes
    for nobody.
    """
    for folder in siblings:
        if _is(folder / path.name, known):
            path.unlink(missing_ok=True)
            try:
                os.link(folder / path.name, path)
            except OSError:
                shutil.copyfile(folder / path.name, path)
            return True
    return False


def _check_files(manifest: Manifest) -> None:
    """Raise ``DamagedIndexError`` for a file that no version has."""
    known = {*VERSION_FILES, engine_of(manifest.recipe).file_name}
    if odd := sorted(set(manifest.files) - known):
        raise DamagedIndexError(
            f"index version {manifest.version}: {MANIFEST} lists {odd[0]!a}, which no index "
            "version has: nothing of it was taken; push the version again from the home that "
            "built it (catalens index push)"
        )


def _check_content(folder: Path, manifest: Manifest) -> None:
    """Open a version as a search would, before it stands in the home.

    Its checksums say that it is what was pushed, not that it can be read. Raises
    ``DamagedIndexError``; then nothing of it stays.
    """
    try:
        opened = open_files(folder, manifest, "cpu")
        for start in range(0, len(opened.stored), _PORTION):
            if not np.isfinite(opened.stored[start : start + _PORTION]).all():
                raise DamagedIndexError(
                    f"index version {manifest.version}: {VECTORS} holds numbers that are none"
                )
        if opened.columns_file is not None:
            FilterColumns.open(opened.columns_file, np.unique(opened.rows[:, 0]))
    except DamagedIndexError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_catalog(home: Home, manifest: Manifest) -> None:
    """Whether the version's numbers mean the same products here."""
    name = manifest.version
    source = manifest.source or {}
    if not home.catalog_file.exists():
        raise CatalogMismatchError(
            f"{home.path} has no catalog, and an index version holds numbers of one: copy the home "
            "it was built in"
        )
    if not source.get("catalog"):
        raise CatalogMismatchError(
            f"index version {name} does not say which catalog it is of (built by an older "
            "Catalens): build it again"
        )
    with open_catalog(home) as catalog:
        history = catalog.change_log
        last = catalog.last_sequence()
        if history.identity() != source["catalog"]:
            raise CatalogMismatchError(
                f"index version {name} is of catalog {source['catalog']}, {home.path} has catalog "
                f"{history.identity() or 'of no name'}: its numbers mean other products here"
            )
        begins = history.begins()
        if manifest.last_sequence < begins:
            raise OutdatedVersionError(
                f"index version {name} ends with change {manifest.last_sequence}, the log of "
                f"{home.path} begins after "
                f"{begins}: build a new one"
            )
        same = history.stamp(manifest.last_sequence) == source.get("stamp")
        if manifest.last_sequence > last or not same:
            raise CatalogMismatchError(
                f"index version {name} was built after writes that {home.path} never saw (change "
                f"{manifest.last_sequence} there is not that of here, which ends with {last}): "
                "build from a fresh copy "
                "of the home, and write in one place only"
            )


def _not_given(home: Home, version: str) -> bool:
    """Whether the home never gave this number itself."""
    try:
        last = int((home.indexes / "LAST").read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    return (version_number(version) or 0) > last


def _give(home: Home, version: str) -> None:
    write_atomic(home.indexes / "LAST", f"{version_number(version)}\n".encode())


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Failures that name a version or a model say in which folder it lies."""
    try:
        yield
    except (DamagedIndexError, NewerFormatError, BadModelError) as error:
        raise error if str(folder) in str(error) else type(error)(f"{folder}: {error}") from error


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Nobody else pushes to or pulls into ``folder``. Raises ``BusyError``."""
    make_folder(folder)
    lock = lock_file(folder / ".transfer.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(
            f"another push or pull goes on in {folder}; try again when it is done"
        ) from error
    try:
        yield
    finally:
        lock.release()
