"""Filler of a shop's own feed: proposed values in its columns, all else copied through."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from indexer.feeds.columns import ColumnIndex
from indexer.feeds.export.proposal import ExportOptions, FindProposal, Proposal, missing_tags
from indexer.feeds.feed_input import FeedInput
from indexer.feeds.feed_pass import read_products, scan_rows
from indexer.feeds.import_report import Notices
from indexer.feeds.notice import Notice
from indexer.feeds.profile import CategoryRule, FeedProfile, ListRule
from indexer.feeds.reader import FeedSource
from indexer.feeds.row_digests import hash_text
from indexer.feeds.spool import Spool
from indexer.feeds.table import LostLines, Record, Table


@dataclass(frozen=True)
class FilledRow:
    """A row of the feed with its proposed values; ``old`` has the values that were replaced."""

    # As ``Record.where``.
    where: str
    values: dict[str, Any]
    old: dict[str, Any]
    # Rows of one number belong to one product of the shop.
    group: int


@dataclass(frozen=True)
class _ComparedProduct:
    """Of a product what its proposals are compared with."""

    product_id: str
    category: tuple[str, ...] | None
    tags: tuple[str, ...]
    # Attributes that it has, by its own row or by one that says them for all.
    said: frozenset[str]


@dataclass
class _FillReading:
    """What is held of a feed between its passes: numbers; products lie on disk.

    ``groups``: of each row, the rows that were read together. ``leaders`` [G]: the row that says
    what all variants share, or -1. ``wheres``, sorted: hashes of where products' first rows stand,
    with their numbers in ``products``; ``firsts`` [G]: the number of the group's first, or -1.
    """

    groups: np.ndarray
    leaders: np.ndarray
    firsts: np.ndarray
    wheres: np.ndarray
    numbers: np.ndarray
    products: Spool[_ComparedProduct]

    def at(self, where: str) -> _ComparedProduct | None:
        """The product that begins there, if there is a proposal for it."""
        key = np.uint64(hash_text(where))
        place = int(np.searchsorted(self.wheres, key))
        if place == len(self.wheres) or self.wheres[place] != key:
            return None
        return self.products[int(self.numbers[place])]

    def first(self, group: int) -> _ComparedProduct | None:
        """The group's first product, if there is a proposal for it."""
        number = int(self.firsts[group])
        return None if number < 0 else self.products[number]


class FeedFiller:
    """One feed, read with its profile, and the proposals that go into it.

    Rows are given in the feed's order with the feed's columns. What all variants share (category,
    tags, alt text) goes to the row that holds the title; colour and attributes to the variant's
    own, unless another row says it for all. A cell that has a value keeps it unless
    ``ExportOptions.replace``; tags are added behind those that are there. Descriptions are never
    proposed.
    """

    def __init__(
        self, table: Table, profile: FeedProfile, find: FindProposal, options: ExportOptions
    ) -> None:
        self.table = table
        self.profile = profile
        self.options = options
        self.notices: list[Notice] = []
        # Of columns -> cells that changed.
        self.changed: dict[str, int] = {}
        self._find = find
        # Lines that are no rows, once the rows were read.
        self.lost = 0
        source = FeedSource(table.root)
        self._feed = FeedInput(source, table, profile, "", Notices(), Notices())
        self._reader = self._feed.reader
        self._header = ColumnIndex(table.columns)
        self._category = self._first_rule(profile.category)
        self._tags = self._first_rule(profile.tags)
        alt = self._header.all(profile.alt_text)
        self._alt = alt[0].column if alt else None
        self._photos = [found.column for found in self._header.all(profile.photos.columns)]
        self._attributes = {
            meaning.removeprefix("attribute "): column
            for column, meanings in reversed(self._reader.plan.meanings.items())
            for meaning in meanings
            if meaning.startswith("attribute ") and not self._is_html(meaning)
        }
        self._note_missing_columns()

    def rows(self) -> Iterator[FilledRow]:
        """All rows, or with ``changes`` those of products of which one changes. The feed is read
        several times; of a row only numbers are held in memory."""
        self.changed.clear()
        if not self.options.changes:
            yield from self._fill()
            return
        yield from self.touched_rows()

    def touched_rows(self) -> Iterator[FilledRow]:
        """The rows of products of which one changes: with ``FilledRow.old`` they undo it."""
        touched = np.zeros(len(self._reading.firsts), bool)
        for row in self._fill():
            touched[row.group] |= bool(row.old)
        self.changed.clear()
        for row in self._fill():
            if touched[row.group]:
                yield row

    def old_rows(self) -> Iterator[dict[str, Any]]:
        """Rows as they were, of products of which one changed: what undoes the changes."""
        for row in self.touched_rows():
            yield {**row.values, **row.old}

    # --- reading

    @cached_property
    def _reading(self) -> _FillReading:
        feed = self._feed
        scanned = scan_rows(feed, None)
        self.lost = scanned.lost.count
        groups = scanned.groups
        products: Spool[_ComparedProduct] = Spool()
        wheres = array("Q")
        numbers = array("Q")
        firsts = np.full(len(groups), -1, np.int64)
        for read in read_products(feed, groups, np.ones(len(groups), bool), None):
            for place, product in enumerate(read.products):
                if self._find(product.product_id) is None:
                    continue
                said = frozenset(
                    name for name in self._attributes if product.attributes.get(name) is not None
                )
                number = products.append(
                    _ComparedProduct(
                        product.product_id, product.category, tuple(product.tags), said
                    )
                )
                wheres.append(hash_text(product.where))
                numbers.append(number)
                if place == 0:
                    firsts[read.group] = number
        found = np.frombuffer(wheres, np.uint64)
        order = np.argsort(found, kind="stable")
        return _FillReading(
            np.asarray(groups.of_row),
            self._leaders(np.asarray(groups.of_row), len(groups)),
            firsts,
            found[order],
            np.frombuffer(numbers, np.uint64)[order],
            products,
        )

    def _leaders(self, of_row: np.ndarray, count: int) -> np.ndarray:
        """Of each group the first row with a title, else its first row; -1 where each row is a
        product."""
        leaders = np.full(count, -1, np.int64)
        if self.profile.rows == "products":
            return leaders
        titles = [found.column for found in self._header.all(self.profile.title)]
        titled = np.zeros(count, bool)
        for number, record in enumerate(self.table.records(LostLines())):
            group = of_row[number]
            if titled[group]:
                continue
            titled[group] = any(str(record.values.get(column) or "").strip() for column in titles)
            if titled[group] or leaders[group] < 0:
                leaders[group] = number
        return leaders

    def _first_rule(self, rules: Any) -> tuple[Any, str] | None:
        """The first rule that has a column here, with that column."""
        for rule in rules:
            found = self._header.all(rule.columns)
            if found:
                return rule, found[0].column
        return None

    def _is_html(self, meaning: str) -> bool:
        """Whether an attribute is a text that people wrote, as descriptions are."""
        rule = self.profile.attributes.get(meaning.removeprefix("attribute "))
        return rule is not None and rule.html

    def _note_missing_columns(self) -> None:
        asked = self.options.only or frozenset()
        there = {
            "category": self._category,
            "tags": self._tags,
            "alt_text": self._alt,
            "findings": None,
            "duplicates": None,
        }
        for kind, found in there.items():
            if kind in asked and found is None:
                reason = (
                    f"the feed has no column for {kind.replace('_', ' ')}: left out (--profile csv "
                    "writes it)"
                )
                self.notices.append(Notice(self.table.name, reason, "no-column"))

    # --- writing

    def _fill(self) -> Iterator[FilledRow]:
        reading = self._reading
        for number, record in enumerate(self.table.records(LostLines())):
            group = int(reading.groups[number])
            values = {column: record.values.get(column, "") for column in self.table.columns}
            changes = self._changes(record, number, group)
            old = {column: values[column] for column in changes}
            for column in changes:
                self.changed[column] = self.changed.get(column, 0) + 1
            yield FilledRow(record.where, {**values, **changes}, old, group)

    def _changes(self, record: Record, number: int, group: int) -> dict[str, str]:
        reading = self._reading
        product = reading.at(record.where)
        found: dict[str, str] = {}
        if product is not None:
            proposal = self._find(product.product_id)
            if proposal is not None:
                self._fill_attributes(record, product, proposal, found)
        leader = int(reading.leaders[group])
        shared = product if leader < 0 else reading.first(group)
        if shared is None or (leader >= 0 and number != leader):
            return found
        proposal = self._find(shared.product_id)
        if proposal is not None:
            self._fill_shared(record, shared, proposal, found)
        return found

    def _fill_attributes(
        self, record: Record, product: _ComparedProduct, proposal: Proposal, found: dict[str, str]
    ) -> None:
        proposed = dict(proposal.attributes)
        if proposal.color is not None and self.options.wants("color"):
            proposed["color"] = proposal.color
        for name, value in proposed.items():
            column = self._attributes.get(name)
            wanted = self.options.wants_attribute(name) or (
                name == "color" and self.options.wants("color")
            )
            if column is None or not wanted:
                continue
            # Another row of the product says it for this one, too: the cell is blank on purpose.
            if name not in product.said or record.values.get(column):
                self._put(record, column, value.value, found)

    def _fill_shared(
        self, record: Record, product: _ComparedProduct, proposal: Proposal, found: dict[str, str]
    ) -> None:
        options = self.options
        if self._category is not None and options.wants("category") and proposal.category:
            rule, column = self._category
            if product.category != proposal.category:
                self._put(record, column, _category_cell(rule, proposal.category), found)
        if self._tags is not None and options.wants("tags"):
            rule, column = self._tags
            new = missing_tags(product.tags, proposal.tags)
            if new:
                found[column] = _tags_cell(rule, str(record.values.get(column) or ""), new)
        alt = proposal.alt_text.get(options.language)
        if self._alt is not None and options.wants("alt_text") and alt and self._has_photo(record):
            self._put(record, self._alt, alt, found)

    def _has_photo(self, record: Record) -> bool:
        return any(record.values.get(column) for column in self._photos)

    def _put(self, record: Record, column: str, value: str, found: dict[str, str]) -> None:
        """Propose ``value`` unless the cell has one that stays."""
        present = str(record.values.get(column) or "").strip()
        if present.casefold() == value.casefold() or (present and not self.options.replace):
            return
        found[column] = value


def _category_cell(rule: CategoryRule, path: tuple[str, ...]) -> str:
    if rule.separator is None:
        return path[-1]
    separator = rule.separator.strip() or rule.separator
    return (f" {separator} " if separator == ">" else separator).join(path)


def _tags_cell(rule: ListRule, present: str, new: list[str]) -> str:
    separator = rule.separators[0] if rule.separators else ","
    joint = f"{separator} " if separator in (",", ";") else separator
    kept = present.strip().rstrip(separator).rstrip()
    return joint.join([kept, *new] if kept else new)
