"""Refits a tag rule's thresholds to the current catalog, by leave-one-out votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.catalog.store import Catalog
from indexer.model.bundle import Bundle
from indexer.model.tag_rule import TagRule
from indexer.tagging.fit import fit_rule, fit_thresholds
from indexer.tagging.samples import (
    MAX_VOTERS,
    ProductPhotos,
    TagSample,
    attribute_values,
    find_tag_groups,
    most_queries,
    tag_sample,
)
from indexer.tagging.voting import head_words, mean_by_product

# Tagged products below which only the threshold is fitted.
_LEAST = 50
# Tagged products at which the catalog's own threshold counts as much as the model's.
_HALF = 50
# Share of the catalog's tags that a model's rule must know to be kept.
_KNOWN = 0.5
# Photos; below, one BLAS thread is quicker than several that wait for each other.
_SMALL = 20_000


def refit_tags(
    catalog: Catalog, bundle: Bundle, rows: np.ndarray, vectors: np.ndarray, *, seed: int = 0
) -> TagRule | None:
    """Fit the rule of an index version; None below two tagged products.

    ``rows``: int64 [N, 2], pid and photo_id, by pid; ``vectors`` [N, D]. Thresholds are fitted on
    the tags that merchants and curators gave; a product and exact copies of its photo never vote on
    it. The rest of the rule is the model's, which was fitted on photos it was not trained on; where
    the model has no rule for most of the catalog's tags, all of it is fitted here.
    """
    tags_of = catalog.given_tags()
    tagged = np.flatnonzero(np.isin(rows[:, 0], np.fromiter(tags_of, np.int64, len(tags_of))))
    pids = np.unique(rows[tagged, 0])
    if len(pids) < 2:
        return None
    rng = np.random.default_rng(seed)
    voting = np.sort(rng.permutation(pids)[:MAX_VOTERS])
    tags = set(chain.from_iterable(tags_of[pid] for pid in voting.tolist()))
    limit = most_queries(len(tags | bundle.decision.tag_heads.keys()))
    asked = np.sort(rng.permutation(voting)[:limit])
    rule = bundle.decision.tagging()
    given = list(chain.from_iterable(tags_of[pid] for pid in asked.tolist()))
    known = sum(tag in rule.seen for tag in given) >= _KNOWN * len(given)
    with threadpool_limits(1 if len(rows) < _SMALL else None, "blas"):
        queries = _product_photos(rows, vectors, asked)
        sample = _sample(bundle, rule, tags_of, queries, _product_photos(rows, vectors, voting))
        if not known and len(asked) >= _LEAST:
            # Some may have been deleted meanwhile.
            products = catalog.by_pids(asked.tolist()).values()
            groups = find_tag_groups(
                [tags_of[product.pid] for product in products],
                [attribute_values(product.category, product.attributes) for product in products],
            )
            return fit_rule(sample, groups)
        fitted = fit_thresholds(sample, rule)
    own = len(asked) / (len(asked) + _HALF)
    moved = {tag: own * bar + (1 - own) * rule.bar(tag) for tag, bar in fitted.thresholds.items()}
    # A tag that the model had a threshold for keeps it where the catalog shows nothing else.
    seen = set(given)
    kept = {tag: bar for tag, bar in rule.thresholds.items() if tag not in seen}
    return replace(
        fitted,
        threshold=own * fitted.threshold + (1 - own) * rule.threshold,
        thresholds={**kept, **moved},
    )


def _product_photos(rows: np.ndarray, vectors: np.ndarray, pids: np.ndarray) -> ProductPhotos:
    """Return all photos of ``pids``; equal photo ids are exact copies."""
    places = np.flatnonzero(np.isin(rows[:, 0], pids))
    return ProductPhotos(np.asarray(vectors[places], np.float32), rows[places, 0], rows[places, 1])


def _sample(
    bundle: Bundle,
    rule: TagRule,
    tags_of: Mapping[int, list[str]],
    queries: ProductPhotos,
    voters: ProductPhotos,
) -> TagSample:
    products, starts = np.unique(queries.products, return_index=True)
    words = None
    heads = bundle.decision.tag_heads
    if heads and any(part.head for part in rule.parts):
        # By numpy, so that a build with nothing to embed does without torch and its memory.
        logits = bundle.numpy_network().logits(queries.vectors)
        means = {name: mean_by_product(rows, starts) for name, rows in logits.items()}
        words = head_words(means, heads, bundle.spec.several)
    return tag_sample(
        queries,
        [tags_of[pid] for pid in products.tolist()],
        voters,
        [tags_of[pid] for pid in np.unique(voters.products).tolist()],
        bundle.spec.blocks,
        words=words,
        extra_tags=chain.from_iterable(group.tags for group in rule.groups),
    )
