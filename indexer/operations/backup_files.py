"""What a backup is: a home's files under a sealed list of their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from indexer.core.atomic_files import canonical_json, sha256_file
from indexer.core.errors import BadBackupError, NewerFormatError
from indexer.core.home import BACKUP_LIST
from indexer.core.manifest import VERIFIED
from indexer.core.regular_files import open_regular, read_json
from indexer.core.sqlite import Connection

FORMAT = 1
LIST = BACKUP_LIST
# Of a backup's folder: the time, UTC.
NAME = "%Y%m%dT%H%M%S.%fZ"
CATALOG = "catalog.sqlite3"
PHOTOS = "photos"
# Made again by whoever needs them: a damaged one is no reason not to restore the rest.
DERIVED = ("embeddings/", "feeds/", "fetch.sqlite3", "keywords.sqlite3", "signatures.sqlite3")
# Of open databases: SQLite would write what they hold over a file whose checksum was right.
_LOGS = ("-wal", "-shm", "-journal")
_CHUNK = 1 << 20
# SQLite's, and the file system's.
_MOST = 2**63
_LONGEST = 255
_PORTION = 5000


@dataclass(frozen=True)
class BackupFile:
    """One file: its checksum, and how the home had it (size in bytes, time in ns)."""

    sha256: str
    size: int
    mtime_ns: int = 0


@dataclass
class BackupList:
    """All that one backup holds. ``at``: what was acknowledged before is in it (ISO 8601, UTC)."""

    at: str
    # The release that made it.
    catalens: str
    # Of the catalog: its name, its last change.
    identity: str
    sequence: int
    files: dict[str, BackupFile] = field(default_factory=dict)
    # Copied originals; each is named by its checksum and stands in no list. ``photo_bytes``: also
    # of thumbnails that stand for forgotten ones.
    photos: int = 0
    photo_bytes: int = 0
    # Of photos that lie outside of the home, or were forgotten.
    elsewhere: int = 0
    # Originals, and thumbnails in place of forgotten ones, that the catalog names and the home had
    # not, or had damaged; derived files.
    left_out: list[str] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """Readable JSON with its own SHA-256, so that a changed byte anywhere is seen."""
        body = {"format": FORMAT, **asdict(self)}
        seal = hashlib.sha256(canonical_json(body)).hexdigest()
        return (json.dumps({**body, "seal": seal}, indent=1, ensure_ascii=False) + "\n").encode()


def read_list(folder: Path) -> BackupList:
    """The list of the backup in ``folder``. Raises ``BadBackupError``, ``NewerFormatError``."""
    path = folder / LIST
    try:
        stored = read_json(path)
        found = stored.pop("format")
        if isinstance(found, int) and found > FORMAT:
            raise NewerFormatError(
                f"backup {folder} has format {found}, this Catalens knows up to {FORMAT}: upgrade "
                "it"
            )
        seal = stored.pop("seal")
        if hashlib.sha256(canonical_json({"format": found, **stored})).hexdigest() != seal:
            raise ValueError("it does not match its own checksum")
        stored["files"] = {name: BackupFile(**known) for name, known in stored["files"].items()}
        made = BackupList(**stored)
        _check_kinds(made)
    except FileNotFoundError as error:
        raise BadBackupError(f"there is no backup at {folder}: {LIST} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBackupError(f"{path} is damaged: {error}; take another backup") from error
    for name in made.files:
        if not _is_inside(name):
            raise BadBackupError(
                f"{path} names {name[:200]!a}, which lies outside of a home or is no "
                "name of a file there"
            )
    return made


def _check_kinds(made: BackupList) -> None:
    """Raise ``ValueError`` for a value of another kind: anybody can seal a list."""
    texts = [made.at, made.catalens, made.identity, *made.left_out]
    numbers = [made.sequence, made.photos, made.photo_bytes, made.elsewhere]
    for known in made.files.values():
        texts.append(known.sha256)
        numbers += [known.size, known.mtime_ns]
    if not isinstance(made.left_out, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it holds a text that is none")
    if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
        raise ValueError("it holds a number that is none")


def _is_inside(name: str) -> bool:
    """Whether a name leads to a file below the home, and nothing is hidden in it."""
    parts = name.split("/")
    return (
        name.isprintable()
        and not PurePosixPath(name).is_absolute()
        and all(part not in ("", ".", "..") and len(part.encode()) <= _LONGEST for part in parts)
        and not name.endswith(_LOGS)
    )


def list_backups(folder: Path) -> list[Path]:
    """The backups in ``folder``, oldest first: by their names, and where somebody has named one
    otherwise, by the time in its list. Raises nothing."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob("[!.]*") if (path / LIST).is_file()]
    return sorted(found, key=lambda path: (_time_of(path), path.name))


def backups_of(folder: Path, identity: str) -> list[Path]:
    """Those in ``folder`` of one catalog, oldest first; none whose list is damaged."""
    return [path for path in list_backups(folder) if _identity(path) == identity]


def newest_backup(folder: Path) -> Path:
    """``folder`` itself where it is a backup, else the newest in it. Raises ``BadBackupError``, for
    backups of several catalogs too."""
    if (folder / LIST).is_file():
        return folder
    found = list_backups(folder)
    if not found:
        raise BadBackupError(f"there is no backup at {folder} (make one: catalens backup FOLDER)")
    if len({_identity(path) for path in found} - {None}) > 1:
        raise BadBackupError(
            f"{folder} holds backups of several catalogs: name one of them, such as {found[-1]}"
        )
    return found[-1]


def _identity(backup: Path) -> str | None:
    """Of which catalog a backup is; None where its list cannot be read."""
    try:
        return read_list(backup).identity
    except (BadBackupError, NewerFormatError):
        return None


def _time_of(backup: Path) -> datetime:
    """When it was made, UTC."""
    with suppress(ValueError, OverflowError):
        return datetime.strptime(backup.name, NAME)
    with suppress(BadBackupError, NewerFormatError, ValueError, OverflowError):
        return datetime.fromisoformat(read_list(backup).at).astimezone(UTC).replace(tzinfo=None)
    return datetime.min


def is_stamp(name: str) -> bool:
    """Whether a file says of its neighbours how they lay on their disk when they were checked: that
    is true of no copy. Backups of releases before hold some."""
    return name.startswith("indexes/") and name.endswith(f"/{VERIFIED}")


def is_derived(name: str) -> bool:
    """Whether a file can be made again from the others."""
    return name.startswith(DERIVED)


def is_passing(name: str) -> bool:
    """Whether a file or folder is being written, or belongs to whoever has a database open."""
    return name.startswith(".") or name.endswith(("-wal", "-shm", "-journal", ".lock", ".tmp"))


def is_database(name: str) -> bool:
    """Whether a file is copied as a database, with what waits in its log."""
    return name.endswith(".sqlite3")


def copy_hashed(source: Path, target: Path) -> str:
    """Copy a file; the SHA-256 of what was copied. Raises ``OSError``.

    What its owner alone may read stays so.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open_regular(source) as read, target.open("xb") as write:
        if not os.fstat(read.fileno()).st_mode & 0o077:
            target.chmod(0o600)
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            write.write(chunk)
    return digest.hexdigest()


def share_file(source: Path, target: Path, sha256: str) -> bool:
    """Whether ``target`` is another name of ``source`` now, whose bytes are what they were: a
    damaged file must not go from backup to backup."""
    if not link_file(source, target):
        return False
    with suppress(OSError):
        if sha256_file(target) == sha256:
            return True
    target.unlink()
    return False


def link_file(source: Path, target: Path) -> bool:
    """Whether ``target`` is another name of ``source`` now; not on another disk, for one."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except OSError:
        return False
    return True


def stored_photos(sql: Connection, storage: str = "copy") -> Iterator[list[tuple[str, int]]]:
    """Content hash and bytes of each photo of this storage, in portions: by default of the
    originals that the home keeps a copy of."""
    last = 0
    query = (
        "SELECT photo_id, content_hash, bytes FROM photos WHERE photo_id > ? AND storage = ? "
        "ORDER BY photo_id LIMIT ?"
    )
    while rows := sql.execute(query, (last, storage, _PORTION)).fetchall():
        last = rows[-1][0]
        yield [(row[1], row[2]) for row in rows]


def count_photos(sql: Connection) -> tuple[int, int]:
    """How many originals the home keeps, and how many lie elsewhere or were forgotten."""
    row: tuple[Any, ...] = sql.execute(
        "SELECT count(*) FILTER (WHERE storage = 'copy'), count(*) FILTER (WHERE storage <> "
        "'copy') FROM photos"
    ).fetchone()
    return int(row[0]), int(row[1])
