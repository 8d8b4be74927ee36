"""Several inputs, and weights over the embedding's blocks, as one question to the index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.decisions.tagging import COPY, electorate, view_queries
from indexer.errors import BadRequest
from indexer.model.spec import Block
from indexer.model.tag_rule import View

_HEAVIEST = 1_000_000
_PORTION = 256  # results compared with those before them at a time


def checked_weights(weights: Mapping[str, float], known: Sequence[str], what: str, *, where: str) -> dict[str, float]:
    """``weights`` by name, scaled to sum 1; a name that is left out has none.

    Raises ``BadRequest`` for a name that is not ``known``, a value that is negative or no number, or nothing but zeros.
    """
    if not isinstance(weights, Mapping):
        raise BadRequest(f"{where} must be an object of {what} and numbers")
    for name, value in weights.items():
        if name not in known:
            raise BadRequest(f"{where}: there is no {what} {name!r} here, but {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _HEAVIEST:
            raise BadRequest(f"{where}.{name} must be a number from 0 to {_HEAVIEST}, not {value!r}")
    total = math.fsum(weights.values())
    if not total:
        raise BadRequest(f"{where}: no weight is above 0")
    return {name: value / total for name, value in weights.items()}


@dataclass(frozen=True)
class Question:
    """What is looked for. The score of a stored embedding e is the best of ``lengths[j] * (queries[j] . e)``.

    That is the mean, weighted by ``mix``, of the inputs' cosines with e, which are themselves the means, weighted by
    ``view``, of the blocks' cosines; so it lies in [-1, 1].
    """

    queries: np.ndarray  # float32 [n, D], unit
    lengths: np.ndarray  # float32 [n]
    inputs: Mapping[str, np.ndarray]  # name -> float32 [n, D] as given
    mix: Mapping[str, float]  # sums to 1
    view: View  # sums to 1; empty: the blocks as the model weighs them
    blocks: Sequence[Block]

    def signals(self, vector: np.ndarray) -> dict[str, float]:
        """What the score of an embedding [D] is the weighted mean of: by input, and with a view also by block."""
        best = int(np.argmax(self.lengths * (self.queries @ vector)))
        found = {
            name: float(view_queries(given[best : best + 1], self.blocks, self.view)[0] @ vector)
            for name, given in self.inputs.items()
        }
        if self.view:
            mixed = np.sum([self.mix.get(name, 0.0) * given[best] for name, given in self.inputs.items()], axis=0)
            for block in self.blocks:
                found[block.name] = float(view_queries(mixed[None], self.blocks, {block.name: 1.0})[0] @ vector)
        return {name: min(max(value, -1.0), 1.0) for name, value in found.items()}


def question(
    inputs: Mapping[str, np.ndarray],
    blocks: Sequence[Block],
    *,
    mix: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Question:
    """One question about ``inputs``: name -> embeddings [n, D], several where an input is a product with n photos.

    Of several photos the best one counts. ``mix``: how much each input counts (equally); ``weights``: how much each
    block of the embedding does (as the model says). Raises ``BadRequest`` naming a weight that is unknown, negative or
    not finite, and for inputs that cancel each other out.
    """
    shares = checked_weights(mix, list(inputs), "input", where="mix") if mix is not None else {}
    shares = shares or {name: 1 / len(inputs) for name in inputs}
    view = checked_weights(weights, [b.name for b in blocks], "block", where="weights") if weights is not None else {}
    count = math.prod(len(given) for given in inputs.values())
    places = np.unravel_index(np.arange(count), [len(given) for given in inputs.values()])
    spread = {
        name: np.asarray(given, np.float32)[place] for (name, given), place in zip(inputs.items(), places, strict=True)
    }
    mixed = np.sum([shares.get(name, 0.0) * given for name, given in spread.items()], axis=0)
    asked = view_queries(mixed, blocks, view)
    lengths = np.linalg.norm(asked, axis=1)
    if float(lengths.min()) < 1e-6:
        raise BadRequest("the image and the product point in opposite directions: ask for one of them")
    return Question((asked / lengths[:, None]).astype(np.float32), lengths, spread, shares, view, blocks)


def distinct(vectors: np.ndarray, threshold: float = COPY) -> np.ndarray:
    """Places of ranked embeddings [n, D] that are no near-duplicate (cosine of ``threshold``) of a kept one before."""
    kept = np.empty(0, dtype=np.int64)
    for start in range(0, len(vectors), _PORTION):
        part = vectors[start : start + _PORTION]
        new = np.flatnonzero(~(part @ vectors[kept].T >= threshold).any(axis=1))
        alike = part[new] @ part[new].T >= threshold
        leads = electorate(alike[None])[0] == np.arange(len(new))
        kept = np.concatenate([kept, start + new[leads]])
    return kept
