"""Groups of rows that are read together, and the products they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexer.catalog.records import MAX_ID, bad_product_id
from indexer.feeds.assembly import Assembly, FoundPhoto, conflict
from indexer.feeds.id_claims import IdClaims, TakenIds, made_id
from indexer.feeds.product import FeedProduct
from indexer.feeds.row_values import RowValues, is_plain_code
from indexer.feeds.values import identifiers

# Of a photo's address, what only says which version of the file it is.
_VERSION_MARK = "?v="
# Photos of a product times the variants that share them.
_MOST_SHARED = 50_000
# Photos of a product that are looked at though another of its rows names them.
_FEW_PHOTOS = 100


def id_text(value: Any) -> str | None:
    """A cell as an id: text as written but for a spreadsheet's own signs; None where it is blank or
    no id."""
    if is_plain_code(value):
        return value
    if isinstance(value, list):
        value = value[0] if value else None
    try:
        found = identifiers.clean(value)
    except ValueError:
        return None
    return found.text if found is not None else None


@dataclass(frozen=True)
class GroupContext:
    """What all groups of a feed are read with."""

    assembly: Assembly
    claims: IdClaims
    # Ids of rows that were left out for a mistake: the feed does not lack them.
    lost_ids: set[str]
    # Product -> its splits, where its rows name several.
    torn: dict[str, tuple[str, ...]]
    # Ids of products that no shopper may see.
    refused_ids: set[str]

    def usable(self, row: RowValues, product_id: str | None, columns: Sequence[str]) -> bool:
        """Whether a row may become a product of that id; if not, it is left out with a reason."""
        if product_id is None:
            names = " or ".join(map(repr, columns)) or "an id"
            self.assembly.notes.skip(row.where, "no-id", f"names no product: {names} is blank")
            return False
        first = product_id[:1]
        plain = product_id.isprintable() and first not in ("", " ", ".")
        reason = None if plain and len(product_id) <= MAX_ID else bad_product_id(product_id)
        if reason:
            self.assembly.notes.skip(row.where, "bad-id", reason, None, product_id)
            self.lost_ids.add(product_id)
            return False
        return True

    def refused(self, row: RowValues) -> str | None:
        """Why a row is no product a shopper may see, or None."""
        return self.refusal(row.values)

    def refusal(self, values: Mapping[str, Any]) -> str | None:
        """Why a row with these values is no product a shopper may see, or None."""
        for columns, words, others, rule in self.assembly.skip_rules:
            for column in columns:
                value = values.get(column)
                text = str(value).strip().casefold() if value is not None else ""
                if text and (text in words or (others and text not in others)):
                    return rule
        return None

    def shared_photos(
        self, photos: list[FoundPhoto], variants: int, parent: str | None
    ) -> list[FoundPhoto]:
        """Those of a product's photos that each of its variants may have; of very many variants the
        first ones."""
        most = max(1, _MOST_SHARED // max(1, variants))
        if len(photos) > most:
            self.assembly.notes.warn(
                photos[most][0],
                "too-many-photos",
                f"product {parent!r} has {variants} variants and {len(photos)} photos; each has "
                f"its own and the first {most} of those of all",
                None,
                parent,
            )
        return photos[:most]

    def skip_refused(
        self, row: RowValues, product_id: str | None, reason: str, ids: Iterable[str | None] = ()
    ) -> None:
        """Say that a row is no product a shopper may see, nor are the variants ``ids``."""
        self.refused_ids.update(filter(None, (product_id, *ids)))
        shown = f"product {product_id!r} " if product_id else ""
        self.assembly.notes.skip(
            row.where, "not-for-sale", f"{shown}is left out: it is {reason}", None, product_id
        )


def photo_list(row: RowValues) -> list[FoundPhoto]:
    """The row's photos, the variant's own first."""
    sources = dict.fromkeys([*row.own_photos, *row.photos])
    return [(row.where, source) for source in sources]


# --- rows are photos of one product
# --------------------------------------------------------------------------------------------------


def read_photos(
    context: GroupContext, rows: Sequence[RowValues], product_id: str | None
) -> list[FeedProduct]:
    """One product; the first present value of each field holds, and one that differs is told."""
    if not context.usable(rows[0], product_id, ("product_id", "image")):
        return []
    assert product_id is not None
    kept = [row for row in rows if not _refuse(context, row, product_id)]
    if not kept:
        return []
    first, *others = kept
    photos = photo_list(first)
    splits = [first.split] if first.split else []
    for row in others:
        _merge(context, first, row, product_id)
        photos += photo_list(row)
        if row.split and row.split not in splits:
            splits.append(row.split)
    if len(splits) > 1:
        order = ("train", "validation", "test")
        context.torn[product_id] = tuple(sorted(splits, key=order.index))
    assembly = context.assembly
    product = assembly.product(
        first,
        product_id,
        _each_once(photos),
        parent=_parent_of(context, first),
        variant=assembly.variant_text(first),
    )
    return [product]


def _each_once(photos: list[FoundPhoto]) -> list[FoundPhoto]:
    """``photos`` without repetitions; of many rows that name one, the first."""
    if len(photos) <= _FEW_PHOTOS:
        return list(dict.fromkeys(photos))
    places: dict[str, str] = {}
    for where, source in photos:
        places.setdefault(source, where)
    return [(where, source) for source, where in places.items()]


def _refuse(context: GroupContext, row: RowValues, product_id: str) -> bool:
    reason = context.refused(row)
    if reason is not None:
        context.skip_refused(row, product_id, reason)
    return reason is not None


def _merge(context: GroupContext, first: RowValues, row: RowValues, product_id: str) -> None:
    notes = context.assembly.notes
    for name in ("title", "category", "tags", "split"):
        old = getattr(first, name)
        new = getattr(row, name)
        if not old and new:
            setattr(first, name, new)
        elif new and new != old:
            notes.add(conflict(row.where, name, product_id, old, new))
    for name, value in row.attributes.items():
        old = first.attributes.setdefault(name, value)
        if old != value:
            notes.add(conflict(row.where, name, product_id, old, value))
    # Fields that are attributes too were compared above.
    for name in ("url", "brand", "gtin", "sku", "price", "sale_price", "before", "currency"):
        if getattr(first, name) is None:
            setattr(first, name, getattr(row, name))
    for name in ("availability", "stock", "variant"):
        if getattr(first, name) is None:
            setattr(first, name, getattr(row, name))
    first.exact = {**row.exact, **first.exact}
    first.titles = {**row.titles, **first.titles}
    first.categories = {**row.categories, **first.categories}


def _parent_of(context: GroupContext, row: RowValues) -> str | None:
    for column in context.assembly.parent_columns:
        found = id_text(row.values.get(column))
        if found is not None:
            return found
    return None


# --- each row is a product
# --------------------------------------------------------------------------------------------------


def read_products(
    context: GroupContext,
    rows: Sequence[RowValues],
    product_id: str | None,
    id_columns: Sequence[str],
) -> list[FeedProduct]:
    """A product for each row; rows that name one id again are other products only where they are
    other variants."""
    products: list[FeedProduct] = []
    taken = TakenIds()
    assembly = context.assembly
    for row in rows:
        if not context.usable(row, product_id, id_columns):
            continue
        assert product_id is not None
        if _refuse(context, row, product_id):
            continue
        assembly.name_options(row)
        parent = _parent_of(context, row)
        variant = assembly.variant_text(row)
        found = product_id
        if found in taken:
            again = taken.distinct(parent or product_id, variant) if variant else None
            if again is None or (products and products[0].fields.variant == variant):
                assembly.notes.skip(
                    row.where,
                    "repeated-id",
                    f"product {product_id!r} comes again; its first row stays",
                    None,
                    product_id,
                )
                continue
            found = again
            say_repeated(context, row, product_id, found)
        taken.add(found)
        products.append(
            assembly.product(
                row,
                found,
                photo_list(row),
                parent=parent,
                variant=variant if parent is not None else None,
            )
        )
    return products


def say_repeated(context: GroupContext, row: RowValues, product_id: str, found: str) -> None:
    """Say that a product got another id than its row names."""
    context.assembly.notes.warn(
        row.where,
        "repeated-id",
        f"the id {product_id!r} is another product's, too; this one is stored as {found!r}",
        None,
        product_id,
    )


# --- rows are variants and photos of one product
# --------------------------------------------------------------------------------------------------


def read_variants(
    context: GroupContext,
    rows: Sequence[RowValues],
    handle: str,
    own_id: Callable[[RowValues], str | None],
) -> list[FeedProduct]:
    """The variants of a product. ``own_id``: the id that a row names."""
    assembly = context.assembly
    base = assembly.shared(rows)
    reason = next(filter(None, map(context.refused, rows)), None)
    if reason is not None:
        ids = [
            own_id(row) or made_id(handle, assembly.variant_text(row))
            for row in rows
            if row.kind == "variant"
        ]
        context.skip_refused(rows[0], handle, reason, ids)
        return []
    variants = [row for row in rows if row.kind == "variant"] or [rows[0]]
    names: dict[int, str] = {}
    for row in rows:
        for option in row.options:
            if option.name:
                names.setdefault(option.number, option.name)
    several = len(variants) > 1
    photos = context.shared_photos(_ordered_photos(rows), len(variants), handle)
    of_variants: set[str] = set()
    for row in variants if several else []:
        of_variants.update(map(photo_key, row.own_photos))
    products: list[FeedProduct] = []
    taken = TakenIds()
    for row in variants:
        assembly.name_options(row, names)
        assembly.fill(row, base, prices=False)
        text = assembly.variant_text(row)
        product_id = _variant_id(context, row, handle, own_id(row), text, taken)
        if not context.usable(row, product_id, ()):
            continue
        products.append(
            assembly.product(
                row,
                product_id,
                _variant_photos(row, photos, of_variants),
                parent=handle if several else None,
                variant=text if several else None,
                base=base,
            )
        )
    return products


def _variant_id(
    context: GroupContext,
    row: RowValues,
    handle: str,
    own: str | None,
    variant: str | None,
    taken: TakenIds,
) -> str:
    repeated = context.claims.repetition(row.where) is not None
    found = own if own is not None and own not in taken and not repeated else None
    if found is None:
        # Without an own id, the one that is made first is the one that another row has.
        other = made_id(handle, variant) if repeated and own is None else None
        found = taken.distinct(handle, variant, beside=other)
        if own is not None:
            say_repeated(context, row, own, found)
    taken.add(found)
    return found


def _ordered_photos(rows: Sequence[RowValues]) -> list[FoundPhoto]:
    """All photos of a product in the shop's order, each once."""
    found: list[tuple[float, int, str, str]] = []
    for number, row in enumerate(rows):
        place = row.position if row.position is not None else float(len(rows) + number)
        found += [(place, number, row.where, source) for source in row.photos]
    found.sort(key=lambda photo: photo[:2])
    once: dict[str, FoundPhoto] = {}
    for _, _, where, source in found:
        once.setdefault(photo_key(source), (where, source))
    return list(once.values())


def _variant_photos(
    row: RowValues, photos: Sequence[FoundPhoto], of_variants: set[str]
) -> list[FoundPhoto]:
    """The variant's own photo, then the product's that are no other variant's; all where none is
    left."""
    chosen = {photo_key(source): (row.where, source) for source in row.own_photos}
    for where, source in photos:
        key = photo_key(source)
        if key not in of_variants:
            chosen.setdefault(key, (where, source))
    if not chosen:
        return list(photos)
    return list(chosen.values())


def photo_key(source: str) -> str:
    """What tells one photo from another by its address."""
    return source.partition(_VERSION_MARK)[0]
