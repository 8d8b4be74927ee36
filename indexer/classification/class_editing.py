"""Edits classes from photos or words: rows of the served decision layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from indexer.catalog.action_log import KeptDecision
from indexer.catalog.deletions import Deletions
from indexer.catalog.records import category_path, check_text
from indexer.catalog.store import Catalog
from indexer.classification.described_class import fit_described_category, fit_described_tag
from indexer.core.actor import doing
from indexer.core.category_path import format_path
from indexer.core.errors import (
    BadProductError,
    BadRequestError,
    IndexMismatchError,
    NotUndoableError,
    UnknownClassError,
    UnknownModelError,
)
from indexer.core.home import Active, Home
from indexer.core.vectors import evenly_spaced
from indexer.index.active_model import active_model, serve_decision
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.bundle import Bundle
from indexer.model.calibration import remove_label_smoothing
from indexer.model.decision_layer import Category, Decision, FewShot
from indexer.model.few_shot import (
    MAX_PHOTOS,
    LinearRow,
    background,
    category_shares,
    fit_category,
    fit_tag,
)
from indexer.model.registry import by_version
from indexer.text.zero_shot import DescribedKind

ClassKind = Literal["category", "tag"]
# Unit vectors [N, D] -> {head: [N, C]}.
Logits = Callable[[np.ndarray], dict[str, np.ndarray]]
# Vectors of the catalog that a new class is fitted against.
_SAMPLE = 4096
# Cosine of a photo with itself, stored as halves.
_SAME = 0.999


@dataclass(frozen=True)
class ClassExamples:
    """The photos of a new class, embedded under ``embedding_id``."""

    # float32 [n, D], unit
    vectors: np.ndarray
    # Content hashes.
    photos: tuple[str, ...]
    embedding_id: str
    # Those of ``photos`` that were erased before they were given.
    erased: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClassWords:
    """The words of a new class, read under ``embedding_id``."""

    kind: DescribedKind
    embedding_id: str


def list_classes(decision: Decision) -> list[dict[str, Any]]:
    """List all categories and few-shot tags: ``{id, kind, label, path, source, photos}``.

    ``photos`` is a number for few-shot classes, else None; those that words describe have
    ``prompts``.
    """
    made = {entry.category: entry for entry in decision.few_shot if entry.kind == "category"}
    rows: list[dict[str, Any]] = []
    for category in decision.categories:
        entry = made.get(category.id)
        rows.append(
            {
                "id": category.id,
                "kind": "category",
                "label": category.label,
                "path": list(category.path),
                "source": "trained" if category.trained else _source(entry),
                "photos": len(entry.photos) if entry else None,
                **({"prompts": list(entry.prompts)} if entry and entry.prompts else {}),
            }
        )
    for entry in decision.few_shot:
        if entry.kind == "tag":
            row = {
                "id": entry.id,
                "kind": "tag",
                "label": entry.tag,
                "path": [entry.tag],
                "source": _source(entry),
                "photos": len(entry.photos),
            }
            rows.append({**row, "prompts": list(entry.prompts)} if entry.prompts else row)
    return rows


def _source(entry: FewShot | None) -> str:
    return "text" if entry is not None and entry.prompts else "few-shot"


def class_path(label: str | Sequence[str], kind: ClassKind) -> tuple[str, ...]:
    """Parse the label of a new class: a category's path, or a tag alone.

    Texts lose the spaces around. Raises ``BadRequestError``.
    """
    try:
        if kind == "tag":
            if not isinstance(label, str) or not check_text("a tag", label).strip():
                raise BadRequestError("a tag needs a text")
            return (label.strip(),)
        if isinstance(label, str) and not label.strip():
            raise BadRequestError("a category needs a name")
        path = category_path(label)
    except BadProductError as error:
        raise BadRequestError(str(error)) from error
    if path is None:
        raise BadRequestError("a category needs a name")
    return tuple(level.strip() for level in path) if isinstance(label, str) else path


@dataclass(frozen=True)
class AddedClass:
    """A new class, and the model that knows it."""

    id: int
    bundle: Bundle
    # Share of the catalog's photos, of those not known to be of it, that it is suggested for; None
    # for a class from photos.
    suggested: float | None


def add_class(
    home: Home,
    catalog: Catalog,
    label: str | Sequence[str],
    examples: ClassExamples | ClassWords,
    *,
    kind: ClassKind,
    logits: Logits,
) -> AddedClass:
    """Add a category or a tag and serve it at once.

    No vector and no weight is touched. One from photos takes the place of one of the same name that
    words describe. Raises ``BadRequestError`` (bad or taken label, not 1 to 20 different photos, or
    one that was erased since it was given: an erasure that has ended would not see the class),
    ``NoIndexError``, ``IndexMismatchError`` where a model of another embedding became active,
    ``BusyError``.
    """
    path = class_path(label, kind)
    if isinstance(examples, ClassExamples) and not 1 <= len(examples.vectors) <= MAX_PHOTOS:
        raise BadRequestError(
            f"a class is made from 1 to {MAX_PHOTOS} different photos, not {len(examples.vectors)}"
        )
    note = f"added {format_path(path)}"
    with home.lock("decision", wait_s=30.0):
        active, bundle = active_model(home)
        if bundle.embedding_id != examples.embedding_id:
            raise IndexMismatchError(
                f"the examples were embedded as {examples.embedding_id}, model "
                f"{bundle.model_version} gives embedding {bundle.embedding_id}: try again"
            )
        described = _check_free(bundle.decision, path, kind)
        if isinstance(examples, ClassExamples):
            _require_not_erased(catalog, examples)
        if described is not None and isinstance(examples, ClassWords):
            raise BadRequestError(
                f"{kind} {format_path(path)!r} is described by words already: remove it first, or "
                "give photos"
            )
        row, suggested = _fit_row(home, catalog, bundle, path, kind, examples, logits)
        if described is not None:
            with doing("class", f"removed {format_path(path)} (photos follow)"):
                without = _without_class(bundle.decision, described)
                kept = serve_decision(home, active, bundle, without)
                _keep(catalog, described, before=bundle.model_version, after=None)
            active, bundle = active_model(home)
            assert bundle.model_version == kept.model_version
        with doing("class", note):
            changed = _with_class(bundle.decision, path, kind, row, examples)
            number = bundle.decision.next_id
            new = serve_decision(home, active, bundle, changed)
            _keep(catalog, number, before=None, after=new.model_version)
            if isinstance(examples, ClassExamples):
                # Of a photo that is given again the home may keep what it is given for.
                Deletions(catalog.database).note_given(examples.erased, number)
        return AddedClass(number, new, suggested)


def _require_not_erased(catalog: Catalog, examples: ClassExamples) -> None:
    """Raise ``BadRequestError`` for a photo that was erased since it was given, under the lock that
    an erasure takes for classes."""
    erased = Deletions(catalog.database).erased_among(examples.photos) - examples.erased
    for place, photo in enumerate(examples.photos, 1):
        if photo in erased and not catalog.photos_by_hash([photo]):
            raise BadRequestError(
                f"photo {place} was erased with its product while the class was made: leave it "
                "out, or give it again if the class is to have it all the same"
            )


def _fit_row(
    home: Home,
    catalog: Catalog,
    bundle: Bundle,
    path: tuple[str, ...],
    kind: ClassKind,
    examples: ClassExamples | ClassWords,
    logits: Logits,
) -> tuple[LinearRow, float | None]:
    """Fit the row of a new class to its examples against the rest of the catalog, and how much of
    that a class from words is suggested for."""
    shown = examples.vectors if isinstance(examples, ClassExamples) else examples.kind.example[None]
    vectors, groups = _other_vectors(home, catalog, bundle, path, kind, shown)
    blocks, temperature = bundle.spec.blocks, bundle.decision.temperature
    general = bundle.general_spread()
    head = None
    if kind == "category" and len(vectors) and bundle.spec.head("category"):
        head = remove_label_smoothing(logits(vectors)["category"], bundle.decision.smoothing)
    if isinstance(examples, ClassWords):
        found = (
            fit_described_tag(examples.kind, vectors)
            if kind == "tag"
            else fit_described_category(
                examples.kind, vectors, logits=head, temperature=temperature
            )
        )
        return found.row, found.suggested
    if kind == "tag":
        behind = background(vectors, groups, blocks, general=general)
        return fit_tag(shown, behind, vectors), None
    behind = background(vectors, groups, blocks, category_shares(len(shown)), general=general)
    return fit_category(shown, behind, vectors, logits=head, temperature=temperature), None


def fit_anew(
    home: Home,
    catalog: Catalog,
    bundle: Bundle,
    entry: FewShot,
    photos: tuple[str, ...],
    vectors: np.ndarray,
    logits: Logits,
) -> FewShot:
    """Fit the row of a class that is there from ``photos`` [n] with ``vectors`` [n, D] instead."""
    path = next(
        (row.path for row in bundle.decision.categories if row.id == entry.category),
        (entry.tag or "",),
    )
    examples = ClassExamples(vectors, photos, bundle.embedding_id)
    row, _ = _fit_row(home, catalog, bundle, path, entry.kind, examples, logits)
    return replace(
        entry,
        photos=photos,
        bias=row.bias,
        threshold=row.threshold,
        prototype=row.prototype,
        weight=row.weight,
    )


def _with_class(
    decision: Decision,
    path: tuple[str, ...],
    kind: ClassKind,
    row: LinearRow,
    examples: ClassExamples | ClassWords,
) -> Decision:
    """Add a class under the next free id."""
    number = decision.next_id
    entry = FewShot(
        id=number,
        kind=kind,
        category=number if kind == "category" else None,
        tag=path[0] if kind == "tag" else None,
        photos=examples.photos if isinstance(examples, ClassExamples) else (),
        bias=row.bias,
        threshold=row.threshold,
        prototype=row.prototype,
        weight=row.weight,
        prompts=examples.kind.prompts if isinstance(examples, ClassWords) else (),
    )
    categories = decision.categories
    if kind == "category":
        categories = (*categories, Category(number, path, ()))
    return replace(decision, categories=categories, few_shot=(*decision.few_shot, entry))


def remove_class(
    home: Home,
    catalog: Catalog,
    *,
    number: int | None = None,
    label: str | None = None,
    kind: ClassKind = "category",
) -> int:
    """Remove a few-shot class, by id or by label; returns its id, which is not given again.

    Raises ``UnknownClassError``, ``BadRequestError`` for one that was trained, ``NoIndexError``,
    ``BusyError``.
    """
    with home.lock("decision", wait_s=30.0):
        active, bundle = active_model(home)
        decision = bundle.decision
        if number is None:
            path = class_path(label or "", kind)
            ids = {
                format_path(row["path"]): row["id"]
                for row in list_classes(decision)
                if row["kind"] == kind
            }
            number = ids.get(label or "", ids.get(format_path(path), -1))
        category = next((entry for entry in decision.categories if entry.id == number), None)
        if category is not None and category.trained:
            name = format_path(category.path)
            raise BadRequestError(
                f"category {name!r} was trained: only classes made from photos can be removed"
            )
        if not _rows_of(decision, number):
            raise UnknownClassError(
                f"there is no class {label if label is not None else number!r} ({kind}) made from "
                "photos"
            )
        names = [format_path(r["path"]) for r in list_classes(decision) if r["id"] == number]
        with doing("class", f"removed {', '.join(names)}"):
            serve_decision(home, active, bundle, _without_class(decision, number))
            _keep(catalog, number, before=bundle.model_version, after=None)
        return number


@dataclass(frozen=True)
class ClassUndo:
    """The decision layer as it is without an edit of one class; nothing is changed yet."""

    active: Active
    bundle: Bundle
    number: int
    decision: Decision

    def apply(self, home: Home, catalog: Catalog) -> None:
        """Serve it, as part of the current action; under the lock "decision"."""
        new = serve_decision(home, self.active, self.bundle, self.decision)
        back = len(self.decision.few_shot) > len(self.bundle.decision.few_shot)
        _keep(
            catalog,
            self.number,
            before=None if back else self.bundle.model_version,
            after=new.model_version if back else None,
        )


def plan_class_undo(home: Home, kept: KeptDecision) -> ClassUndo | None:
    """What takes an edit of a class back; None where ``kept`` is of something else.

    Raises ``NotUndoableError`` where the class was edited since, its name was taken, or the model
    that held it is gone.
    """
    if "class" not in kept.before:
        return None
    number = int(kept.before["class"])
    active, bundle = active_model(home)
    held = _rows_of(bundle.decision, number)
    origin = kept.before["model"]
    if bool(held) is bool(origin):
        raise NotUndoableError(f"class {number} was added or removed again since")
    if held:
        return ClassUndo(active, bundle, number, _without_class(bundle.decision, number))
    try:
        old = by_version(home, str(origin))
    except UnknownModelError as error:
        raise NotUndoableError(
            f"model {origin}, which had class {number}, was cleared away since: make the class "
            "anew from its photos"
        ) from error
    if old.embedding_id != bundle.embedding_id:
        raise NotUndoableError(
            f"a model of another embedding serves since: make class {number} anew"
        )
    back = [entry for entry in old.decision.categories if entry.id == number]
    rows = _rows_of(old.decision, number)
    for row in list_classes(old.decision):
        if row["id"] == number:
            try:
                described = _check_free(bundle.decision, tuple(row["path"]), row["kind"])
            except BadRequestError as error:
                raise NotUndoableError(str(error)) from error
            if described is not None:
                raise NotUndoableError(f"class {described} took its name since")
    decision = replace(
        bundle.decision,
        categories=(*bundle.decision.categories, *back),
        few_shot=(*bundle.decision.few_shot, *rows),
    )
    return ClassUndo(active, bundle, number, decision)


def _keep(catalog: Catalog, number: int, *, before: str | None, after: str | None) -> None:
    """Keep which models had a class before and after the current action."""
    catalog.actions.keep_decision(
        {"class": number, "model": before}, {"class": number, "model": after}
    )


def _rows_of(decision: Decision, number: int) -> list[FewShot]:
    return [entry for entry in decision.few_shot if number in (entry.id, entry.category)]


def _without_class(decision: Decision, number: int) -> Decision:
    doomed = _rows_of(decision, number)
    return replace(
        decision,
        categories=tuple(entry for entry in decision.categories if entry.id != number),
        few_shot=tuple(entry for entry in decision.few_shot if entry not in doomed),
    )


def _check_free(decision: Decision, path: tuple[str, ...], kind: ClassKind) -> int | None:
    """The id of a class of this name that words describe, which photos may replace; None where the
    name is free. Raises ``BadRequestError`` for any other."""
    for row in list_classes(decision):
        if (row["kind"], tuple(row["path"])) == (kind, path):
            if row["source"] == "text":
                return int(row["id"])
            name = format_path(path)
            raise BadRequestError(
                f"there is a {kind} {name!r} already ({row['source']}): remove it first, or rename"
            )
    return None


def _other_vectors(
    home: Home,
    catalog: Catalog,
    bundle: Bundle,
    path: tuple[str, ...],
    kind: ClassKind,
    examples: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the catalog's vectors [M, D] that are not known to be of the new class.

    Also the kind of each, int [M], -1 for none; of a large catalog an even sample.
    """
    _, rows = catalog.entries()
    rows = rows[evenly_spaced(len(rows), _SAMPLE)]
    products = catalog.by_pids(np.unique(rows[:, 0]).tolist())
    kinds: dict[tuple[str, ...] | None, int] = {None: -1}
    groups = np.full(len(rows), -2, np.int64)
    for place, pid in enumerate(rows[:, 0].tolist()):
        product = products.get(pid)
        belongs = product is not None and (
            product.category == path
            if kind == "category"
            else path[0] in {tag.tag for tag in product.tags}
        )
        if product is not None and not belongs:
            groups[place] = kinds.setdefault(product.category, len(kinds))
    with closing(
        EmbeddingStore(home.embeddings, bundle.embedding_id, bundle.spec.dim, catalog=catalog)
    ) as store:
        there, halves = store.find(rows[groups != -2, 1])
    use = (groups != -2) & np.isin(rows[:, 1], there)
    vectors = halves[np.searchsorted(there, rows[use, 1])].astype(np.float32)
    groups = groups[use]
    other = (vectors @ examples.T).max(axis=1) < _SAME if len(vectors) else np.zeros(0, bool)
    return vectors[other], groups[other]
