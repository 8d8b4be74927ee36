"""The one folder that holds models, the catalog, photos, embeddings and index versions."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.core.atomic_files import write_json
from indexer.core.errors import BadHomeError, BusyError, NewerFormatError, ReadOnlyError

FORMAT = 1
_REPAIR = "activate a version to write it anew (catalens index activate VERSION)"


@dataclass(frozen=True)
class Active:
    """What serves now: one index version and the model it was built for, switched as one."""

    index_version: str
    model_version: str


class Home:
    """Paths and the active pair of one home. Holds no open file; cheap to make.

    Raises ``BadHomeError`` where there is none, ``NewerFormatError`` where a newer Catalens wrote
    it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        marker = self.path / "home.json"
        if not marker.is_file():
            raise BadHomeError(
                f"no catalens home at {self.path} (make one with: catalens import DATA --home "
                f"{path})"
            )
        try:
            stored = json.loads(marker.read_text())
        except (OSError, ValueError) as error:
            raise BadHomeError(f"{marker} is not readable: {error}") from error
        found = stored.get("format") if isinstance(stored, dict) else None
        if not isinstance(found, int) or found < 1:
            raise BadHomeError(f"{marker} has no usable format number: {found!r}")
        if found > FORMAT:
            raise NewerFormatError(
                f"home {self.path} has format {found}, this Catalens knows up to {FORMAT}: upgrade "
                "it"
            )

    @classmethod
    def create(cls, path: Path | str) -> Home:
        """Open the home at ``path``, made first if the folder is absent or empty. Raises
        ``BadHomeError``."""
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
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "home.json", {"format": FORMAT})
        return cls(folder)

    @property
    def catalog_file(self) -> Path:
        return self.path / "catalog.sqlite3"

    @property
    def reviews_file(self) -> Path:
        return self.path / "reviews.sqlite3"

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
        """The active pair, or None before the first activation."""
        try:
            stored = json.loads(self.current_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BadHomeError(
                f"{self.current_file} is not readable: {error}; {_REPAIR}"
            ) from error
        stored = stored if isinstance(stored, dict) else {}
        index_version = stored.get("index_version")
        model_version = stored.get("model_version")
        if not isinstance(index_version, str) or not isinstance(model_version, str):
            raise BadHomeError(
                f"{self.current_file} does not name an index version and a model; {_REPAIR}"
            )
        return Active(index_version, model_version)

    def activate(self, active: Active) -> None:
        """Flip the active pair in one rename. The caller has checked that both exist and fit."""
        write_json(self.current_file, asdict(active))

    def lock(self, name: str, *, wait_s: float = 0.0) -> FileLock:
        """An inter-process lock, already held; release it with ``with``. Raises ``BusyError``,
        ``ReadOnlyError``."""
        folder = self.path / "locks"
        lock = FileLock(folder / f"{name}.lock")
        try:
            folder.mkdir(exist_ok=True)
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
