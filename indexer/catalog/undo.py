"""Undo of an action on the catalog: what it replaced comes back, later changes stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from indexer.catalog.action_log import ActionCounts, StoredAction, begin_action, find_action
from indexer.catalog.attribute_names import take_types_back
from indexer.catalog.portions import writing_portion
from indexer.catalog.records import Delete
from indexer.catalog.store import Catalog
from indexer.catalog.transaction import Transaction
from indexer.catalog.type_conversion import restore_type
from indexer.catalog.undo_journal import (
    KeptPart,
    KeptType,
    Parts,
    changed_since,
    digest,
    read_kept,
)
from indexer.core.actor import doing
from indexer.core.errors import NotUndoableError
from indexer.core.progress import OnProgress
from indexer.core.sqlite import Connection, chunks

# Products per transaction: others write in between.
_PORTION = 200
# Kept values that a report names.
LISTED = 100


@dataclass(frozen=True)
class SkippedUndo:
    """A value that stays as it is, or a product ("" for its part). ``reason``: changed-since,
    photo-erased, type-changed; expired where what the product had is kept no longer."""

    product_id: str
    part: str
    reason: str


@dataclass
class UndoReport:
    """What an undo did. ``undone_by``: the undo's own name, by which it can be undone in turn."""

    action: str
    kind: str
    by: str
    at: str
    undone_by: str = ""
    dry_run: bool = False
    # Products that have again what they had.
    restored: int = 0
    # Products that the action had added, and that are erased now.
    removed: int = 0
    # Products that the action had erased: they stay so.
    erased: int = 0
    skipped: list[SkippedUndo] = field(default_factory=list)
    skipped_count: int = 0
    # Of those skipped: products whose values came to their end while this ran.
    expired: int = 0
    # Photos that no product has any more, for ``PhotoStore.collect``.
    orphaned: list[str] = field(default_factory=list, repr=False)

    def skip(self, product_id: str, part: str, reason: str) -> None:
        """Note what stays."""
        self.skipped_count += 1
        if len(self.skipped) < LISTED:
            self.skipped.append(SkippedUndo(product_id, part, reason))


def undo_action(
    catalog: Catalog, name: str, *, dry_run: bool = False, progress: OnProgress | None = None
) -> UndoReport:
    """Take back what the action of this name did to products and attribute types.

    A value comes back only where it still is what the action left and nobody changed it since; an
    erased product never does. In portions: one that was interrupted is done again by the same call,
    and others write in between. ``progress`` counts products. Raises ``UnknownActionError``,
    ``NotUndoableError``.
    """
    with catalog.database.read() as sql:
        action = find_action(sql, name)
        types = _kept_types(sql, action)
        counts = catalog.actions.counts(action.number)
        _require_undoable(sql, action, counts)
        pids = _pids(sql, action.number)
        report = UndoReport(action.name, action.kind, action.by, action.at, dry_run=dry_run)
        report.erased = counts.erased
    with doing("undo", action.kind, undoes=action.name) as undo:
        report.undone_by = "" if dry_run else undo.name
        if not dry_run:
            # What was text takes its text back; what became text first loses what came with it.
            _restore_types(catalog, [kept for kept in types if kept.before == "string"], report)
        done = 0
        for take_back, every in ((_restore, pids.changed), (_remove, pids.added)):
            for start in range(0, len(every), _PORTION):
                portion = every[start : start + _PORTION]
                with writing_portion(catalog, dry_run) as session:
                    take_back(session, catalog, action, portion, report)
                done += len(portion)
                if progress is not None:
                    progress(done, len(pids.changed) + len(pids.added))
        if not dry_run:
            _restore_types(catalog, [kept for kept in types if kept.before != "string"], report)
        with catalog.writing(dry_run):
            sql = catalog.database.connection
            # What is not all taken back is not undone: whoever looks sees it.
            if not report.expired and (
                report.restored or report.removed or not report.skipped_count
            ):
                _mark_undone(sql, action, begin_action(sql, undo))
    if dry_run:
        report.orphaned.clear()
    return report


@dataclass(frozen=True)
class _Pids:
    changed: list[int]
    added: list[int]


def _require_undoable(sql: Connection, action: StoredAction, counts: ActionCounts) -> None:
    if action.undone is not None:
        raise NotUndoableError(
            f"action {action.name} was undone already, by {action.undone}: undo that to have it "
            "again"
        )
    if action.expired:
        raise NotUndoableError(
            f"action {action.name} of {action.at} cannot be undone any more: what it replaced is "
            "no longer kept"
        )
    if not counts.is_undoable:
        what = f"erased {counts.erased} products" if counts.erased else "changed no product"
        raise NotUndoableError(
            f"action {action.name} ({action.kind}) {what}: there is nothing that could come back"
        )


def _pids(sql: Connection, number: int) -> _Pids:
    added: list[int] = []
    query = (
        "SELECT pid FROM action_changes JOIN products ON pid BETWEEN first_pid AND last_pid WHERE "
        "action_no = ? ORDER BY pid"
    )
    added += [row[0] for row in sql.execute(query, (number,))]
    new = set(added)
    rows = sql.execute("SELECT pid FROM kept WHERE action_no = ? ORDER BY pid", (number,))
    return _Pids([pid for (pid,) in rows if pid not in new], added)


def _restore(
    session: Transaction,
    catalog: Catalog,
    action: StoredAction,
    pids: Sequence[int],
    report: UndoReport,
) -> None:
    sql = catalog.database.connection
    ids = _ids(sql, pids)
    kept = read_kept(sql, action.number, pids)
    later = changed_since(sql, action.number, pids)
    for pid, product_id in ids.items():
        if pid not in kept:
            # It was when the undo began: beyond the products that are kept in all.
            report.skip(product_id, "", "expired")
            report.expired += 1
            continue
        parts = _restorable(
            session.parts_of(pid), kept[pid], later.get(pid, set()), product_id, report
        )
        refused = session.restore(pid, parts) if parts else []
        for part in refused:
            report.skip(product_id, part, "photo-erased" if part == "photos" else "type-changed")
        report.restored += len(parts) > len(refused)
    report.orphaned += session.orphaned


def _restorable(
    now: Parts, kept: dict[str, KeptPart], later: set[str], product_id: str, report: UndoReport
) -> Parts:
    """The values that come back."""
    found: Parts = {}
    for part, pair in sorted(kept.items()):
        current = now.get(part)
        if current == pair.before:
            continue
        if part in later or digest(current) != pair.after:
            report.skip(product_id, part, "changed-since")
        else:
            found[part] = pair.before
    return found


def _remove(
    session: Transaction,
    catalog: Catalog,
    action: StoredAction,
    pids: Sequence[int],
    report: UndoReport,
) -> None:
    """Erase products that the action added and that nobody changed since."""
    sql = catalog.database.connection
    ids = _ids(sql, pids)
    touched = set(changed_since(sql, action.number, pids)) | _foreign(sql, action, pids)
    for pid, product_id in ids.items():
        if pid in touched:
            report.skip(product_id, "", "changed-since")
            continue
        session.write(Delete(product_id))
        report.removed += 1
    report.orphaned += session.orphaned


def _foreign(sql: Connection, action: StoredAction, pids: Sequence[int]) -> set[int]:
    """Those of ``pids`` whose last change is neither of the action nor of an undo, nor undone."""
    found: set[int] = set()
    for part, marks in chunks(list(pids)):
        query = (
            "SELECT pid FROM products LEFT JOIN action_changes ON last = (SELECT min(last) FROM "
            "action_changes WHERE last >= sequence) AND first <= sequence LEFT JOIN actions USING "
            f"(action_no) WHERE pid IN ({marks}) AND (action_no IS NULL OR (action_no <> ? AND "
            "undone IS NULL AND undoes IS NULL))"
        )
        found.update(row[0] for row in sql.execute(query, (*part, action.number)))
    return found


def _kept_types(sql: Connection, action: StoredAction) -> list[KeptType]:
    query = "SELECT name, before, mark, after FROM kept_types WHERE action_no = ? ORDER BY name"
    return [KeptType(*row) for row in sql.execute(query, (action.number,))]


def _restore_types(catalog: Catalog, types: Iterable[KeptType], report: UndoReport) -> None:
    types = list(types)
    # An attribute that others use by now keeps its type, and nothing is lost by that.
    new = {kept.name: kept.after for kept in types if kept.before is None}
    if new:
        take_types_back(catalog, new)
    for kept in types:
        if kept.before is not None and not restore_type(catalog, kept):
            report.skip("", f"attributes/{kept.name}", "type-changed")


def _mark_undone(sql: Connection, action: StoredAction, undo: int) -> None:
    query = (
        "UPDATE actions SET undone = (SELECT name FROM actions WHERE action_no = ?) WHERE name = ?"
    )
    sql.execute(query, (undo, action.name))
    if action.undoes is not None:
        # Done again: it can be undone again.
        sql.execute("UPDATE actions SET undone = NULL WHERE name = ?", (action.undoes,))


def _ids(sql: Connection, pids: Iterable[int]) -> dict[int, str]:
    """The ids of those that are still there."""
    found: dict[int, str] = {}
    for part, marks in chunks(list(pids)):
        query = f"SELECT pid, product_id FROM products WHERE pid IN ({marks}) ORDER BY pid"
        found.update(sql.execute(query, part))
    return found
