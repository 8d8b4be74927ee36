"""Checks that a home's catalog is there, is its own, and is as new as its index."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from indexer.catalog.transaction import last_sequence
from indexer.core.errors import (
    BadHomeError,
    CatalogBehindError,
    DamagedIndexError,
    MissingCatalogError,
    NewerFormatError,
)
from indexer.core.home import Home
from indexer.core.manifest import Manifest, read_manifest, version_number
from indexer.core.sqlite import Connection, Database, chunks, has_table, read_meta
from indexer.core.sqlite_files import has_log, is_made

# Length of a stored photo's name.
_HASH_DIGITS = 64


def has_catalog(home: Home) -> bool:
    """Whether ``home`` has a catalog; False only where nothing that comes from one is there either.

    Raises ``MissingCatalogError``: an empty one must not stand in for it, since what it does not
    name would be erased. Raises ``BadHomeError`` for a folder in its place.
    """
    path = home.catalog_file
    if path.is_dir():
        raise BadHomeError(
            f"{path} is a folder, no catalog: move it away, and put the catalog back from a backup"
        )
    if is_made(path):
        return True
    if path.exists() and path.stat().st_size and has_log(path):
        # all of it may still be in the log; making it again finds that and changes nothing
        return False
    # Looked for before the catalog is asked for again: whoever makes one does so before all else.
    if (held := _derived(home)) and not is_made(path):
        what = "holds nothing" if path.exists() else "is missing"
        raise MissingCatalogError(
            f"{path} {what}, but the home holds {', '.join(held)}: put the catalog back from a "
            "backup (to find no "
            f"mounted disk here looks the same); without one, leave {home.path} as it is and "
            "import into another home "
            "(catalens import DATA --home NEW)"
        )
    return False


def _derived(home: Home) -> list[str]:
    """What is there that only a home with a catalog can have, in words."""
    kinds = {
        "index versions": any(
            version_number(path.name) is not None for path in home.indexes.glob("v*")
        ),
        "a record of what was activated": home.current_file.exists()
        or (home.indexes / "ACTIVATIONS").exists(),
        "photos": any(len(path.name) == _HASH_DIGITS for path in home.photos.glob("??/??/*")),
        "embeddings": any(home.embeddings.glob("*.sqlite3")),
        "signatures of photos": home.signatures_file.exists(),
        "reviews": home.reviews_file.exists(),
    }
    return [name for name, there in kinds.items() if there]


def check_lineage(home: Home, database: Database) -> None:
    """Raises ``CatalogBehindError`` where an index version knows of changes that this catalog never
    saw."""
    for error in unfit_versions(home, database).values():
        raise error


def unfit_versions(home: Home, database: Database) -> dict[str, CatalogBehindError]:
    """Index versions that are of another catalog, or of a state that this one never had, and
    why."""
    known = _manifests(home)
    if not known:
        return {}
    with database.read() as sql:
        own = _Lineage(
            last_sequence(sql),
            read_meta(sql, "identity"),
            int(read_meta(sql, "compacted") or 0),
            _stamps(sql, [manifest.last_sequence for manifest in known]),
        )
    place = shlex.quote(str(home.path))
    mend = (
        f"put the newest catalog back from a backup (catalens restore FROM --home NEW); "
        f"without one, catalens verify --repair --home {place} removes what was made from the "
        "other one and makes it again"
    )
    found = {}
    for manifest in known:
        reason = own.misfit(manifest)
        if reason is not None:
            found[manifest.version] = CatalogBehindError(f"{database.path} {reason}: {mend}")
    return found


def is_built_from(home: Home, database: Database) -> bool:
    """Whether an index version says by name that it was built from this catalog, and none that it
    was not: then this is the home's catalog, whatever else lies there."""
    with database.read() as sql:
        identity = read_meta(sql, "identity")
    named = {(manifest.source or {}).get("catalog") for manifest in _manifests(home)}
    return identity is not None and identity in named and not unfit_versions(home, database)


def _manifests(home: Home) -> list[Manifest]:
    known = []
    for path in sorted(home.indexes.glob("v*")):
        try:
            known += [read_manifest(path)] if version_number(path.name) is not None else []
        except (DamagedIndexError, NewerFormatError):
            # Reported by whoever opens it.
            continue
    return known


@dataclass(frozen=True)
class _Lineage:
    """What tells a catalog's history from another's."""

    last: int
    identity: str | None
    # The log holds the changes above this sequence number.
    begins: int
    # Of the states that versions ask for; None where the catalog has none at all.
    stamps: dict[int, str] | None

    def misfit(self, manifest: Manifest) -> str | None:
        """Why a version is not of this history."""
        source = manifest.source or {}
        version, sequence = manifest.version, manifest.last_sequence
        if source.get("catalog") not in (None, "", self.identity):
            return (
                f"is not the catalog that index version {version} was built from (it is "
                f"{self.identity or 'one without a name'}, not {source['catalog']}), so its "
                "numbers mean other products"
            )
        if sequence > self.last:
            return (
                f"ends with change {self.last}, but index version {version} holds changes up to "
                f"{sequence}, so it is an older state, or another catalog"
            )
        stamp = source.get("stamp")
        asked = bool(stamp) and self.stamps is not None and sequence >= self.begins
        if asked and (self.stamps or {}).get(sequence) != stamp:
            return (
                f"never had the state that index version {version} was built from (its change "
                f"{sequence} is another one), so it was put back from an older backup and written "
                "to since, and its numbers mean other products"
            )
        return None


def _stamps(sql: Connection, sequences: list[int]) -> dict[int, str] | None:
    """The stamps of the states that ended with these changes; None where there are none at all."""
    if not has_table(sql, "stamps"):
        return None
    found: dict[int, str] = {}
    for part, marks in chunks(sequences):
        query = f"SELECT sequence, stamp FROM stamps WHERE sequence IN ({marks})"
        found.update(sql.execute(query, part).fetchall())
    return found
