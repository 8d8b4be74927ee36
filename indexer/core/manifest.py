"""What an index version says of itself: its manifest, sealed by a checksum of its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from indexer.core.atomic_files import canonical_json
from indexer.core.errors import DamagedIndexError, NewerFormatError
from indexer.core.file_names import is_plain_name
from indexer.core.manifest_values import odd_values
from indexer.core.regular_files import parse_json, read_small

FORMAT = 1
METRIC = "inner_product"
MANIFEST = "manifest.json"
# Beside it: the files as they were when they were verified.
VERIFIED = "VERIFIED"


@dataclass(frozen=True)
class Manifest:
    """What one version is; ``manifest.json``, written last."""

    format: int
    # "v000001"; numbers are never reused.
    version: str
    embedding_id: str
    model_version: str
    dim: int
    # "inner_product" of unit vectors: cosine.
    metric: str
    # "Flat", or a FAISS factory string such as "IVF894,SQ8"
    recipe: str
    # What the recipe was tuned to; goes with each search call.
    params: dict[str, Any]
    # Entries (a photo of a product), products.
    counts: dict[str, int]
    # Catalog changes up to here are in this version.
    last_sequence: int
    # Measured against the exact oracle; see tuning.py.
    recall: dict[str, Any]
    # Name -> {"sha256", "size"}.
    files: dict[str, dict[str, Any]]
    # ISO 8601, UTC; never used for order.
    created: str
    # "catalog": its identity; "stamp": of its state at last_sequence; "erased_through",
    # "rewrite_of": as below.
    # Versions from before it have none.
    source: dict[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """The one byte form: readable JSON with its own SHA-256, so that a changed byte anywhere is
        seen.

        Fields that were added later are left out where they hold nothing, so old manifests keep
        their bytes.
        """
        body = {
            name: value
            for name, value in asdict(self).items()
            if value is not None or name not in _LATER
        }
        seal = hashlib.sha256(canonical_json(body)).hexdigest()
        return (json.dumps({**body, "seal": seal}, indent=2, sort_keys=True) + "\n").encode()

    @property
    def content(self) -> str:
        """SHA-256 of all that this version is but its place among others: equal in every home that
        holds it."""
        body = {
            **asdict(self),
            "version": None,
            "source": {**(self.source or {}), "rewrite_of": None},
        }
        return hashlib.sha256(canonical_json(body)).hexdigest()

    @property
    def root(self) -> str:
        """The version that a build made and this one is a rewrite of, itself if it is none: its
        place in the order."""
        return str((self.source or {}).get("rewrite_of") or self.version)

    @property
    def erased_through(self) -> int:
        """Products deleted up to this sequence number have left nothing in this version."""
        return int((self.source or {}).get("erased_through", self.last_sequence))


_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("version", "embedding_id", "model_version", "recipe"), str),
    **dict.fromkeys(("dim", "last_sequence"), int),
    **dict.fromkeys(("params", "counts", "recall", "files"), dict),
    "source": (dict, type(None)),
}
# Of ``source``, where it says so.
_SOURCE_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("catalog", "stamp", "rewrite_of"), (str, type(None))),
    "erased_through": int,
}
_LATER = frozenset(field.name for field in fields(Manifest) if field.default is None)


def read_manifest(folder: Path) -> Manifest:
    """Raises ``DamagedIndexError`` naming file and version, ``NewerFormatError``."""
    path = folder / MANIFEST
    try:
        data = read_small(path)
        stored = parse_json(data)
        found = stored["format"]
    except FileNotFoundError as error:
        raise DamagedIndexError(f"index version {folder.name}: {MANIFEST} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedIndexError(
            f"index version {folder.name}: {MANIFEST} is damaged: {error}"
        ) from error
    if isinstance(found, int) and found > FORMAT:
        raise NewerFormatError(
            f"index version {folder.name} has format {found}, this Catalens knows up to {FORMAT}: "
            "upgrade it"
        )
    try:
        names = [field.name for field in fields(Manifest)]
        manifest = Manifest(
            **{name: stored[name] for name in names if name in stored or name not in _LATER}
        )
        sound = manifest.to_bytes() == data
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedIndexError(
            f"index version {folder.name}: {MANIFEST} is damaged: {error}"
        ) from error
    if not sound or manifest.version != folder.name:
        raise DamagedIndexError(
            f"index version {folder.name}: {MANIFEST} does not match its own checksum"
        )
    kinds = [isinstance(getattr(manifest, name), kind) for name, kind in _KINDS.items()]
    if isinstance(manifest.source, dict):
        said = manifest.source
        kinds += [
            isinstance(said[name], kind) for name, kind in _SOURCE_KINDS.items() if name in said
        ]
    numbers = (manifest.format, manifest.dim, manifest.last_sequence)
    whole = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    if not all(kinds) or not whole or manifest.metric != METRIC:
        raise DamagedIndexError(
            f"index version {folder.name}: {MANIFEST} holds a value of another kind than it should"
        )
    if odd := odd_values(manifest.counts, manifest.params, manifest.recall):
        raise DamagedIndexError(
            f"index version {folder.name}: {MANIFEST} holds {odd[0]} of another kind than it should"
        )
    if name := _odd_name(manifest):
        raise DamagedIndexError(
            f"index version {folder.name}: {MANIFEST} names {name!a}, which is no plain file name "
            "with a size and a checksum: it was made by somebody else, so do not use it"
        )
    return manifest


def _odd_name(manifest: Manifest) -> object:
    """The first name that must not be joined to a folder, or a file without size or checksum.

    Anybody can seal a manifest, so its seal says nothing about what it names.
    """
    for name in (manifest.embedding_id, manifest.model_version):
        if not is_plain_name(name):
            return name
    for name, known in manifest.files.items():
        kinds = (str, int) if isinstance(known, dict) else ()
        values = [known.get(key) for key in ("sha256", "size")] if kinds else []
        whole = bool(kinds) and all(map(isinstance, values, kinds))
        if not whole or not is_plain_name(name) or name in (MANIFEST, VERIFIED):
            return name
    return None


def version_number(name: str) -> int | None:
    """3 of "v000003"; None for what is no version's name."""
    return (
        int(name[1:])
        if name.startswith("v") and name[1:].isascii() and name[1:].isdigit()
        else None
    )
