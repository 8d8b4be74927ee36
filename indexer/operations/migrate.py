"""Migration of an old home to today's format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from indexer.catalog.checksums import seal_unsealed
from indexer.catalog.integrity import seal_catalog
from indexer.catalog.schema import FORMAT as CATALOG_FORMAT
from indexer.catalog.store import open_catalog
from indexer.core.errors import DamagedIndexError
from indexer.core.home import FORMAT, Home
from indexer.core.manifest import read_manifest
from indexer.core.sqlite_files import is_made
from indexer.index.embedding_store import stored_embeddings
from indexer.index.version import Versions
from indexer.model.registry import examine_models
from indexer.reviews.schema import ROW_KINDS
from indexer.reviews.store import open_reviews


@dataclass
class Migrated:
    """Contents of a home, each readable by this Catalens, and what was changed to make it so."""

    home: Path
    format: int  # of the home, and the newest that is known
    catalog_format: int
    products: int
    versions: list[str] = field(default_factory=list)
    embeddings: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    migrated: list[str] = field(default_factory=list)  # empty: nothing had to be
    # versions and models that cannot be read, and why
    damaged: list[str] = field(default_factory=list)


def migrate(home: Home) -> Migrated:
    """Read everything that a home holds and change what is older than today's format.

    A catalog of format 1 gets room for fields; one from before catalogs had an identity gets that
    too; rows without checksums get them. The catalog's write-ahead log is folded in, so that a copy
    of the home can be served from a read-only disk. Raises ``NewerFormatError`` naming what a newer
    Catalens wrote, ``BadHomeError``, ``ReadOnlyError``, ``BusyError``.
    """
    versions = Versions(home)
    done = Migrated(home.path, FORMAT, CATALOG_FORMAT, 0)
    with open_catalog(home) as catalog:
        done.products = len(catalog)
        if catalog.migrated:
            done.migrated.append(f"the catalog was brought to format {CATALOG_FORMAT}")
        history = catalog.change_log
        if history.identity() is None:
            done.migrated.append(f"the catalog was given the identity {history.identify()}")
        if sealed := seal_catalog(catalog):
            done.migrated.append(f"{sealed:,} rows of the catalog were given checksums")
        catalog.database.empty_log()
    if sealed := _seal_reviews(home):
        done.migrated.append(f"{sealed:,} rows of the reviews were given checksums")
    for name in versions.names():
        try:
            done.versions.append(read_manifest(versions.folder / name).version)
        except DamagedIndexError as error:
            done.damaged.append(str(error))
    for store in stored_embeddings(home.embeddings):
        done.embeddings.append(store.embedding_id)
        store.database.empty_log()
    whole, damaged = examine_models(home)
    done.models = [bundle.model_version for bundle in whole]
    done.damaged += damaged.values()
    return done


def _seal_reviews(home: Home) -> int:
    if not is_made(home.reviews_file):
        return 0
    with open_reviews(home) as reviews:
        with reviews.database.transaction() as sql:
            sealed, others = seal_unsealed(sql, ROW_KINDS)
        reviews.database.empty_log()
    return sum(map(len, sealed.values())) + others
