"""Conversion of stored values to and from text: in portions, so that others write in between."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from indexer.catalog.attribute_types import ConvertedRow, StoredTypes
from indexer.catalog.attributes import AttributeType
from indexer.catalog.portions import writing_portion
from indexer.catalog.undo_journal import KeptType
from indexer.core.actor import doing
from indexer.core.errors import BadProductError
from indexer.core.sqlite import Connection, read_meta

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog
    from indexer.catalog.transaction import Transaction

# Products per transaction.
PORTION = 200
# Text is read as these types where it stands for them (``filters.elements``): who sees some values
# converted and others not is told nothing wrong.
_READ_AS_TEXT: frozenset[AttributeType] = frozenset({"number", "bool", "datetime"})


def _keep_on() -> None:
    """Interrupt nothing."""


def set_types(
    catalog: Catalog,
    wanted: dict[str, AttributeType],
    given: Iterable[str],
    *,
    dry_run: bool = False,
    on_step: Callable[[], object] = _keep_on,
) -> None:
    """Set attribute types; stored values are converted. ``given``: types that a person chose.

    What becomes text is converted in portions before its type, and text that becomes something else
    after it, as one action and with what others wrote meanwhile; one that was interrupted is ended
    by the same call. ``on_step`` is called for each product that is read or converted, and may
    raise, which interrupts it. Raises ``BadProductError`` for a value that does not fit, before
    anything is written.
    """
    given = list(given)
    plan = None if dry_run else _Plan.make(catalog, wanted, given, on_step)
    if plan is None:
        with catalog.writing(dry_run) as session:
            session.set_types(wanted, given)
        return
    with doing("types"):
        with plan.switch(catalog) as session:
            session.on_step = on_step
            session.set_types(wanted, given, plan.left(), later=plan.changed)
        plan.finish(catalog)


def restore_type(catalog: Catalog, kept: KeptType) -> bool:
    """Give an attribute the type it had, as ``set_types`` does; False where values or the type are
    others by now."""
    before = {} if kept.before is None else {kept.name: cast(AttributeType, kept.before)}
    try:
        plan = _Plan.make(catalog, before, before)
    except BadProductError:
        return False
    if plan is None:
        with catalog.writing() as session:
            return session.restore_type(kept)
    with plan.switch(catalog) as session:
        restored = session.restore_type(kept, plan.left(), later=plan.changed)
    if restored:
        plan.finish(catalog)
    return restored


class _Plan:
    """What is to be converted. ``texts``: attributes that become text; ``changed``: those that were
    text and become something else; ``read``: those, and such whose text an interrupted call left;
    ``pids`` and ``read_pids``: products with one."""

    def __init__(
        self,
        sql: Connection,
        wanted: Mapping[str, AttributeType],
        given: set[str],
        on_step: Callable[[], object],
    ):
        self._on_step = on_step
        types = StoredTypes(sql)
        types.check_room(wanted)
        self.texts = {
            name: kind
            for name, kind in wanted.items()
            if kind == "string" and types.kinds.get(name) in _READ_AS_TEXT
        }
        readable = {name: kind for name, kind in wanted.items() if kind in _READ_AS_TEXT}
        self.changed = {
            name: kind for name, kind in readable.items() if types.kinds.get(name) == "string"
        }
        left = {name: kind for name, kind in readable.items() if name in given}
        self.read = {**self.changed, **left}
        # The last change that was looked at, and products that others wrote since the plan.
        self.sequence = _last_change(sql)
        self.written: set[int] = set()
        # Others changed the types, or what they wrote can no longer be told.
        self.is_outdated = False
        self._kinds = _kinds(sql, {**self.texts, **self.changed})
        self.pids = array("q", self._pids(types.converted(self.texts)))
        self.read_pids = array("q", self._pids(types.converted(self.changed)))
        self.has_left = False
        for pid in self._pids(types.read_from_text(left)):
            self.read_pids.append(pid)
            self.has_left = True
        # Whether other types change too, which all products are looked at for.
        others = {
            name: kind
            for name, kind in wanted.items()
            if name not in self.texts and name not in self.changed
        }
        self.is_mixed = next(types.converted(others), None) is not None

    @classmethod
    def make(
        cls,
        catalog: Catalog,
        wanted: Mapping[str, AttributeType],
        given: Iterable[str],
        on_step: Callable[[], object] = _keep_on,
    ) -> _Plan | None:
        """None where so few change that one transaction does. Raises ``BadProductError``."""
        with catalog.database.read() as sql:
            plan = cls(sql, wanted, set(given), on_step)
        most = max(len(plan.pids), len(plan.read_pids))
        return plan if most > PORTION or plan.has_left else None

    def _pids(self, rows: Iterable[ConvertedRow]) -> Iterator[int]:
        for row in rows:
            self._on_step()
            yield row.pid

    @contextmanager
    def switch(self, catalog: Catalog) -> Iterator[Transaction]:
        """Make text of what becomes text; inside, the types are to be set."""
        for start in range(0, len(self.pids), PORTION):
            self._on_step()
            with writing_portion(catalog) as session:
                self.follow(catalog.database.connection)
                session.convert(self.texts, self.pids[start : start + PORTION])
                self.sequence = _last_change(catalog.database.connection)
        with catalog.writing() as session:
            self.follow(catalog.database.connection)
            yield session

    def finish(self, catalog: Catalog) -> None:
        """Read what was text by the types that are set now."""
        pids = sorted({*self.read_pids, *self.written}) if self.read_pids else []
        for start in range(0, len(pids), PORTION):
            self._on_step()
            with writing_portion(catalog) as session:
                session.read_from_text(self.read, pids[start : start + PORTION])

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
