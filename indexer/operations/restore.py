"""Restore of a backup into a new home, every file against its checksum."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from indexer.catalog.records import photo_file
from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import (
    PRIVATE_MODE,
    folder_aside,
    make_folder,
    publish_folder,
    publish_into,
    remove_asides,
    storage_failure,
)
from indexer.core.errors import (
    BadBackupError,
    BadHomeError,
    CatalensError,
    DiskFullError,
    NewerFormatError,
)
from indexer.core.home import BACKUP_LIST, Home, close_folder, require_no_backups
from indexer.core.home_clock import note_seen
from indexer.core.progress import OnStage, no_progress
from indexer.core.sqlite import Connection, Database, Schema, opened
from indexer.operations.backup_files import (
    CATALOG,
    PHOTOS,
    BackupList,
    copy_hashed,
    is_derived,
    is_stamp,
    list_backups,
    newest_backup,
    read_list,
    stored_photos,
)
from indexer.operations.backup_thumbnails import FOLDER, copy_thumbnails
from indexer.operations.jobs import ENDED, JobProblem, Jobs
from indexer.operations.made_backups import note_backup
from indexer.operations.state_files import remake_marker
from indexer.operations.verification import foreign_damages

_SPARE_BYTES = 64 * 2**20
_MOST_NAMED = 5
_MARKER = "home.json"
# Of a folder that cannot be replaced: how what is put together in it is called, and what comes last
# into it.
_ASIDE = "restored"
_LAST = (CATALOG, _MARKER)


@dataclass
class RestoreReport:
    """What stands in the restored home. ``at``: what was acknowledged before is in it."""

    home: Path
    backup: Path
    at: str
    # The release that made the backup.
    catalens: str
    sequence: int
    products: int
    photos: int
    # The pair that serves.
    index_version: str | None
    model_version: str | None
    # Jobs that were under way: they are told failed, since a backup holds no upload.
    failed_jobs: int = 0
    # Files that are damaged or missing in the backup, or were when it was made.
    left_out: list[str] = field(default_factory=list)
    # Why the home does not know of its backups, so that erasures do not name them; "" where it
    # does.
    not_noted: str = ""


def restore(
    source: Path, path: Path, *, partial: bool = False, progress: OnStage = no_progress
) -> RestoreReport:
    """Make the home ``path``, which must not be there yet or be an empty folder, from the backup
    ``source``.

    ``source`` is one backup, or a folder of them: then the newest. Everything is checked while it
    is copied; the home stands there once it is whole. What is damaged and can be made again is left
    out. ``partial``: other damaged or missing files are left out too. The first erasure in the home
    looks at everything, since products may have been deleted while the backup was made. Raises
    ``BadBackupError``, ``BadHomeError``, ``NewerFormatError``, ``DiskFullError``,
    ``StorageError``.
    """
    path = path.absolute()
    backup = newest_backup(source.absolute())
    made = read_list(backup)
    _check_place(path)
    # A link to an empty folder stays, and that folder holds the home.
    final = path.resolve() if path.is_symlink() else path
    needed = made.photo_bytes + sum(file.size for file in made.files.values()) + _SPARE_BYTES
    try:
        make_folder(final.parent)
        place = _place_of(final)
        free = shutil.disk_usage(place.parent).free
        if free < needed:
            raise DiskFullError(
                f"{path}: the restored home needs {needed >> 20:,} MiB, {free >> 20:,} MiB are free"
            )
        remove_asides(place)
        with folder_aside(place, PRIVATE_MODE) as aside:
            done = _Restore(backup, made, aside, progress)
            with _told_if_deleted(backup):
                done.copy(partial=partial)
            report = _examined(aside, backup, made, done.left_out)
            if place != final:
                _check_place(final)
                close_folder(final)
                publish_into(aside, final, _LAST)
            else:
                if final.is_dir():
                    final.rmdir()
                publish_folder(aside, final)
    except OSError as error:
        raise storage_failure(Path(error.filename or path), error) from error
    report.home = path
    return report


@contextmanager
def _told_if_deleted(backup: Path) -> Iterator[None]:
    """Raise ``BadBackupError`` where the backup was deleted in the block, as by ``backup --keep``:
    what is missing then is not damaged, and no reason to restore the others."""
    failure: CatalensError | None = None
    try:
        yield
    except CatalensError as error:
        failure = error
    if not (backup / BACKUP_LIST).exists():
        raise BadBackupError(
            f"{backup} was deleted while it was restored: restore another one, and make no backup "
            "with --keep meanwhile"
        ) from failure
    if failure is not None:
        raise failure


def _place_of(path: Path) -> Path:
    """Beside what the home is put together: itself, or a name in it where an empty folder is there
    that cannot be replaced."""
    return path / _ASIDE if path.is_dir() and _is_fixed(path) else path


def _is_fixed(path: Path) -> bool:
    """Whether a folder stays where it is: a mount point, one that holds what may stay in it, one in
    a folder of another user, or of all."""
    return (
        path.is_mount()
        or any(path.iterdir())
        or not os.access(path.parent, os.W_OK)
        or bool(path.parent.stat().st_mode & stat.S_ISVTX)
    )


def _is_empty(path: Path) -> bool:
    """Whether a folder holds nothing but what a killed restore left, and a file system makes."""
    passing = f".{_ASIDE}."
    return all(
        entry.name == "lost+found"
        or (entry.name.startswith(passing) and entry.name.endswith(".tmp"))
        for entry in path.iterdir()
    )


def _check_place(path: Path) -> None:
    """Raises ``BadHomeError`` where no home can be made."""
    if path.is_symlink() and not path.exists():
        raise BadHomeError(
            f"{path} is a link to {path.readlink()}, where nothing is: make that folder, or name "
            "another"
        )
    if path.exists() and not (path.is_dir() and _is_empty(path)):
        raise BadHomeError(
            f"{path} is there already: restore into a new folder, look at it (catalens doctor "
            "--home NEW), then put it in the place of the other while nothing serves it"
        )
    require_no_backups(path)


class _Restore:
    """Files on their way from a backup, and what is wrong with some."""

    def __init__(self, backup: Path, made: BackupList, aside: Path, progress: OnStage) -> None:
        self._backup = backup
        self._made = made
        self._aside = aside
        self._progress = progress
        self.left_out = list(made.left_out)
        self._damaged: list[str] = []

    def copy(self, *, partial: bool) -> None:
        """Raises ``BadBackupError`` that names damaged files."""
        files = {name: one for name, one in self._made.files.items() if not is_stamp(name)}
        for number, (name, known) in enumerate(files.items()):
            self._progress("files", number, len(files))
            if not self._copied(name, known.sha256) or self._is_foreign(name):
                (self.left_out if is_derived(name) else self._damaged).append(name)
        if CATALOG not in files or CATALOG in self._damaged:
            raise BadBackupError(
                f"{self._backup / CATALOG} is missing or damaged: take another backup"
            )
        if _MARKER not in files or _MARKER in self._damaged:
            # All that it says can be seen in the other files, also in those that are no good.
            remake_marker(self._aside, files)
            self._damaged = [name for name in self._damaged if name != _MARKER]
            self.left_out.append(_MARKER)
        self._copy_photos()
        if self._damaged and not partial:
            named = ", ".join(self._damaged[:_MOST_NAMED])
            more = len(self._damaged) - _MOST_NAMED
            raise BadBackupError(
                f"{len(self._damaged):,} files of {self._backup} are missing or damaged: {named}"
                + (f" and {more:,} more" if more > 0 else "")
                + "; take another backup, or restore the others by --partial"
            )
        self.left_out += self._damaged

    def _copy_photos(self) -> None:
        absent = set(self._made.left_out)
        count = 0
        with opened(self._backup / CATALOG) as sql:
            for portion in stored_photos(sql):
                self._progress("photos", count, self._made.photos)
                count += len(portion)
                for content_hash, _ in portion:
                    name = photo_file(Path(PHOTOS), content_hash).as_posix()
                    if f"{PHOTOS}/{content_hash}" in absent:
                        continue
                    if not self._copied(name, content_hash):
                        self._damaged.append(name)
            self._copy_thumbnails(sql, absent)

    def _copy_thumbnails(self, sql: Connection, absent: set[str]) -> None:
        missing = copy_thumbnails(sql, self._backup, self._aside).missing
        if missing and not (self._backup / FOLDER).is_dir():
            # The release that made it took none.
            self.left_out.append(FOLDER)
        else:
            self._damaged += [name for name in missing if name not in absent]

    def _is_foreign(self, name: str) -> bool:
        """Whether a database holds what a stranger put there; a derived one goes.

        Raises ``BadBackupError`` for another.
        """
        if not name.endswith(".sqlite3"):
            return False
        target = self._aside / name
        try:
            with Database(target, Schema(0)) as database:
                found = foreign_damages(database)
        except CatalensError:
            # No database, or a damaged one: whoever opens it says so.
            return False
        if found and not is_derived(name):
            raise BadBackupError(
                f"{self._backup / name}: {found[0]}; restore a backup that you made"
            )
        if found:
            target.unlink()
        return bool(found)

    def _copied(self, name: str, sha256: str) -> bool:
        """Whether a file of the backup is sound; it is then in the new home."""
        source, target = self._backup / name, self._aside / name
        try:
            if source.is_file() and copy_hashed(source, target) == sha256:
                return True
        except FileNotFoundError:
            pass
        target.unlink(missing_ok=True)
        return False


def _examined(aside: Path, backup: Path, made: BackupList, left_out: list[str]) -> RestoreReport:
    """Open the new home as a service would, and have its first erasure look at everything."""
    try:
        home = Home(aside)
        opened_catalog = open_catalog(home)
    except NewerFormatError:
        raise
    except CatalensError as error:
        # What it names to mend is of a folder that is gone in a moment.
        reason = str(error).partition("; ")[0].replace(str(aside), str(backup))
        raise BadBackupError(f"{reason}; take another backup (catalens restore BACKUP)") from error
    with closing(opened_catalog) as catalog:
        if catalog.last_sequence() != made.sequence:
            raise BadBackupError(
                f"{backup / CATALOG} ends with change {catalog.last_sequence()}, not "
                f"{made.sequence}: take another backup"
            )
        catalog.change_log.require_scrub()
        products, photos = len(catalog), catalog.photo_count()
        catalog.database.empty_log()
    try:
        active = home.active()
    except BadHomeError:
        # As the home had it; activating a version writes it anew.
        active = None
    # A new machine's clock may be far from right: the backup bears what the home has seen.
    with suppress(ValueError):
        note_seen(home, datetime.fromisoformat(made.at).timestamp())
    failed = _fail_jobs(home, made.at)
    not_noted = _note_backups(home, backup, made)
    return RestoreReport(
        aside,
        backup,
        made.at,
        made.catalens,
        made.sequence,
        products,
        photos,
        None if active is None else active.index_version,
        None if active is None else active.model_version,
        failed,
        left_out,
        not_noted,
    )


def _note_backups(home: Home, backup: Path, made: BackupList) -> str:
    """Have the new home know this backup, and those of the same catalog beside it: an erasure names
    them. Why it does not, or ""."""
    not_noted = note_backup(home, backup, made.at)
    for other in list_backups(backup.parent):
        # One that cannot be read is told by whoever restores it.
        with suppress(BadBackupError, NewerFormatError):
            found = read_list(other)
            if other != backup and made.identity and found.identity == made.identity:
                not_noted = not_noted or note_backup(home, other, found.at)
    return not_noted


def _fail_jobs(home: Home, at: str) -> int:
    """Have jobs that were under way say that they failed, to whoever asks; how many."""
    jobs = Jobs(home)
    open_jobs = [job for job in jobs.list() if job.state not in ENDED]
    for job in open_jobs:
        detail = (
            f"it was under way when the backup of {at} was made, which this home was restored "
            "from: what it had committed until then is here; start it again"
        )
        jobs.set(job.job_id, state="failed", problem=JobProblem("interrupted", detail))
    return len(open_jobs)
