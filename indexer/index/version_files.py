"""Files of an index version: written from what a build made, opened for searching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.atomic_files import sha256_file, write_atomic, write_json
from indexer.core.errors import BadVectorsError, DamagedIndexError, StorageError
from indexer.core.manifest import FORMAT, MANIFEST, METRIC, Manifest
from indexer.core.regular_files import read_json
from indexer.core.vectors import check_unit
from indexer.index.base import EXACT, IndexBackend, VectorIndex
from indexer.index.filter_columns import FilterColumns
from indexer.index.registry import engine_of
from indexer.model.tag_rule import TagRule
from indexer.text.text_tower import TextTower

VECTORS = "vectors.npy"
ROWS = "rows.npy"
# The tag rule of this catalog; versions of catalogs without tags, and old ones, have none.
TAGS = "tags.json"
# What the rule for unknown kinds takes from this catalog; old versions have none.
UNKNOWN = "unknown.json"
# Rows of products that stand for all, and how near each is to its own nearest; versions of small
# catalogs, and old ones, have none.
NEIGHBOURHOOD = "neighbourhood.npy"
# The text tower; versions of catalogs without words, and old ones, have none.
TEXT = "text.safetensors"
# What filters ask; of versions that have none it is read from the catalog.
COLUMNS = "columns.arrow"
# What a version has beside its index.
VERSION_FILES = (VECTORS, ROWS, TAGS, UNKNOWN, NEIGHBOURHOOD, TEXT, COLUMNS)
_CHUNK = 65536


@dataclass(frozen=True)
class NewVersion:
    """What a new index version holds.

    ``vectors`` float16/32 [N, D] and ``rows`` int64 [N, 2] (pid, photo_id), sorted by pid, are row
    by row what ``index`` was built from; ``tag_rule``, ``unknown``, ``around`` (float64 [R, 2],
    see ``IndexVersion``), ``columns`` (of the rows' products) and ``tower`` go with them;
    ``source`` as in the manifest.
    """

    index: VectorIndex
    vectors: np.ndarray
    rows: np.ndarray
    embedding_id: str
    model_version: str
    last_sequence: int
    recipe: str = EXACT
    params: Mapping[str, Any] = field(default_factory=dict)
    recall: Mapping[str, Any] = field(default_factory=dict)
    tag_rule: TagRule | None = None
    source: dict[str, Any] | None = None
    columns: FilterColumns | None = None
    tower: TextTower | None = None
    unknown: Mapping[str, Any] | None = None
    around: np.ndarray | None = None

    def check(self) -> None:
        """Raise ``BadVectorsError`` where the parts do not fit each other."""
        check_unit(self.vectors, self.index.dim)
        count = len(self.vectors)
        if self.rows.shape != (count, 2) or len(self.index) != count:
            raise BadVectorsError(
                f"{count} vectors, a row table {list(self.rows.shape)}, an index of "
                f"{len(self.index)}"
            )
        pids = self.rows[:, 0]
        if np.any(np.diff(pids) < 0):
            raise BadVectorsError("the row table must be sorted by pid")
        if self.columns is not None and not np.array_equal(self.columns.pids, np.unique(pids)):
            raise BadVectorsError("the columns are not those of the row table's products")

    def write(self, folder: Path, version: str) -> Manifest:
        """Write all files into ``folder``, the manifest last. Raises ``StorageError`` naming the
        file."""
        _write_vectors(folder / VECTORS, self.vectors)
        np.save(folder / ROWS, np.ascontiguousarray(self.rows, dtype=np.int64))
        if isinstance(self.index, IndexBackend):
            file = folder / self.index.file_name
            try:
                self.index.save(file)
            except RuntimeError as error:  # FAISS's own form of an OSError
                raise StorageError(f"{file} cannot be written: {error}") from error
        if self.tag_rule is not None:
            write_json(folder / TAGS, self.tag_rule.to_json())
        if self.unknown is not None:
            write_json(folder / UNKNOWN, dict(self.unknown))
        if self.around is not None:
            np.save(folder / NEIGHBOURHOOD, np.asarray(self.around, np.float64))
        if self.columns is not None:
            self.columns.write(folder / COLUMNS)
        if self.tower is not None:
            self.tower.save(folder / TEXT)
        manifest = Manifest(
            format=FORMAT,
            version=version,
            embedding_id=self.embedding_id,
            model_version=self.model_version,
            dim=self.index.dim,
            metric=METRIC,
            recipe=self.recipe,
            params=dict(self.params),
            counts={"entries": len(self.rows), "products": len(np.unique(self.rows[:, 0]))},
            last_sequence=self.last_sequence,
            recall=dict(self.recall),
            files={path.name: _checksum(path) for path in sorted(folder.iterdir())},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source=self.source,
        )
        write_atomic(folder / MANIFEST, manifest.to_bytes())
        return manifest


@dataclass(frozen=True)
class IndexVersion:
    """An opened version: read-only, safe to share between threads."""

    manifest: Manifest
    path: Path
    index: VectorIndex
    rows: np.ndarray  # int64 [N, 2] (pid, photo_id), sorted by pid, memory-mapped
    stored: np.ndarray  # float16 [N, D], memory-mapped
    # None: the model's own holds.
    tag_rule: TagRule | None = None
    columns_file: np.memmap | None = (
        # For `FilterColumns.open`, held from the start; None: built before there were any.
        None
    )
    # None: text is looked for by keywords alone.
    tower: TextTower | None = None
    # Takes the place of what the model's rule for unknown kinds has; None: the model's own holds.
    unknown: Mapping[str, Any] | None = None
    # float64 [R, 2]: rows that stand for all products, ascending, and the mean cosine of each to
    # its own nearest, which ``unknown`` counts by then. None: it reads the nearest alone.
    around: np.ndarray | None = None


def open_files(folder: Path, manifest: Manifest, device: str) -> IndexVersion:
    """Map and load a version whose files were verified. Raises ``DamagedIndexError``."""
    version = manifest.version
    try:
        stored = np.load(folder / VECTORS, mmap_mode="r")
        rows = np.load(folder / ROWS, mmap_mode="r")
        # Mapped now: an erasure may remove the folder of a version that still serves.
        columns = np.memmap(folder / COLUMNS, np.uint8, "r") if COLUMNS in manifest.files else None
    except (OSError, ValueError, EOFError) as error:
        raise DamagedIndexError(f"index version {version}: {error}") from error
    entries = manifest.counts.get("entries")
    kinds = stored.dtype == np.float16 and rows.dtype == np.int64
    if not kinds or stored.shape != (entries, manifest.dim) or rows.shape != (entries, 2):
        raise DamagedIndexError(
            f"index version {version}: {VECTORS} or {ROWS} does not have {entries} entries"
        )
    if np.any(np.diff(rows[:, 0]) < 0) or (len(rows) and rows.min() < 0):
        # Whoever looks a product up would find another one, or none.
        raise DamagedIndexError(
            f"index version {version}: {ROWS} is not sorted, or holds numbers that are none"
        )
    engine = engine_of(manifest.recipe)
    file = folder / engine.file_name if engine.file_name in manifest.files else None
    try:
        index = engine.load(manifest.recipe, stored, file, params=manifest.params, device=device)
    except (RuntimeError, ValueError) as error:
        raise DamagedIndexError(
            f"index version {version}: {engine.file_name} cannot be read: {error}"
        ) from error
    tower = TextTower.open(folder / TEXT) if TEXT in manifest.files else None
    tag_rule = _tag_rule(manifest, folder)
    unknown = _unknown(manifest, folder)
    around = _around(manifest, folder, unknown)
    return IndexVersion(
        manifest, folder, index, rows, stored, tag_rule, columns, tower, unknown, around
    )


def _tag_rule(manifest: Manifest, folder: Path) -> TagRule | None:
    if TAGS not in manifest.files:
        return None
    try:
        return TagRule.from_json(read_json(folder / TAGS))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedIndexError(
            f"index version {manifest.version}: {TAGS} cannot be read: {error!r}"
        ) from error


def _unknown(manifest: Manifest, folder: Path) -> dict[str, Any] | None:
    if UNKNOWN not in manifest.files:
        return None
    try:
        found = read_json(folder / UNKNOWN)
        rule: dict[str, Any] = {
            "threshold": float(found["threshold"]),
            "products": int(found["products"]),
        }
        if NEIGHBOURHOOD in manifest.files:
            sides = {name: list(map(float, found[name])) for name in ("mix", "mean", "spread")}
            start, stop = map(int, found["columns"])
            usable = all(len(one) == len(sides["mix"]) for one in sides.values())
            usable &= bool(np.isfinite(list(sides.values())).all()) and min(sides["spread"]) > 0
            if not usable or not 0 <= start < stop <= manifest.dim:
                raise ValueError("what it counts by does not fit together")
            rule |= sides | {"columns": [start, stop]}
        return rule
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedIndexError(
            f"index version {manifest.version}: {UNKNOWN} cannot be read: {error!r}"
        ) from error


def _around(
    manifest: Manifest, folder: Path, unknown: Mapping[str, Any] | None
) -> np.ndarray | None:
    if NEIGHBOURHOOD not in manifest.files or unknown is None:
        return None
    try:
        found = np.load(folder / NEIGHBOURHOOD)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedIndexError(
            f"index version {manifest.version}: {NEIGHBOURHOOD} cannot be read: {error}"
        ) from error
    entries = manifest.counts.get("entries", 0)
    shaped = found.dtype == np.float64 and found.ndim == 2 and found.shape[1:] == (2,)
    sound = shaped and len(found) > 0 and bool(np.isfinite(found).all())
    if not sound or found[0, 0] < 0 or found[-1, 0] >= entries or np.diff(found[:, 0]).min() < 1:
        raise DamagedIndexError(
            f"index version {manifest.version}: {NEIGHBOURHOOD} does not name {entries} entries"
        )
    return found


def _checksum(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "size": path.stat().st_size}


def _write_vectors(path: Path, vectors: np.ndarray) -> None:
    """float16 [N, D], in pieces. Written, not mapped: a disk that fills up under a mapping kills
    the process."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)),
        "fortran_order": False,
        "shape": vectors.shape,
    }
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(vectors), _CHUNK):
            stream.write(np.asarray(vectors[start : start + _CHUNK], dtype=np.float16).tobytes())
