"""Training targets: the category, and attributes that can be read from photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.catalog.attributes import MAX_VALUES
from indexer.feeds.dataset import AttributeType, DatasetRow
from indexer.model.decision_layer import Category
from indexer.training.problem import category_labels
from indexer.training.sampling import sample_indices

CATEGORY = "category"

_GAIN = 0.05  # what a head must be better by than always saying the commonest value
_RIDGE = 10.0
_WORDS = 5  # of a value; more are a sentence
_PROBED = 20_000  # photos that the probe learns from; a draw of more


@dataclass(frozen=True)
class Target:
    """One head's task: its values in the order of its class ids, and each photo's (-1: unknown)."""

    name: str
    values: tuple[str, ...]
    labels: np.ndarray  # int64 [N], class index
    colour: bool = False  # whether it names a colour (``colour_column``)
    # float32 [N, C], what is learned in the place of the label (``teacher``); zeros for nothing
    soft: np.ndarray | None = None


def category_target(rows: Sequence[DatasetRow], categories: Sequence[Category]) -> Target:
    """Build the category as a target over ``rows``."""
    return Target(
        CATEGORY,
        tuple(category.label for category in categories),
        category_labels(rows, categories),
    )


def attribute_targets(
    rows: Sequence[DatasetRow],
    features: np.ndarray,
    train_mask: np.ndarray,
    validation_mask: np.ndarray,
    types: Mapping[str, AttributeType],
) -> tuple[list[Target], list[str]]:
    """Build targets of text and bool attributes that a quick probe reads from photos.

    The probe is measured on validation photos; also notes on the rest. ``features`` [N, F]; the
    masks are bool [N]. An attribute is kept where ridge regression on the features beats the
    commonest value by 5 points of validation accuracy (season or year may stand in no photo).
    """
    kept: list[Target] = []
    notes: list[str] = []
    for target in _candidates(rows, train_mask, types):
        learn = sample_indices(train_mask & (target.labels >= 0), _PROBED)
        check = validation_mask & (target.labels >= 0)
        if not check.any():
            notes.append(f"attribute {target.name!r} has no validation photo: no head for it")
            continue
        majority = int(np.bincount(target.labels[learn]).argmax())
        base = float((target.labels[check] == majority).mean())
        found = _probe(features[learn], target.labels[learn], features[check])
        accuracy = float((found == target.labels[check]).mean())
        if accuracy >= base + _GAIN:
            kept.append(target)
        else:
            notes.append(
                f"attribute {target.name!r} is not read from photos (validation {accuracy:.3f}, "
                f"commonest value {base:.3f}): no head for it"
            )
    return kept, notes


def _candidates(
    rows: Sequence[DatasetRow], train_mask: np.ndarray, types: Mapping[str, AttributeType]
) -> Iterator[Target]:
    """List text and bool attributes of which training photos have at least two values, and few."""
    for name, kind in types.items():
        if kind not in ("string", "bool"):
            continue
        texts = [_text(row.attributes.get(name)) for row in rows]
        used = {text for text, use in zip(texts, train_mask, strict=True) if use}
        values = tuple(sorted(text for text in used if text is not None))
        if 2 <= len(values) <= MAX_VALUES and not _is_prose(values):
            number_of = {value: number for number, value in enumerate(values)}
            labels = [-1 if text is None else number_of.get(text, -1) for text in texts]
            yield Target(name, values, np.array(labels, np.int64))


def _is_prose(values: Sequence[str]) -> bool:
    """Whether most values are sentences, as descriptions are: nothing to be proposed to a shop."""
    return 2 * sum(len(value.split()) > _WORDS for value in values) > len(values)


def colour_target(targets: Sequence[Target]) -> Target | None:
    """Find the one among them that names a colour."""
    return next((target for target in targets if target.colour), None)


def _probe(train: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Fit ridge regression onto one-hot labels; returns classes [M] of ``asked`` [M, F]."""
    return ridge_scores(train, np.eye(int(labels.max()) + 1)[labels], asked).argmax(1)


def ridge_scores(train: np.ndarray, truth: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Fit ridge regression from features [N, F] onto ``truth`` [N, C]; scores [M, C] of ``asked``
    [M, F]."""
    mean = train.mean(0, dtype=np.float64)
    spread = train.std(0, dtype=np.float64) + 1e-6
    x = (train - mean) / spread
    # lambda grows with the number of photos, so that the same strength holds for small and large
    # catalogs
    solved = np.linalg.solve(
        x.T @ x + _RIDGE * len(x) / 100 * np.eye(x.shape[1]), x.T @ (truth - truth.mean(0))
    )
    return np.asarray(((asked - mean) / spread) @ solved + truth.mean(0))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
