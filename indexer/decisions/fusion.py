"""Several inputs, and weights over the embedding's blocks, as one question to the index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.decisions.similar import reweigh
from indexer.decisions.tagging import COPY, electorate
from indexer.errors import BadRequest
from indexer.model.spec import Block

_PORTION = 256  # results compared with those before them at a time


def check_mix(mix: Mapping[str, float], inputs: Sequence[str]) -> dict[str, float]:
    """How much each of ``inputs`` counts, summing to 1; one that is not named does not count.

    Raises ``BadRequest`` for an input that the question does not have, a share that is negative or no number, or
    nothing but zeros.
    """
    for name, share in mix.items():
        if name not in inputs:
            raise BadRequest(f"mix: the question has no input {name!r}; it has: {', '.join(inputs)}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < math.inf:
            raise BadRequest(f"mix: {name} must be a finite number from 0, not {share!r}")
    total = sum(mix.values())
    if not 0 < total < math.inf:
        raise BadRequest("mix: at least one input must count more than zero" if not total else "mix: too large")
    return {name: mix.get(name, 0.0) / total for name in inputs}


@dataclass(frozen=True)
class Question:
    """What is looked for. The score of a stored embedding e is the best of ``lengths[j] * (queries[j] . e)``.

    That is the mean, weighted by ``mix``, of the inputs' cosines with e, which are themselves the means, weighted by
    ``weights``, of the blocks' cosines; so it lies in [-1, 1].
    """

    queries: np.ndarray  # float32 [n, D], unit
    lengths: np.ndarray  # float32 [n]
    inputs: Mapping[str, np.ndarray]  # name -> float32 [n, D] as given
    mix: Mapping[str, float]  # sums to 1
    weights: Mapping[str, float] | None  # by block; None: as the model weighs them
    blocks: Sequence[Block]

    def signals(self, vector: np.ndarray) -> dict[str, float]:
        """What the score of an embedding [D] is the weighted mean of: by input, and with weights also by block."""
        best = int(np.argmax(self.lengths * (self.queries @ vector)))
        here = {name: given[best : best + 1] for name, given in self.inputs.items()}
        found = {name: _product(given, self.blocks, self.weights, vector) for name, given in here.items()}
        if self.weights is not None:
            mixed = np.sum([self.mix[name] * given for name, given in here.items()], axis=0)
            stored = [block.name for block in self.blocks if block.weight > 0]
            found |= {name: _product(mixed, self.blocks, {name: 1.0}, vector) for name in stored}
        return {name: min(max(value, -1.0), 1.0) for name, value in found.items()}


def _product(
    given: np.ndarray, blocks: Sequence[Block], weights: Mapping[str, float] | None, vector: np.ndarray
) -> float:
    """The (re-weighted) cosine of one embedding [1, D] with another [D]."""
    queries, lengths = (given, np.ones(1)) if weights is None else reweigh(given, blocks, weights)
    return float(lengths[0] * (queries[0] @ vector))


def question(
    inputs: Mapping[str, np.ndarray],
    blocks: Sequence[Block],
    *,
    mix: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Question:
    """One question about ``inputs``: name -> embeddings [n, D], several where an input is a product with n photos.

    Of several photos the best one counts. ``mix``: how much each input counts (equally); ``weights``: how much each
    block of the embedding does (as the model says). Raises ``BadRequest`` as ``check_mix`` and ``reweigh`` do, and for
    inputs that cancel each other out.
    """
    names = list(inputs)
    shares = check_mix(dict.fromkeys(names, 1.0) if mix is None else mix, names)
    spread = {name: np.asarray(given, np.float32) for name, given in inputs.items()}
    if len(spread) > 1:  # each with each
        counts = [len(given) for given in inputs.values()]
        places = np.unravel_index(np.arange(math.prod(counts)), counts)
        spread = {name: given[place] for (name, given), place in zip(spread.items(), places, strict=True)}
    mixed = sum(shares[name] * given for name, given in spread.items())
    mixed = np.asarray(mixed, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        if weights is None:
            lengths = np.linalg.norm(mixed, axis=1)
            queries = mixed / lengths[:, None]
        else:
            queries, lengths = reweigh(mixed, blocks, weights)
    if not float(lengths.min()) > 1e-6:
        raise BadRequest("the image and the product point in opposite directions: ask for one of them")
    return Question(queries, lengths, spread, shares, weights, blocks)


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
