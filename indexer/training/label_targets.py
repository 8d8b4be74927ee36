"""Training targets of which a photo carries any number: free tags, attributes that are lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from indexer.core.native import torch
from indexer.feeds.dataset import AttributeType, DatasetRow
from indexer.model.spec import FREE_TAGS
from indexer.tagging.samples import incidence_matrix
from indexer.training.sampling import sample_indices
from indexer.training.tag_samples import tags_by_head
from indexer.training.targets import Target, ridge_scores

# Training products that carry a label, and that are known not to, for a head to learn it.
LEAST_PRODUCTS = 10
# Labels of one head, the commonest: its rows are 10 MB then, and a batch's logits 8 MB.
MOST_LABELS = 5000
# Standard errors by which the mean area under the ROC curve must lie above chance.
_SURELY = 2.0
# Photos and labels that the probe learns from and tells; a draw of more.
_PROBED = 5000
_PROBED_LABELS = 300


@dataclass(frozen=True, eq=False)
class LabelTarget:
    """One head's task: its labels in the order of its class ids, and which photos carry them.

    A list that is not there says nothing: such a photo is unknown, not without labels.
    """

    name: str
    values: tuple[str, ...]
    # float64 [N, L], 1 where a photo carries a label
    carried: csr_matrix
    # bool [N], photos of products with a list
    known: np.ndarray
    # int [N], products by number
    product: np.ndarray

    @cached_property
    def weights(self) -> np.ndarray:
        """What a photo counts, float [N]: photos of one product one together, 0 where unknown."""
        return np.where(self.known, 1 / np.bincount(self.product)[self.product], 0.0)

    @cached_property
    def mean_labels(self) -> float:
        """Labels that a known product carries, one at least."""
        return max(float((self.weights @ self.carried).sum() / max(self.weights.sum(), 1e-6)), 1.0)

    def truth(self, chosen: Any) -> Any:
        """The photos ``chosen`` (int [B]) as float32 [B, L + 1]: their labels times their weight,
        and behind them the weight."""
        places = np.asarray(chosen)
        weights = self.weights[places, None]
        hot = self.carried[places].toarray() * weights
        return torch.from_numpy(np.concatenate([hot, weights], axis=1).astype(np.float32))


def label_targets(
    rows: Sequence[DatasetRow],
    features: np.ndarray,
    masks: tuple[np.ndarray, np.ndarray],
    types: Mapping[str, AttributeType],
    targets: Sequence[Target],
) -> tuple[list[LabelTarget], list[str]]:
    """Build targets of tags and list attributes that photos tell; also notes on the rest.

    A label needs ``LEAST_PRODUCTS``. Tags that a head of ``targets`` predicts are left to it, and
    so is a list that is one of them already (a colour). ``features`` [N, F]; ``masks``, bool [N]:
    photos that teach and that judge.
    """
    train_mask, validation_mask = masks
    kept: list[LabelTarget] = []
    notes: list[str] = []
    taken = {target.name for target in targets}
    taught = np.flatnonzero(train_mask)
    told = tags_by_head(
        [rows[place] for place in taught.tolist()],
        [replace(target, labels=target.labels[taught]) for target in targets],
    )
    lists = {FREE_TAGS: [tuple(row.tags) for row in rows]}
    for name, kind in types.items():
        if kind == "list" and name not in taken:
            lists[name] = [list_values(row.attributes.get(name)) for row in rows]
    for name, held in lists.items():
        target, left = _candidate(name, held, rows, train_mask, told.keys())
        what = "tags" if name == FREE_TAGS else f"attribute {name!r}"
        if target is None:
            if left and name != FREE_TAGS:
                notes.append(
                    f"{what}: none of its {left} values is carried by {LEAST_PRODUCTS} training "
                    "products, so there is no head for it"
                )
            continue
        read = _reading(target, features, train_mask, validation_mask)
        if read is None:
            notes.append(f"{what}: no validation photo carries a label: no head for it")
        elif read[0] < 0.5 + _SURELY * read[1]:
            notes.append(
                f"{what}: its labels are not read from photos (area under the ROC curve of "
                f"validation photos {read[0]:.3f}, standard error {read[1]:.3f}): no head for it"
            )
        else:
            kept.append(target)
            notes += _left_note(what, len(target.values), left)
    return kept, notes


def _left_note(what: str, count: int, left: int) -> list[str]:
    if not left:
        return []
    return [
        f"{what}: {count} labels have a head; {left} do not, since fewer than {LEAST_PRODUCTS} "
        "training products carry them, or lack them"
    ]


def _candidate(
    name: str,
    held: Sequence[Sequence[str]],
    rows: Sequence[DatasetRow],
    train_mask: np.ndarray,
    told: AbstractSet[str],
) -> tuple[LabelTarget | None, int]:
    """The labels that enough training products carry, the commonest first where there are too
    many; and how many are left out."""
    number: dict[str, int] = {}
    product = np.array([number.setdefault(row.product_id, len(number)) for row in rows], np.int64)
    known = np.array([bool(one) for one in held], bool)
    # One photo stands for each product.
    first = np.zeros(len(rows), bool)
    first[np.unique(product, return_index=True)[1]] = True
    counted = np.flatnonzero(first & known & train_mask)
    names = sorted({label for place in counted.tolist() for label in held[place]} - told)
    if not names:
        return None, 0
    place_of = {label: place for place, label in enumerate(names)}
    carried = incidence_matrix([known_labels(one, place_of) for one in held], place_of)
    counts = np.asarray(carried[counted].sum(0)).ravel()
    enough = (counts >= LEAST_PRODUCTS) & (len(counted) - counts >= LEAST_PRODUCTS)
    chosen = np.flatnonzero(enough)
    chosen = np.sort(chosen[np.argsort(-counts[chosen], kind="stable")][:MOST_LABELS])
    left = len(names) - len(chosen)
    if not len(chosen):
        return None, left
    values = tuple(names[place] for place in chosen.tolist())
    return LabelTarget(name, values, carried[:, chosen].tocsr(), known, product), left


def _reading(
    target: LabelTarget, features: np.ndarray, train_mask: np.ndarray, validation_mask: np.ndarray
) -> tuple[float, float] | None:
    """Mean area under the ROC curve by which ridge regression tells labels of validation photos,
    and its standard error by chance (Mann and Whitney 1947); None where none can be judged."""
    learn = sample_indices(train_mask & target.known, _PROBED)
    check = sample_indices(validation_mask & target.known, _PROBED)
    labels = sample_indices(np.ones(len(target.values), bool), _PROBED_LABELS)
    truth = target.carried[:, labels]
    actual = truth[check].toarray() > 0
    hits = actual.sum(0)
    judged = (hits > 0) & (hits < len(check))
    if not judged.any():
        return None
    scores = ridge_scores(features[learn], truth[learn].toarray(), features[check])
    found = areas(actual[:, judged], scores[:, judged])
    with_it = hits[judged]
    without = len(check) - with_it
    variance = (len(check) + 1) / (12 * with_it * without)
    return float(found.mean()), float(np.sqrt(variance.sum()) / len(found))


def areas(actual: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each label, [L], of bool and scores [P, L]; each has both.

    >>> areas(np.array([[True], [False]]), np.array([[2.0], [1.0]])).tolist()
    [1.0]
    """
    hits = actual.sum(0)
    ranks = np.where(actual, rankdata(scores, axis=0), 0.0).sum(0)
    return np.asarray((ranks - hits * (hits + 1) / 2) / (hits * (len(actual) - hits)))


def known_labels(held: Sequence[str], known: Mapping[str, int]) -> list[str]:
    """Those of a product's labels that are ``known``."""
    return [label for label in held if label in known]


def list_values(value: object) -> tuple[str, ...]:
    """The values of a list as a head tells them; what is no text or number is left out."""
    if not isinstance(value, list):
        return ()
    return tuple(str(one) for one in value if isinstance(one, str | int | float))
