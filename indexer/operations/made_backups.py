"""Record of the backups that were made of a home: what was erased since is still in them."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from indexer.core.atomic_files import seal_of, storage_failure, write_atomic, write_json
from indexer.core.errors import BadHomeError, CatalensError, ReadOnlyError
from indexer.core.home import Home
from indexer.core.regular_files import read_json, read_small
from indexer.operations.backup_files import LIST

_FILE = "backups.json"
# In a folder of backups: what tells it from an empty mount point, and from another disk there.
_FOLDER_ID = ".backup.id"
_ID = re.compile(rb"[0-9a-f]{32}")
MEND_BACKUPS = (
    "delete it, and look where backups lie: what is erased from now on is in those made before"
)


@dataclass(frozen=True)
class MadeBackup:
    """A backup: its folder, and its time (ISO 8601, UTC)."""

    path: str
    at: str


@dataclass(frozen=True)
class _BackupNote:
    """A backup, and the id of the folder that it lies in; "" where that had none, as of releases
    before."""

    made: MadeBackup
    folder: str = ""

    @property
    def parent(self) -> Path:
        return Path(self.made.path).parent

    def to_json(self) -> dict[str, object]:
        entry = asdict(self.made)
        folder = {"id": self.folder, "seal": seal_of([entry, self.folder])}
        return {**entry, "seal": seal_of(entry), **({"folder": folder} if self.folder else {})}


def made_backups(home: Home) -> list[MadeBackup]:
    """The backups that are known and not known to be gone, the oldest first. Raises
    ``BadHomeError`` where they are not known any more: they still hold what is erased.

    One whose disk is not mounted counts, also where another disk or an empty folder is in its
    place: it is only out of sight. Copies made by hand are not known.
    """
    return [note.made for note in _kept(home)]


def mark_folder(folder: Path) -> None:
    """Give a folder of backups its id, where it has none. One that cannot be written stays without:
    what was noted of it counts until others that are noted there are seen."""
    if not _folder_id(folder):
        with suppress(OSError, ReadOnlyError):
            write_atomic(folder / _FOLDER_ID, secrets.token_hex(16).encode())


def note_backup(home: Home, path: Path, at: str) -> str:
    """Remember a backup. "" where that is done, else why it is not: the backup stands, and an
    erasure in this home does not name it."""
    try:
        with home.lock("backups", wait_s=10.0):
            new = _BackupNote(MadeBackup(str(path), at), _folder_id(path.parent))
            # Those beside it that were noted before the folder had an id.
            known = [
                replace(note, folder=new.folder)
                if not note.folder and note.parent == new.parent and _is_there(note)
                else note
                for note in _kept(home)
            ]
            write_json(home.path / _FILE, [note.to_json() for note in (*known, new)])
    except OSError as error:
        return str(storage_failure(home.path / _FILE, error))
    except CatalensError as error:
        return str(error)
    return ""


def backups_by_folder(home: Home) -> dict[str, list[MadeBackup]]:
    """The same by the folder that they lie in."""
    found: dict[str, list[MadeBackup]] = {}
    for made in made_backups(home):
        found.setdefault(str(Path(made.path).parent), []).append(made)
    return found


def describe_backups(made: list[MadeBackup]) -> str:
    """How many, and of when."""
    if len(made) == 1:
        return f"1 backup of {made[0].at[:19]}Z"
    return f"{len(made)} backups of {made[0].at[:19]}Z to {made[-1].at[:19]}Z"


def _kept(home: Home) -> list[_BackupNote]:
    """Of each backup that may exist what was noted last, the oldest first."""
    notes = _stored(home)
    seen = {note.parent for note in notes if not note.folder and _is_there(note)}
    found = {note.made.path: note for note in notes if _may_exist(note, seen)}
    return sorted(found.values(), key=lambda note: note.made.at)


def _stored(home: Home) -> list[_BackupNote]:
    try:
        return [_checked(entry) for entry in read_json(home.path / _FILE)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = error if isinstance(error, OSError | ValueError) else "it holds something else"
        raise BadHomeError(
            f"{home.path / _FILE} cannot be read: {reason}; {MEND_BACKUPS}"
        ) from error


def _checked(stored: dict[str, Any]) -> _BackupNote:
    entry = {"path": stored["path"], "at": stored["at"]}
    # Each by itself: a release before keeps what it reads, without checksums and ids.
    if "seal" in stored and stored["seal"] != seal_of(entry):
        raise ValueError("an entry does not match its checksum")
    if not all(isinstance(value, str) for value in entry.values()):
        raise TypeError("a path and a time are texts")
    folder = stored.get("folder", {"id": "", "seal": seal_of([entry, ""])})
    if folder["seal"] != seal_of([entry, folder["id"]]):
        raise ValueError("the id of a folder does not match its checksum")
    return _BackupNote(MadeBackup(**entry), folder["id"])


def _folder_id(folder: Path) -> str:
    with suppress(OSError, ValueError):
        found = read_small(folder / _FOLDER_ID, 64)
        return found.decode() if _ID.fullmatch(found) else ""
    return ""


def _is_there(note: _BackupNote) -> bool:
    with suppress(OSError):
        return (Path(note.made.path) / LIST).exists()
    return False


def _may_exist(note: _BackupNote, seen: set[Path]) -> bool:
    """Whether a backup is there, or out of sight. Gone is what its own folder holds no more: known
    by its id, and without one by other backups that are ``seen`` there."""
    try:
        if (Path(note.made.path) / LIST).exists():
            return True
    except OSError:
        # Of a disk that fails, and of a folder that this user may not look into.
        return True
    return _folder_id(note.parent) != note.folder if note.folder else note.parent not in seen
