"""Stored types of attributes: what is read by them, how they widen, how stored values follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from indexer.catalog.attributes import (
    RESERVED,
    AttributeType,
    check,
    infer,
    is_code_name,
    is_missing,
    read,
    reads_as_number,
)
from indexer.catalog.limits import check_given_attributes
from indexer.catalog.records import check_text, dump, load
from indexer.catalog.undo_journal import KeptType
from indexer.core.errors import BadProductError
from indexer.core.sqlite import Connection, chunks

# Of ``attribute_types.fixed``: a person gave the type; what is no text becomes text.
_GIVEN = 1
_LOOSE = 2
# Products whose values settle a type: from here on one odd value is refused.
_SETTLED = 100
# Names of attributes in one catalog: each write reads them all.
_MOST_NAMES = 10_000
# Names in one condition; SQLite takes a thousand.
_MOST_TESTS = 500
_WIDENS: frozenset[AttributeType] = frozenset({"number", "bool", "datetime"})


@dataclass
class ReadAttributes:
    """Values of one product as they are stored, and what they change."""

    values: dict[str, Any] = field(default_factory=dict)
    # Numbers as written, where the number's own digits differ: "1.10".
    spellings: dict[str, str] = field(default_factory=dict)
    # Of names seen for the first time.
    new_types: dict[str, AttributeType] = field(default_factory=dict)
    # Attributes that become text, since this product has one: name -> their type.
    widened: dict[str, AttributeType] = field(default_factory=dict)


class ConvertedRow(NamedTuple):
    """A product whose values follow a changed type; ``spellings`` is JSON or None."""

    pid: int
    attributes: str
    spellings: str | None


class StoredTypes:
    """The types of a catalog's attributes, inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._sql = connection
        self.kinds: dict[str, AttributeType] = {}
        self._marks: dict[str, int] = {}
        for name, kind, mark in connection.execute("SELECT name, type, fixed FROM attribute_types"):
            self.kinds[name] = kind
            self._marks[name] = mark

    def read(self, given: Mapping[str, Any]) -> ReadAttributes:
        """Read the values that a product is written with.

        A number may be text as written. Text that does not fit widens the type, unless a person
        gave that. Raises ``BadProductError`` that names the attribute, the expected type and the
        value.
        """
        if not isinstance(given, Mapping):
            raise BadProductError(f"attributes must be an object, got {given!a}")
        check_given_attributes(given)
        found = ReadAttributes()
        for name, value in given.items():
            if name in RESERVED or not check_text("an attribute's name", name).strip():
                raise BadProductError(f"{name!a} cannot be an attribute's name")
            if value is not None:
                try:
                    self._read_one(found, name, value)
                except ValueError as error:
                    raise BadProductError(f"attribute {name!a}: {error}") from error
        if found.new_types:
            self.check_room(found.new_types)
        return found

    def check_room(self, names: Iterable[str]) -> None:
        """Raise ``BadProductError`` where the catalog would have too many attributes with these."""
        new = set(names) - self.kinds.keys()
        if new and len(self.kinds) + len(new) > _MOST_NAMES:
            raise BadProductError(
                f"attribute {min(new)[:60]!a} is new, and a catalog has {_MOST_NAMES} attributes "
                "at most (catalens index gc forgets those that no product has)"
            )

    def _read_one(self, found: ReadAttributes, name: str, value: Any) -> None:
        wanted = self.kinds.get(name)
        if wanted is None:
            wanted = found.new_types[name] = _first_type(name, value)
        loose = self._marks.get(name) == _LOOSE or (name in found.new_types and is_code_name(name))
        if wanted == "number" and isinstance(value, str):
            given = self._marks.get(name) == _GIVEN
            if reads_as_number(value, codes=given):
                number = read(value, "number")
                found.values[name] = number
                if dump(number) != value.strip():
                    found.spellings[name] = value.strip()
                return
        elif wanted == "bool" and value in ("true", "false"):
            value = value == "true"
        elif wanted == "string" and loose and not isinstance(value, str | list | dict):
            value = read(value, "string")
        try:
            found.values[name] = check(value, wanted)
        except ValueError:
            if not self._widens(name, wanted, value):
                raise
            found.widened[name] = wanted
            found.values[name] = check(value, "string")

    def _widens(self, name: str, wanted: AttributeType, value: Any) -> bool:
        """Whether an attribute becomes text for this value: not one that a person typed, and not
        one that many products have, where the value is what is wrong."""
        if self._marks.get(name) == _GIVEN or wanted not in _WIDENS:
            return False
        if not isinstance(value, str) or is_missing(value):
            return False
        query = "SELECT count(*) FROM (SELECT 1 FROM products WHERE instr(attributes, ?) LIMIT ?)"
        (held,) = self._sql.execute(query, (f"{dump(name)}:", _SETTLED)).fetchone()
        return bool(held < _SETTLED)

    def converted(
        self, wanted: Mapping[str, AttributeType], pids: Sequence[int] | None = None
    ) -> Iterator[ConvertedRow]:
        """The products, of all or of ``pids``, whose stored values follow types that change. Raises
        ``BadProductError`` naming product and value."""
        changed = {
            name: kind for name, kind in wanted.items() if self.kinds.get(name, kind) != kind
        }
        yield from self._converted(changed, pids, text_only=False)

    def read_from_text(
        self, wanted: Mapping[str, AttributeType], pids: Sequence[int] | None = None
    ) -> Iterator[ConvertedRow]:
        """The products, of all or of ``pids``, that still have text under a type that is set by
        now, which reads it. Raises ``BadProductError`` naming product and value."""
        still = {name: kind for name, kind in wanted.items() if self.kinds.get(name) == kind}
        yield from self._converted(still, pids, text_only=True)

    def _converted(
        self,
        changed: Mapping[str, AttributeType],
        pids: Sequence[int] | None,
        *,
        text_only: bool,
    ) -> Iterator[ConvertedRow]:
        if not changed:
            return
        query = "SELECT pid, product_id, attributes, spellings FROM products WHERE "
        if pids is not None:
            for part, marks in chunks(pids):
                rows = self._sql.execute(f"{query}pid IN ({marks})", part)
                yield from _converted(rows, changed, text_only)
            return
        # Most products have none of them: their rows are passed over before they are read. Of very
        # many, which SQLite would not take, most have one.
        keys = [f"{dump(name)}:" for name in changed] if len(changed) <= _MOST_TESTS else []
        tests = " OR ".join("instr(attributes, ?)" for _ in keys) or "1"
        yield from _converted(self._sql.execute(query + tests, keys), changed, text_only)

    def misfits(self, parts: dict[str, Any]) -> list[str]:
        """Those of ``parts`` (``undo_journal.Part``) that are no values of their attribute's type.

        What became text is put into ``parts`` as it was written.
        """
        refused = []
        changed = {}
        for part, value in parts.items():
            name = part.removeprefix("attributes/")
            if name == part or value is None:
                continue
            kind = self.kinds.get(name) or _first_type(name, value[0])
            try:
                if kind == "string" and not isinstance(value[0], str):
                    text = value[1] if value[1] is not None else read(value[0], kind)
                    changed[part] = [text, None]
                else:
                    check(value[0], kind)
            except ValueError:
                refused.append(part)
        parts.update(changed)
        return refused

    def lacking(self, parts: Mapping[str, Any]) -> dict[str, AttributeType]:
        """Types for attributes among ``parts`` that have none (any more)."""
        named = {part.removeprefix("attributes/"): (part, value) for part, value in parts.items()}
        return {
            name: _first_type(name, value[0])
            for name, (part, value) in named.items()
            if name != part and value is not None and name not in self.kinds
        }

    def set(
        self, types: Mapping[str, AttributeType], *, given: Iterable[str] = ()
    ) -> list[KeptType]:
        """Keep types; a person ``given`` type is not widened, and what became text takes numbers
        as their text. Returns what was replaced."""
        fixed = set(given)
        rows = []
        replaced = []
        for name, kind in types.items():
            before = self.kinds.get(name)
            mark = self._marks.get(name, 0)
            if name in fixed:
                mark = _GIVEN
            elif kind == "string" and (
                before in _WIDENS or (before is None and is_code_name(name))
            ):
                mark = _LOOSE
            if (before, self._marks.get(name)) != (kind, mark):
                rows.append((name, kind, mark))
                replaced.append(KeptType(name, before, self._marks.get(name), kind))
                self.kinds[name] = kind
                self._marks[name] = mark
        query = "INSERT OR REPLACE INTO attribute_types (name, type, fixed) VALUES (?, ?, ?)"
        self._sql.executemany(query, rows)
        return replaced

    def restore(self, kept: KeptType) -> None:
        """Give an attribute the type it had, whose values fit; without one, it goes."""
        if kept.before is None:
            self._sql.execute("DELETE FROM attribute_types WHERE name = ?", (kept.name,))
            self.kinds.pop(kept.name, None)
            self._marks.pop(kept.name, None)
            return
        query = "UPDATE attribute_types SET type = ?, fixed = ? WHERE name = ?"
        self._sql.execute(query, (kept.before, kept.mark or 0, kept.name))
        self.kinds[kept.name] = cast(AttributeType, kept.before)
        self._marks[kept.name] = kept.mark or 0


def _first_type(name: str, value: Any) -> AttributeType:
    if is_code_name(name) and not isinstance(value, list):
        return "string"
    found = infer([value], text=False)
    return found or ("list" if isinstance(value, list) else "string")


def _converted(
    rows: Iterable[Sequence[Any]], changed: Mapping[str, AttributeType], text_only: bool
) -> Iterator[ConvertedRow]:
    for pid, product_id, text, spelled in rows:
        values = load(text)
        spellings = load(spelled or "{}")
        for name in changed.keys() & values.keys():
            if text_only and not isinstance(values[name], str):
                continue
            try:
                _convert(name, values, spellings, changed[name])
            except ValueError as error:
                raise BadProductError(
                    f"product {product_id!r}, attribute {name!a}: {error}"
                ) from error
        kept = dump({name: value for name, value in values.items() if value is not None})
        row = ConvertedRow(pid, kept, dump(spellings) if spellings else None)
        if row[1:] != (text, spelled):
            yield row


def _convert(
    name: str, values: dict[str, Any], spellings: dict[str, str], wanted: AttributeType
) -> None:
    """A stored value as ``wanted``; a number becomes text as it was written. Raises
    ``ValueError``."""
    value = values[name]
    written = spellings.pop(name, None)
    if wanted == "string" and written is not None:
        values[name] = written
        return
    values[name] = read(value, wanted)
    if wanted == "number" and isinstance(value, str) and dump(values[name]) != value.strip():
        spellings[name] = value.strip()


def widening(name: str, kind: AttributeType, value: Any) -> str:
    """What is said of an attribute that became text."""
    return (
        f"attribute {name!a} was a {kind} and is text from now on, since this product has {value!a}"
        "; stored values became text as they were written (its type can be given: schema)"
    )
