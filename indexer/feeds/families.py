"""Families of rows: variants that name their parent's row, or are named by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from indexer.catalog.records import MAX_ID
from indexer.feeds.assembly import FoundPhoto
from indexer.feeds.columns import ColumnIndex
from indexer.feeds.groups import (
    GroupContext,
    id_text,
    photo_key,
    photo_list,
    say_repeated,
)
from indexer.feeds.id_claims import TakenIds
from indexer.feeds.product import FeedProduct
from indexer.feeds.profile import FamilyRule, FeedProfile
from indexer.feeds.row_values import FoundOption, MarketMoney, RowValues

Kind = Literal["parent", "variant", "single", "view"]


class FamilyKeys:
    """Keys of the rows of one feed, and the other names by which parents are called."""

    def __init__(self, profile: FeedProfile, header: ColumnIndex) -> None:
        assert profile.family is not None
        self.rule: FamilyRule = profile.family
        self.aliases: dict[str, str] = {}
        self._parent = _names(header, profile.parent)
        self._keys = _names(header, self.rule.keys)
        self._references = [
            (prefix, column)
            for prefix, name in self.rule.references.items()
            for column in _names(header, (name,))
        ]
        kind = self.rule.kind
        self._kind_columns = _names(header, kind.column) if kind else []
        self._parents = _words(kind.parent if kind else ())
        self._variants = _words(kind.variant if kind else ())
        self._view = _names(header, self.rule.view)
        self._children = _names(header, self.rule.children.columns) if self.rule.children else []
        self._kinds: dict[str, Kind | None] = {}

    def kind(self, values: Mapping[str, Any]) -> Kind:
        """What a row says it is; where it does not say, one that names a parent is a variant."""
        for column in self._view:
            if id_text(values.get(column)) is not None:
                return "view"
        for column in self._kind_columns:
            said = values.get(column)
            if said:
                found = self._kind_of(str(said))
                if found is not None:
                    return found
        if not self._kind_columns and self.reference(values) is not None:
            return "variant"
        return "single"

    def _kind_of(self, text: str) -> Kind | None:
        if text not in self._kinds:
            words = {word.strip().casefold() for word in text.split(",")}
            self._kinds[text] = (
                "variant"
                if words & self._variants
                else "parent"
                if words & self._parents
                else "single"
            )
        return self._kinds[text]

    def reference(self, values: Mapping[str, Any]) -> str | None:
        """How a row names its parent."""
        for column in self._parent:
            found = id_text(values.get(column))
            if found is not None:
                return found
        return None

    def resolve(self, reference: str) -> str:
        """The key of the family that a reference means, once all rows are noted."""
        return self.aliases.get(reference, reference)

    def view(self, values: Mapping[str, Any]) -> str:
        """The store view that a row speaks of."""
        return next(filter(None, (id_text(values.get(column)) for column in self._view)), "")

    @property
    def lists_children(self) -> bool:
        """Whether parents name their variants, and not the other way round."""
        return bool(self._children)

    def own_key(self, values: Mapping[str, Any]) -> str | None:
        """How a row would be named by its variants."""
        for column in self._keys:
            found = id_text(values.get(column))
            if found is not None:
                return found
        for prefix, column in self._references:
            found = id_text(values.get(column))
            if found is not None:
                return prefix + found
        return None

    def key(self, values: Mapping[str, Any], kind: Kind, *, note: bool) -> str | None:
        """The key of a row's family; ``note``: remember its other names."""
        if kind == "variant":
            reference = self.reference(values)
            if reference is not None:
                return reference
        own = self.own_key(values)
        if note and own is not None and (kind == "parent" or not self._kind_columns):
            self._note(values, own)
        return own

    def _note(self, values: Mapping[str, Any], own: str) -> None:
        for prefix, column in self._references:
            found = id_text(values.get(column))
            if found is not None and prefix + found != own:
                self.aliases[prefix + found] = own
        for column in self._children:
            for child in self.children(values.get(column)):
                if child != own:
                    self.aliases.setdefault(child, own)

    def children(self, value: Any) -> dict[str, list[FoundOption]]:
        """The variants that a parent's row lists, with the options that it says of each."""
        rule = self.rule.children
        if rule is None or not isinstance(value, str):
            return {}
        found = {}
        for variant in value.split(rule.separator):
            child = None
            options: list[FoundOption] = []
            for pair in variant.split(rule.pairs):
                name, _, said = (part.strip() for part in pair.partition("="))
                if not said:
                    continue
                if name.casefold() == rule.key.casefold():
                    child = said
                else:
                    options.append(FoundOption(len(options) + 1, name, said))
            if child is not None:
                found[child] = options
        return found

    def listed(self, parents: Sequence[RowValues]) -> dict[str, list[FoundOption]]:
        """All variants that the rows of parents list."""
        found: dict[str, list[FoundOption]] = {}
        for row in parents:
            for column in self._children:
                found |= self.children(row.values.get(column))
        return found


def read_family(
    context: GroupContext,
    rows: Sequence[RowValues],
    keys: FamilyKeys,
    own_id: Callable[[RowValues], str | None],
) -> list[FeedProduct]:
    """The variants of a parent, with what its row says; the parent itself is a product only where
    it has none. ``own_id``: the id that a row names."""
    family = _Family(context, keys, own_id)
    for row in rows:
        family.add(row)
    return family.read()


class _Family:
    """Rows of one family: its parent, its variants, and rows that stand alone."""

    def __init__(
        self,
        context: GroupContext,
        keys: FamilyKeys,
        own_id: Callable[[RowValues], str | None],
    ) -> None:
        self.context = context
        self.assembly = context.assembly
        self.notes = context.assembly.notes
        self.keys = keys
        self.own_id = own_id
        self.parents: list[RowValues] = []
        self.variants: list[RowValues] = []
        self.singles: list[RowValues] = []
        self.views: list[tuple[str, RowValues]] = []
        self.taken = TakenIds()

    def add(self, row: RowValues) -> None:
        """Put a row where it belongs."""
        kind = self.keys.kind(row.values)
        if kind == "view":
            self.views.append((self.keys.view(row.values), row))
        elif kind == "parent":
            self.parents.append(row)
        elif kind != "variant":
            self.singles.append(row)
        elif self.keys.reference(row.values) is None:
            self.notes.warn(
                row.where,
                "parent-missing",
                "is a variant, but names no parent; it is kept as a product of its own",
            )
            self.singles.append(row)
        else:
            self.variants.append(row)

    def _part_with_own_children(self) -> None:
        """Let rows that name themselves stand alone, where no other row has that name."""
        variants = self.variants
        self.variants = []
        for row in variants:
            reference = self.keys.reference(row.values)
            own = self.keys.own_key(row.values)
            if self.parents or reference is None or self.keys.resolve(reference) != own:
                self.variants.append(row)
                continue
            self.notes.warn(
                row.where,
                "own-parent",
                f"names itself as its parent ({reference!r}); it is kept as a product of its own",
                None,
                reference,
            )
            self.singles.append(row)

    def read(self) -> list[FeedProduct]:
        """The family's products."""
        self._part_with_own_children()
        if self.keys.lists_children and self.parents:
            self.variants += self.singles
            self.singles = []
        elif self.variants and not self.parents:
            self.parents = self.singles
            self.singles = []
        self._add_views()
        if not self.variants:
            self.singles = self.parents + self.singles
            self.parents = []
        return self._read_variants() + self._read_singles()

    def _add_views(self) -> None:
        """Take rows that only say how their product is called, and what it costs, in one view."""
        if not self.views:
            return
        by_id: dict[str | None, RowValues] = {}
        for row in (*self.parents, *self.variants, *self.singles):
            by_id.setdefault(self.own_id(row), row)
        for view, row in self.views:
            own = self.own_id(row)
            other = by_id.get(own)
            if other is None:
                by_id[own] = row
                self.singles.append(row)
                continue
            if row.title is not None:
                other.titles.setdefault(view, row.title)
            if row.price is not None:
                other.markets.setdefault(view, MarketMoney(row.price, row.sale_price))

    def _read_variants(self) -> list[FeedProduct]:
        context = self.context
        for row in self.parents:
            self.assembly.name_options(row)
        for row in self.parents:
            reason = context.refused(row)
            if reason is not None:
                ids = map(self.own_id, self.variants)
                context.skip_refused(row, self.own_id(row), reason, ids)
                return []
        base = None
        if self.parents:
            base = self.assembly.shared(self.parents)
            base.availability = self.parents[0].availability
            base.stock = self.parents[0].stock
        parent = self._parent_name()
        names: dict[int, str] = {}
        for row in self.parents:
            for option in row.options:
                if option.name:
                    names.setdefault(option.number, option.name)
        photos_of_variants: set[str] = set()
        for row in self.variants:
            photos_of_variants.update(photo_key(source) for _, source in photo_list(row))
        products = []
        listed = self.keys.listed(self.parents)
        of_parents = [photo for row in self.parents for photo in photo_list(row)]
        of_parents = context.shared_photos(of_parents, len(self.variants), parent)
        for row in self.variants:
            reason = context.refused(row)
            if reason is not None:
                context.skip_refused(row, self.own_id(row), reason)
                continue
            row.options = row.options or listed.get(self.keys.own_key(row.values) or "", [])
            self.assembly.name_options(row, names)
            text = self.assembly.variant_text(row)
            if base is not None:
                self.assembly.fill(row, base, prices=True)
            product_id = self._id(row, parent, text)
            if context.usable(row, product_id, self.assembly.id_columns):
                assert product_id is not None
                photos = _photos(row, of_parents, photos_of_variants)
                products.append(
                    self.assembly.product(
                        row, product_id, photos, parent=parent, variant=text, base=base
                    )
                )
        return products

    def _parent_name(self) -> str | None:
        """What all variants have as their parent: its id, or how they name it."""
        if self.parents:
            return self.own_id(self.parents[0])
        if not self.variants:
            return None
        first = self.variants[0]
        parent = self.keys.reference(first.values)
        if self.keys.rule.inside:
            self.notes.warn(
                first.where,
                "parent-missing",
                f"the parent {parent!r} is not in the feed; its variants are kept together, with "
                "what their own rows say",
                None,
                parent,
            )
        return parent

    def _read_singles(self) -> list[FeedProduct]:
        products = []
        for row in self.singles:
            self.assembly.name_options(row)
            product_id = self._id(row, None, None)
            reason = self.context.refused(row)
            if reason is not None:
                self.context.skip_refused(row, product_id, reason)
            elif self.context.usable(row, product_id, self.assembly.id_columns):
                assert product_id is not None
                products.append(self.assembly.product(row, product_id, photo_list(row)))
        return products

    def _id(self, row: RowValues, parent: str | None, variant: str | None) -> str | None:
        found = own = self.own_id(row)
        repetition = self.context.claims.repetition(row.where)
        if own is not None and (repetition is not None or own in self.taken):
            if parent is not None and variant is not None:
                found = self.taken.distinct(parent, variant, beside=own)
            else:
                mark = f"#{repetition or 2}"
                found = own[: MAX_ID - len(mark)] + mark
            say_repeated(self.context, row, own, found)
        if found is not None:
            self.taken.add(found)
        return found


def _photos(
    row: RowValues, of_parents: list[FoundPhoto], photos_of_variants: set[str]
) -> list[FoundPhoto]:
    """The variant's own photos, then its parent's that are no other variant's; all of them where
    none is left."""
    chosen = {photo_key(source): (where, source) for where, source in photo_list(row)}
    for where, source in of_parents:
        key = photo_key(source)
        if key not in photos_of_variants:
            chosen.setdefault(key, (where, source))
    return list(chosen.values()) or of_parents


def _names(header: ColumnIndex, names: Sequence[str]) -> list[str]:
    return [found.column for found in header.all(names)]


def _words(words: Sequence[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)
