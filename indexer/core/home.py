"""The one folder that holds models, the catalog, photos, embeddings and index versions."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from indexer.core.atomic_files import (
    PRIVATE_MODE,
    foreign_failure,
    make_folder,
    read_sealed_json,
    read_sealed_lines,
    seal_of,
    write_sealed_json,
)
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    CatalensError,
    NewerFormatError,
    ReadOnlyError,
)
from indexer.core.file_identity import FileIdentity
from indexer.core.file_owner import lock_file, make_owned
from indexer.core.regular_files import read_json

FORMAT = 1
# What is written beside a pair without being part of its checksum.
_UNSEALED = frozenset({"index_version", "model_version", "before", "at", "by"})
KEYS_FILE = "keys.json"
# The sealed list of checksums that makes a folder a backup of a home.
BACKUP_LIST = "BACKUP.json"
# Stands in a folder that backups are made in, and stays there.
BACKUPS_LOCK = ".backup.lock"
# The secret that signs webhooks; its mark in ``home.json`` has the same name.
SECRET_FILE = "alert-secret"
_SECRET = re.compile(r"[0-9a-f]{64}")
# Whoever writes a mark holds its lock for one small file.
_MARKED_WITHIN_S = 30.0
_REPAIR = "activate a version to write it anew (catalens index activate VERSION)"
# Marks of the first release. It knows no checksum of the marker and keeps the one that it finds,
# whichever of these it sets or takes back.
_FIRST_MARKS = ("keys", "reviews")


@dataclass(frozen=True)
class Active:
    """What serves now: one index version and the model it was built for, switched as one."""

    index_version: str
    model_version: str

    def record(self) -> dict[str, str]:
        """As it is written, with a checksum: one changed byte must not name another version."""
        return {**asdict(self), "check": self._check()}

    @classmethod
    def checked(cls, stored: Any) -> Active:
        """What was written by ``record``, or before there were checksums.

        Raises ``ValueError``, ``KeyError``, ``TypeError`` for what was changed since.
        """
        pair = cls(stored["index_version"], stored["model_version"])
        if not isinstance(pair.index_version, str) or not isinstance(pair.model_version, str):
            raise TypeError("it names no index version and model")
        sealed = bool(set(stored) - _UNSEALED)
        if sealed and stored.get("check") != pair._check():
            raise ValueError("it does not match its checksum")
        return pair

    def _check(self) -> str:
        return hashlib.sha256(f"{self.index_version} {self.model_version}".encode()).hexdigest()[:8]


class Home:
    """Paths and the active pair of one home. Holds no open file; cheap to make. The folder that it
    was made for is the home: what takes its place later is not.

    Raises ``BadHomeError`` where there is none, and for a backup, which whatever opens it may
    change; ``NewerFormatError`` where a newer Catalens wrote it. ``as_backup``: a backup is opened
    too, by somebody who only looks.
    """

    def __init__(self, path: Path | str, *, as_backup: bool = False) -> None:
        self.path = Path(path).absolute()
        if self.is_backup() and not as_backup:
            raise BadHomeError(
                f"{self.path} is a backup, which use as a home would spoil: restore it (catalens "
                f"restore {shlex.quote(str(self.path))} --home NEW), and use the restored home"
            )
        marker = self.path / "home.json"
        remake = _remake(self.path)
        if not marker.is_file():
            if any((self.path / name).exists() for name in ("catalog.sqlite3", "indexes")):
                raise BadHomeError(f"{marker} is missing, though a home is here: {remake}")
            raise BadHomeError(
                f"no catalens home at {self.path} (make one with: catalens import DATA --home "
                f"{path})"
            )
        try:
            found = _read_marker(marker).get("format")
        except (OSError, ValueError) as error:
            raise _unreadable(marker, error) from error
        if not isinstance(found, int) or found < 1:
            raise BadHomeError(f"{marker} has no usable format number: {found!r}; {remake}")
        if found > FORMAT:
            raise NewerFormatError(
                f"home {self.path} has format {found}, this Catalens knows up to {FORMAT}: upgrade "
                "it"
            )
        self._identity = FileIdentity(self.path, is_kept=True, noun="home")
        self._identity.note()

    @classmethod
    def create(cls, path: Path | str) -> Home:
        """Open the home at ``path``, made first if the folder is absent or empty; it is then
        closed to all other users. Raises ``BadHomeError``."""
        folder = Path(path).absolute()
        if not (folder / "home.json").exists():
            # A marker being written, or left half-written by a kill, is no content.
            if folder.exists() and not (
                folder.is_dir()
                and all(entry.name.startswith(".home.json.") for entry in folder.iterdir())
            ):
                raise BadHomeError(
                    f"{folder} exists and is not a catalens home: choose an empty or a new folder"
                )
            require_no_backups(folder)
            make_folder(folder.parent)
            make_owned(folder, PRIVATE_MODE)
            close_folder(folder)
            write_sealed_json(folder / "home.json", {"format": FORMAT})
        return cls(folder)

    def require(self) -> None:
        """Raise ``ReplacedFileError`` where the home was moved or deleted, or where another folder
        is in its place, such as that of a disk that is not mounted."""
        self._identity.require()
        # Of a folder that was deleted, a new one may have the number.
        if not (self.path / "home.json").exists():
            raise self._identity.failure()

    def make_folder(self, folder: Path) -> None:
        """Make a folder below the home with those above it, but never the home itself. Raises as
        ``require``, ``OSError``."""
        self.require()
        make_folder(folder, below=self.path)

    def mark(self, name: str, *, wait_s: float = _MARKED_WITHIN_S) -> None:
        """Note that the home holds ``name``, so that a lost file is not taken for none at all.

        Raises ``BusyError`` where another process writes marks for longer than ``wait_s``,
        ``BadHomeError``.
        """
        if self.has_mark(name):
            return
        # A read-only home is marked when it is written next.
        with suppress(OSError, ReadOnlyError), self.lock("marks", wait_s=wait_s):
            write_sealed_json(self.path / "home.json", {**self._marker(), name: True})

    def unmark(self, name: str) -> None:
        """Take a mark back. Raises ``BusyError``, ``BadHomeError``."""
        with self.lock("marks", wait_s=_MARKED_WITHIN_S):
            marker = self._marker()
            marker.pop(name, None)
            write_sealed_json(self.path / "home.json", marker)

    def has_mark(self, name: str) -> bool:
        """Whether the home was said to hold ``name``. Raises ``BadHomeError``."""
        return self._marker().get(name) is True

    def _marker(self) -> dict[str, Any]:
        self.require()
        marker = self.path / "home.json"
        try:
            return _read_marker(marker)
        except (OSError, ValueError) as error:
            raise _unreadable(marker, error) from error

    def is_backup(self) -> bool:
        """Whether this is a backup: it is looked at and restored, and never changed."""
        return (self.path / BACKUP_LIST).exists()

    @property
    def damaged(self) -> Path:
        """Originals that are not what their names say, set aside by a repair."""
        return self.path / "damaged"

    @property
    def catalog_file(self) -> Path:
        return self.path / "catalog.sqlite3"

    @property
    def reviews_file(self) -> Path:
        return self.path / "reviews.sqlite3"

    @property
    def keys_file(self) -> Path:
        """Keys of the service, hashed, with names and roles."""
        return self.path / KEYS_FILE

    @property
    def secret_file(self) -> Path:
        """The secret that signs webhooks."""
        return self.path / SECRET_FILE

    @property
    def fetch_file(self) -> Path:
        return self.path / "fetch.sqlite3"

    @property
    def feeds(self) -> Path:
        """What imports remember of each feed's last run."""
        return self.path / "feeds"

    @property
    def profiles(self) -> Path:
        """Profiles of feeds whose columns were corrected here."""
        return self.path / "profiles"

    @property
    def photos(self) -> Path:
        return self.path / "photos"

    @property
    def thumbnails(self) -> Path:
        return self.path / "thumbnails"

    @property
    def embeddings(self) -> Path:
        return self.path / "embeddings"

    @property
    def signatures_file(self) -> Path:
        return self.path / "signatures.sqlite3"

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def indexes(self) -> Path:
        return self.path / "indexes"

    @property
    def current_file(self) -> Path:
        return self.path / "CURRENT"

    def active(self) -> Active | None:
        """The active pair, or None before the first activation. Raises ``BadHomeError``,
        ``ReadOnlyError`` where this user may not read it, and as ``require``."""
        try:
            return Active.checked(read_sealed_json(self.current_file))
        except FileNotFoundError:
            self.require()
            return None
        except PermissionError as error:
            raise foreign_failure(self.current_file) from error
        except (KeyError, TypeError) as error:
            raise BadHomeError(
                f"{self.current_file} does not name an index version and a model; {_REPAIR}"
            ) from error
        except (OSError, ValueError) as error:
            raise BadHomeError(
                f"{self.current_file} is not readable: {error}; {_REPAIR}"
            ) from error

    def activate(self, active: Active, before: Sequence[Mapping[str, str]] = ()) -> None:
        """Flip the active pair in one rename. The caller has checked that both exist and fit.

        ``before``: the records of what was active until now, oldest first, repeated here so that
        the record of activations can be lost.
        """
        write_sealed_json(self.current_file, {**active.record(), "before": list(before)})

    def current_record(self) -> list[dict[str, Any]]:
        """What ``CURRENT`` repeats of the record of activations, oldest first, and itself.

        Raises ``OSError``, ``ValueError``, ``KeyError``, ``TypeError``.
        """
        stored = read_sealed_json(self.current_file)
        return [*stored["before"], stored]

    def lock(self, name: str, *, wait_s: float = 0.0) -> FileLock:
        """An inter-process lock, already held; release it with ``with``. Raises ``BusyError``,
        ``ReadOnlyError``, and as ``require``."""
        folder = self.path / "locks"
        try:
            self.make_folder(folder)
            lock = lock_file(folder / f"{name}.lock")
            lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise BusyError(
                f"another process is doing '{name}' in this home; try again when it is done"
            ) from error
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise ReadOnlyError(
                    f"home {self.path} is read-only: {name} needs to write there"
                ) from error
            raise
        return lock


def close_folder(folder: Path) -> None:
    """Close the folder of a new home to all other users. One that a group may write was shared on
    purpose; of another's, ``doctor`` says it."""
    mode = folder.stat().st_mode
    if mode & 0o007 and not mode & 0o020:
        with suppress(OSError):
            folder.chmod(PRIVATE_MODE)


def require_no_backups(folder: Path) -> None:
    """Raise ``BadHomeError`` for a new home in a backup, or in a folder of backups: that would be
    restored no more, and this would take no other."""
    # Of a link that leads to itself too, which whoever makes the folder refuses.
    place = Path(os.path.realpath(folder))
    for above in place.parents:
        if (above / BACKUP_LIST).exists():
            raise BadHomeError(f"{folder} lies in the backup {above}: name a folder outside of it")
    there = next(above for above in place.parents if above.is_dir())
    if (there / BACKUPS_LOCK).exists():
        raise BadHomeError(
            f"{folder} would lie among the backups of {there}, which takes nothing else: name a "
            "folder outside of it"
        )


def walk_home(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """``os.walk`` of a home's folder, and of the folders that links at its top lead to, on another
    disk say. No further link is followed; folders that the caller takes out of a list are not
    looked into."""
    linked: list[str] = []
    for folder, names, files in os.walk(top):
        yield folder, names, files
        if Path(folder) == top:
            linked = [name for name in names if Path(folder, name).is_symlink()]
    for name in linked:
        yield from os.walk(top / name)


# Of a file system's own, at the top of a disk: root's alone.
_DISK_FOLDER = "lost+found"


def require_readable(top: Path) -> None:
    """Raise ``ReadOnlyError`` for the first file or folder of a home that this user may not read:
    it may be whole, so nothing can be said of the home."""
    _require_rights(top, os.R_OK | os.X_OK)
    for folder, names, files in walk_home(top):
        if _DISK_FOLDER in names:
            names.remove(_DISK_FOLDER)
        for name in names:
            _require_rights(Path(folder, name), os.R_OK | os.X_OK)
        for name in files:
            _require_rights(Path(folder, name), os.R_OK)


def _require_rights(path: Path, rights: int) -> None:
    # One that is gone since it was listed, or a link to nothing, is another's to tell.
    if not os.access(path, rights) and os.path.exists(path):
        raise foreign_failure(path)


def _remake(home: Path) -> str:
    return f"write it anew with: catalens verify --repair --home {shlex.quote(str(home))}"


def read_secret(path: Path) -> list[str]:
    """The lines of a secret: it, and after a rotation the one before and when that ends.

    Raises ``OSError``, ``ValueError`` for a damaged file, and one that holds something else.
    """
    lines = read_sealed_lines(path)
    if len(lines) not in (1, 3) or not all(map(_SECRET.fullmatch, lines[:2])):
        raise ValueError("a secret has 64 hexadecimal digits")
    return lines


def _unreadable(marker: Path, error: Exception) -> CatalensError:
    if isinstance(error, PermissionError):
        return foreign_failure(marker)
    return BadHomeError(f"{marker} is not readable: {error}; {_remake(marker.parent)}")


def _read_marker(path: Path) -> dict[str, Any]:
    """What ``home.json`` says. Raises ``OSError``, ``ValueError`` where it was changed."""
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise ValueError("it holds no object")
    seal = stored.pop("seal", None)
    rest = {name: value for name, value in stored.items() if name not in _FIRST_MARKS}
    known = [
        {**rest, **dict.fromkeys(marks, True)}
        for count in range(len(_FIRST_MARKS) + 1)
        for marks in combinations(_FIRST_MARKS, count)
    ]
    odd = any(stored[name] is not True for name in _FIRST_MARKS if name in stored)
    if seal is not None and (odd or seal not in map(seal_of, known)):
        raise ValueError("it does not match its checksum")
    return stored
