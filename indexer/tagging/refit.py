"""Fits how tags are told to a catalog as it is: leave one product out, let its neighbours vote,
compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.catalog.store import Catalog
from indexer.model.bundle import Bundle
from indexer.model.tag_rule import TagRule
from indexer.tagging.fit import fit_rule, fit_thresholds
from indexer.tagging.samples import (
    MOST_ASKED,
    MOST_VOTERS,
    Side,
    TagSample,
    column_values,
    find_columns,
    tag_sample,
)
from indexer.tagging.voting import head_chances

_LEAST = 50  # tagged products below which only the threshold is fitted
_HALF = 50  # tagged products at which the catalog's own threshold counts as much as the model's
_KNOWN = 0.5  # share of the catalog's tags that a model's rule must know to be kept
_SMALL = 20_000  # photos; below, one BLAS thread is quicker than several that wait for each other


def refit_tags(
    catalog: Catalog, bundle: Bundle, rows: np.ndarray, vectors: np.ndarray, *, seed: int = 0
) -> TagRule | None:
    """The rule for a version of these ``rows`` (int64 [N, 2], pid and photo_id, by pid) and
    ``vectors`` [N, D].

    Thresholds are fitted on the tags that merchants and curators gave; a product and exact copies
    of its photo never vote on it. The rest of the rule is the model's, which was fitted on photos
    it was not trained on; where the model has no rule for most of the catalog's tags, all of it is
    fitted here. None below two tagged products.
    """
    tags_of = catalog.given_tags()
    tagged = np.flatnonzero(np.isin(rows[:, 0], np.fromiter(tags_of, np.int64, len(tags_of))))
    pids = np.unique(rows[tagged, 0])
    if len(pids) < 2:
        return None
    rng = np.random.default_rng(seed)
    voting = np.sort(rng.permutation(pids)[:MOST_VOTERS])
    asked = np.sort(rng.permutation(voting)[:MOST_ASKED])
    rule = bundle.decision.tagging()
    given = [tag for pid in asked.tolist() for tag in tags_of[pid]]
    known = sum(tag in rule.seen for tag in given) >= _KNOWN * len(given)
    with threadpool_limits(1 if len(rows) < _SMALL else None, "blas"):
        sample = _sample(
            bundle, rule, tags_of, *(_side(rows, vectors, some) for some in (asked, voting))
        )
        if not known and len(asked) >= _LEAST:
            products = catalog.by_pids(
                asked.tolist()
            ).values()  # some may have been deleted meanwhile
            columns = find_columns(
                [tags_of[product.pid] for product in products],
                [column_values(product.category, product.attributes) for product in products],
            )
            return fit_rule(sample, columns)
        fitted = fit_thresholds(sample, rule)
    own = len(asked) / (len(asked) + _HALF)
    moved = {tag: own * bar + (1 - own) * rule.bar(tag) for tag, bar in fitted.thresholds.items()}
    # A tag that the model had a bar for keeps it where the catalog shows nothing else.
    kept = {tag: bar for tag, bar in rule.thresholds.items() if tag not in set(given)}
    return replace(
        fitted,
        threshold=own * fitted.threshold + (1 - own) * rule.threshold,
        thresholds={**kept, **moved},
    )


def _side(rows: np.ndarray, vectors: np.ndarray, pids: np.ndarray) -> Side:
    """All photos of ``pids``; equal photo ids are exact copies."""
    places = np.flatnonzero(np.isin(rows[:, 0], pids))
    return Side(np.asarray(vectors[places], np.float32), rows[places, 0], rows[places, 1])


def _sample(
    bundle: Bundle, rule: TagRule, tags_of: Mapping[int, list[str]], asked: Side, voters: Side
) -> TagSample:
    products, starts = np.unique(asked.products, return_index=True)
    chances: list[dict[str, float]] = [{} for _ in products]
    heads = bundle.decision.tag_heads
    if heads and any(part.head for part in rule.parts):
        from indexer.model.torch_runtime import TorchRuntime

        logits = TorchRuntime(bundle.network(), device="cpu").logits(asked.vectors)
        bounds = np.append(starts, len(asked.products))
        for number, (start, stop) in enumerate(pairwise(bounds)):
            chances[number] = head_chances(
                {name: rows[start:stop].mean(0) for name, rows in logits.items()}, heads
            )
    return tag_sample(
        asked,
        [tags_of[pid] for pid in products.tolist()],
        voters,
        [tags_of[pid] for pid in np.unique(voters.products).tolist()],
        bundle.spec.blocks,
        chances=chances,
        also=[tag for column in rule.columns for tag in column.tags],
    )
