"""Conversion of stored values whose type becomes text: in portions, so that others write in
between."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from indexer.catalog.attribute_types import StoredTypes
from indexer.catalog.attributes import AttributeType
from indexer.catalog.portions import writing_portion
from indexer.core.actor import doing
from indexer.core.sqlite import Connection, read_meta

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog

# Products per transaction.
PORTION = 200
# Text is read as these types where it stands for them (``filters.elements``): who sees some values
# converted and others not is told nothing wrong.
_READ_AS_TEXT: frozenset[AttributeType] = frozenset({"number", "bool", "datetime"})


def set_types(
    catalog: Catalog, wanted: dict[str, AttributeType], given: Iterable[str], *, dry_run: bool
) -> None:
    """Set attribute types; stored values are converted. ``given``: types that a person chose.

    What becomes text is converted in portions, as one action, and the types last, with what others
    wrote meanwhile; one that was interrupted is ended by the same call. Raises ``BadProductError``
    for a value that does not fit, before anything is written.
    """
    given = list(given)
    plan = None if dry_run else _Plan.make(catalog, wanted)
    if plan is None:
        with catalog.writing(dry_run) as session:
            session.set_types(wanted, given)
        return
    with doing("types"):
        for start in range(0, len(plan.pids), PORTION):
            with writing_portion(catalog) as session:
                plan.follow(catalog.database.connection)
                session.convert(plan.texts, plan.pids[start : start + PORTION])
                plan.sequence = _last_change(catalog.database.connection)
        with catalog.writing() as session:
            plan.follow(catalog.database.connection)
            session.set_types(wanted, given, plan.left())


class _Plan:
    """What is to be converted. ``texts``: attributes that become text; ``pids``: products with
    one."""

    def __init__(
        self, texts: Mapping[str, AttributeType], pids: array[int], sql: Connection, is_mixed: bool
    ) -> None:
        self.texts = texts
        self.pids = pids
        # The last change that was looked at, and products that others wrote since the plan.
        self.sequence = _last_change(sql)
        self.written: set[int] = set()
        # Others changed the types, or what they wrote can no longer be told.
        self.is_outdated = False
        self._kinds = _kinds(sql, texts)
        # Whether other types change too, which all products are looked at for.
        self.is_mixed = is_mixed

    @classmethod
    def make(cls, catalog: Catalog, wanted: Mapping[str, AttributeType]) -> _Plan | None:
        """None where so few change that one transaction does. Raises ``BadProductError``."""
        with catalog.database.read() as sql:
            types = StoredTypes(sql)
            texts = {
                name: kind
                for name, kind in wanted.items()
                if kind == "string" and types.kinds.get(name) in _READ_AS_TEXT
            }
            if not texts:
                return None
            types.check_room(wanted)
            others = {name: wanted[name] for name in wanted.keys() - texts.keys()}
            is_mixed = next(types.converted(others), None) is not None
            pids = array("q", (row.pid for row in types.converted(texts)))
            return cls(texts, pids, sql, is_mixed) if len(pids) > PORTION else None

    def follow(self, sql: Connection) -> None:
        """Note what others wrote since the last look; inside a transaction."""
        if int(read_meta(sql, "compacted") or 0) > self.sequence:
            self.is_outdated = True
        if _kinds(sql, self.texts) != self._kinds:
            self.is_outdated = True
        query = "SELECT pid FROM changes WHERE sequence > ?"
        self.written.update(pid for (pid,) in sql.execute(query, (self.sequence,)))

    def left(self) -> list[int] | None:
        """The products that may still hold values to convert; None: any."""
        return None if self.is_outdated or self.is_mixed else sorted(self.written)


def _kinds(sql: Connection, names: Mapping[str, AttributeType]) -> dict[str, str]:
    kinds = dict(sql.execute("SELECT name, type FROM attribute_types"))
    return {name: kinds.get(name, "") for name in names}


def _last_change(sql: Connection) -> int:
    row = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return 0 if row is None else int(row[0])
