"""Cache of pooled backbone features on disk, by content hash of the photo."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from filelock import Timeout

from indexer.core.atomic_files import (
    canonical_json,
    make_folder,
    read_sealed_texts,
    storage_failure,
    write_sealed_texts,
)
from indexer.core.errors import BadModelError, BusyError, StorageError
from indexer.core.file_owner import lock_file, touch
from indexer.core.sqlite import Database, Schema, chunks
from indexer.model.runtime_base import Runtime

# Of a feature, and of a row's length, in half precision: above and below it loses much.
_WIDEST = 3e4
_NARROWEST = 1e-2
# Of a default cache: the folders that were given in its place.
_NOTED = "folders.json"
# In such a folder since it was noted: an empty mount point has none.
CACHE_MARK = ".catalens-cache"
# Whoever notes a folder holds the lock for one small file.
_NOTED_WITHIN_S = 30.0

_SCHEMA = Schema(
    format=0,
    tables=(
        "CREATE TABLE IF NOT EXISTS features (content BLOB PRIMARY KEY, pixels BLOB NOT NULL, "
        "value BLOB NOT NULL)",
    ),
    remedy="delete it (features are computed again)",
    shared=True,
)


def default_cache() -> Path:
    """Return ``CATALENS_CACHE``, else ``~/.cache/catalens``.

    Raises ``StorageError`` for a user without a home folder.
    """
    named = os.environ.get("CATALENS_CACHE")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "catalens"
    except RuntimeError as error:
        raise StorageError("~/.cache/catalens: this user has no home folder") from error


def cache_folders() -> list[Path]:
    """Return the default cache and the others that ``note_cache`` noted.

    Raises ``StorageError`` where those are not known any more.
    """
    default = default_cache()
    return [default, *(path for path in _noted(default) if path != default.absolute())]


def is_cache_there(folder: Path) -> bool:
    """Whether a folder that was noted is the cache, and not an empty place where its disk belongs.
    Raises ``OSError`` where that cannot be seen."""
    names = os.listdir(folder) if folder.is_dir() else []
    return any(name == CACHE_MARK or fnmatchcase(name, "f*.sqlite3") for name in names)


def note_cache(folder: Path) -> None:
    """Remember, in the default cache, a folder that is given in its place, and make it: an erasure
    looks there, and fails where it is gone. Nothing where it cannot be made: nothing comes to it.

    Raises ``StorageError``, ``ReadOnlyError``, ``DiskFullError``, ``BusyError``.
    """
    default, folder = default_cache(), folder.absolute()
    if folder in (default.absolute(), *_noted(default)):
        return
    try:
        make_folder(folder)
        # That of another user, who shares the folder, does.
        if not (folder / CACHE_MARK).exists():
            touch(folder / CACHE_MARK)
    except OSError:
        return
    path = default / _NOTED
    try:
        make_folder(default)
        # Two that note folders at once keep both.
        with lock_file(default / f"{_NOTED}.lock", timeout=_NOTED_WITHIN_S):
            known = {folder, *_noted(default)}
            write_sealed_texts(path, sorted(map(str, known)))
    except Timeout as error:
        raise BusyError(f"another process writes {path}: try again") from error
    except OSError as error:
        raise storage_failure(path, error) from error


def _noted(default: Path) -> list[Path]:
    path = default / _NOTED
    try:
        return [Path(entry) for entry in read_sealed_texts(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read: {error}; delete it, and erase in each folder that was given "
            "to --cache: CATALENS_CACHE=DIR catalens index erase --cache"
        ) from error


def cache_file(folder: Path, name: str) -> Path:
    """Return the file of the feature extractor ``name`` (``features_id``) below ``folder``."""
    return folder / f"{name}.sqlite3"


def to_halves(values: np.ndarray, feature_dim: int) -> np.ndarray:
    """Round rows of features float32 [N, F + K] to float16, without harm to wide ones.

    The network's own features, the first ``feature_dim``, are read by direction alone: a row that
    half precision would cut off or wash out is kept at unit length (vision transformers have
    single features a thousand times the others). Raises ``BadModelError`` for features that are
    not finite.
    """
    own = values[:, :feature_dim].astype(np.float32)
    if not np.isfinite(own).all():
        raise BadModelError(
            "the network gives features that are no numbers: its weights are damaged, or do not "
            "suit this device"
        )
    length = np.linalg.norm(own, axis=1, keepdims=True)
    unfit = (np.abs(own).max(axis=1, keepdims=True) > _WIDEST) | (length < _NARROWEST)
    scaled = np.where(unfit & (length > 0), own / np.maximum(length, np.float32(1e-30)), own)
    return np.concatenate([scaled, values[:, feature_dim:]], axis=1).astype(np.float16)


class FeatureCache:
    """One SQLite file per feature extractor: content hash -> features float16 [F] and the hash of
    its input pixels."""

    def __init__(self, folder: Path, name: str) -> None:
        path = cache_file(folder, name)
        self._database = Database(path, _SCHEMA)
        try:
            make_folder(path.parent)
        except OSError as error:
            raise storage_failure(path, error) from error
        self._database.prepare()

    def entries(self, contents: Sequence[str]) -> dict[str, tuple[str, np.ndarray]]:
        """Read (pixel hash, float16 [F]) of those of ``contents`` that are there."""
        found: dict[str, tuple[str, np.ndarray]] = {}
        with self._database.statements() as sql:
            for part, marks in chunks([bytes.fromhex(content) for content in contents]):
                query = f"SELECT content, pixels, value FROM features WHERE content IN ({marks})"
                for content, pixels, value in sql.execute(query, part):
                    found[content.hex()] = pixels.hex(), np.frombuffer(value, np.float16)
        return found

    def put(self, entries: Sequence[tuple[str, str, np.ndarray]]) -> None:
        """Write (content hash, pixel hash, float16 [F]) each, in one transaction."""
        rows = [
            (bytes.fromhex(key), bytes.fromhex(pixels), value.tobytes())
            for key, pixels, value in entries
        ]
        with self._database.transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)

    def get_many(self, contents: Sequence[str]) -> dict[str, np.ndarray]:
        """Read the features float16 [F] of those of ``contents`` that are there."""
        return {content: value for content, (_, value) in self.entries(contents).items()}

    def contents(self) -> list[str]:
        """All content hashes there are features of."""
        with self._database.statements() as sql:
            return [row[0].hex() for row in sql.execute("SELECT content FROM features")]

    def forget(self, contents: Sequence[str]) -> int:
        """Delete the features of these content hashes and write the file anew; how many.

        Raises ``BusyError`` where another process reads it.
        """
        count = 0
        with self._database.transaction() as sql:
            for part, marks in chunks([bytes.fromhex(content) for content in contents]):
                query = f"DELETE FROM features WHERE content IN ({marks})"
                count += sql.execute(query, part).rowcount
        self._database.scrub()
        return count

    def close(self) -> None:
        self._database.close()


def features_id(runtime: Runtime) -> str:
    """Name the backbone's weights and the preprocessing.

    Two models that share both share the cache.
    """
    digest = hashlib.sha256(canonical_json(runtime.spec.embedding_part()["preprocess"]))
    digest.update(f"{runtime.feature_width} {runtime.backbone_digest}".encode())
    return "f" + digest.hexdigest()[:32]
