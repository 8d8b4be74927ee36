"""Plan by which rows of one feed are read: per column, what its cells mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from indexer.catalog.attributes import RESERVED, AttributeType
from indexer.catalog.product_fields import SALE_DATES
from indexer.feeds import attribute_steps, row_steps
from indexer.feeds.attribute_steps import attribute_name
from indexer.feeds.columns import ColumnIndex, FoundColumn
from indexer.feeds.exact_cells import MARK, is_exact, quoted_name, read_exact
from indexer.feeds.profile import AttributeRule, CategoryRule, FeedProfile, OptionRule
from indexer.feeds.row_steps import CellStep
from indexer.feeds.row_values import Notes, RowValues
from indexer.feeds.values.identifiers import is_code_name
from indexer.feeds.values.money import MoneyColumn
from indexer.feeds.values.spreadsheet_cells import unharmed


class RowPlan:
    """What a profile makes of the columns that one feed has, ready to run on its rows.

    ``sample``: some rows, which decide how numbers that can be read in two ways are meant.
    """

    def __init__(
        self,
        profile: FeedProfile,
        columns: Iterable[str],
        notes: Notes,
        *,
        text: bool = True,
        sample: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.profile = profile
        self.header = ColumnIndex(columns, profile.aliases, profile.columns)
        self.notes = notes
        self.text = text
        self.sample = sample
        self.types: dict[str, AttributeType] = {}
        # Attributes that belong to a variant alone.
        self.own_attributes: set[str] = set()
        # Column -> what becomes of it, in words.
        self.meanings: dict[str, list[str]] = {}
        # What was decided from the sample, in words.
        self.decided: list[str] = []
        # Columns that the profile itself names.
        self.named: frozenset[str] = frozenset()
        # Whether stock is counted for some rows, and not for others.
        self.counts_some = False
        # Columns of counts with thousands in groups.
        self.grouped_counts: list[str] = []
        self._steps: list[tuple[str, CellStep]] = []
        # Whether a spreadsheet may have read the cells, so that they were made harmless.
        self._harmless = text or profile.verbatim
        self._exact = profile.verbatim and MARK in self.header.columns
        self._own = {found.column for found in self.header.all(profile.own)}
        self._plan()
        self.photo_columns = {found.column for found in self.header.all(profile.photo_columns)}
        self.steps = tuple(self._steps)
        # Column -> where its steps stand among all.
        self._places: dict[str, list[int]] = {}
        for place, (column, _) in enumerate(self.steps):
            self._places.setdefault(column, []).append(place)

    def read(
        self, where: str, values: Mapping[str, Any], said: Mapping[str, Any] | None = None
    ) -> RowValues:
        """What one row says. A cell that cannot be understood costs itself.

        ``said``: values of a row of the same product; what is the same in this one is not read
        again, but for photos.
        """
        row = RowValues(where, values)
        exact = self._exact
        for column, step in self._steps_of(values):
            value = values.get(column)
            if value is None or value == "":
                continue
            if said is not None and value == said.get(column) and column not in self.photo_columns:
                continue
            if self._harmless and type(value) is str and value[0] == "'":
                value = unharmed(value)
            try:
                if exact and is_exact(value) and column not in self.photo_columns:
                    row.exact[column] = read_exact(value)
                else:
                    step(value, row)
            except ValueError as error:
                self.notes.warn(
                    where,
                    "odd-value",
                    f"column {column!r}: {error}; the value is left out",
                    column,
                    value,
                )
        return row

    def _steps_of(self, values: Mapping[str, Any]) -> Iterable[tuple[str, CellStep]]:
        """The steps in their order; of a record that has few of the feed's columns its own alone,
        so that it costs what it holds."""
        if 2 * len(values) > len(self._places):
            return self.steps
        places = chain.from_iterable(self._places.get(column, ()) for column in values)
        return [self.steps[place] for place in sorted(places)]

    def _plan(self) -> None:
        profile = self.profile
        for column in self.header.all(profile.id):
            self._mean(column.column, "product id")
        for column in self.header.all(profile.parent):
            self._add(column.column, "parent", row_steps.nothing)
        self._plan_texts()
        self._plan_categories()
        self._plan_tags()
        self._plan_photos()
        self._plan_prices()
        self._plan_stock()
        for option in profile.options:
            self._plan_option(option)
        self._plan_attributes()
        for rule in profile.skip:
            for column in self.header.all(rule.columns):
                self._mean(column.column, f"left out where it is {rule.reason}")
        if profile.family is not None:
            kind = profile.family.kind
            names = (
                *profile.family.keys,
                *profile.family.references.values(),
                *profile.family.view,
            )
            names += kind.column if kind else ()
            names += profile.family.children.columns if profile.family.children else ()
            for column in self.header.all(names):
                self._mean(column.column, "parent and variants")
        kept = [found.column for found in self.header.all(profile.keep)]
        for column in self.header.all(profile.drop):
            if column.column not in self.meanings:
                self._mean(column.column, "left out")
        self.named = frozenset({*self.meanings, *kept})
        self._plan_others()

    def _mean(self, column: str, meaning: str) -> None:
        found = self.meanings.setdefault(column, [])
        if meaning not in found:
            found.append(meaning)

    def _add(self, column: str, meaning: str, step: CellStep) -> None:
        self._mean(column, meaning)
        self._steps.append((column, step))

    def _each(
        self, names: Sequence[str], meaning: str, make: Callable[[FoundColumn], CellStep]
    ) -> list[str]:
        """A step for each column of ``names``, made by ``make``."""
        found = self.header.all(names)
        for column in found:
            what = ", ".join(part for part in column.parts.values() if part and not part.isdigit())
            self._add(column.column, f"{meaning} ({what})" if what else meaning, make(column))
        return [column.column for column in found]

    def _plan_texts(self) -> None:
        profile = self.profile
        unescape = not profile.verbatim
        self._each(profile.title, "title", lambda _: row_steps.title(unescape))
        self._each(
            profile.titles,
            "title",
            lambda found: row_steps.local_title(language(found.parts["locale"]), unescape),
        )
        self._each(profile.url, "url", lambda _: row_steps.url)
        self._each(profile.brand, "brand", lambda _: row_steps.brand)
        for name in ("gtin", "sku"):
            self._each(
                getattr(profile, name),
                name,
                lambda found, name=name: row_steps.code(name, found.column, self.notes),  # type: ignore[misc]
            )
        self._each(profile.split, "split", lambda _: row_steps.split)
        self._each(profile.variant, "variant", lambda _: row_steps.nothing)

    def _plan_categories(self) -> None:
        def make(rule: CategoryRule) -> Callable[[FoundColumn], CellStep]:
            return lambda found: row_steps.category(rule)

        for rule in self.profile.category:
            self._each(rule.columns, "category", make(rule))
        for rule in self.profile.categories:
            for found in self.header.all(rule.columns):
                locale = language(found.parts["locale"])
                self._add(
                    found.column,
                    f"category ({locale})",
                    row_steps.local_category(rule, locale),
                )

    def _plan_tags(self) -> None:
        for rule in self.profile.tags:
            for found in self.header.all(rule.columns):
                self._add(found.column, "tags", row_steps.tags(rule.separators))

    def _plan_photos(self) -> None:
        rule = self.profile.photos
        none = frozenset(word.casefold() for word in rule.none)
        # The variant's own first: it is looked at first, too.
        self._each(
            rule.own,
            "photo of the variant",
            lambda _: row_steps.photos(rule.separators, none, own=True),
        )
        own = set(self.meanings)
        for found in self.header.all(rule.columns):
            if found.column not in own or "photo of the variant" not in self.meanings[found.column]:
                self._add(found.column, "photo", row_steps.photos(rule.separators, none, own=False))
        self._each(rule.position, "order of photos", lambda _: row_steps.position)

    def _plan_prices(self) -> None:
        rule = self.profile.price

        def money(attribute: str, market: bool = False) -> Callable[[FoundColumn], CellStep]:
            def make(found: FoundColumn) -> CellStep:
                column = self._money_column(found.column)
                currency = found.parts.get("currency")
                if market:
                    step = row_steps.market_money
                    return step(attribute, found.parts["market"], column, found.column, self.notes)
                return row_steps.money(attribute, column, currency, found.column, self.notes)

            return make

        self._each(rule.price, "price", money("price"))
        self._each(rule.sale_price, "sale price", money("sale_price"))
        self._each(rule.before, "price before a sale", money("before"))
        self._plan_sale_dates()
        self._each(rule.currency, "currency", lambda _: row_steps.currency)
        self._each(rule.market_price, "price in", money("price", market=True))
        self._each(rule.market_sale_price, "sale price in", money("sale_price", market=True))
        self._each(rule.market_before, "price before a sale in", money("before", market=True))

    def _plan_sale_dates(self) -> None:
        rule = self.profile.price
        begin = self._each(
            rule.sale_from, "begin of the sale price", lambda _: row_steps.sale_end("sale_from")
        )
        end = self._each(
            rule.sale_until, "end of the sale price", lambda _: row_steps.sale_end("sale_until")
        )
        both = self._each(
            rule.sale_period, "when the sale price holds", lambda _: row_steps.sale_period
        )
        if begin or end or both:
            self.types |= dict.fromkeys(SALE_DATES, "datetime")
            self.own_attributes.update(SALE_DATES)

    def _money_column(self, column: str) -> MoneyColumn:
        found = MoneyColumn(self.profile.price.default_currency)
        for values in self.sample:
            if not (self._exact and is_exact(values.get(column))):
                found.see(values.get(column))
        if found.decided:
            self.decided.append(f"column {column!r}: {found.decided}")
        return found

    def _plan_stock(self) -> None:
        rule = self.profile.stock
        words = {word.casefold(): kind for word, kind in rule.words.items()}
        none = frozenset(word.casefold() for word in rule.none)
        self._each(rule.availability, "availability", lambda _: row_steps.availability(words))
        found = self._each(rule.stock, "stock", lambda column: self._stock(column.column, none))
        if found and not self.profile.verbatim:
            self.types.setdefault("stock", "number")
            self.own_attributes.add("stock")
        tracked = self._each(rule.tracked, "whether stock is counted", lambda _: row_steps.tracked)
        self.counts_some = bool(tracked) and self._counts_some(tracked, found)
        self._each(
            rule.policy, "whether it can be ordered without stock", lambda _: row_steps.policy
        )

    def _stock(self, column: str, none: frozenset[str]) -> CellStep:
        grouped = row_steps.counts_in_groups(values.get(column) for values in self.sample)
        if grouped:
            self.grouped_counts.append(column)
        return row_steps.stock(none, grouped=grouped)

    def _counts_some(self, tracked: Sequence[str], stock: Sequence[str]) -> bool:
        """Whether the feed tells stock that is counted from stock that is not: not where no row
        says so, yet some have a count."""
        if any(is_said(values.get(column)) for values in self.sample for column in tracked):
            return True
        counts = [values.get(column) for values in self.sample for column in stock]
        return not any(str(count).strip()[:1] in set("123456789") for count in counts)

    def _plan_option(self, rule: OptionRule) -> None:
        names = {found.parts["n"]: found.column for found in self.header.match(rule.name)}
        for name in names.values():
            self._mean(name, "name of an option")
        for found in self.header.match(rule.value):
            number = found.parts["n"]
            self._add(
                found.column,
                "option",
                attribute_steps.option(int(number), names.get(number), rule.separator, rule.none),
            )

    def _plan_attributes(self) -> None:
        for name, rule in self.profile.attributes.items():
            if rule.type:
                self.types[name] = rule.type
            elif rule.code:
                self.types[name] = "string"
            for found in self.header.all(rule.columns):
                self._attribute(name, found.column, rule)
        for pattern in self.profile.patterns:
            for found in self.header.all(pattern.columns):
                if found.column not in self.meanings:
                    rule = AttributeRule(
                        columns=(found.column,), separator=pattern.separator, html=pattern.html
                    )
                    self._attribute(attribute_name(found.parts["name"]), found.column, rule)
        for packed in self.profile.packed:
            self._each(
                packed.columns,
                "attributes",
                lambda _, rule=packed: attribute_steps.packed(rule),  # type: ignore[misc]
            )

    def _attribute(self, name: str, column: str, rule: AttributeRule) -> None:
        self._add(
            column, f"attribute {name}", attribute_steps.attribute(name, column, rule, self.notes)
        )
        if column in self._own:
            self.own_attributes.add(name)

    def _plan_others(self) -> None:
        """Columns that the profile does not name; in a verbatim one also others."""
        for column in self.header.columns:
            verbatim = self.profile.verbatim and column not in RESERVED
            known = self.meanings.get(column, [])
            mirrored = verbatim and self.profile.mirror and "left out" not in known
            if known and not mirrored:
                continue
            if not column.strip() or (
                column not in self.meanings and self.profile.others == "drop"
            ):
                self._mean(column, "left out")
                continue
            if verbatim:
                self._verbatim(column)
                continue
            name = attribute_name(column)
            if is_code_name(column, text=self.text):
                self.types.setdefault(name, "string")
            self._add(column, f"attribute {name}", attribute_steps.plain_attribute(name, self.text))
            if column in self._own:
                self.own_attributes.add(name)

    def _verbatim(self, column: str) -> None:
        """An attribute named as its column is, besides the field that it may fill."""
        meanings = self.meanings.get(column, [])
        if any(meaning in _ROW_COLUMNS for meaning in meanings):
            return
        name = column if self.profile.mirror else quoted_name(column)
        step = attribute_steps.plain_attribute(name, self.text)
        if {"price", "sale price"}.intersection(meanings):
            self.types[column] = "number"
            step = row_steps.price_attribute(column, self._money_column(column))
        elif {"gtin", "sku"}.intersection(meanings):
            self.types[column] = "string"
            step = attribute_steps.code_attribute(column)
        elif "parent" in meanings or is_code_name(column, text=self.text):
            self.types[column] = "string"
        self._add(column, f"attribute {name}", step)


def is_said(value: object) -> bool:
    """Whether a cell holds more than blanks."""
    return value is not None and bool(str(value).strip())


# What a verbatim profile reads, and keeps no attribute of.
_ROW_COLUMNS = frozenset({"product id", "title", "category", "tags", "photo", "split"})


def language(locale: str) -> str:
    """A locale as languages are named: ``en_US`` is ``en-US``."""
    first, *rest = locale.replace("_", "-").replace(" ", "-").split("-")
    return "-".join([first.lower(), *(part.upper() if len(part) == 2 else part for part in rest)])
