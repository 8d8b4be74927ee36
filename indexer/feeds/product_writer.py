"""Writer of a feed's products: photos taken in, batches committed, each refusal with its reason."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.product_fields import FIELD_NAMES, present_fields
from indexer.catalog.records import (
    Delete,
    NewPhoto,
    Patch,
    ProductInput,
    Put,
    Tag,
    Write,
    Written,
)
from indexer.catalog.store import Catalog
from indexer.core.errors import (
    CatalensError,
    ChangedError,
    UnknownPhotoError,
    UnknownProductError,
)
from indexer.feeds.attribute_typing import AttributeTyping
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.notice import Notice
from indexer.feeds.photo_evidence import PhotoEvidence
from indexer.feeds.photo_intake import PhotoIntake, TakenPhoto, as_new, nameless
from indexer.feeds.product import FeedProduct
from indexer.feeds.spool import Spool

# Products per commit.
BATCH = 256
_TRIES = 3

Taken = TakenPhoto | Notice


@dataclass
class Candidate:
    """A product on its way into the catalog. ``fetched``: its photos by address, once they came."""

    group: int
    product: FeedProduct
    fetched: dict[str, Taken] = field(default_factory=dict)


@dataclass
class _Prepared:
    """What one candidate becomes: a write, or none and the reasons."""

    candidate: Candidate
    write: Write | None
    notices: list[Notice]
    taken: list[TakenPhoto] = field(default_factory=list)
    # Its photos are those that it had: none of today's is good.
    without_photos: bool = False


class ProductWriter:
    """Puts products into the catalog; without one (a dry run into an empty home) all are new.

    ``failed`` bool [G]: which of the ``groups`` of rows must be read again, since not all they say
    was stored.
    ``keep``: names that other sources own.
    """

    def __init__(
        self,
        catalog: Catalog | None,
        intake: PhotoIntake,
        typing: AttributeTyping,
        options: ImportOptions,
        report: ImportReport,
        groups: int,
        *,
        keep: frozenset[str],
        folder: Path | None,
    ) -> None:
        self._catalog = catalog
        self._intake = intake
        self._typing = typing
        self._options = options
        self._report = report
        self._keep = keep
        self.failed = np.zeros(groups, bool)
        self.evidence: Spool[list[PhotoEvidence]] = Spool(folder)
        # Numbers of the changes that were written.
        self.sequences = array("q")
        # Names whose absence is written too: the feed owns them.
        self.clears: frozenset[str] = frozenset()
        self.on_removed: Callable[[list[str]], object] | None = None

    def put_batch(self, batch: list[Candidate]) -> None:
        """Check, keep and commit a batch of products."""
        self._intake.made.clear()
        try:
            refused = self._put_prepared(batch)
        except BaseException:
            # The threads first: what one still writes would come after it was looked for. What was
            # committed stays: its photos have a product.
            self._intake.stop()
            with suppress(CatalensError, OSError):
                self.collect((), own=self._intake.made)
                self._intake.settle()
            raise
        self.collect((), own=refused & self._intake.made)
        self._intake.settle()

    def _put_prepared(self, batch: list[Candidate]) -> set[str]:
        """Commit a batch; the photos of what was refused."""
        refused: set[str] = set()
        for tries_left in reversed(range(_TRIES)):
            prepared = self._prepare(batch)
            writes = [entry for entry in prepared if entry.write is not None]
            results = self._apply([entry.write for entry in writes if entry.write is not None])
            # A delete elsewhere may have removed a photo's row or file between our look and our
            # write: look again.
            again: list[Candidate] = []
            for entry, result in zip(writes, results, strict=True):
                if isinstance(result, UnknownPhotoError) and tries_left:
                    again.append(entry.candidate)
                else:
                    self._note(entry, result)
                    if not isinstance(result, Written):
                        refused.update(taken.new.content_hash for taken in entry.taken)
            for entry in prepared:
                if entry.write is None:
                    self._leave_out(entry)
            batch = again
            if not batch:
                break
        return refused

    def delete(self, doomed: Mapping[str, int]) -> None:
        """Erase products, photos that nobody else uses included.

        ``doomed``: id -> its last change as it was decided on; one that was changed since stays.
        """
        deletes = [Delete(found, expected_sequence=last) for found, last in doomed.items()]
        for start in range(0, len(deletes), BATCH):
            batch = deletes[start : start + BATCH]
            results = self._apply(batch)
            self._report.warnings += [
                Notice(
                    write.product_id,
                    "is not in the feed, but was changed while the feed was read: it stays until "
                    "the next run",
                    ChangedError.code,
                )
                for write, result in zip(batch, results, strict=True)
                if isinstance(result, ChangedError)
            ]
            gone = [result.sequence for result in results if isinstance(result, Written)]
            self._report.deleted += len(gone)
            self.sequences.extend(gone)
        catalog = self._catalog
        if not doomed or catalog is None or self._options.dry_run:
            return
        if not catalog.database.checkpoint():
            self._report.warnings.append(
                Notice(
                    catalog.path.name,
                    "what was deleted still stands in its log, which another process reads; the "
                    "service takes it out within erase_within_s, `catalens index erase` at once",
                    code="log-in-use",
                )
            )

    def collect(self, orphaned: Sequence[str], *, own: Iterable[str] = ()) -> None:
        """Remove the files of photos that no product has any more, as ``PhotoStore.collect``."""
        if self._catalog is None:
            return
        removed = self._intake.store.collect(self._catalog, orphaned, own=own)
        if removed and self.on_removed is not None:
            self.on_removed(removed)

    # -- what came of a write

    def _note(self, entry: _Prepared, result: Written | CatalensError) -> None:
        product = entry.candidate.product
        group = entry.candidate.group
        if entry.notices:
            self.failed[group] = True
            self._report.skipped += entry.notices
        if isinstance(result, Written):
            outcome = "replaced" if result.outcome == "patched" else result.outcome
            if not (entry.without_photos and outcome == "unchanged"):
                setattr(self._report, outcome, getattr(self._report, outcome) + 1)
            if outcome != "unchanged":
                self.sequences.append(result.sequence)
            self._intake.forget_fresh(taken.new.content_hash for taken in entry.taken)
            self.evidence.append([PhotoEvidence.of(group, taken) for taken in entry.taken])
            return
        self.failed[group] = True
        reason = str(result)
        code = result.code
        if isinstance(result, UnknownProductError):
            reason = (
                f"there is no product {product.product_id!r}: rows without photo and title only "
                "change products that are there"
            )
        self._report.skipped.append(Notice(product.where, reason, code, value=product.product_id))

    def _leave_out(self, entry: _Prepared) -> None:
        self.failed[entry.candidate.group] = True
        self._report.skipped += entry.notices

    def _apply(self, writes: Sequence[Write]) -> list[Written | CatalensError]:
        if self._catalog is None:
            return [
                UnknownProductError(write.product_id)
                if isinstance(write, Patch)
                else Written(0, 0, "added")
                for write in writes
            ]
        dry_run = self._options.dry_run
        # Types were fixed at the start; only a dry run has given them up again.
        types = self._typing.types if dry_run else None
        results = self._catalog.apply(writes, dry_run=dry_run, types=types)
        if not dry_run:
            self.collect(
                [
                    found
                    for result in results
                    if isinstance(result, Written)
                    for found in result.orphaned
                ]
            )
        return results

    # -- preparing

    def _prepare(self, batch: list[Candidate]) -> list[_Prepared]:
        """What each candidate becomes, with its photos checked and kept."""
        stored = self._stored_photos(batch)
        whole = [each for each in batch if not self._is_change(each.product)]
        files = [
            reference
            for candidate in whole
            for reference in candidate.product.photos
            if reference.source not in candidate.fetched
            and (candidate.product.product_id, reference.source) not in stored
        ]
        taken = iter(self._intake.take_files(files))
        prepared = []
        for candidate in batch:
            product = candidate.product
            values, odd = self._typing.fit(product.attributes, product.where, as_written=True)
            if odd:
                self.failed[candidate.group] = True
                self._report.warnings += odd
            if self._is_change(product):
                prepared.append(_Prepared(candidate, self._patch(product, values), []))
                continue
            found: list[Taken] = []
            for reference in product.photos:
                at_hand = candidate.fetched.get(reference.source)
                at_hand = at_hand or stored.get((product.product_id, reference.source))
                found.append(at_hand or next(taken))
            prepared.append(self._put(candidate, values, found))
        return prepared

    def _is_change(self, product: FeedProduct) -> bool:
        return product.partial or self._options.only is not None

    def _stored_photos(self, batch: list[Candidate]) -> dict[tuple[str, str], TakenPhoto]:
        """Photos by address that cannot be fetched in this run, as far as the product has them
        already; in a dry run, all that would be."""
        wanted: dict[str, list[str]] = {}
        for candidate in batch:
            product = candidate.product
            for reference in product.photos if not self._is_change(product) else ():
                if reference.is_url and reference.source not in candidate.fetched:
                    wanted.setdefault(product.product_id, []).append(reference.source)
        found: dict[tuple[str, str], TakenPhoto] = {}
        if self._catalog is not None and wanted:
            pids = self._catalog.pids(wanted).values()
            products = self._catalog.by_pids(pids).values()
            rows = self._intake.known(hash_ for each in products for hash_ in each.sources)
            for stored in products:
                for content_hash, source in stored.sources.items():
                    if content_hash in rows:
                        row = rows[content_hash]
                        found[stored.product_id, source] = TakenPhoto(as_new(row), source)
        if self._options.fetch and self._options.dry_run:
            for product_id, sources in wanted.items():
                for source in sources:
                    found.setdefault((product_id, source), _imagined(source))
        return found

    def _put(
        self, candidate: Candidate, values: dict[str, Any], found: Sequence[Taken]
    ) -> _Prepared:
        product = candidate.product
        notices = [each for each in found if isinstance(each, Notice)]
        good: dict[str, TakenPhoto] = {}
        for each in found:
            if isinstance(each, TakenPhoto):
                good.setdefault(each.new.content_hash, each)
        keep = self._keep
        if not good:
            known = self._catalog is not None and (
                self._catalog.pid(product.product_id) is not None
            )
            left = "keeps the photos that it has" if known else "is left out"
            notices = notices or [nameless(product)]
            notices[-1] = replace(
                notices[-1],
                reason=f"{notices[-1].reason}; product {product.product_id!r} {left}, since none "
                "of its photos is good",
            )
            if not known:
                return _Prepared(candidate, None, notices)
            keep = keep | {"photos", "sources"}
        tags = tuple(Tag(tag, "merchant") for tag in product.tags)
        sources = {found: taken.source for found, taken in good.items() if taken.source}
        write = Put(
            ProductInput(
                product.product_id,
                product.title,
                product.category,
                tags,
                values,
                tuple(good),
                fields=product.fields,
                sources=sources,
            ),
            tuple(taken.new for taken in good.values()),
            keep=keep,
        )
        return _Prepared(candidate, write, notices, list(good.values()), without_photos=not good)

    def _patch(self, product: FeedProduct, values: Mapping[str, Any]) -> Patch:
        """Only what the feed says, and may say."""
        changes: dict[str, Any] = {
            name: getattr(product, name)
            for name in ("title", "category", "tags")
            if getattr(product, name) and self._may_write(name)
        }
        attributes = {name: value for name, value in values.items() if self._may_write(name)}
        shown = {
            name: value
            for name, value in present_fields(product.fields).items()
            if self._may_write(name)
        }
        for name in self.clears:
            if name in FIELD_NAMES and name not in shown:
                shown[name] = None
            elif name not in FIELD_NAMES and name not in attributes:
                attributes[name] = None
        if attributes:
            changes["attributes"] = attributes
        if shown:
            changes["fields"] = shown
        return Patch(product.product_id, changes)

    def _may_write(self, name: str) -> bool:
        only = self._options.only
        return name not in self._keep and (only is None or name in only)


def _imagined(source: str) -> TakenPhoto:
    """A photo that a dry run does not fetch."""
    name = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return TakenPhoto(NewPhoto(name, "JPEG", 0, 0, 0, "copy", None), source)
