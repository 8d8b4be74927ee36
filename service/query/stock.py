"""Stock: which products are out of stock, and what that does to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from indexer.catalog.filters import BUILT_IN
from indexer.core.errors import BadFilterError
from indexer.index.filter_columns import BoundFilter, FilterColumns
from service.query.filters import FilterParser, KnownFields
from service.query.query import OutOfStock, RawFilter

StockState = Literal["any", "in", "out"]


class StockFilter:
    """Filters by stock. ``conditions``: what meets any of them is out of stock; ``handling``: what
    becomes of it in results where a request does not say, None where each kind of answer has its
    own default."""

    def __init__(
        self,
        filters: FilterParser,
        conditions: Sequence[Mapping[str, Any]],
        handling: OutOfStock | None = None,
    ) -> None:
        self._filters = filters
        self._conditions = conditions
        self._handling = handling
        # Types of the catalog's attributes, and the conditions that fit them.
        self._fitting: tuple[Mapping[str, str], list[Mapping[str, Any]]] | None = None
        # What is not out of stock, bound to the columns it was last asked of.
        self._in_stock: tuple[FilterColumns, Mapping[str, str], BoundFilter | None] | None = None
        # Positions of conditions that a message was logged for.
        self._reported: set[int] = set()

    def handling(
        self, fields: KnownFields, asked: OutOfStock | None, default: OutOfStock
    ) -> OutOfStock:
        """What an answer does with what is out of stock: as asked, as set, or its default.

        "show" where nothing in this catalog can be out of stock.
        """
        chosen = asked or self._handling or default
        return chosen if chosen == "show" or self.known(fields) else "show"

    def bind(
        self,
        fields: KnownFields,
        filter: RawFilter | None,
        *more: RawFilter,
        stock: StockState = "in",
    ) -> BoundFilter | None:
        """The filter as sent, ``more`` conditions, and the stock; None for no condition at all.

        Raises ``BadFilterError``.
        """
        if filter is None and not more and stock == "in":
            return self._bind_in_stock(fields)
        if filter is not None:
            self._filters.parse(
                filter, fields.types
            )  # so that a fault is named where the client put it
        must: list[Any] = [*([filter] if filter else []), *([{"must": [*more]}] if more else [])]
        out = self.known(fields) if stock != "any" else []
        return self._bind(fields, must, out, stock)

    def _bind_in_stock(self, fields: KnownFields) -> BoundFilter | None:
        last, out = self._in_stock, self.known(fields)
        if last is not None and last[0] is fields.columns and last[1] == fields.types:
            return last[2]
        bound = self._bind(fields, [], out, "in")
        # A condition on ids is read anew: an id may stand for another product by now.
        if not any(condition["field"] in BUILT_IN for condition in out):
            self._in_stock = (fields.columns, fields.types, bound)
        return bound

    def _bind(
        self, fields: KnownFields, must: list[Any], out: list[Mapping[str, Any]], stock: StockState
    ) -> BoundFilter | None:
        if stock == "out":
            must.append({"should": out})
        elif stock == "in" and out:
            must.append({"must_not": out})
        return self._filters.bind(fields, *must) if must else None

    def tiers(
        self, fields: KnownFields, filter: RawFilter | None, handling: OutOfStock
    ) -> tuple[BoundFilter | None, ...]:
        """The filters by which results are searched one after the other. Raises
        ``BadFilterError``."""
        states = stock_states(handling)
        return tuple(self.bind(fields, filter, stock=state) for state in states)

    def known(self, fields: KnownFields) -> list[Mapping[str, Any]]:
        """The conditions whose attributes this catalog has, by their type; nothing is out of stock
        by the others.

        A condition that does not fit the type of an attribute that the catalog has is logged once.
        """
        types, known = fields.types, self._fitting
        if known is None or known[0] != types:
            fitting = [
                condition
                for position, condition in enumerate(self._conditions)
                if condition["field"] in (*BUILT_IN, *types)
                and self._fits(position, condition, types)
            ]
            # Returned as it was read: another thread may have the types of another catalog state.
            known = self._fitting = (types, fitting)
        return known[1]

    def _fits(self, position: int, condition: Mapping[str, Any], types: Mapping[str, str]) -> bool:
        try:
            self._filters.parse({"must": [condition]}, types)
        except BadFilterError as error:
            if position not in self._reported:
                self._reported.add(position)
                self._filters.report_dropped("out_of_stock", condition["field"], error)
            return False
        return True


def stock_states(handling: OutOfStock) -> tuple[StockState, ...]:
    """What is shown, one after the other."""
    if handling == "show":
        return ("any",)
    return ("in",) if handling == "hide" else ("in", "out")
