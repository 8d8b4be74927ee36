"""Filter language: parsed by the catalog's types, evaluated on one product at a time."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from indexer.catalog.attributes import check, datetime_seconds, is_missing
from indexer.catalog.limits import LONGEST_NAME
from indexer.catalog.product_fields import FIELD_TYPES, present_fields
from indexer.catalog.records import Product
from indexer.core.category_path import CategoryPath, format_path, prefixes
from indexer.core.errors import BadFilterError

MAX_DEPTH = 8
MAX_CONDITIONS = 256
MAX_VALUES = 10_000
# Characters of all names and values together.
MAX_CHARACTERS = 1_000_000

FieldKind = Literal[
    "category", "tags", "product_id", "string", "number", "bool", "datetime", "list"
]
# What conditions compare: a text key, or a number; see `elements`
Element = str | float
Types = Mapping[str, str]

BUILT_IN: tuple[FieldKind, ...] = ("category", "tags", "product_id")
_RANGE = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "in", "exists", *_RANGE)
_GROUPS = ("must", "should", "must_not")
_SHOWN_KEYS = 20
NUMERIC: tuple[FieldKind, ...] = ("number", "datetime")


class FilterableProduct(NamedTuple):
    """What filters ask of a product, and nothing else of it: small enough to keep for every product
    that changed. ``attributes`` hold its fields too."""

    pid: int
    category: CategoryPath | None
    tags: tuple[str, ...]
    attributes: Mapping[str, Any]


def facts_of(product: Product) -> FilterableProduct:
    """A stored product as filters see it."""
    tags = tuple(dict.fromkeys(tag.tag for tag in product.tags))
    values = filterable_values(product.attributes, present_fields(product.fields))
    return FilterableProduct(product.pid, product.category, tags, values)


def filterable_values(
    attributes: Mapping[str, Any], fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Attributes and fields under their names; a field that the product has hides an attribute of
    its name."""
    if not fields:
        return attributes
    return {**attributes, **{name: fields[name] for name in FIELD_TYPES if name in fields}}


def elements(facts: FilterableProduct, name: str, kind: FieldKind) -> tuple[Element, ...]:
    """The values of a field as conditions compare them; () where it is missing (nothing, blank
    text, empty list).

    Numbers and datetimes are floats (seconds since 1970), so integers beyond 2**53 compare as their
    nearest float. All else is text: a string or tag as it stands, ``true`` and ``false``, the
    entries of a list as JSON, and for a category each path from the top ("A", "A > B") and the
    leaf's label.
    """
    if kind == "category":
        return category_paths(facts.category) + (facts.category[-1:] if facts.category else ())
    if kind == "tags":
        return facts.tags
    if kind == "product_id":
        return (float(facts.pid),)
    value = facts.attributes.get(name)
    if is_missing(value):
        return ()
    try:
        if kind == "list":
            return tuple(dict.fromkeys(list_key(part) for part in value or ()))
        return () if isinstance(value, list) else (_element(value, kind),)
    except (TypeError, ValueError, AttributeError):
        # An attribute that is not of the type of the field whose name it has.
        return ()


def category_paths(category: CategoryPath | None) -> tuple[str, ...]:
    """Each path from the top of a category down to itself: ("A", "A > B")."""
    return prefixes(category) if category else ()


def list_key(value: str | float | bool) -> str:
    """An entry of a list as text: ``"38"`` (a string), ``38.0`` and ``true`` stay apart;
    `json.loads` reads it back."""
    # -0.0 is 0.0.
    plain = value if isinstance(value, str | bool) else float(value) + 0.0
    return json.dumps(plain, ensure_ascii=False)


def _element(value: Any, kind: FieldKind) -> Element:
    """A checked value of a single-valued field as conditions compare it."""
    if kind == "number":
        return float(value) + 0.0
    if kind == "datetime":
        return datetime_seconds(value.strip())
    if kind == "bool":
        # Text: on its way to become that.
        return value if isinstance(value, str) else "true" if value else "false"
    return str(value)


@dataclass(frozen=True)
class FilterCondition:
    """One statement about one field; ``wanted``, a range (with ``low`` or ``high``) or ``exists``,
    exactly one."""

    field: str
    kind: FieldKind
    wanted: frozenset[Element] | None = None
    low: float | None = None
    high: float | None = None
    # Low itself is outside.
    open_low: bool = False
    open_high: bool = False
    exists: bool | None = None

    def holds(self, facts: FilterableProduct) -> bool:
        found = elements(facts, self.field, self.kind)
        if self.exists is not None:
            return bool(found) == self.exists
        if self.wanted is not None:
            return any(element in self.wanted for element in found)
        return any(self.within(element) for element in found)

    def within(self, element: Element) -> bool:
        """Whether a number lies in the range; an entry of a list is read first, one that is no
        number lies outside."""
        value = json.loads(element) if isinstance(element, str) else element
        if isinstance(value, str | bool):
            return False
        above = self.low is None or value > self.low or (value == self.low and not self.open_low)
        return above and (
            self.high is None or value < self.high or (value == self.high and not self.open_high)
        )


@dataclass(frozen=True)
class Filter:
    """All of ``must``, none of ``must_not``, and at least one ``should`` where any is given;
    nothing given: everything.

    A list matches if any entry does; a missing value matches ``exists: false`` and ``must_not``
    alone.
    """

    must: tuple[FilterCondition | Filter, ...] = ()
    should: tuple[FilterCondition | Filter, ...] = ()
    must_not: tuple[FilterCondition | Filter, ...] = ()
    # Of the outermost filter, however long it is: equal keys select the same products.
    key: str = field(default="", compare=False)

    def matches(self, product: Product) -> bool:
        """The definition of the filter, on a product as stored."""
        return self.holds(facts_of(product))

    def holds(self, facts: FilterableProduct) -> bool:
        return (
            all(clause.holds(facts) for clause in self.must)
            and not any(clause.holds(facts) for clause in self.must_not)
            and (not self.should or any(clause.holds(facts) for clause in self.should))
        )


def parse_filter(raw: object, types: Types, *, pid_of: Callable[[str], int | None]) -> Filter:
    """A filter as sent (decoded JSON), checked against the catalog's attribute ``types``.

    ``pid_of`` looks up the internal number of a product id. Raises ``BadFilterError`` that names
    the place and what is wrong there: an unknown field or operator, a value of the wrong type, too
    much nesting, too many conditions or too much text.
    """
    _check_characters(raw)
    reader = _Reader(types, pid_of)
    found = reader.group(raw, "filter", 1)
    conditions = sorted({(one.field, one.kind) for one in _conditions(found)})
    pids = sorted(
        pid for one in _conditions(found) if one.kind == "product_id" for pid in one.wanted or ()
    )
    text = json.dumps([raw, conditions, pids], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    return Filter(found.must, found.should, found.must_not, key)


def all_of(filters: tuple[Filter, ...]) -> Filter:
    """One filter that passes what passes all of these."""
    if len(filters) == 1:
        return filters[0]
    key = hashlib.sha256(" ".join(one.key for one in filters).encode()).hexdigest()
    return Filter(filters, (), (), key)


def _check_characters(raw: object) -> None:
    """Raise ``BadFilterError`` for a filter whose names and values are longer than any needs."""
    characters = 0
    left = [raw]
    while left:
        part = left.pop()
        if isinstance(part, str):
            characters += len(part)
        elif isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            characters += sum(map(len, part))
            left += part.values()
        if characters > MAX_CHARACTERS:
            raise BadFilterError(
                f"filter: its names and values have at most {MAX_CHARACTERS:,} characters together"
            )


def named_products(raw: object) -> list[str]:
    """The ids of products that a filter as sent names, to be looked up at once; whether it is a
    sound filter is not looked at."""
    found: list[str] = []
    left = [(raw, 0)]
    while left and len(found) <= MAX_VALUES:
        part, depth = left.pop()
        if isinstance(part, list):
            left += [(one, depth) for one in part[: MAX_CONDITIONS + 1]]
        if not isinstance(part, dict):
            continue
        if part.get("field") == "product_id":
            values = part.get("in")
            values = values if isinstance(values, list) else [part.get("eq")]
            found += [one for one in values[: MAX_VALUES + 1] if isinstance(one, str)]
        elif depth <= MAX_DEPTH:
            left += [(part[name], depth + 1) for name in _GROUPS if name in part]
    return found


def _conditions(clause: FilterCondition | Filter) -> Iterator[FilterCondition]:
    if isinstance(clause, FilterCondition):
        yield clause
        return
    for part in (*clause.must, *clause.should, *clause.must_not):
        yield from _conditions(part)


class _Reader:
    """Reads one filter; counts what it holds."""

    def __init__(self, types: Types, pid_of: Callable[[str], int | None]) -> None:
        self._types = types
        self._pid_of = pid_of
        self._left = MAX_CONDITIONS
        self._values_left = MAX_VALUES

    def group(self, raw: object, where: str, depth: int) -> Filter:
        if not isinstance(raw, dict):
            raise BadFilterError(
                f"{where} must be an object with {', '.join(_GROUPS)}, not {_shown(raw)}"
            )
        if depth > MAX_DEPTH:
            raise BadFilterError(f"{where} is nested deeper than {MAX_DEPTH} levels")
        for name in raw:
            if name not in _GROUPS:
                hint = (
                    " (a condition stands in a list: must, should or must_not)"
                    if name == "field"
                    else ""
                )
                raise BadFilterError(
                    f"{where} has an unknown part {_quoted(name)}: it takes "
                    f"{', '.join(_GROUPS)}{hint}"
                )
        parts: dict[str, tuple[FilterCondition | Filter, ...]] = {}
        for name, clauses in raw.items():
            if not isinstance(clauses, list):
                raise BadFilterError(
                    f"{where}.{name} must be a list of conditions, not {_shown(clauses)}"
                )
            places = [(clause, f"{where}.{name}[{place}]") for place, clause in enumerate(clauses)]
            parts[name] = tuple(self._clause(clause, at, depth) for clause, at in places)
        return Filter(parts.get("must", ()), parts.get("should", ()), parts.get("must_not", ()))

    def _clause(self, raw: object, where: str, depth: int) -> FilterCondition | Filter:
        self._left -= 1
        if self._left < 0:
            raise BadFilterError(f"{where}: a filter has at most {MAX_CONDITIONS} conditions")
        if isinstance(raw, dict) and "field" in raw:
            return self._condition(raw, where)
        if isinstance(raw, dict) and raw and set(raw) <= set(_GROUPS):
            return self.group(raw, where, depth + 1)
        what = (
            f"an object with the keys {', '.join(map(_quoted, list(raw)[:_SHOWN_KEYS]))}"
            if isinstance(raw, dict)
            else _shown(raw)
        )
        raise BadFilterError(
            f"{where} must be a condition on a field, or must, should, must_not again; it is {what}"
        )

    def _condition(self, raw: dict[str, Any], where: str) -> FilterCondition:
        name = raw["field"]
        kind = self._kind(name, where)
        where = f"{where} ({name})"
        given = [operator for operator in raw if operator != "field"]
        for operator in given:
            if operator not in _OPERATORS:
                raise BadFilterError(
                    f"{where}: unknown operator {_quoted(operator)}, there are "
                    f"{', '.join(_OPERATORS)}"
                )
        if not given or (len(given) > 1 and not set(given) <= set(_RANGE)):
            raise BadFilterError(
                f"{where}: give one of eq, in, exists, or a range; it has "
                f"{', '.join(given) or 'none'}"
            )
        if "exists" in raw:
            if not isinstance(raw["exists"], bool):
                raise BadFilterError(
                    f"{where}.exists must be true or false, not {_shown(raw['exists'])}"
                )
            return FilterCondition(name, kind, exists=raw["exists"])
        if "eq" in raw:
            return FilterCondition(name, kind, self._wanted([raw["eq"]], kind, f"{where}.eq"))
        if "in" in raw:
            if not isinstance(raw["in"], list):
                raise BadFilterError(f"{where}.in must be a list, not {_shown(raw['in'])}")
            return FilterCondition(name, kind, self._wanted(raw["in"], kind, f"{where}.in"))
        return self._range(name, kind, {operator: raw[operator] for operator in given}, where)

    def _kind(self, name: object, where: str) -> FieldKind:
        if not isinstance(name, str):
            raise BadFilterError(f"{where}.field must be text, not {_shown(name)}")
        if name in BUILT_IN:
            return name
        if name in self._types:
            kind = self._types[name]
            assert kind in get_args(FieldKind)
            return kind  # type: ignore[return-value]
        known = [*BUILT_IN, *self._types]
        # Comparing takes time and memory by the name's length.
        near = difflib.get_close_matches(name[: LONGEST_NAME + 1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known[:20])}"
        raise BadFilterError(f"{where}: no field {_quoted(name)} to filter by; {hint}")

    def _wanted(self, values: list[Any], kind: FieldKind, where: str) -> frozenset[Element]:
        self._values_left -= len(values)
        if self._values_left < 0:
            raise BadFilterError(f"{where}: a filter names at most {MAX_VALUES} values")
        found = (self._value(value, kind, where) for value in values)
        return frozenset(element for element in found if element is not None)

    def _value(self, value: Any, kind: FieldKind, where: str) -> Element | None:
        """A value to compare with; None for the id of a product that does not exist, which nothing
        equals."""
        if (
            kind == "category"
            and isinstance(value, list)
            and value
            and all(isinstance(level, str) for level in value)
        ):
            value = format_path(value)
        if isinstance(value, list | dict):
            raise BadFilterError(f"{where}: expected a single value, got {_shown(value)}")
        try:
            # Compared entry by entry, so what it is compared with is an entry.
            if kind == "list":
                check([value], "list")
                return list_key(value)
            if kind in ("category", "tags", "product_id"):
                text = str(check(value, "string"))
                return text if kind != "product_id" else self._pid_of(text)
            return _element(check(value, kind), kind)  # type: ignore[arg-type]
        except ValueError as error:
            raise BadFilterError(f"{where}: {error}") from None

    def _range(
        self, name: str, kind: FieldKind, given: dict[str, Any], where: str
    ) -> FilterCondition:
        if kind not in (*NUMERIC, "list"):
            raise BadFilterError(
                f"{where}: {', '.join(given)} compare numbers and datetimes; the field is a {kind}"
            )
        if {"gt", "gte"} <= set(given) or {"lt", "lte"} <= set(given):
            raise BadFilterError(f"{where}: two bounds on one side: {', '.join(given)}")
        bounds: dict[str, float] = {}
        bound: Literal["number", "datetime"] = "datetime" if kind == "datetime" else "number"
        for operator, value in given.items():
            try:
                if isinstance(value, list | dict):
                    raise ValueError(f"expected {bound}, got {_shown(value)}")
                bounds[operator] = float(_element(check(value, bound), bound))
            except ValueError as error:
                raise BadFilterError(f"{where}.{operator}: {error}") from None
        return FilterCondition(
            name,
            kind,
            low=bounds.get("gt", bounds.get("gte")),
            high=bounds.get("lt", bounds.get("lte")),
            open_low="gt" in bounds,
            open_high="lt" in bounds,
        )


def _quoted(name: str) -> str:
    """A name as it was sent, as far as a message needs."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
