"""Record of the backups that were made of a home: what was erased since is still in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.core.atomic_files import seal_of, storage_failure, write_json
from indexer.core.errors import BadHomeError, CatalensError
from indexer.core.home import Home
from indexer.core.regular_files import read_json
from indexer.operations.backup_files import LIST

_FILE = "backups.json"
MEND_BACKUPS = (
    "delete it, and look where backups lie: what is erased from now on is in those made before"
)


@dataclass(frozen=True)
class MadeBackup:
    """A backup: its folder, and its time (ISO 8601, UTC)."""

    path: str
    at: str


def made_backups(home: Home) -> list[MadeBackup]:
    """The backups that are known and not known to be gone, the oldest first. Raises
    ``BadHomeError`` where they are not known any more: they still hold what is erased.

    One whose disk is not mounted counts: it is only out of sight. Copies made by hand are not
    known.
    """
    found = {made.path: made for made in _stored(home) if _may_exist(Path(made.path))}
    return sorted(found.values(), key=lambda made: made.at)


def note_backup(home: Home, path: Path, at: str) -> str:
    """Remember a backup. "" where that is done, else why it is not: the backup stands, and an
    erasure in this home does not name it."""
    try:
        with home.lock("backups", wait_s=10.0):
            known = [*made_backups(home), MadeBackup(str(path), at)]
            stored = [asdict(made) for made in known]
            write_json(home.path / _FILE, [{**entry, "seal": seal_of(entry)} for entry in stored])
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


def _stored(home: Home) -> list[MadeBackup]:
    try:
        return [_checked(entry) for entry in read_json(home.path / _FILE)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = error if isinstance(error, OSError | ValueError) else "it holds something else"
        raise BadHomeError(
            f"{home.path / _FILE} cannot be read: {reason}; {MEND_BACKUPS}"
        ) from error


def _checked(stored: dict[str, str]) -> MadeBackup:
    entry = {"path": stored["path"], "at": stored["at"]}
    # Each by itself: a release before keeps what it reads, without checksums.
    if "seal" in stored and stored["seal"] != seal_of(entry):
        raise ValueError("an entry does not match its checksum")
    if not all(isinstance(value, str) for value in entry.values()):
        raise TypeError("a path and a time are texts")
    return MadeBackup(**entry)


def _may_exist(path: Path) -> bool:
    return (path / LIST).exists() or not path.parent.exists()
