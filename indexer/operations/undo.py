"""Undo over the whole home: actions on the catalog with the model's categories, activations,
decisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from indexer.catalog.action_log import ActionCounts, KeptDecision, StoredAction
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.catalog.undo import SkippedUndo, UndoReport, undo_action
from indexer.catalog.undo_journal import KEPT_DAYS
from indexer.classification.class_editing import plan_class_undo
from indexer.core.actor import doing
from indexer.core.errors import BusyError, CatalensError, NotUndoableError, UnknownActionError
from indexer.core.home import Home
from indexer.core.progress import OnProgress
from indexer.index.active_model import active_model, serve_decision
from indexer.index.version import Versions
from indexer.reviews.decisions import ReviewDecision, find_decision, latest_decisions
from indexer.reviews.store import KEPT_DAYS as DECISION_DAYS
from indexer.reviews.store import forget_photos, open_reviews

# Of activations, whose names are their versions and times.
ACTIVATION = "activation"
# Of decisions on reviews, whose names are their entries in the log.
DECISION = "decision"
# Products beyond which an undo is long: seconds on a busy machine.
LONG = 1000
# Kinds that are written in many transactions, and the lock that is held until the last of them.
# Those under the lock "decision" are waited for: an undo takes it too.
_WRITTEN_UNDER = {"import": "import", "sync": "import", "types": "types"}
# What a report names where the model's categories stay.
CATEGORIES = "model categories"


@dataclass(frozen=True)
class ListedAction:
    """Something that was done and may be undone.

    ``kind``: write, batch, import, sync, taxonomy, types, class, undo, export, activation or
    decision;
    ``note``: what it is about; ``until``: when it can be undone no more (ISO 8601, UTC; empty: no
    end); ``state``: undoable, undone, expired, changed-since, or not-undoable where nothing could
    come back, as of an erasure. Counts are of products.
    """

    name: str
    at: str
    kind: str
    by: str
    note: str
    changed: int
    added: int
    erased: int
    until: str
    state: str
    undone_by: str | None


@dataclass(frozen=True)
class UndoResult:
    """What an undo did. ``undone_by``: the undo's own name, by which it can be undone in turn.

    Counts are of products: those that have again what they had, those that the action had added and
    that are erased now, and those that it had erased, which stay so. ``skipped``: values that stay,
    the first of ``skipped_count``.
    """

    action: str
    kind: str
    by: str
    at: str
    undone_by: str
    dry_run: bool
    restored: int
    removed: int
    erased: int
    skipped: list[SkippedUndo]
    skipped_count: int

    @classmethod
    def of(cls, report: UndoReport) -> UndoResult:
        """What a client is told of it."""
        return cls(**{entry.name: getattr(report, entry.name) for entry in fields(cls)})


def list_actions(
    home: Home,
    catalog: Catalog,
    *,
    limit: int = 50,
    writes: bool = True,
    days: float = KEPT_DAYS,
    on_step: Callable[[], object] = lambda: None,
) -> list[ListedAction]:
    """What was done last, the newest first. ``writes``: single writes too; ``days``: how long what
    was done to products can be undone, 0 for ever. ``on_step`` is called now and then, and may
    raise: what one import changed is long."""
    found: list[ListedAction] = []
    for action in catalog.actions.actions(limit=limit, writes=writes):
        on_step()
        found.append(_listed(action, catalog.actions.counts(action.number), days))
    return _in_order(found, _activations(home)[::-1], _decisions(home, limit))[:limit]


def _in_order(*logs: list[ListedAction]) -> list[ListedAction]:
    """The actions of several logs, the newest first as in each: what a clock that was ahead noted
    does not stand before what was done later."""
    found: list[tuple[str, ListedAction]] = []
    for actions in logs:
        earliest = "~"
        for action in actions:
            earliest = min(earliest, action.at)
            found.append((earliest, action))
    return [action for _, action in sorted(found, key=lambda one: one[0], reverse=True)]


def undo(
    home: Home,
    catalog: Catalog,
    name: str,
    *,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> UndoResult:
    """Undo one action of ``list_actions``.

    Of an import or an edit as ``undo_action``; of a class from photos as ``plan_class_undo``; of a
    map of categories the model's too, where they are still as the map left them; of the last
    activation as ``Versions.rollback``; of a decision as ``Reviews.reopen``. ``progress`` counts
    products. Raises
    ``UnknownActionError``, ``NotUndoableError`` also while the action is still written,
    ``ChangedError`` where another version was activated since.
    """
    if name.startswith(f"{ACTIVATION}-"):
        return UndoResult.of(_undo_activation(home, name, dry_run))
    if name.startswith(f"{DECISION}-"):
        return UndoResult.of(_undo_decision(home, name, dry_run))
    action = catalog.actions.get(name)
    _require_ended(home, catalog, action)
    with home.lock("decision", wait_s=30.0), doing("undo", action.kind, undoes=name):
        kept = catalog.actions.kept_decision(action.number)
        stands = kept is not None and action.undone is None
        edit = plan_class_undo(home, kept) if kept is not None and stands else None
        report = undo_action(catalog, name, dry_run=dry_run, progress=progress)
        if edit is not None and not dry_run:
            edit.apply(home, catalog)
        elif kept is not None and not dry_run:
            _restore_decision(home, catalog, kept, report)
    removed = PhotoStore(home).collect(catalog, report.orphaned)
    if removed:
        forget_photos(home, removed)
    return UndoResult.of(report)


def _require_ended(home: Home, catalog: Catalog, action: StoredAction) -> None:
    """Raise ``NotUndoableError`` where an action may still be written: what it then adds nothing
    could take back. Its writer, killed or not, holds its lock no longer than it lives."""
    lock = _WRITTEN_UNDER.get(action.kind)
    if lock is None:
        return
    try:
        home.lock(lock).release()
    except BusyError as error:
        # They follow each other: where a later one has begun, this one has ended.
        kinds = [kind for kind, held in _WRITTEN_UNDER.items() if held == lock]
        if not catalog.actions.has_later(action.number, kinds):
            raise NotUndoableError(
                f"action {action.name} ({action.kind}) is still being written, or the next one of "
                "its kind just begins: cancel its job or wait until that has ended, and undo it "
                "then"
            ) from error


def is_long(home: Home, catalog: Catalog, name: str) -> bool:
    """Whether an undo of this action would take longer than an answer may. Raises
    ``UnknownActionError``, and ``NotUndoableError`` while it is still written."""
    if name.startswith((f"{ACTIVATION}-", f"{DECISION}-")):
        return False
    action = catalog.actions.get(name)
    if action.undone is not None or action.expired:
        return False
    _require_ended(home, catalog, action)
    counts = catalog.actions.counts(action.number)
    return counts.changed + counts.added > LONG


def _listed(action: StoredAction, counts: ActionCounts, days: float) -> ListedAction:
    state = "undone" if action.undone else "expired" if action.expired else "undoable"
    if state == "undoable" and not counts.is_undoable:
        state = "not-undoable"
    return ListedAction(
        action.name,
        action.at,
        action.kind,
        action.by,
        action.note,
        counts.changed,
        counts.added,
        counts.erased,
        _until(action.at, days),
        state,
        action.undone,
    )


def _until(at: str, days: float) -> str:
    """Empty where there is no end."""
    try:
        end = datetime.fromisoformat(at) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    if not days:
        return ""
    return end.astimezone(UTC).isoformat(timespec="milliseconds")


def _activations(home: Home) -> list[ListedAction]:
    past = Versions(home).history()
    found = []
    for place, entry in enumerate(past):
        if not entry.at or not place:
            continue
        last = place == len(past) - 1
        found.append(
            ListedAction(
                _activation_name(entry.version, entry.at),
                entry.at,
                ACTIVATION,
                entry.by,
                f"{past[place - 1].version} -> {entry.version}",
                changed=0,
                added=0,
                erased=0,
                until="",
                state="undoable" if last else "changed-since",
                undone_by=None,
            )
        )
    return found


def _activation_name(version: str, at: str) -> str:
    return f"{ACTIVATION}-{version}-{''.join(filter(str.isdigit, at))[:17]}"


def _undo_activation(home: Home, name: str, dry_run: bool) -> UndoReport:
    found = {action.name: action for action in _activations(home)}.get(name)
    if found is None:
        raise UnknownActionError(f"there is no action {name[:64]!a} (see catalens undo list)")
    if found.state != "undoable":
        raise NotUndoableError(
            f"another version was activated after {found.note}: undo that first, or activate the "
            "version that is to serve"
        )
    report = UndoReport(found.name, found.kind, found.by, found.at, dry_run=dry_run)
    if not dry_run:
        Versions(home).rollback(instead_of=found.note.rpartition(" ")[2])
        report.undone_by = _activations(home)[-1].name
    return report


def _decisions(home: Home, limit: int) -> list[ListedAction]:
    if not home.reviews_file.exists():
        return []
    with open_reviews(home) as reviews:
        return [_listed_decision(made) for made in latest_decisions(reviews, limit=limit)]


def _listed_decision(made: ReviewDecision) -> ListedAction:
    return ListedAction(
        f"{DECISION}-{made.entry}",
        made.at,
        DECISION,
        made.by,
        f"{made.outcome} {made.review}",
        changed=0,
        added=0,
        erased=0,
        until=_until(made.at, DECISION_DAYS),
        state=made.state,
        undone_by=None,
    )


def _undo_decision(home: Home, name: str, dry_run: bool) -> UndoReport:
    number = name.removeprefix(f"{DECISION}-")
    unknown = UnknownActionError(f"there is no action {name[:64]!a} (see catalens undo list)")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise unknown
    if not home.reviews_file.exists():
        raise unknown
    with open_reviews(home) as reviews:
        made = find_decision(reviews, int(number))
        if made is None:
            raise unknown
        if made.state != "undoable":
            raise NotUndoableError(
                f"the decision of {made.at} on review {made.review} was undone already, or is "
                f"older than {DECISION_DAYS:g} days"
            )
        if not dry_run:
            reviews.reopen(made.review, entry=made.entry)
    return UndoReport(name, DECISION, made.by, made.at, dry_run=dry_run)


def _restore_decision(home: Home, catalog: Catalog, kept: KeptDecision, report: UndoReport) -> None:
    """Give the model its categories back, unless they were changed since."""
    try:
        active, bundle = active_model(home)
    except CatalensError:
        report.skip("", CATEGORIES, "changed-since")
        return
    now = json.loads(json.dumps(bundle.decision.grouping()))
    if now != kept.after:
        report.skip("", CATEGORIES, "changed-since")
        return
    # Part of the undo, which can be undone in turn.
    catalog.actions.keep_decision(kept.after, kept.before)
    serve_decision(home, active, bundle, bundle.decision.regrouped(kept.before))
