"""Dataset split into training, validation and test, with its label problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError, TrainingError
from indexer.feeds.dataset import SPLITS, Dataset, DatasetRow, assign_splits, read_dataset
from indexer.model.decision_layer import Category
from indexer.training.split import (
    MOST_COMPARED,
    near_duplicate_groups,
    split_products,
    unjudged_notes,
)

# how products without a split are given one; stands in the model, so that ``evaluate`` repeats it
SPLIT_RULE = 2
ALL = "all"  # the one split of ``read_whole``


@dataclass(frozen=True)
class TrainingProblem:
    """Rows with a split each, and notes on the data."""

    dataset: Dataset
    rows: list[DatasetRow]
    split: dict[str, str]  # product_id -> split
    notes: list[str]
    # products of validation that DATA itself gives to train
    set_aside: frozenset[str] = frozenset()

    def of(self, name: str) -> list[DatasetRow]:
        """List the rows of one split."""
        return [row for row in self.rows if self.split[row.product_id] == name]


def read_problem(data: Path, seed: int, *, rule: int = SPLIT_RULE) -> TrainingProblem:
    """Read DATA and give every product its split: its own, else one by ``seed``.

    ``rule`` 2: by category, with copies kept together (``split_products``); 1: by SHA-256(seed,
    product_id) alone, as models were trained that do not say which. Raises ``BadDataError``.
    """
    dataset = read_dataset(data)
    notes: list[str] = []
    given = {row.product_id: row.split for row in dataset.rows if row.split}
    missing = [row.product_id for row in dataset.rows if row.product_id not in given]
    made = {} if given else _made_split(dataset.rows, seed, rule, notes)
    split = {**made, **given}
    if given and missing:
        dropped = set(missing)
        notes.append(
            f"{len(dropped)} products without a split are left out, since others name theirs"
        )
    if dataset.torn:
        split.update({product: names[0] for product, names in dataset.torn.items()})
        notes.append(
            "products that stand in several splits are used in the first of them only "
            f"({' before '.join(SPLITS)}): "
            f"{len(dataset.torn)}: {_some(sorted(dataset.torn))}"
        )
    rows = [row for row in dataset.rows if row.product_id in split]
    notes += _differing_labels(dataset)
    set_aside: set[str] = set()
    if given and "validation" not in given.values():
        train = [product for product, name in split.items() if name == "train"]
        taught = [row for row in rows if split[row.product_id] == "train"]
        assigned = (
            assign_splits(train, seed) if rule == 1 else _made_split(taught, seed, rule, notes)
        )
        set_aside = {product for product, name in assigned.items() if name == "validation"}
        set_aside -= _last_of_their_category(rows, set(train), set_aside)
        split.update(dict.fromkeys(set_aside, "validation"))
        notes.append(
            f"no validation split: {len(set_aside)} training products were set aside for it"
        )
    if made:
        notes += unjudged_notes(rows, split)
    elif set_aside:
        notes += unjudged_notes(rows, split, names=("validation",))
    return TrainingProblem(dataset, rows, split, notes, frozenset(set_aside))


def _made_split(
    rows: Sequence[DatasetRow], seed: int, rule: int, notes: list[str]
) -> dict[str, str]:
    """Split products that name no split."""
    if rule == 1:
        return assign_splits({row.product_id for row in rows}, seed)
    if len(rows) > MOST_COMPARED:
        notes.append(
            f"{len(rows)} photos are too many to look for copies among them: give DATA a column "
            "split where suppliers' photos repeat"
        )
    return split_products(rows, seed, groups=near_duplicate_groups(rows))


def read_trained(data: Path, training: Mapping[str, Any]) -> TrainingProblem:
    """Read DATA with the split that a model was trained on, by its bundle's ``training``."""
    # models from before the rule do not say
    return read_problem(data, int(training.get("seed", 0)), rule=int(training.get("split", 1)))


def read_whole(data: Path) -> TrainingProblem:
    """Read DATA as one split, ``ALL``, whatever splits it names. Raises ``BadDataError``."""
    dataset = read_dataset(data)
    split = {row.product_id: ALL for row in dataset.rows}
    return TrainingProblem(dataset, dataset.rows, split, _differing_labels(dataset))


def _differing_labels(dataset: Dataset) -> list[str]:
    unlike = [
        entry for entry in dataset.warnings if entry.reason.startswith(("category ", "tags "))
    ]
    if not unlike:
        return []
    first = f"{unlike[0].where}: {unlike[0].reason}"
    return [f"{len(unlike)} rows are labelled as their product's first row: {first}"]


def _last_of_their_category(
    rows: Sequence[DatasetRow], train: set[str], set_aside: set[str]
) -> set[str]:
    """Of products set aside, one for each category that they leave without any: it is trained."""
    categories = {row.product_id: row.category for row in rows if row.product_id in train}
    kept = {category for product, category in categories.items() if product not in set_aside}
    first: dict[object, str] = {}
    for product, category in categories.items():
        if category is not None and category not in kept:
            first.setdefault(category, product)
    return set(first.values())


def categories_of(rows: Sequence[DatasetRow]) -> tuple[Category, ...]:
    """List the categories of training rows, ids in the order of their paths; may be none.

    A single one teaches nothing, but is what every photo is answered with.
    """
    paths = sorted({row.category for row in rows if row.category})
    return tuple(Category(number, path) for number, path in enumerate(paths))


def require_lesson(
    categories: Sequence[Category], attributes: Sequence[object], notes: Sequence[str]
) -> None:
    """Raise ``TrainingError`` where one category and no attribute leave nothing to tell apart.

    ``attributes``: those that have a head, tags among them; ``notes`` say why others have none.
    """
    if len(categories) != 1 or attributes:
        return
    why = "".join(f"; {note}" for note in notes)
    raise TrainingError(
        f"all training photos have one category, {categories[0].label!r}, and no attribute can be "
        "learned, so there is nothing to tell apart: add photos of a second category, or a column "
        "such as colour with two values or more that photos show and that validation photos have "
        f"too, or leave the category out to train for similar photos alone{why}"
    )


def category_labels(rows: Sequence[DatasetRow], categories: Sequence[Category]) -> np.ndarray:
    """Return the class index of each row's category, int64 [N]; -1 for none or an unknown one."""
    label_of = {category.path: number for number, category in enumerate(categories)}
    labels = [label_of.get(row.category, -1) if row.category else -1 for row in rows]
    return np.array(labels, np.int64)


def label_notes(problem: TrainingProblem, categories: Sequence[Category]) -> list[str]:
    """Describe odd labels: lonely classes, names that differ in case or spaces, no label."""
    notes = []
    counts = Counter(row.category for row in problem.of("train") if row.category)
    lonely = [format_path(path) for path, count in counts.items() if count == 1]
    if lonely:
        notes.append(f"{len(lonely)} categories have one training photo: {_some(lonely)}")
    known = {category.path for category in categories}
    for name in SPLITS[1:]:
        unseen = sorted(
            {format_path(row.category) for row in problem.of(name) if row.category}
            - {format_path(path) for path in known}
        )
        if unseen:
            notes.append(
                f"{len(unseen)} categories of {name} photos have no training photo, so the model "
                f"does not know them: {_some(unseen)}"
            )
    folded: dict[str, list[str]] = {}
    for path in sorted(known):
        text = format_path(path)
        folded.setdefault(" ".join(text.casefold().split()), []).append(text)
    for alike in folded.values():
        if len(alike) > 1:
            notes.append(
                f"categories that differ only in case or spaces are kept apart: {_some(alike)}"
            )
    unlabelled = sum(row.category is None for row in problem.of("train"))
    if unlabelled:
        what = (
            ""
            if known
            else ": the model learns from the photos and recaptures of them what is the same thing"
        )
        notes.append(
            f"{unlabelled} of {len(problem.of('train'))} training photos have no category{what}"
        )
    return notes


@dataclass(frozen=True)
class Leaks:
    """Photos whose exact copy stands in an earlier split (train before validation before test)."""

    leaked: np.ndarray  # bool [N]: not to be judged by, the copy in the earlier split stays
    notes: list[str]


def find_leaks(split: np.ndarray, pixels: np.ndarray, labels: np.ndarray) -> Leaks:
    """Find photos that an earlier split has already shown.

    From split names, pixel hashes and labels, all [N]. A copy counts whatever its label: a model
    that saw the photo learned an answer. Where labels differ the notes say so, since then one of
    the two is wrong.
    """
    leaked = np.zeros(len(split), bool)
    notes = []
    earlier: dict[object, set[object]] = {}
    for name in SPLITS:
        here = np.flatnonzero(split == name)
        copies = [number for number in here if pixels[number] in earlier]
        leaked[copies] = True
        if copies:
            differ = sum(labels[number] not in earlier[pixels[number]] for number in copies)
            others = f"; {differ} of them carry another label there" if differ else ""
            before = " or ".join(SPLITS[: SPLITS.index(name)])
            notes.append(
                f"{len(copies)} of {len(here)} {name} photos are exact copies of a {before} photo "
                "and are left out "
                f"where categories, attributes and tags are judged{others}"
            )
        for number in here:
            earlier.setdefault(pixels[number], set()).add(labels[number])
    return Leaks(leaked, notes)


def require_rows(rows: Sequence[DatasetRow], split: str, data: Path) -> None:
    """Raise ``BadDataError`` where a split is empty, with what reading ``data`` skipped."""
    if rows:
        return
    skipped = read_dataset(data).skipped  # again, since whoever has no rows may not know
    if not skipped:
        raise BadDataError(f"{data} has no {split} photos")
    first = f"{skipped[0].where}: {skipped[0].reason}"
    raise BadDataError(
        f"{data} has no {split} photos; rows skipped: {len(skipped)}, the first: {first}"
    )


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more
