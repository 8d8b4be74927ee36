"""Index versions on disk: built aside, checksummed, published by one rename, switched together with their model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from indexer.errors import BadHome, BadVectors, Busy, DamagedIndex, IndexMismatch, NewerFormat, UnknownVersion
from indexer.files import canonical_json, publish_folder, remove_folder, sha256_file, write_atomic, write_json
from indexer.home import Active, Home
from indexer.index.base import VectorIndex, check_unit
from indexer.index.columns import Columns
from indexer.index.faiss_index import FaissIndex
from indexer.model.tag_rule import TagRule

FORMAT = 1
VECTORS, ROWS, INDEX, MANIFEST, VERIFIED = "vectors.npy", "rows.npy", "index.faiss", "manifest.json", "VERIFIED"
TAGS = "tags.json"  # how tags are told in this catalog; versions of catalogs without tags, and old ones, have none
COLUMNS = "columns.arrow"  # what filters ask; of versions that have none it is read from the catalog
_CHUNK = 65536
_KEPT_ACTIVATIONS = 8
Names = list[str]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What one version is; ``manifest.json``, written last."""

    format: int
    version: str  # "v000001"; numbers are never reused
    embedding_id: str
    model_version: str
    dim: int
    metric: str  # "inner_product" of unit vectors: cosine
    recipe: str  # "Flat", or a FAISS factory string such as "IVF894,SQ8"
    params: dict[str, Any]  # what the recipe was tuned to; goes with each search call
    counts: dict[str, int]  # entries (a photo of a product), products
    last_sequence: int  # catalog changes up to here are in this version
    recall: dict[str, Any]  # measured against the exact oracle; see tuning.py
    files: dict[str, dict[str, Any]]  # name -> {"sha256", "size"}
    created: str  # ISO 8601, UTC; never used for order

    def to_bytes(self) -> bytes:
        """The one byte form: readable JSON with its own SHA-256, so that a changed byte anywhere is seen."""
        body = asdict(self)
        seal = hashlib.sha256(canonical_json(body)).hexdigest()
        return (json.dumps({**body, "seal": seal}, indent=2, sort_keys=True) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """Raises ``DamagedIndex`` naming file and version, ``NewerFormat``."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        stored = json.loads(data)
        found = stored["format"]
    except FileNotFoundError as error:
        raise DamagedIndex(f"index version {folder.name}: {MANIFEST} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"index version {folder.name}: {MANIFEST} is damaged: {error}") from error
    if isinstance(found, int) and found > FORMAT:
        raise NewerFormat(
            f"index version {folder.name} has format {found}, this Catalens knows up to {FORMAT}: upgrade it"
        )
    try:
        manifest = Manifest(**{field.name: stored[field.name] for field in fields(Manifest)})
        sound = manifest.to_bytes() == data
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedIndex(f"index version {folder.name}: {MANIFEST} is damaged: {error}") from error
    if not sound or manifest.version != folder.name:
        raise DamagedIndex(f"index version {folder.name}: {MANIFEST} does not match its own checksum")
    return manifest


@dataclass(frozen=True)
class IndexVersion:
    """An opened version: read-only, safe to share between threads."""

    manifest: Manifest
    path: Path
    index: VectorIndex
    rows: np.ndarray  # int64 [N, 2] (pid, photo_id), sorted by pid, memory-mapped
    stored: np.ndarray  # float16 [N, D], memory-mapped
    tag_rule: TagRule | None = None  # None: the model's own holds
    columns_file: Path | None = None  # for `Columns.open`; None: built before there were any


class Versions:
    """The index versions of one home. Holds no open file; cheap to make."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def folder(self) -> Path:
        return self.home.indexes

    def names(self) -> Names:
        """Published versions, oldest first, sound or not."""
        if not self.folder.is_dir():
            return []
        found = [path.name for path in self.folder.iterdir() if _number(path.name) is not None]
        return sorted(found, key=lambda name: _number(name) or 0)

    def list(self) -> Sequence[Manifest]:
        """Manifests, oldest first; one that cannot be read is left out with a log line."""
        found = []
        for name in self.names():
            try:
                found.append(read_manifest(self.folder / name))
            except (DamagedIndex, NewerFormat) as error:
                log.warning("index version left out", version=name, reason=str(error))
        return found

    def manifest(self, version: str) -> Manifest:
        """Raises ``UnknownVersion``, ``DamagedIndex``, ``NewerFormat``."""
        if _number(version) is None or not (self.folder / version).is_dir():
            have = ", ".join(self.names()) or "none"
            raise UnknownVersion(f"no index version {version!r}; there are: {have}")
        return read_manifest(self.folder / version)

    def _next_number(self) -> int:
        """Taken before anything is written, so that a number is given out once whatever happens later."""
        counter = self.folder / "LAST"
        try:
            given = int(counter.read_text())
        except (FileNotFoundError, ValueError):
            given = 0
        active = self.home.active()
        known = [_number(name) or 0 for name in [*self.names(), active.index_version if active else ""]]
        number = max([given, *known]) + 1
        write_atomic(counter, f"{number}\n".encode())
        return number

    def publish(
        self,
        *,
        index: VectorIndex,
        vectors: np.ndarray,
        rows: np.ndarray,
        embedding_id: str,
        model_version: str,
        last_sequence: int,
        recipe: str = "Flat",
        params: dict[str, Any] | None = None,
        recall: dict[str, Any] | None = None,
        tag_rule: TagRule | None = None,
        columns: Columns | None = None,
    ) -> str:
        """Write a new version aside, flush it and rename it into place; returns its name. Activates nothing.

        ``vectors`` float16/32 [N, D] and ``rows`` int64 [N, 2] (pid, photo_id), sorted by pid, are row by row what
        ``index`` was built from; ``tag_rule`` and ``columns`` (of the rows' products) go with them. A crash leaves the
        earlier versions as they were. Raises ``BadVectors``, ``Busy``.
        """
        check_unit(vectors, index.dim)
        if rows.shape != (len(vectors), 2) or len(index) != len(vectors):
            raise BadVectors(f"{len(vectors)} vectors, a row table {list(rows.shape)}, an index of {len(index)}")
        if np.any(np.diff(rows[:, 0]) < 0):
            raise BadVectors("the row table must be sorted by pid")
        if columns is not None and not np.array_equal(columns.pids, np.unique(rows[:, 0])):
            raise BadVectors("the columns are not those of the row table's products")
        self.folder.mkdir(exist_ok=True)
        with self.home.lock("publish", wait_s=60.0):
            self._clear_leftovers()
            version = f"v{self._next_number():06d}"
            aside = self.folder / f".building-{version}"
            try:
                aside.mkdir()
                _write_vectors(aside / VECTORS, vectors)
                np.save(aside / ROWS, np.ascontiguousarray(rows, dtype=np.int64))
                index.save(aside / INDEX)
                if tag_rule is not None:
                    write_json(aside / TAGS, tag_rule.to_json())
                if columns is not None:
                    columns.write(aside / COLUMNS)
                manifest = Manifest(
                    format=FORMAT,
                    version=version,
                    embedding_id=embedding_id,
                    model_version=model_version,
                    dim=index.dim,
                    metric="inner_product",
                    recipe=recipe,
                    params=params or {},
                    counts={"entries": len(rows), "products": len(np.unique(rows[:, 0]))},
                    last_sequence=last_sequence,
                    recall=recall or {},
                    files={path.name: _checksum(path) for path in sorted(aside.iterdir())},
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                )
                write_atomic(aside / MANIFEST, manifest.to_bytes())
                publish_folder(aside, self.folder / version)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        self._stamp(manifest)
        return version

    def _clear_leftovers(self) -> None:
        """What a killed build or removal left; only ever called under the lock."""
        for path in self.folder.iterdir():
            if path.name.startswith(".building-") or path.name.endswith(".removed"):
                shutil.rmtree(path, ignore_errors=True)

    def verify(self, version: str) -> Manifest:
        """Check every file of a version against its checksum. Raises ``DamagedIndex`` naming the file and version."""
        manifest = self.manifest(version)
        for name, expected in manifest.files.items():
            path = self.folder / version / name
            try:
                size = path.stat().st_size
            except FileNotFoundError as error:
                raise DamagedIndex(f"index version {version}: {name} is missing") from error
            if size != expected["size"]:
                raise DamagedIndex(f"index version {version}: {name} has {size} bytes, not {expected['size']}")
            if sha256_file(path) != expected["sha256"]:
                raise DamagedIndex(f"index version {version}: {name} does not match its checksum")
        self._stamp(manifest)
        return manifest

    def _stamps(self, manifest: Manifest) -> dict[str, Sequence[int]]:
        stamps: dict[str, Sequence[int]] = {}
        for name in (MANIFEST, *manifest.files):
            found = os.stat(self.folder / manifest.version / name)
            stamps[name] = [found.st_size, found.st_mtime_ns, found.st_ino]
        return stamps

    def _stamp(self, manifest: Manifest) -> None:
        """Remember that the files as they lie are the verified ones."""
        try:
            write_json(self.folder / manifest.version / VERIFIED, self._stamps(manifest))
        except OSError as error:  # a read-only home still serves; it just checks again at the next open
            log.warning("verification not remembered", version=manifest.version, reason=str(error))

    def _is_verified(self, manifest: Manifest) -> bool:
        try:
            return bool(json.loads((self.folder / manifest.version / VERIFIED).read_text()) == self._stamps(manifest))
        except (OSError, ValueError):
            return False

    def open(self, version: str, *, device: str = "cpu") -> IndexVersion:
        """Open for searching; checksums are read in full unless every file's stamp is the verified one.

        ``device``: "cpu", "cuda", or "auto" (the GPU where FAISS sees one). Raises ``UnknownVersion``,
        ``DamagedIndex`` naming file and version, ``NewerFormat``.
        """
        manifest = self.manifest(version)
        if not self._is_verified(manifest):
            self.verify(version)
        folder = self.folder / version
        try:
            stored = np.load(folder / VECTORS, mmap_mode="r")
            rows = np.load(folder / ROWS, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DamagedIndex(f"index version {version}: {error}") from error
        entries = manifest.counts["entries"]
        if stored.shape != (entries, manifest.dim) or rows.shape != (entries, 2):
            raise DamagedIndex(f"index version {version}: {VECTORS} or {ROWS} does not have {entries} entries")
        file = folder / INDEX if INDEX in manifest.files else None
        try:
            index = FaissIndex.load(manifest.recipe, stored, file, params=manifest.params, device=device)
        except (RuntimeError, ValueError) as error:
            raise DamagedIndex(f"index version {version}: {INDEX} cannot be read: {error}") from error
        columns = folder / COLUMNS if COLUMNS in manifest.files else None
        return IndexVersion(manifest, folder, index, rows, stored, _tag_rule(manifest, folder), columns)

    # -- which version serves

    def _activations(self) -> Sequence[Active]:
        try:
            stored = json.loads((self.folder / "ACTIVATIONS").read_text())
            return [Active(entry["index_version"], entry["model_version"]) for entry in stored]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _past(self) -> Sequence[Active]:
        """Activations up to and with the current one; what a crash noted but did not make current is cut off.

        Where the current pair cannot be read, the last one noted stands for it: activating must mend that.
        """
        noted = self._activations()
        try:
            current = self.home.active()
        except BadHome:
            return noted
        if current is None:
            return []
        # By the version alone: a changed decision layer is another model of the same entry, not an entry of its own.
        last = max(
            (i for i, pair in enumerate(noted) if pair.index_version == current.index_version), default=len(noted)
        )
        return [*noted[:last], current]

    def previous(self) -> Active | None:
        """What was active before the current pair, or None."""
        past = self._past()
        return past[-2] if len(past) > 1 else None

    def activate(self, version: str, *, model_embedding_id: Callable[[str], str] | None = None) -> Active:
        """Make ``version`` and the model it was built for the active pair, in one rename.

        Where that model's decision layer was changed since, its latest revision is taken: classes that were added stay.
        Verified in full first. ``model_embedding_id`` looks up a registered model's embedding id by model version
        (default: the home's registry). Raises ``DamagedIndex``, ``UnknownVersion``, ``UnknownModel``, and
        ``IndexMismatch`` naming both ids; then what was active stays so.
        """
        with self.home.lock("activate", wait_s=60.0):
            manifest = self.verify(version)
            past = self._past()
            pair = Active(version, self._latest(manifest.model_version, past))
            self._check_pair(pair, manifest, model_embedding_id)
            again = bool(past) and past[-1].index_version == version
            self._flip(pair, past[:-1] if again else past)
        return pair

    def switch_model(
        self, model_version: str, *, instead_of: Active, model_embedding_id: Callable[[str], str] | None = None
    ) -> Active:
        """Serve the active index version with another decision layer, in one rename; history keeps one entry for both.

        ``instead_of`` is the pair that the change was made from: where another is active by now, it is ``Busy`` and
        nothing happens. Raises ``IndexMismatch`` for a model of another embedding, ``UnknownModel``.
        """
        with self.home.lock("activate", wait_s=60.0):
            if self.home.active() != instead_of:
                raise Busy(f"another model or index was activated in {self.home.path} meanwhile: try again")
            pair = Active(instead_of.index_version, model_version)
            self._check_pair(pair, self.manifest(pair.index_version), model_embedding_id)
            self._flip(pair, self._past()[:-1])
        return pair

    def _check_pair(self, pair: Active, manifest: Manifest, look_up: Callable[[str], str] | None) -> None:
        of_model = (look_up or self._registered)(pair.model_version)
        if of_model != manifest.embedding_id:
            raise IndexMismatch(
                f"index version {pair.index_version} was built with embedding {manifest.embedding_id}, "
                f"model {pair.model_version} gives embedding {of_model}"
            )

    def _flip(self, pair: Active, past: Sequence[Active]) -> None:
        """Note ``pair`` after ``past``, then make it current: a crash in between is cut off by ``_past``."""
        noted = [asdict(entry) for entry in [*past, pair][-_KEPT_ACTIVATIONS:]]
        write_json(self.folder / "ACTIVATIONS", noted)
        self.home.activate(pair)

    def _latest(self, model_version: str, past: Sequence[Active]) -> str:
        """The model last active among those with this one's origin; itself where there was none."""
        from indexer.model.registry import origin

        wanted = origin(self.home, model_version)
        served = (pair.model_version for pair in reversed(past))
        return next((served_one for served_one in served if origin(self.home, served_one) == wanted), model_version)

    def _registered(self, model_version: str) -> str:
        from indexer.model.registry import by_version

        return by_version(self.home, model_version).embedding_id

    def rollback(self, *, model_embedding_id: Callable[[str], str] | None = None) -> str:
        """Activate what was active before; a second call returns. Raises ``UnknownVersion`` where there is nothing."""
        previous = self.previous()
        if previous is None:
            raise UnknownVersion("nothing to roll back to: no other version was active before")
        self.activate(previous.index_version, model_embedding_id=model_embedding_id)
        return previous.index_version

    def gc(self) -> Names:
        """Remove versions that neither serve, nor served before, nor are newer than the serving one; returns them."""
        with self.home.lock("activate", wait_s=60.0), self.home.lock("publish", wait_s=60.0):
            active, previous = self.home.active(), self.previous()
            if active is None:
                return []
            kept = {active.index_version, previous.index_version if previous else ""}
            newest = _number(active.index_version) or 0
            doomed = [name for name in self.names() if name not in kept and (_number(name) or 0) < newest]
            for name in doomed:
                remove_folder(self.folder / name)
            return doomed


def _number(name: str) -> int | None:
    return int(name[1:]) if name.startswith("v") and name[1:].isascii() and name[1:].isdigit() else None


def _tag_rule(manifest: Manifest, folder: Path) -> TagRule | None:
    if TAGS not in manifest.files:
        return None
    try:
        return TagRule.from_json(json.loads((folder / TAGS).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"index version {manifest.version}: {TAGS} cannot be read: {error!r}") from error


def _checksum(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "size": path.stat().st_size}


def _write_vectors(path: Path, vectors: np.ndarray) -> None:
    """float16 [N, D], in pieces; an array of no rows cannot be memory-mapped and is saved plainly."""
    if not len(vectors):
        np.save(path, np.empty((0, vectors.shape[1]), dtype=np.float16))
        return
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=vectors.shape)
    for start in range(0, len(vectors), _CHUNK):
        out[start : start + _CHUNK] = vectors[start : start + _CHUNK]
    out.flush()
