"""Assembly of products from what their rows say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from indexer.catalog.product_checks import checked_field, checked_fields
from indexer.catalog.product_fields import (
    SALE_DATES,
    Availability,
    MarketPrice,
    ProductFields,
    present_fields,
)
from indexer.core.category_path import format_path
from indexer.core.errors import BadProductError
from indexer.feeds.attribute_steps import attribute_name
from indexer.feeds.columns import snake_case
from indexer.feeds.exact_cells import with_exact
from indexer.feeds.notice import Notice
from indexer.feeds.photo_cells import photo_requests
from indexer.feeds.product import FeedProduct, PhotoReference
from indexer.feeds.row_plan import RowPlan
from indexer.feeds.row_values import MarketMoney, Notes, RowValues, shortened, text_of
from indexer.feeds.values import availability as availability_words
from indexer.feeds.values import currencies
from indexer.feeds.values.money import Money

# What a variant has from its product where it says nothing itself.
_SHARED = ("title", "category", "vendor_number", "url", "brand", "currency", "split")
# In a family also what a variant sells for.
_SHARED_PRICES = ("price", "sale_price", "before", "sale_from", "sale_until")

# So many of the columns that tell variants apart name one; the others are the same for all.
_VARIANT_COLUMNS = 2

# Photos that one product is read with.
MOST_PHOTOS = 1000
# What to do about a number of Google's.
_WAY_OUT = " (Google's file of names and numbers can be given: --taxonomy-file)"

FoundPhoto = tuple[str, str]


class Assembly:
    """Rows of one product or of its variants to products."""

    def __init__(self, plan: RowPlan, notes: Notes, *, partial: bool) -> None:
        self.plan = plan
        self.profile = plan.profile
        self.notes = notes
        self.partial = partial
        self._variant_columns = _columns(plan, plan.profile.variant)
        self._requests = photo_requests(plan.profile.photos.ask)
        self.parent_columns = _columns(plan, plan.profile.parent)
        self.id_columns = _columns(plan, plan.profile.id)
        self.skip_rules = [
            (
                _columns(plan, rule.columns),
                _words(rule.words),
                _words(rule.others_than),
                rule.reason,
            )
            for rule in plan.profile.skip
        ]
        untracked = self.profile.stock.untracked
        self._untracked = _words(untracked)
        # A change leaves the stored currency; whoever wrote the columns of Catalens knows of it.
        self._expects_currency = not (partial or plan.profile.verbatim)
        self._has_tracked = plan.counts_some
        self._categories = [name for rule in plan.profile.category for name in rule.columns]

    # --- what rows share
    # ----------------------------------------------------------------------------------------------

    def shared(self, rows: Sequence[RowValues]) -> RowValues:
        """The first present value of each field of a product, over its rows."""
        base = RowValues(rows[0].where, rows[0].values)
        for row in rows:
            self.fill(base, row, prices=True)
            base.tracked = base.tracked or row.tracked
            base.policy = base.policy or row.policy
        return base

    def fill(self, row: RowValues, base: RowValues, *, prices: bool) -> None:
        """Give ``row`` what it lacks and ``base`` has, but what belongs to a variant alone."""
        for name in _SHARED:
            if getattr(row, name) is None:
                setattr(row, name, getattr(base, name))
        if prices and row.price is None and row.sale_price is None:
            for name in _SHARED_PRICES:
                setattr(row, name, getattr(base, name))
        if not row.tags:
            row.tags = list(base.tags)
        if not row.other_categories and row.category == base.category:
            row.other_categories = base.other_categories
        row.titles = {**base.titles, **row.titles}
        row.categories = {**base.categories, **row.categories}
        own = self.plan.own_attributes
        for name, value in base.attributes.items():
            if name not in own:
                row.attributes.setdefault(name, value)

    def name_options(self, row: RowValues, names: Mapping[int, str] | None = None) -> None:
        """Make attributes of the row's options. ``names``: of a variant, those of its product by
        number; a variant has one value of each."""
        for option in row.options:
            name = option.name or (names or {}).get(option.number) or f"option{option.number}"
            if snake_case(name) == "brand":
                row.brand = row.brand or option.value
                continue
            several = names is None and len(option.values) > 1
            row.attributes[attribute_name(name)] = list(option.values) if several else option.value

    # --- one product
    # ----------------------------------------------------------------------------------------------

    def product(
        self,
        row: RowValues,
        product_id: str,
        photos: Iterable[FoundPhoto],
        *,
        parent: str | None = None,
        variant: str | None = None,
        base: RowValues | None = None,
    ) -> FeedProduct:
        """The product of a row that has all it gets from others. ``photos``: (where, source);
        ``base``: what its product says, of stock that is counted there."""
        if row.category is None and row.vendor_number is not None:
            self.notes.warn(
                row.where,
                "vendor-number",
                f"category {row.vendor_number!r} is {_number_of(row.vendor_number)}, and the feed "
                "has no name for it; the product is kept without a category"
                f"{_WAY_OUT if row.vendor_number.isdigit() else ''}",
                self._said(row, self._categories)[0],
                row.vendor_number,
            )
        attributes = row.attributes
        if row.stock is not None and not self.profile.verbatim:
            attributes["stock"] = row.stock
        if row.other_categories and not self.profile.verbatim:
            attributes.setdefault(
                "other_categories", [format_path(path) for path in row.other_categories]
            )
        fields = self._fields(row, parent, variant or row.variant, base)
        photos = list(photos)
        if len(photos) > MOST_PHOTOS:
            self.notes.warn(
                photos[MOST_PHOTOS][0],
                "too-many-photos",
                f"product {product_id!r} names {len(photos)} photos; the first {MOST_PHOTOS} are "
                "read",
                None,
                product_id,
            )
        if fields.sale_price is not None:
            dates = zip(SALE_DATES, (row.sale_from, row.sale_until), strict=True)
            attributes |= {name: moment for name, moment in dates if moment is not None}
        product = FeedProduct(
            where=row.where,
            product_id=product_id,
            title=row.title or _of_languages(row.titles),
            category=row.category,
            tags=tuple(dict.fromkeys(row.tags)),
            attributes=attributes,
            fields=fields,
            photos=tuple(
                PhotoReference(where, source, self._requests(source))
                for where, source in photos[:MOST_PHOTOS]
            ),
            split=row.split,
            partial=self.partial,
        )
        return self._with_exact(product, row) if row.exact else product

    def _with_exact(self, product: FeedProduct, row: RowValues) -> FeedProduct:
        """What an export wrote as JSON counts as it stands, whatever the others say."""
        for column, value in row.exact.items():
            try:
                product = with_exact(product, column, value)
            except BadProductError as error:
                reason = f"column {column!r}: {error}; the value is left out"
                self.notes.warn(row.where, "odd-value", reason, column, value)
        return product

    def variant_text(self, row: RowValues) -> str | None:
        """What tells a variant from the others: "Red / M"."""
        values = [option.value for option in row.options]
        if not values:
            values = [
                text for column in self._variant_columns if (text := _text(row.values.get(column)))
            ][:_VARIANT_COLUMNS]
        return " / ".join(values) or None

    def _fields(
        self, row: RowValues, parent: str | None, variant: str | None, base: RowValues | None
    ) -> ProductFields:
        price, sale_price, currency = self._prices(row)
        fields = ProductFields(
            url=row.url,
            price=price,
            sale_price=sale_price,
            currency=currency,
            availability=self._availability(row, base),
            brand=row.brand,
            gtin=row.gtin,
            sku=row.sku,
            parent=parent,
            variant=variant,
            titles=row.titles,
            categories=row.categories,
            prices=_markets(row) if row.markets else {},
        )
        try:
            checked_fields(fields)
        except BadProductError:
            return self._without_odd(row, fields)
        return fields

    def _without_odd(self, row: RowValues, fields: ProductFields) -> ProductFields:
        """``fields`` without those that no catalog takes: an odd value costs itself."""
        good = {}
        for name, value in present_fields(fields).items():
            try:
                checked_field(name, value)
                good[name] = value
            except BadProductError as error:
                self.notes.warn(row.where, "odd-value", f"{error}; it is left out", name, value)
        return ProductFields(**good)

    def _prices(self, row: RowValues) -> tuple[float | None, float | None, str | None]:
        price, sale = regular_and_sale(row.price, row.sale_price, row.before)
        if self.partial and row.price is None:
            # The price that it is a sale of is the stored product's.
            price, sale = None, row.sale_price
        if price is None and sale is None:
            return None, None, None
        currency = price.currency if price is not None else None
        if currency is None and row.currency is not None:
            currency = currencies.code(row.currency, self.profile.price.default_currency)
            if currency is None:
                self.notes.warn(
                    row.where,
                    "odd-currency",
                    f"the currency {row.currency!r} is not known; the amount is kept without one",
                    self._said(row, self.profile.price.currency)[0],
                    row.currency,
                )
        if currency is None and row.currency is None and self._expects_currency:
            self._say_no_currency(row, price or sale)
        if sale is not None and sale.currency not in (None, price and price.currency):
            if price is None or price.currency is None:
                currency = sale.currency
            else:
                self.notes.warn(
                    row.where,
                    "mixed-currencies",
                    f"the sale price is in {sale.currency}, the price in {price.currency}; the "
                    "sale price is left out",
                    *self._said(row, self.profile.price.sale_price),
                )
                sale = None
        if price is not None and sale is not None and sale.amount > price.amount:
            self.notes.warn(
                row.where,
                "odd-sale-price",
                f"the sale price {sale.amount:g} is above the price {price.amount:g}; it is left "
                "out",
                *self._said(row, self.profile.price.sale_price),
            )
            sale = None
        amounts = [None if money is None else money.amount for money in (price, sale)]
        return amounts[0], amounts[1], currency

    def _say_no_currency(self, row: RowValues, amount: Money | None) -> None:
        """Once, of the first amount that has none."""
        if amount is None or amount.unknown_currency is not None:
            return
        rule = self.profile.price
        self.notes.warn_once(
            row.where,
            "no-currency",
            "amounts name no currency: they are kept without one; say which it is with "
            "--currency, such as --currency EUR",
            *self._said(row, (*rule.price, *rule.sale_price)),
        )

    def _said(self, row: RowValues, names: Sequence[str]) -> tuple[str | None, Any]:
        """The first column of ``names`` that the row has a value in, and that value."""
        values = row.values
        found = _columns(self.plan, names)
        column = next((name for name in found if values.get(name) not in (None, "")), None)
        return column, None if column is None else values[column]

    def _availability(self, row: RowValues, base: RowValues | None) -> Availability | None:
        rule = self.profile.stock
        if row.availability is not None:
            return row.availability
        stock = row.stock
        if stock is None and base is not None:
            if row.stock_elsewhere or not rule.tracked:
                stock = base.stock
            if stock is None and base.availability is not None:
                return base.availability
        tracked, policy = row.tracked, row.policy
        if row.stock is not None and base is not None:
            tracked, policy = tracked or base.tracked, policy or base.policy
        if self._has_tracked and (tracked is None or tracked.casefold() in self._untracked):
            # Nobody counts: what is sold is there.
            return "in_stock"
        return availability_words.of_stock(stock, policy)


def _number_of(vendor_number: str) -> str:
    if vendor_number.isdigit():
        return "a number of Google's taxonomy"
    return "an id that only the shop system knows"


def _of_languages(titles: Mapping[str, str]) -> str | None:
    """The English one, else the first."""
    english = next((text for name, text in titles.items() if name.startswith("en")), None)
    return english or next(iter(titles.values()), None)


def regular_and_sale(
    price: Money | None, sale: Money | None, before: Money | None
) -> tuple[Money | None, Money | None]:
    """The price without a sale, and that of the sale where there is one."""
    if before is not None and price is not None and sale is None and before.amount > price.amount:
        return before, price
    if price is None:
        return sale, None
    if sale is not None and (sale.amount == price.amount or not sale.amount):
        return price, None
    return price, sale


def _markets(row: RowValues) -> dict[str, MarketPrice]:
    found = {}
    for market, prices in row.markets.items():
        said = _market(prices)
        if said:
            found[market] = said
    return found


def _market(prices: MarketMoney) -> MarketPrice:
    price, sale = regular_and_sale(prices.price, prices.sale_price, prices.before)
    said = MarketPrice()
    if price is not None:
        said["price"] = price.amount
        if price.currency is not None:
            said["currency"] = price.currency
    if sale is not None:
        said["sale_price"] = sale.amount
    return said


def _columns(plan: RowPlan, names: Sequence[str]) -> list[str]:
    return [found.column for found in plan.header.all(names)]


def _words(words: Sequence[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def _text(value: Any) -> str | None:
    try:
        return text_of(value)
    except ValueError:
        return None


def conflict(where: str, name: str, product_id: str, old: object, new: object) -> Notice:
    """What two rows of one product say differently, and that the first stays."""
    return Notice(
        where,
        f"{name} {new!r} of product {product_id!r} differs from its first, {old!r}, which stays",
        "conflict",
        name,
        shortened(new),
    )
