"""Backup of a home into a folder, while it serves and imports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import metadata
from itertools import islice
from pathlib import Path

from filelock import Timeout

from indexer.catalog.presence import has_catalog
from indexer.catalog.records import photo_file
from indexer.catalog.store import open_catalog
from indexer.catalog.transaction import last_sequence
from indexer.core.atomic_files import (
    PRIVATE_MODE,
    folder_aside,
    make_folder,
    publish_folder,
    remove_asides,
    remove_folder,
    sha256_file,
    storage_failure,
)
from indexer.core.errors import (
    BadHomeError,
    BadRequestError,
    BusyError,
    CatalensError,
    DamagedFileError,
    DamagedIndexError,
    DiskFullError,
    NewerFormatError,
)
from indexer.core.file_owner import lock_file
from indexer.core.home import BACKUPS_LOCK, Active, Home
from indexer.core.home_clock import CLOCK_FILE
from indexer.core.manifest import read_manifest, version_number
from indexer.core.progress import OnStage, no_progress
from indexer.core.sqlite import Connection, chunks, copy_file, opened, read_meta
from indexer.operations.backup_files import (
    CATALOG,
    LIST,
    NAME,
    PHOTOS,
    BackupFile,
    BackupList,
    backups_of,
    copy_hashed,
    count_photos,
    is_database,
    is_derived,
    is_passing,
    is_stamp,
    link_file,
    list_backups,
    read_list,
    share_file,
    stored_photos,
)
from indexer.operations.backup_thumbnails import FOLDER, copy_thumbnails, thumbnail_bytes
from indexer.operations.made_backups import mark_folder, note_backup

# Work under way, locks; photos, and thumbnails that stand for one, are by the catalog. Of jobs
# what they say of themselves: their uploads may be large, and end with them. When the home was in
# use last: a restored one has seen the time of its backup.
_NOT_COPIED = frozenset({"jobs", "locks", "thumbnails", PHOTOS, CLOCK_FILE})
_JOBS = "jobs/[0-9a-f]*/job.json"
# Folders whose files are never changed, only replaced: another name for one is a copy of it.
_UNCHANGED = ("indexes", "models", PHOTOS)
# The home is looked at again where a version or a photo went meanwhile.
_ROUNDS = 5
_SPARE_BYTES = 64 * 2**20
# Fewer are damage, more than these and half of all a disk that is away.
_FEW_MISSING = 20
_PORTION = 5000


@dataclass
class BackupReport:
    """What a backup holds, and what it took. Bytes that were shared take no room."""

    path: Path
    at: str
    sequence: int
    files: int
    photos: int
    elsewhere: int
    bytes: int
    copied_bytes: int
    left_out: list[str] = field(default_factory=list)
    # Older backups that ``keep`` ended.
    removed: list[str] = field(default_factory=list)
    # Why the home does not know of it, so that erasures do not name it; "" where it does.
    not_noted: str = ""


class _HomeChangedError(Exception):
    """Something that the catalog or ``CURRENT`` names went while it was copied."""


def back_up(
    home: Home,
    folder: Path,
    *,
    keep: int | None = None,
    link: bool = False,
    progress: OnStage = no_progress,
) -> BackupReport:
    """Make a backup of ``home`` in ``folder``, beside those that are there already.

    Every write that was acknowledged before its ``at`` is in it. Databases are copied by SQLite's
    online backup, all else file by file; what the newest backup there has, and has undamaged, is
    shared with it by hard links: each file is read for that. ``link``: files that never change are
    shared with the home too, where both lie on one disk. It stands under its name once it is whole,
    and only then ``keep`` ends others: how many are left, the newest. Raises ``BadRequestError``,
    ``BusyError``, ``StorageError`` and its kinds, and what opening the catalog raises.
    """
    folder = folder.absolute()
    _check_place(home, folder)
    try:
        make_folder(folder)
        with lock_file(folder / BACKUPS_LOCK, timeout=0):
            remove_asides(folder / "backup")
            made = _Backup(home, folder, link, progress).make()
            mark_folder(folder)
            made.not_noted = note_backup(home, made.path, made.at)
            if keep is not None:
                # The one just made is the newest, whatever others are called; those of other
                # catalogs, and those that cannot be read, are not ours to delete.
                own = backups_of(folder, read_list(made.path).identity)
                others = [one for one in own if one != made.path]
                for old in others[: len(others) + 1 - keep]:
                    remove_folder(old)
                    made.removed.append(old.name)
    except Timeout as error:
        raise BusyError(f"another process makes a backup in {folder}: try again") from error
    except OSError as error:
        raise storage_failure(Path(error.filename or folder), error) from error
    return made


def _check_place(home: Home, folder: Path) -> None:
    """Raises ``BadRequestError`` for a folder of something else, and one in the home."""
    inside, outside = home.path.resolve(), folder.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise BadRequestError(f"{folder} and the home {home.path} lie in each other: name another")
    if (folder / LIST).exists():
        raise BadRequestError(f"{folder} is one backup: name the folder that it lies in")
    if folder.exists() and not folder.is_dir():
        raise BadRequestError(f"{folder} is no folder")
    others = [path.name for path in folder.glob("[!.]*") if not (path / LIST).is_file()]
    if others:
        raise BadRequestError(
            f"{folder} holds {others[0]!r}, which is no backup: name a new folder, or one of "
            "backups"
        )


class _Backup:
    """One backup on its way: what was taken from where."""

    def __init__(self, home: Home, folder: Path, link: bool, progress: OnStage) -> None:
        self._home = home
        self._folder = folder
        self._link = link
        self._progress = progress
        # The newest backup there of this catalog, and those before it, newest first.
        self._before: Path | None = None
        self._older: list[Path] = []
        self._known: dict[str, BackupFile] = {}
        self._files: dict[str, BackupFile] = {}
        self._left_out: list[str] = []
        self._copied = 0
        self._again = False

    def make(self) -> BackupReport:
        """Copy, list, publish."""
        self._require_catalog()
        self._find_before()
        self._require_room()
        with folder_aside(self._folder / "backup", PRIVATE_MODE) as aside:
            for tries_left in reversed(range(_ROUNDS)):
                try:
                    made = self._round(aside)
                    break
                except _HomeChangedError as error:
                    if not tries_left:
                        raise BusyError(f"{error}; try again") from error
                    self._again = True
            (aside / LIST).write_bytes(made.to_bytes())
            final = self._name(made.at)
            publish_folder(aside, final)
        return BackupReport(
            final,
            made.at,
            made.sequence,
            len(made.files),
            made.photos,
            made.elsewhere,
            made.photo_bytes + sum(file.size for file in made.files.values()),
            self._copied,
            made.left_out,
        )

    def _name(self, at: str) -> Path:
        """By its time; where a clock that went back would put it before others, behind them."""
        times = [datetime.fromisoformat(at).replace(tzinfo=None)]
        for other in list_backups(self._folder):
            with suppress(ValueError, OverflowError):
                times.append(datetime.strptime(other.name, NAME) + timedelta(microseconds=1))
        return self._folder / max(times).strftime(NAME)

    def _require_catalog(self) -> None:
        """A home whose catalog is gone must not become the newest backup."""
        if not has_catalog(self._home):
            raise BadRequestError(f"home {self._home.path} has no catalog yet: nothing to back up")
        open_catalog(self._home).close()

    def _find_before(self) -> None:
        """The newest backup there of this catalog."""
        with open_catalog(self._home) as catalog:
            own = backups_of(self._folder, catalog.change_log.identity() or "")
        if own:
            self._before, self._known = own[-1], read_list(own[-1]).files
            self._older = own[-2::-1]

    def _require_room(self) -> None:
        needed = _SPARE_BYTES
        for name, path in self._listed():
            found = path.stat().st_size if path.exists() else 0
            old = self._known.get(name)
            shared = old is not None and old.size == found and not is_database(name)
            needed += 0 if shared or (self._link and name.startswith(_UNCHANGED)) else found
        if self._before is None and not self._link:
            with opened(self._home.catalog_file) as sql:
                row = sql.execute("SELECT sum(bytes) FROM photos WHERE storage = 'copy'").fetchone()
                needed += int(row[0] or 0) + thumbnail_bytes(sql, self._home.path)
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise DiskFullError(
                f"{self._folder}: a backup needs {needed >> 20:,} MiB, {free >> 20:,} MiB are free"
            )

    def _round(self, aside: Path) -> BackupList:
        """Bring ``aside`` to the home's state; what was copied by an earlier round stays.

        In this order, so that nothing is newer than the catalog that it follows: versions, models
        and small files, derived databases and reviews, the catalog, its photos.
        """
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        self._left_out = []
        listed = dict(self._listed())
        for name in set(self._files) - set(listed):
            self._drop(aside, name)
        plain = [name for name in listed if not is_database(name)]
        for number, name in enumerate(plain):
            self._progress("files", number, len(plain))
            self._take(listed[name], aside, name)
        self._drop_incomplete(aside)
        _require_active(self._home, aside)
        # The catalog last.
        databases = sorted(filter(is_database, listed), key=lambda name: name == CATALOG)
        for number, name in enumerate(databases):
            self._progress("databases", number, len(databases))
            self._take_database(listed[name], aside, name)
        with opened(aside / CATALOG) as sql:
            identity, sequence = read_meta(sql, "identity") or "", last_sequence(sql)
            total, elsewhere = count_photos(sql)
            photos, size = self._take_photos(sql, aside, total)
            size += self._take_thumbnails(sql, aside)
        return BackupList(
            at,
            metadata.version("catalens"),
            identity,
            sequence,
            dict(sorted(self._files.items())),
            photos,
            size,
            elsewhere,
            self._left_out,
        )

    def _listed(self) -> Iterator[tuple[str, Path]]:
        """Name and path of each file that belongs into a backup, but photos."""
        for path in sorted(self._home.path.glob(_JOBS)):
            yield path.relative_to(self._home.path).as_posix(), path
        for entry in sorted(self._home.path.iterdir()):
            if entry.name in _NOT_COPIED or is_passing(entry.name):
                continue
            if not entry.is_dir():
                yield entry.name, entry
                continue
            for top, folders, names in os.walk(entry):
                folders[:] = sorted(name for name in folders if not is_passing(name))
                for name in sorted(names):
                    path = Path(top, name)
                    if not is_passing(name) and path.is_file() and not path.is_symlink():
                        below = path.relative_to(self._home.path).as_posix()
                        if not is_stamp(below):
                            yield below, path

    # -- one file each

    def _take(self, path: Path, aside: Path, name: str) -> None:
        """Copy a file, or share it; one that went meanwhile is none."""
        try:
            found = path.stat()
        except FileNotFoundError:
            self._drop(aside, name)
            return
        now = (found.st_size, found.st_mtime_ns)
        taken = self._files.get(name)
        if taken is not None:
            if (taken.size, taken.mtime_ns) == now:
                return
            self._drop(aside, name)
        target = aside / name
        old = self._known.get(name)
        if old is not None and (old.size, old.mtime_ns) == now and self._share(name, target, old):
            self._files[name] = old
            return
        try:
            if self._link and name.startswith(_UNCHANGED) and link_file(path, target):
                sha256 = sha256_file(target)
            else:
                sha256 = copy_hashed(path, target)
                self._copied += target.stat().st_size
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            return
        self._files[name] = BackupFile(sha256, target.stat().st_size, found.st_mtime_ns)

    def _share(self, name: str, target: Path, known: BackupFile) -> bool:
        return self._before is not None and share_file(self._before / name, target, known.sha256)

    def _drop(self, aside: Path, name: str) -> None:
        (aside / name).unlink(missing_ok=True)
        self._files.pop(name, None)

    def _take_database(self, path: Path, aside: Path, name: str) -> None:
        """Copy a database's last commit; a damaged one is refused, or left out where it is
        derived."""
        self._drop(aside, name)
        target = aside / name
        try:
            copy_file(path, target)
            with opened(target) as sql:
                (said,) = sql.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise DamagedFileError(
                    f"{path} is damaged: {' '.join(said.split())}; no backup was made, the ones "
                    "before are as they were (catalens restore)"
                )
        except CatalensError as error:
            target.unlink(missing_ok=True)
            if not is_derived(name) or isinstance(error, (DiskFullError, BusyError)):
                raise
            self._left_out.append(name)
            return
        size = target.stat().st_size
        self._copied += size
        self._files[name] = BackupFile(sha256_file(target), size)

    def _drop_incomplete(self, aside: Path) -> None:
        """Leave out versions that went while they were copied; one that is damaged stays."""
        for folder in (aside / "indexes").glob("v*"):
            if version_number(folder.name) is None:
                continue
            with suppress(DamagedIndexError, NewerFormatError):
                if all((folder / name).exists() for name in read_manifest(folder).files):
                    continue
            if not (self._home.indexes / folder.name).exists():
                start = f"indexes/{folder.name}/"
                for name in [one for one in self._files if one.startswith(start)]:
                    self._drop(aside, name)
                shutil.rmtree(folder, ignore_errors=True)

    # -- photos

    def _take_photos(self, sql: Connection, aside: Path, total: int) -> tuple[int, int]:
        """Copy or share the originals that this state of the catalog names: how many, bytes.

        Raises ``_HomeChangedError`` where one went that the catalog does not name any more.
        """
        count = size = 0
        missing: list[str] = []
        for portion in stored_photos(sql):
            self._progress("photos", count, total)
            for content_hash, length in portion:
                target = photo_file(aside / PHOTOS, content_hash)
                if target.exists() or self._take_photo(content_hash, length, target):
                    count += 1
                    size += length
                else:
                    missing.append(content_hash)
            if len(missing) > max(_FEW_MISSING, total // 2):
                raise DamagedFileError(
                    f"{self._home.photos}: {len(missing):,} of the first {count + len(missing):,} "
                    "photos that the catalog names are missing or damaged: is a disk not mounted? "
                    "No backup was made"
                )
        if missing:
            with open_catalog(self._home) as catalog:
                if len(catalog.photos_by_hash(missing)) < len(missing):
                    raise _HomeChangedError("photos were deleted while they were copied")
            self._left_out += [f"{PHOTOS}/{one}" for one in missing]
        if self._again:
            self._drop_strays(sql, aside)
        return count, size

    def _take_thumbnails(self, sql: Connection, aside: Path) -> int:
        """Copy or share those that are the only picture of their photo; bytes."""
        shutil.rmtree(aside / FOLDER, ignore_errors=True)
        done = copy_thumbnails(sql, self._home.path, aside, self._before)
        self._copied += done.copied_bytes
        if done.missing:
            hashes = {Path(name).name[:64] for name in done.missing}
            with open_catalog(self._home) as catalog:
                if len(catalog.photos_by_hash(hashes)) < len(hashes):
                    raise _HomeChangedError("photos were deleted while they were copied")
            self._left_out += done.missing
        return done.bytes

    def _drop_strays(self, sql: Connection, aside: Path) -> None:
        """Remove originals that an earlier round took and the catalog does not name any more."""
        found = (path for path in (aside / PHOTOS).rglob("*") if path.is_file())
        while part := list(islice(found, _PORTION)):
            for names, marks in chunks([path.name for path in part]):
                query = f"SELECT content_hash FROM photos WHERE content_hash IN ({marks})"
                named = {row[0] for row in sql.execute(query, names)}
                for name in set(names) - named:
                    photo_file(aside / PHOTOS, name).unlink()

    def _take_photo(self, content_hash: str, length: int, target: Path) -> bool:
        """Whether there is a sound copy, of the newest backup or of the home; else of one before:
        ``keep`` may end the last backup that has it."""
        newest = [] if self._before is None else [self._before]
        return (
            self._share_photo(newest, content_hash, length, target)
            or self._copy_photo(content_hash, length, target)
            or self._share_photo(self._older, content_hash, length, target)
        )

    @staticmethod
    def _share_photo(backups: list[Path], content_hash: str, length: int, target: Path) -> bool:
        for backup in backups:
            before = photo_file(backup / PHOTOS, content_hash)
            with suppress(OSError):
                if before.stat().st_size == length and share_file(before, target, content_hash):
                    return True
        return False

    def _copy_photo(self, content_hash: str, length: int, target: Path) -> bool:
        """Whether the home has it undamaged; it is then in the backup."""
        source = photo_file(self._home.photos, content_hash)
        try:
            if self._link and link_file(source, target):
                found = sha256_file(target)
            else:
                found = copy_hashed(source, target)
                self._copied += length
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            return False
        if found != content_hash:
            target.unlink()
        return found == content_hash


def _require_active(home: Home, aside: Path) -> None:
    """Raises ``_HomeChangedError`` where ``CURRENT`` names what came or went while it was copied.

    What the home lacks itself is copied as it is: ``catalens verify`` names it.
    """
    copied = Home(aside)
    try:
        active = copied.active()
    except BadHomeError:
        return
    if active is None:
        return
    for part in (f"indexes/{active.index_version}", f"models/{active.model_version}"):
        if not (aside / part).is_dir() and (
            (home.path / part).is_dir() or _current(home) != active
        ):
            raise _HomeChangedError(f"{part} changed while it was copied")


def _current(home: Home) -> Active | None:
    try:
        return home.active()
    except BadHomeError:
        return None
