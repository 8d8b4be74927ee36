"""Query re-weighting by blocks, and several inputs mixed into one query."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from indexer.core.errors import BadRequestError
from indexer.index.base import MIXED, SearchParams
from indexer.index.near_duplicates import COPY, group_near_duplicates
from indexer.model.spec import Block
from indexer.model.tag_rule import View


def search_params(weights: Mapping[str, float]) -> SearchParams:
    """Return how to search with queries that ``reweight_queries`` made."""
    heavy = [name for name, weight in weights.items() if weight > 0]
    return SearchParams(widen=heavy[0] if len(heavy) == 1 else MIXED)


def check_weights(blocks: Sequence[Block], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of all ``blocks``, summing to 1; a block not named weighs nothing.

    Raises ``BadRequestError`` that names the weight: an unknown block, negative, not a finite
    number, all of them zero.
    """
    names = [block.name for block in blocks]
    for name, weight in weights.items():
        if name not in names:
            raise BadRequestError(
                f"weights: the embedding has no block {name!r}; it has: {', '.join(names)}"
            )
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not math.isfinite(weight)
        ):
            raise BadRequestError(f"weights: {name} must be a finite number, not {weight!r}")
        if weight < 0:
            raise BadRequestError(f"weights: {name} must not be negative, it is {weight:g}")
    total = float(sum(weights.values()))
    if total == 0 or math.isinf(total):
        reason = (
            "at least one block must weigh more than zero"
            if total == 0
            else "their sum is too large"
        )
        raise BadRequestError(f"weights: {reason}")
    return {name: float(weights.get(name, 0.0)) / total for name in names}


def reweight_queries(
    vectors: np.ndarray, blocks: Sequence[Block], weights: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Re-weight the cosine of each block: queries that weigh ``blocks`` by ``weights``.

    Embeddings [N, D] -> (unit queries float32 [N, D], lengths float32 [N]).

    With e = [sqrt(w_j) u_j] the query is [q_j u_j / sqrt(w_j)], so no index is built anew: its
    product with an embedding is the mean of the blocks' cosines, weighted by q. An index takes unit
    queries; its score times the length is that mean. Search with ``search_params``: such queries
    lie off the data. Raises ``BadRequestError`` (``check_weights``; also for a block that weighs
    nothing in the embedding itself, so that nothing of it is stored).
    """
    wanted = check_weights(blocks, weights)
    for block in blocks:
        if block.weight <= 0 and wanted[block.name] > 0:
            raise BadRequestError(
                f"weights: block {block.name} weighs nothing in this embedding and cannot be asked "
                "for"
            )
    queries = view_queries(np.asarray(vectors, dtype=np.float32), blocks, wanted)
    lengths = np.linalg.norm(queries, axis=1)
    if not lengths.all():
        raise BadRequestError(
            "weights: an embedding holds nothing in the blocks that are asked for"
        )
    return queries / lengths[:, None], lengths


# Results compared with those before them at a time.
_PORTION = 256


def check_mix(mix: Mapping[str, float], inputs: Sequence[str]) -> dict[str, float]:
    """Return how much each of ``inputs`` counts, summing to 1; one not named does not count.

    Raises ``BadRequestError`` for an input that the question does not have, a share that is
    negative or no number, or nothing but zeros.
    """
    for name, share in mix.items():
        if name not in inputs:
            raise BadRequestError(
                f"mix: the question has no input {name!r}; it has: {', '.join(inputs)}"
            )
        if (
            isinstance(share, bool)
            or not isinstance(share, int | float)
            or not 0 <= share < math.inf
        ):
            raise BadRequestError(f"mix: {name} must be a finite number from 0, not {share!r}")
    total = sum(mix.values())
    if not 0 < total < math.inf:
        raise BadRequestError(
            "mix: at least one input must count more than zero" if not total else "mix: too large"
        )
    return {name: mix.get(name, 0.0) / total for name in inputs}


@dataclass(frozen=True)
class VectorQuery:
    """Query by vectors: an embedding e scores the best of ``lengths[j] * (queries[j] . e)``.

    That is the mean, weighted by ``mix``, of the inputs' cosines with e, which are themselves the
    means, weighted by ``weights``, of the blocks' cosines; so it lies in [-1, 1].
    """

    queries: np.ndarray  # float32 [n, D], unit
    lengths: np.ndarray  # float32 [n]
    # Name -> float32 [n, D] as given.
    inputs: Mapping[str, np.ndarray]
    # Sums to 1.
    mix: Mapping[str, float]
    # By block; None: as the model weighs them.
    weights: Mapping[str, float] | None
    blocks: Sequence[Block]
    # Of inputs that are asked otherwise than ``weights`` say: by name, by block.
    own: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def params(self) -> SearchParams | None:
        """How to search with the queries; None: as with embeddings."""
        plain = any(share > 0 for name, share in self.mix.items() if name not in self.own)
        own = [weights for name, weights in self.own.items() if self.mix[name] > 0]
        if not own:
            return None if self.weights is None else search_params(self.weights)
        return SearchParams(widen=MIXED) if plain or len(own) > 1 else search_params(own[0])

    def signals(self, vector: np.ndarray) -> dict[str, float]:
        """Split the score of an embedding [D] into the cosines that it is the weighted mean of.

        By input, and with weights also by block.
        """
        best = int(np.argmax(self.lengths * (self.queries @ vector)))
        here = {name: given[best : best + 1] for name, given in self.inputs.items()}
        found = {
            name: _product(given, self.blocks, self.own.get(name, self.weights), vector)
            for name, given in here.items()
        }
        if self.weights is not None:
            mixed = np.sum([self.mix[name] * given for name, given in here.items()], axis=0)
            stored = _filled(mixed, self.blocks)
            found |= {name: _product(mixed, self.blocks, {name: 1.0}, vector) for name in stored}
        return {name: min(max(value, -1.0), 1.0) for name, value in found.items()}


def _filled(mixed: np.ndarray, blocks: Sequence[Block]) -> list[str]:
    """The blocks of which embeddings [1, D] hold anything."""
    ends = np.cumsum([block.dim for block in blocks])
    parts = np.split(mixed[0], ends[:-1])
    held = zip(blocks, parts, strict=True)
    return [block.name for block, part in held if block.weight > 0 and part.any()]


def _product(
    given: np.ndarray,
    blocks: Sequence[Block],
    weights: Mapping[str, float] | None,
    vector: np.ndarray,
) -> float:
    """Compute the (re-weighted) cosine of one embedding [1, D] with another [D]."""
    queries, lengths = (
        (given, np.ones(1)) if weights is None else reweight_queries(given, blocks, weights)
    )
    return float(lengths[0] * (queries[0] @ vector))


def vector_query(
    inputs: Mapping[str, np.ndarray],
    blocks: Sequence[Block],
    *,
    mix: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    own: Mapping[str, Mapping[str, float]] | None = None,
) -> VectorQuery:
    """Mix ``inputs`` into one query: name -> embeddings [n, D], a product's n photos say.

    Of several photos the best one counts. ``mix``: how much each input counts (equally);
    ``weights``: how much each block of the embedding does (as the model says), ``own`` those of
    single inputs. Raises ``BadRequestError`` as ``check_mix`` and ``reweight_queries`` do, and for
    inputs that cancel each other out.
    """
    names = list(inputs)
    shares = check_mix(dict.fromkeys(names, 1.0) if mix is None else mix, names)
    spread = {name: np.asarray(given, np.float32) for name, given in inputs.items()}
    # Each with each.
    if len(spread) > 1:
        counts = [len(given) for given in inputs.values()]
        places = np.unravel_index(np.arange(math.prod(counts)), counts)
        spread = {
            name: given[place] for (name, given), place in zip(spread.items(), places, strict=True)
        }
    own = {name: own[name] for name in names if own and name in own}
    plain = [name for name in names if name not in own and (not own or shares[name] > 0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        queries, lengths = _mixed(spread, plain, shares, blocks, weights)
        if own:
            mixed = queries * lengths[:, None] if plain else np.zeros_like(spread[names[0]])
            for name, view in own.items():
                mixed = mixed + shares[name] * view_queries(spread[name], blocks, view)
            lengths = np.linalg.norm(mixed, axis=1)
            queries = np.asarray(mixed / lengths[:, None], np.float32)
    if not float(lengths.min()) > 1e-6:
        raise BadRequestError(
            "the image and the product point in opposite directions: ask for one of them"
        )
    return VectorQuery(queries, lengths, spread, shares, weights, blocks, own)


def _mixed(
    spread: Mapping[str, np.ndarray],
    names: Sequence[str],
    shares: Mapping[str, float],
    blocks: Sequence[Block],
    weights: Mapping[str, float] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Unit queries [n, D] and lengths [n] of the inputs ``names``; empty of none."""
    if not names:
        check_weights(blocks, weights or {blocks[0].name: 1.0})
        return np.empty((0, 0), np.float32), np.empty(0, np.float32)
    mixed = np.asarray(sum(shares[name] * spread[name] for name in names), np.float32)
    if weights is not None:
        return reweight_queries(mixed, blocks, weights)
    lengths = np.linalg.norm(mixed, axis=1)
    return mixed / lengths[:, None], lengths


def kept_portions(vectors: np.ndarray, threshold: float = COPY) -> Iterator[np.ndarray]:
    """Keep the ranked embeddings [n, D] that repeat no kept one before; yields their places.

    A near-duplicate has a cosine of at least ``threshold``. Each step is one portion, so that a
    caller can stop in between.
    """
    kept = np.empty(0, dtype=np.int64)
    for start in range(0, len(vectors), _PORTION):
        part = vectors[start : start + _PORTION]
        new = np.flatnonzero(~(part @ vectors[kept].T >= threshold).any(axis=1))
        alike = part[new] @ part[new].T >= threshold
        leads = group_near_duplicates(alike[None])[0] == np.arange(len(new))
        kept = np.concatenate([kept, start + new[leads]])
        yield start + new[leads]


def view_queries(vectors: np.ndarray, blocks: Sequence[Block], view: View) -> np.ndarray:
    """Scale embeddings [N, D] to queries [N, D] that re-weight the cosine by ``view``.

    The product of a query with an embedding is that cosine.

    With e = [sqrt(w_b) u_b] the query is [view_b / sqrt(w_b) u_b], so no index is built anew. It is
    not of unit length. A block without weight holds zeros, which any scale leaves as they are.
    """
    if not view:
        return np.asarray(vectors, np.float32)
    scale = np.concatenate(
        [np.full(block.dim, view.get(block.name, 0.0) / (block.weight or 1.0)) for block in blocks]
    )
    return np.asarray(vectors * scale, np.float32)
