"""Erasure of deleted products from index versions, embeddings, photos and databases."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog

from indexer.catalog.attribute_names import forget_erased_names
from indexer.catalog.deletions import Deletions
from indexer.catalog.store import Catalog, open_catalog
from indexer.catalog.upload_notes import are_uploads_left
from indexer.core.disk_failures import disk_failure
from indexer.core.errors import (
    BusyError,
    CatalensError,
    DamagedIndexError,
    NewerFormatError,
    NoMemoryError,
    UnknownModelError,
)
from indexer.core.home import Home
from indexer.core.manifest import Manifest
from indexer.core.native import torch_bytes
from indexer.core.parent_process import end_with_parent
from indexer.core.process_limits import (
    expect_memory,
    held_memory,
    is_out_of_memory,
    limit_worker,
)
from indexer.core.progress import OnStage, no_progress
from indexer.duplicates.hash_store import stored_signatures
from indexer.feeds.run_memory import forget_runs
from indexer.fetch.state import stored_urls
from indexer.index.embedding_store import stored_embeddings
from indexer.index.registry import engine_of
from indexer.index.version import Versions
from indexer.index.version_files import ROWS
from indexer.index_build.publish import IndexOptions, VersionContent, publish_version
from indexer.model.bundle import Bundle
from indexer.model.registry import by_version
from indexer.operations.class_erasure import (
    erase_classes,
    models_of_erased,
    standing_classes,
)
from indexer.operations.damaged_jobs import remove_damaged_jobs
from indexer.operations.free_text import erase_free_text
from indexer.operations.garbage_collection import (
    clear_uploads,
    collect_photos,
    forget_superseded,
    stray_photos,
    sweep,
    tidy_locked,
)
from indexer.operations.jobs import Jobs
from indexer.operations.retention import end_terms
from indexer.operations.retention_terms import RetentionTerms
from indexer.operations.set_aside import erase_set_aside
from indexer.recommendation.orders import salt_orders
from indexer.reviews.erased_previews import clean as clean_reviews
from indexer.text.keyword_index import Keywords

log = structlog.get_logger(__name__)

INCOMPLETE = 4  # exit code of ``main``
_SMALLER = 0.5  # a version that loses more than half of its rows chooses its recipe anew


@dataclass
class Erased:
    """What ``erase`` did. ``failed`` asks for another run; empty: nothing is left of what was
    deleted."""

    # version -> the one that stands for it now
    rewritten: dict[str, str] = field(default_factory=dict)
    # versions nobody would go back to: not worth a rewrite
    removed: list[str] = field(default_factory=list)
    # rows that the rewrites left out
    rows: int = 0
    # embeddings deleted
    vectors: int = 0
    # hashes of photos, for duplicates: deleted
    signatures: int = 0
    # photos whose files or thumbnails were deleted
    photos: int = 0
    # classes made from photos that were fitted anew without a deleted one
    classes: int = 0
    # entries of reviews, feedback and histories that named a deleted product
    texts: int = 0
    # files in damaged/ that may have held a deleted product
    set_aside: int = 0
    # version or database -> why it could not be rewritten
    failed: dict[str, str] = field(default_factory=dict)
    # photos that no product has though no deletion of them was recorded: left alone
    strays: int = 0
    # why nothing came to its end by its term; None: it did
    held: str | None = None
    # what was left alone in a folder of the home, since nothing of ours wrote it; None: nothing
    left: str | None = None
    seconds: float = 0.0


def erase(
    home: Home,
    *,
    device: str = "cpu",
    wait_s: float = 60.0,
    progress: OnStage = no_progress,
    terms: RetentionTerms | None = None,
    again: Sequence[str] = (),
) -> Erased:
    """Republish every version that still holds a deleted product or photo without it, and remove
    the old ones.

    A version is never edited: its rewrite has a number of its own and takes its place in what
    serves and in the history of activations. Versions that ``index gc`` would remove are removed
    instead. Then embeddings and files of deleted photos are deleted, and the databases are written
    anew, so that no deleted byte stays in them. What came to its end by its term goes first.

    ``again``: as in ``erase_free_text``.

    Only what the catalog recorded as deleted goes. What it merely does not name stays: a catalog
    that was lost, or is not this home's, names nothing. Safe to repeat and to interrupt: a run that
    was killed is finished by the next. Raises ``BusyError`` while an index is being built for
    longer than ``wait_s``, ``StorageError``, ``MissingCatalogError``, ``CatalogBehindError``.
    """
    started = time.monotonic()
    done = Erased()
    with open_catalog(home) as catalog:
        try:
            # Not tied to deletions: where these cannot be erased, it has been done.
            done.held = end_terms(home, catalog, terms).held
        except BusyError as error:
            done.failed[home.reviews_file.name] = str(error)
        clear_uploads(home, catalog)
        # before anything is erased: it may say that this is the wrong catalog
        done.strays = stray_photos(home, catalog)
    _erase_all(home, done, device, wait_s, progress, again)
    done.seconds = time.monotonic() - started
    return done


def _erase_all(
    home: Home,
    done: Erased,
    device: str,
    wait_s: float,
    progress: OnStage,
    again: Sequence[str],
) -> None:
    with home.lock("build", wait_s=wait_s), open_catalog(home) as catalog:
        try:
            # Before the versions, whose rewrites take the model as it is then.
            done.classes = erase_classes(home, catalog)
        except BusyError as error:
            done.failed["models"] = str(error)
        # Before the versions, whose columns for filters take the names as they are then.
        forget_erased_names(catalog)
        done.removed = tidy_locked(home).removed
        versions = Versions(home)
        begun_at = catalog.last_sequence()
        held = models_of_erased(home.models, catalog)
        names = versions.names()
        for number, name in enumerate(names):
            progress("versions", number, len(names))
            try:
                successor, rows = _cleaned(home, catalog, name, device, held)
            except (DamagedIndexError, NewerFormatError, NoMemoryError) as error:
                done.failed[name] = str(error)
                continue
            if successor != name:
                done.rewritten[name] = successor
                done.rows += rows
        progress("versions", len(names), len(names))
        versions.supersede(done.rewritten)
        versions.remove(done.rewritten)
        forget_superseded(home)
        done.failed.update(standing_classes(home, catalog))
        done.vectors = _forget_vectors(home, catalog)
        done.signatures = _forget_signatures(home, catalog)
        done.photos = collect_photos(home, catalog)
        pids, done.texts = erase_free_text(home, catalog, again)
        done.set_aside = erase_set_aside(home, catalog)
        try:
            clean_reviews(home, catalog)
        except BusyError as error:
            # All else goes on; the file remembers that it is to be written anew.
            done.failed[home.reviews_file.name] = str(error)
        _forget_urls(home, catalog)
        salt_orders(catalog)
        if pids or done.rows or done.vectors or done.photos:
            Jobs(home).redact()
            remove_damaged_jobs(home)
            # What imports remember names photos' files; without it, the next one reads all rows
            # again.
            done.left = _describe_others(forget_runs(home))
        if not done.failed:
            Deletions(catalog.database).settle(pids)
        _scrub(home, catalog, begun_at, progress)
    sweep(home)


def describe_strays(count: int) -> str:
    """A sentence on ``Erased.strays``."""
    photos = "photo" if count == 1 else "photos"
    return (
        f"{count} {photos} that no product has and no deletion was recorded of: left alone, and "
        "not looked at (a killed import left them? Importing again takes them, or move them out "
        "of the home)"
    )


def _describe_others(others: Sequence[Path]) -> str | None:
    if not others:
        return None
    entries = "1 entry" if len(others) == 1 else f"{len(others):,} entries"
    return (
        f"{entries} of {others[0].parent} that no import wrote (first: {others[0].name}): left "
        "alone, and not looked at; move them to another folder"
    )


def needs_erasing(home: Home, catalog: Catalog) -> bool:
    """Whether a deletion may have left something; cheap, and True at times where nothing is left
    after all."""
    history = catalog.change_log
    versions = Versions(home)
    if history.must_scrub() or history.orphans() or Deletions(catalog.database).is_pending():
        return True
    if are_uploads_left(home, catalog):
        return True
    for manifest in versions.list():
        rows = np.load(versions.folder / manifest.version / ROWS, mmap_mode="r")
        newest = int(rows[-1, 0]) if len(rows) else 0
        if history.erased_since(manifest.erased_through, newest):
            return True
    return False


def _cleaned(
    home: Home, catalog: Catalog, name: str, device: str, held: Set[str] = frozenset()
) -> tuple[str, int]:
    """The version that holds what ``name`` holds but nothing deleted, and how many rows that left
    out; or itself.

    ``held``: models with a class of an erased photo. A version that only names one of these is
    written anew for the model that it would be served with.
    """
    versions = Versions(home)
    opened = versions.open(name)
    manifest = opened.manifest
    rows = np.array(opened.rows)
    living = catalog.change_log.living()
    sequence = living.sequence
    dead = living.dead_rows(rows)
    model = versions.pair_of(manifest).model_version
    if not dead.any() and (manifest.model_version not in held or model in held):
        return name, 0
    done_before = _finished(versions, manifest, sequence, held)
    if done_before is not None:
        return done_before, int(dead.sum())
    engine = engine_of(manifest.recipe)
    need, _ = engine.build_bytes(manifest.recipe, len(rows), manifest.dim)
    if engine.loads_torch(manifest.recipe):
        need += torch_bytes()
    expect_memory(f"the rewrite of index version {name}", (held_memory() or 0) + need)
    vectors = np.asarray(opened.stored[~dead])
    fewest = engine.fewest_entries(manifest.recipe)
    shrunk = len(vectors) < max(_SMALLER * len(rows), fewest)
    bundle = _bundle(home, model)
    content = VersionContent(
        rows[~dead],
        vectors,
        last_sequence=manifest.last_sequence,
        embedding_id=(bundle or manifest).embedding_id,
        model_version=(bundle or manifest).model_version,
        source={**(manifest.source or {}), "rewrite_of": manifest.root, "erased_through": sequence},
    )
    options = IndexOptions(
        recall=float(manifest.recall.get("asked", 0.99)),
        recipe=None if shrunk or not len(vectors) else manifest.recipe,
        device=device,
    )
    new, _ = publish_version(
        home, catalog, bundle, content, options, fit_unknown=opened.unknown is not None
    )
    log.info("index version rewritten", version=name, rewrite=new, rows=int(dead.sum()))
    return new, int(dead.sum())


def _finished(versions: Versions, manifest: Manifest, sequence: int, held: Set[str]) -> str | None:
    """The rewrite that an interrupted run made already."""
    for other in reversed(versions.list()):
        if (
            other.version != manifest.version
            and other.root == manifest.root
            and other.erased_through == sequence
            and other.model_version not in held
        ):
            return other.version
    return None


def _bundle(home: Home, model_version: str) -> Bundle | None:
    try:
        return by_version(home, model_version)
    except UnknownModelError:
        return None


def _forget_vectors(home: Home, catalog: Catalog) -> int:
    count = 0
    for store in stored_embeddings(home.embeddings):
        # To open a store is to write to it: what is being stored right now is there by then.
        stored = store.ids()  # before the catalog is asked: what is newer is not looked at
        dead = catalog.change_log.living().deleted(stored)
        store.delete(dead)
        count += len(dead)
    return count


def _forget_signatures(home: Home, catalog: Catalog) -> int:
    with stored_signatures(home) as store:
        if store is None:
            return 0
        stored = store.ids()
        dead = catalog.change_log.living().deleted(stored)
        store.delete(dead)
        return len(dead)


def _forget_urls(home: Home, catalog: Catalog) -> None:
    """Photos that no product has are fetched anew if a feed names them again."""
    with stored_urls(home.fetch_file) as state:
        if state is not None:
            known = state.hashes()
            state.forget(known - set(catalog.photos_by_hash(known)))


def _scrub(home: Home, catalog: Catalog, through: int, progress: OnStage) -> None:
    stores = [store.path for store in stored_embeddings(home.embeddings)]
    progress("databases", 0, len(stores) + 1)
    for number, store in enumerate(stored_embeddings(home.embeddings)):
        store.scrub()
        progress("databases", number + 1, len(stores) + 1)
    with stored_signatures(home) as signatures:
        if signatures is not None:
            signatures.scrub()
    keywords = Keywords(home, catalog)
    if keywords.path.exists():
        with closing(keywords):
            keywords.scrub()
    catalog.change_log.scrub(through)
    progress("databases", len(stores) + 1, len(stores) + 1)


def main(arguments: list[str] | None = None) -> int:
    """A run in a process of its own, behind all others: ``python -m indexer.operations.erasure
    HOME [TERMS]``.

    Exits 0 done, 1 failed with a line on stderr, ``INCOMPLETE`` where another run is needed.
    """
    path, *more = arguments or sys.argv[1:]
    if hasattr(os, "nice"):
        os.nice(10)
    end_with_parent()
    limit_worker()
    terms = RetentionTerms(**json.loads(more[0])) if more else None
    try:
        done = erase(Home(path), terms=terms)
    except CatalensError as error:
        print(f"catalens: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        failure = disk_failure(error, Path(path))
        if is_out_of_memory(error):
            failure = NoMemoryError("the machine has no memory for it")
        if failure is None:
            raise
        print(f"catalens: {failure.code}: {failure}", file=sys.stderr)
        return 1
    if done.strays:
        print(f"catalens: {describe_strays(done.strays)}", file=sys.stderr)
    if done.held:
        print(f"catalens: {done.held}", file=sys.stderr)
    if done.left:
        print(f"catalens: {done.left}", file=sys.stderr)
    # Last, since the service logs the last line.
    for name, reason in done.failed.items():
        print(f"catalens: {name} still holds what was erased: {reason}", file=sys.stderr)
    return INCOMPLETE if done.failed else 0


if __name__ == "__main__":
    sys.exit(main())
