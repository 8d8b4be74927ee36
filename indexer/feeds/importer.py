"""Importer of a feed into the catalog: streamed, repeatable, with a reason for all that is left
out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from indexer.catalog.attributes import checked_types
from indexer.catalog.presence import has_catalog
from indexer.catalog.records import PhotoStorage
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.container import usable_cores
from indexer.core.errors import (
    BadDataError,
    BadProductError,
    CatalensError,
    FeedHeldError,
    SyncRefusedError,
)
from indexer.core.home import Home
from indexer.core.progress import OnProgress, OnStage, no_progress
from indexer.feeds.attribute_typing import AttributeTyping
from indexer.feeds.dataset import Dataset
from indexer.feeds.dry_run import show_samples
from indexer.feeds.feed_input import FeedInput, open_input
from indexer.feeds.feed_pass import ReadGroup, read_products, scan_rows
from indexer.feeds.fetch_queue import Fetcher, fetched
from indexer.feeds.first_products import choose_first
from indexer.feeds.guards import FeedTotals, suspicion
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.join import FeedJoin, cleared_names, nothing_owned
from indexer.feeds.notice import Notice
from indexer.feeds.own_profiles import OwnProfiles
from indexer.feeds.photo_intake import PhotoIntake, PhotoKeeper
from indexer.feeds.product_writer import BATCH, Candidate, ProductWriter
from indexer.feeds.refusals import stored_refusals
from indexer.feeds.row_digests import LastRun, RowGroups, find, hash_text, hash_texts
from indexer.feeds.run_memory import RunMemory, make_salt, missing_ids
from indexer.feeds.spool import Spool
from indexer.imaging.decode import ImageLimits, file_limits
from indexer.imaging.parallel import decoding_threads

# Share of the catalog that --sync may delete unasked.
_FREE_DELETES = 0.10
# Photos after which a batch of products ends.
_BATCH_PHOTOS = 4096
OnRemoved = Callable[[list[str]], object]


def import_feed(
    home: Home,
    data: Path,
    options: ImportOptions | None = None,
    *,
    fetcher: Fetcher | None = None,
    photo_keeper: PhotoKeeper | None = None,
    progress: OnStage = no_progress,
    on_removed: OnRemoved | None = None,
) -> ImportReport:
    """Bring the catalog to what the feed ``data`` says. Run again, it reads only rows that changed;
    killed, it goes on where it was.

    A photo that is no readable image is left out, and a product without any good photo keeps those
    that it had; a new one is left out. Photos by address are had by ``fetcher``;
    ``photo_keeper`` decides what is kept of a photo's bytes (a copy without one). ``progress``
    counts rows ("read") and products ("import"), which are committed before they are counted.
    ``on_removed`` gets the content hashes of photos whose files were removed, since no product has
    them any more (``reviews.store.forget_photos``).

    Raises ``BadDataError`` where the feed cannot be read at all, or a type does not fit stored
    values; before anything is written, ``FeedHeldError`` where the feed lost much since its last
    run, and ``SyncRefusedError`` where ``sync`` would delete more than is allowed; ``BusyError``
    while another import runs; ``StorageError``.
    """
    options = replace(options or ImportOptions(), profiles=home.profiles)
    with ExitStack() as stack:
        catalog = None
        if not options.dry_run:
            # An undo that asks whether an import runs holds it for a moment.
            stack.enter_context(home.lock("import", wait_s=0.5))
            catalog = stack.enter_context(open_catalog(home))
        elif has_catalog(home):
            catalog = stack.enter_context(open_catalog(home))
        pool = stack.enter_context(ThreadPoolExecutor(decoding_threads(min(8, usable_cores() + 1))))
        run = _Import(home, data, options, catalog, fetcher, progress)
        limits = run.feed.photo_options(options)
        intake = PhotoIntake(home, catalog, run.feed.table.root, limits, photo_keeper, pool)
        stack.callback(intake.close)
        run.read()
        report = run.write(intake, on_removed)
        corrected = run.feed.corrected
        if corrected is not None and not options.dry_run and report.failure is None:
            OwnProfiles(home.profiles).save(corrected)
            report.saved_profile = str(corrected["name"])
        return report


def import_dataset(
    home: Home,
    dataset: Dataset,
    *,
    photos: PhotoStorage = "copy",
    sync: bool = False,
    allow_deletes: int | None = None,
    dry_run: bool = False,
    limits: ImageLimits | None = None,
    progress: OnProgress | None = None,
    on_removed: OnRemoved | None = None,
) -> ImportReport:
    """``import_feed`` of what ``dataset`` was read from, by the types it was read with;
    ``progress`` counts products."""
    options = ImportOptions(
        photos=photos,
        sync=sync,
        allow_deletes=allow_deletes,
        dry_run=dry_run,
        types=dataset.given_types,
        limits=limits or file_limits(),
    )

    def count(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "import" and progress is not None:
            progress(done, total, note)

    return import_feed(home, dataset.data, options, progress=count, on_removed=on_removed)


class _Import:
    """One run. Without a catalog (a dry run into an empty home) every product is new."""

    def __init__(
        self,
        home: Home,
        data: Path,
        options: ImportOptions,
        catalog: Catalog | None,
        fetcher: Fetcher | None,
        progress: OnStage,
    ) -> None:
        self.options = options
        self.catalog = catalog
        self.fetcher = None if options.dry_run else fetcher
        self.progress = progress
        self.report = ImportReport(dry_run=options.dry_run)
        fixed = checked_types(options.types)
        self.feed: FeedInput = open_input(
            data, options, skipped=self.report.skipped, warnings=self.report.warnings
        )
        self.report.profile = self.feed.profile.name
        self.report.why = self.feed.why
        # Files without a name: the home's disk has room, but a dry run leaves it alone.
        self.folder = None if options.dry_run else home.path
        self.source = options.source or str(Path(data).absolute())
        self.memory = RunMemory(home, self.source, catalog, sent_as=options.sent_as)
        owners = {} if catalog is None else catalog.owners()
        self.keep = frozenset(name for name, owner in owners.items() if owner != options.source)
        self.join = None if options.join is None else FeedJoin(catalog, options.join)
        if options.join is not None and options.only is not None:
            told = nothing_owned(self.feed.table.name, self.feed.reader.plan.meanings, options.only)
            self.report.warnings += [] if told is None else [told]
        self.typing = AttributeTyping(
            fixed=fixed,
            stored={} if catalog is None else catalog.types(),
            given=self.feed.reader.types,
            text=self.feed.table.text,
        )
        self.totals = FeedTotals()
        self.spool: Spool[ReadGroup] = Spool(self.folder)
        # Of all products of the feed: hash of the id, and number of the group.
        self.product_ids = array("Q")
        self.product_groups = array("Q")
        # Of spooled groups: number of products, and hash of the first one's category.
        self.sizes = array("Q")
        self.categories = array("Q")

    # -- reading

    def read(self) -> None:
        """Both passes; nothing is written yet. Raises ``FeedHeldError``, ``BadDataError``."""
        report = self.report
        options = self.options
        salt = make_salt(self.feed.reader.fingerprint, options, self.keep)
        on_rows = self._rows
        rows = scan_rows(self.feed, self.folder, on_rows)
        self.groups: RowGroups = rows.groups
        report.rows = len(self.groups.of_row)
        if not report.rows and not rows.lost.count:
            raise BadDataError(f"{self.feed.table.name} has no rows")
        self.unchanged = np.zeros(len(self.groups), bool)
        if not options.dry_run:
            recheck_s = None if self.fetcher is None else self.fetcher.settings.recheck_s
            self.unchanged = self.memory.unchanged(self.groups, salt, recheck_s)
            self.unchanged[rows.repeated] = False
        self.photo_counts = np.zeros(len(self.groups), np.uint64)
        unclean = self._collect(on_rows)
        self.done = np.zeros(len(self.groups), bool)
        self.unclean = unclean
        self._take_unchanged()
        report.products = self.totals.products
        report.photos = self.totals.photos
        report.warnings += self.totals.warnings(self.feed.table.name)
        self.run = LastRun(salt=salt, products=report.products, photos=report.photos)
        self.mentioned = np.concatenate(
            [
                np.frombuffer(self.product_ids, np.uint64),
                rows.mentioned,
                hash_texts(self.feed.reader.lost_ids),
                self._known_products(unclean),
            ]
        )
        self._guard([*rows.lost.unnamed, *self.feed.unnamed])
        if self.catalog is not None and options.only is None:
            said = stored_refusals(
                self.catalog,
                self.feed.reader.refused_ids,
                self.mentioned,
                name=self.feed.table.name,
                sync=options.sync,
            )
            report.warnings += [] if said is None else [said]
        report.warnings += self.typing.settle()

    def _rows(self, done: int, total: int) -> None:
        self.progress("read", done, total or done + 1)

    def _collect(self, on_rows: Callable[[int, int], None]) -> np.ndarray:
        """Read the products of changed groups to the disk; which of the groups are not clean."""
        unclean = np.zeros(len(self.groups), bool)
        for group in read_products(self.feed, self.groups, ~self.unchanged, self.folder, on_rows):
            if self.join is not None:
                group = self._joined(group, self.join)
            unclean[group.group] = not group.clean
            for product in group.products:
                self.totals.add(product)
                self.typing.see(product.attributes, product.where)
                self.product_ids.append(hash_text(product.product_id))
                self.product_groups.append(group.group)
                self.photo_counts[group.group] += len(product.photos)
            self.spool.append(group)
            self.sizes.append(len(group.products))
            first = group.products[0].category if group.products else None
            self.categories.append(hash_text("\0".join(first or ())))
        return unclean

    def _joined(self, group: ReadGroup, join: FeedJoin) -> ReadGroup:
        """The products under the ids that the catalog has them by; rows of none are reported."""
        found = []
        for product in group.products:
            joined = join.join(product)
            if isinstance(joined, Notice):
                self.report.skipped.append(joined)
            else:
                found.append(joined)
        # Rows of no product are read again: it may come.
        clean = group.clean and len(found) == len(group.products)
        return replace(group, products=tuple(found), clean=clean)

    def _take_unchanged(self) -> None:
        """Count what was not read, since it is in the catalog as it stands."""
        last = self.memory.last
        if last is None or not self.unchanged.any():
            return
        keys = self.groups.keys[self.unchanged]
        photos = last.photo_counts[np.searchsorted(last.keys, keys)]
        self.photo_counts[self.unchanged] = photos
        there = find(keys, last.product_groups)
        self.report.unchanged += int(there.sum())
        self.totals.products += int(there.sum())
        self.totals.photos += int(photos.sum())
        groups = np.searchsorted(self.groups.keys, last.product_groups[there])
        self.product_ids.frombytes(last.product_ids[there].tobytes())
        self.product_groups.frombytes(groups.astype(np.uint64).tobytes())

    def _known_products(self, unclean: np.ndarray) -> np.ndarray:
        """What groups with wrong rows were before: the feed does not lack it, unless it says that
        no shopper may see it."""
        if self.memory.last is None:
            return np.zeros(0, np.uint64)
        known = self.memory.last.products_of(self.groups.keys[unclean])
        return known[~np.isin(known, hash_texts(self.feed.reader.refused_ids))]

    def _guard(self, unnamed: list[str]) -> None:
        """Raise ``SyncRefusedError`` or ``FeedHeldError``, unless it is accepted. Of a feed of
        single fields, which may send only what changed, it is said."""
        options = self.options
        self.doomed: dict[str, int] = {}
        if options.sync and self.catalog is not None and options.only_first is None:
            self.doomed = self._doomed(unnamed)
        last = self.memory.last
        accepted = options.accept
        if last is not None and options.sync and options.allow_deletes is not None:
            accepted |= last.usable - self.report.products <= options.allow_deletes
        photos = self.report.photos if options.only is None or "photos" in options.only else None
        reason = None if accepted else suspicion(last, self.report.products, photos)
        if reason is None:
            return
        if options.only is not None:
            reason = f"{reason}: it is not held, and products that it lacks keep what they have"
            self.report.warnings.append(Notice(self.feed.table.name, reason, "feed-shrank"))
            return
        reason = f"{reason}: {_held(options.accepted_by or '--accept')}"
        if not options.dry_run:
            raise FeedHeldError(reason)
        self.report.warnings.append(Notice(self.feed.table.name, reason, FeedHeldError.code))

    def _doomed(self, unnamed: list[str]) -> dict[str, int]:
        """The products that ``sync`` deletes, each with its last change.

        What was written since the run began the feed cannot know: it stays. Raises
        ``SyncRefusedError``; of a feed that is kept in step ``FeedHeldError``.
        """
        assert self.catalog is not None
        listed = sorted(missing_ids(self.catalog, self.mentioned))
        sequences = self.catalog.change_log.sequences_of(listed)
        doomed = {
            product_id: sequence
            for product_id, sequence in sequences.items()
            if sequence <= self.memory.sequence
        }
        stored = len(self.catalog)
        lost = len(unnamed)
        allowed = max(0 if lost else int(stored * _FREE_DELETES), self.options.allow_deletes or 0)
        if len(doomed) > allowed:
            why = f"more than the {allowed} allowed"
            if lost:
                lines = f"{lost} lines" if lost > 1 else "1 line"
                why = (
                    f"but {lines} of the feed may name some of them and cannot be read (first: "
                    f"{unnamed[0]})"
                )
            why = f"sync would delete {len(doomed)} of {stored} products, {why}"
            if self.options.accepted_by is not None:
                raise FeedHeldError(f"{why}: {_held(self.options.accepted_by)}")
            raise SyncRefusedError(
                f"{why}; if that is meant, allow {len(doomed)} deletes "
                f"(--allow-deletes {len(doomed)})"
            )
        return doomed

    # -- writing

    def write(self, intake: PhotoIntake, on_removed: OnRemoved | None) -> ImportReport:
        """Put what was read into the catalog, and remember what that was."""
        options = self.options
        self._fix_types()
        if options.dry_run:
            self.report.map = self.feed.reader.map()
            self.report.columns = self.feed.reader.columns()
            self.report.samples = show_samples(self.spool, self.sizes, self.typing)
        writer = ProductWriter(
            self.catalog,
            intake,
            self.typing,
            options,
            self.report,
            len(self.groups),
            keep=self.keep,
            folder=self.folder,
        )
        writer.on_removed = on_removed
        if options.only is not None:
            writer.clears = cleared_names(self.feed.reader.plan.meanings, options.only)
        writer.failed |= self.unclean
        try:
            self._put(writer, intake)
            writer.delete(self.doomed)
        finally:
            # Now no product waits for them, and a fetcher asks again for what is not there.
            with suppress(CatalensError, OSError):
                writer.collect((), own=intake.fetched)
                intake.settle_fetched()
            # A run that was interrupted need not read again what it brought.
            self._remember(writer)
        return self.report

    def _fix_types(self) -> None:
        """Types given by the caller win over stored ones, stored ones over inferred ones."""
        if self.catalog is None:
            return
        try:
            self.catalog.set_types(
                self.typing.types, given=self.typing.fixed, dry_run=self.options.dry_run
            )
        except BadProductError as error:
            raise BadDataError(f"the types given do not fit what is stored: {error}") from error

    def _put(self, writer: ProductWriter, intake: PhotoIntake) -> None:
        chosen = choose_first(self.sizes, self.categories, self.options.only_first)
        total = int(np.frombuffer(self.sizes, np.uint64)[chosen].sum())
        done = 0
        remaining = np.bincount(
            np.frombuffer(self.product_groups, np.uint64).astype(np.int64),
            minlength=len(self.groups),
        )
        ready = fetched(self._candidates(chosen), self.fetcher, intake)
        for batch in _batches(ready):
            writer.put_batch(batch)
            for candidate in batch:
                remaining[candidate.group] -= 1
                self.done[candidate.group] = remaining[candidate.group] == 0
            done += len(batch)
            self.progress("import", done, total)
        # What became no product at all is done too.
        for number in chosen:
            if self.sizes[number] == 0:
                self.done[self.spool[int(number)].group] = True

    def _candidates(self, chosen: np.ndarray) -> Iterator[Candidate]:
        for number in chosen:
            group = self.spool[int(number)]
            for product in group.products:
                yield Candidate(group.group, product)

    def _remember(self, writer: ProductWriter) -> None:
        """Leave to the next run what it need not read again; where that cannot be stored, it takes
        longer."""
        if self.options.dry_run or self.catalog is None:
            return
        report = self.report
        groups = np.frombuffer(self.product_groups, np.uint64).astype(np.int64)
        run = replace(
            self.run,
            usable=report.unchanged + report.added + report.replaced,
            photo_counts=self.photo_counts,
            product_ids=np.frombuffer(self.product_ids, np.uint64),
            product_groups=self.groups.keys[groups],
        )
        done = self.done & ~writer.failed & ~self.unclean
        with suppress(OSError):
            self.memory.write(
                self.groups, run, self.unchanged, done, writer.evidence, writer.sequences
            )


def _batches(candidates: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    """Products that are committed together: some, with not too many photos."""
    batch: list[Candidate] = []
    photos = 0
    for candidate in candidates:
        batch.append(candidate)
        photos += len(candidate.product.photos)
        if len(batch) >= BATCH or photos >= _BATCH_PHOTOS:
            yield batch
            batch, photos = [], 0
    if batch:
        yield batch


def _held(accept: str) -> str:
    return f"held, nothing was written; if that is meant, accept it ({accept})"
