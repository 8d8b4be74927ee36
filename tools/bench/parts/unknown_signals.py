"""Signals that were tried for unknown kinds, on the block g of a model: lower is stranger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from indexer.classification.open_set import (
    Rule,
    closeness,
    energy,
    rule_logits,
    rule_signals,
    typicality,
)

# The rule without its fourth signal; each of the others is added with the weight of one.
BEFORE = "energy, direction, closeness"
_FEW = 5
_CROWD = 10
_COMPONENTS = 64
_SHRINKAGE = 0.5
_CLIPPED = 0.05
_CHUNK = 512


@dataclass(frozen=True)
class TaughtPhotos:
    """Blocks [N, G] (unit rows) of the photos that a rule was fitted on, and their kinds [N]."""

    block: np.ndarray
    labels: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """The mean block of each kind [C, G]."""
        kinds = range(int(self.labels.max()) + 1)
        return np.stack([self.block[self.labels == kind].mean(0) for kind in kinds])


def signals_of(asked: np.ndarray, taught: TaughtPhotos, rule: Rule) -> dict[str, np.ndarray]:
    """Compute every signal [Q] of blocks ``asked`` [Q, G] by its name."""
    whole = slice(0, asked.shape[1])
    logits = rule_logits(asked, np.empty(0), rule)
    near = closeness(asked, taught.block, whole)
    own = rule_signals(logits, near, rule, typicality(asked, rule))
    known = rule_logits(taught.block, np.empty(0), rule)
    chances = np.exp(logits - energy(logits)[:, None])
    residual = _residual(asked, taught)
    strength = float(known.max(1).mean() / _residual(taught.block, taught).mean())
    low, high = np.quantile(taught.block, (_CLIPPED, 1 - _CLIPPED), axis=0)
    clipped = rule_logits(np.clip(asked, low, high), np.empty(0), rule)
    to_kind, to_all = _mahalanobis(asked, taught)
    return {
        "energy": own[0],
        "direction": own[1],
        "closeness": own[2],
        "typicality": own[3],
        "largest logit": logits.max(1),
        "largest probability": chances.max(1),
        "entropy": (chances * np.log(chances + 1e-12)).sum(1),
        "nearest photo": closeness(asked, taught.block, whole, 1),
        "nearest 50": closeness(asked, taught.block, whole, 50),
        "nearest over their own": near - _neighbours_closeness(asked, taught.block),
        "nearest by kind": _nearest_by_kind(asked, taught),
        "Mahalanobis": -to_kind,
        "relative Mahalanobis": to_all - to_kind,
        "residual": -residual,
        "virtual logit": energy(logits) - strength * residual,
        "clipped energy": energy(clipped),
    }


def _neighbours_closeness(asked: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The mean closeness [Q] of the nearest photos to their own nearest (a local outlier)."""
    whole = slice(0, asked.shape[1])
    own = (_CROWD + 1) * closeness(gallery, gallery, whole, _CROWD + 1) - 1
    found = np.zeros(len(asked))
    for at in range(0, len(asked), _CHUNK):
        cosines = asked[at : at + _CHUNK] @ gallery.T
        nearest = np.argpartition(-cosines, _CROWD, axis=1)[:, :_CROWD]
        found[at : at + _CHUNK] = own[nearest].mean(1) / _CROWD
    return found


def _nearest_by_kind(asked: np.ndarray, taught: TaughtPhotos) -> np.ndarray:
    """The closeness [Q] to the nearest of one kind, in that kind's own spread; of the best kind."""
    whole = slice(0, asked.shape[1])
    best = np.full(len(asked), -np.inf)
    for kind in range(int(taught.labels.max()) + 1):
        photos = taught.block[taught.labels == kind]
        few = min(_FEW, len(photos) - 1)
        own = ((few + 1) * closeness(photos, photos, whole, few + 1) - 1) / few
        near = closeness(asked, photos, whole, few)
        best = np.maximum(best, (near - own.mean()) / max(float(own.std()), 1e-6))
    return best


def _mahalanobis(asked: np.ndarray, taught: TaughtPhotos) -> tuple[np.ndarray, np.ndarray]:
    """Distances [Q] to the nearest kind's mean and to the mean of all (Ren et al. 2021)."""
    means, middle = taught.means, taught.block.mean(0)
    within = _inverse(taught.block - means[taught.labels])
    total = _inverse(taught.block - middle)
    to_kinds = [_distance(asked - mean, within) for mean in means]
    return np.min(to_kinds, axis=0), _distance(asked - middle, total)


def _distance(rows: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    return np.asarray(((rows @ inverse) * rows).sum(1))


def _inverse(rows: np.ndarray) -> np.ndarray:
    """The inverse covariance [G, G] of centred rows, shrunk to a sphere."""
    found = rows.T @ rows / len(rows)
    sphere = np.trace(found) / len(found) * np.eye(len(found))
    return np.asarray(np.linalg.inv((1 - _SHRINKAGE) * found + _SHRINKAGE * sphere))


def _residual(asked: np.ndarray, taught: TaughtPhotos) -> np.ndarray:
    """Length [Q] of what lies outside the first principal components (Wang et al. 2022)."""
    middle = taught.block.mean(0)
    axes = np.linalg.svd(taught.block - middle, full_matrices=False)[2][:_COMPONENTS]
    apart = asked - middle
    return np.asarray(np.linalg.norm(apart - (apart @ axes.T) @ axes, axis=1))


def combined(signals: dict[str, np.ndarray], known: int, extra: str | None) -> np.ndarray:
    """The score [Q] of the rule as it was and ``extra``, each in the spread of the first ``known``
    photos."""
    names = [*BEFORE.split(", "), *([extra] if extra is not None else [])]
    parts = [signals[name] for name in names]
    standard = [(one - one[:known].mean()) / one[:known].std() for one in parts]
    return np.asarray(-np.sum(standard, axis=0))
