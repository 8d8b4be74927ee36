"""Filler of a shop's own feed: proposed values in its columns, all else copied through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from indexer.feeds.columns import ColumnIndex
from indexer.feeds.export.proposal import ExportOptions, FindProposal, Proposal, missing_tags
from indexer.feeds.notice import Notice
from indexer.feeds.product import FeedProduct
from indexer.feeds.product_reader import ProductReader
from indexer.feeds.profile import CategoryRule, FeedProfile, ListRule
from indexer.feeds.table import LostLines, Record, Table


@dataclass(frozen=True)
class FilledRow:
    """A row of the feed with its proposed values; ``old`` has the values that were replaced."""

    values: dict[str, Any]
    old: dict[str, Any]
    # Rows of one number belong to one product of the shop.
    group: int


@dataclass
class _Group:
    """What is known of the rows that were read together."""

    number: int
    # Where a product's first row stands -> the product.
    products: dict[str, FeedProduct] = field(default_factory=dict)
    # Where the row stands that says what all variants share.
    leader: str | None = None

    @property
    def first(self) -> FeedProduct | None:
        return next(iter(self.products.values()), None)


class FeedFiller:
    """One feed, read with its profile, and the proposals that go into it.

    Rows are given in the feed's order with the feed's columns. What all variants share (category,
    tags, alt text) goes to the row that holds the title; colour and attributes to the variant's
    own. A cell that has a value keeps it unless ``ExportOptions.replace``; tags are added behind
    those that are there.
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
        ignored: list[Notice] = []
        self._reader = ProductReader(table, profile, warn=ignored, skip=ignored)
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
            if meaning.startswith("attribute ")
        }
        self._note_missing_columns()

    def rows(self) -> Iterator[FilledRow]:
        """All rows, or with ``changes`` those of products of which one changes. The feed is read
        three times; only ids are held."""
        self.changed.clear()
        groups = self._groups()
        if not self.options.changes:
            yield from self._fill(groups)
            return
        touched = {row.group for row in self._fill(groups) if row.old}
        self.changed.clear()
        for row in self._fill(groups):
            if row.group in touched:
                yield row

    def old_rows(self) -> Iterator[dict[str, Any]]:
        """Rows as they were, of products of which one changed: what undoes the changes."""
        groups = self._groups()
        touched = {row.group for row in self._fill(groups) if row.old}
        for row in self._fill(groups):
            if row.group in touched:
                yield {**row.values, **row.old}

    # --- reading

    def _groups(self) -> dict[str, _Group]:
        """Resolved key -> its group, with its products."""
        reader = self._reader
        members: dict[str, list[Record]] = {}
        for record in self.table.records(LostLines()):
            members.setdefault(reader.group_key(record), []).append(record)
        merged: dict[str, list[Record]] = {}
        for key, records in members.items():
            merged.setdefault(reader.resolve(key), []).extend(records)
        self._keys = {key: reader.resolve(key) for key in members}
        groups: dict[str, _Group] = {}
        for key, records in merged.items():
            group = groups[key] = _Group(len(groups))
            for product in reader.read_group(records):
                group.products[product.where] = product
            group.leader = self._leader(records)
        return groups

    def _leader(self, records: list[Record]) -> str | None:
        """The first row with a title, of several rows that make one product."""
        if self.profile.rows == "products":
            return None
        titles = [found.column for found in self._header.all(self.profile.title)]
        for record in records:
            if any(str(record.values.get(column) or "").strip() for column in titles):
                return record.where
        return records[0].where

    def _first_rule(self, rules: Any) -> tuple[Any, str] | None:
        """The first rule that has a column here, with that column."""
        for rule in rules:
            found = self._header.all(rule.columns)
            if found:
                return rule, found[0].column
        return None

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

    def _fill(self, groups: Mapping[str, _Group]) -> Iterator[FilledRow]:
        for record in self.table.records(LostLines()):
            group = groups[self._keys[self._reader.group_key(record)]]
            values = {column: record.values.get(column, "") for column in self.table.columns}
            changes = self._changes(record, group)
            old = {column: values[column] for column in changes}
            for column in changes:
                self.changed[column] = self.changed.get(column, 0) + 1
            yield FilledRow({**values, **changes}, old, group.number)

    def _changes(self, record: Record, group: _Group) -> dict[str, str]:
        product = group.products.get(record.where)
        found: dict[str, str] = {}
        if product is not None:
            proposal = self._find(product.product_id)
            if proposal is not None:
                self._fill_attributes(record, proposal, found)
        shared = product if group.leader is None else group.first
        if shared is None or (group.leader is not None and record.where != group.leader):
            return found
        proposal = self._find(shared.product_id)
        if proposal is not None:
            self._fill_shared(record, shared, proposal, found)
        return found

    def _fill_attributes(self, record: Record, proposal: Proposal, found: dict[str, str]) -> None:
        proposed = dict(proposal.attributes)
        if proposal.color is not None and self.options.wants("color"):
            proposed["color"] = proposal.color
        for name, value in proposed.items():
            column = self._attributes.get(name)
            wanted = self.options.wants_attribute(name) or (
                name == "color" and self.options.wants("color")
            )
            if column is not None and wanted:
                self._put(record, column, value.value, found)

    def _fill_shared(
        self, record: Record, product: FeedProduct, proposal: Proposal, found: dict[str, str]
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
