"""Tag samples of held-out products, on which training and evaluation fit a tag rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csr_array
from threadpoolctl import threadpool_limits

from indexer.feeds.dataset import DatasetRow
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule
from indexer.tagging.fit import best_threshold, f1_scores, fit_rule
from indexer.tagging.samples import (
    MAX_VOTERS,
    SAME,
    ProductPhotos,
    TagSample,
    attribute_values,
    find_tag_groups,
    incidence_matrix,
    most_queries,
    tag_sample,
)
from indexer.tagging.voting import head_words, mean_by_product
from indexer.training.metrics import RankedGallery
from indexer.training.sampling import sample_indices
from indexer.training.targets import Target


@dataclass(frozen=True)
class TaggedPhotos:
    """Photos as retrieval sees them; all of one length N."""

    rows: Sequence[DatasetRow]
    vectors: np.ndarray  # float32 [N, D], unit
    pixels: np.ndarray  # [N], equal for exact copies
    # bool [N]: shown by an earlier split already, so nothing is judged by them; None for none
    leaked: np.ndarray | None = None

    @property
    def judging(self) -> np.ndarray:
        """Mark the photos that may be judged by, bool [N]."""
        return np.ones(len(self.rows), bool) if self.leaked is None else ~self.leaked


def gallery_rules(queries: TaggedPhotos, gallery: TaggedPhotos) -> RankedGallery:
    """Exclude a query's own product and exact copies of its photo from what may be found."""
    number: dict[str, int] = {}
    for row in (*gallery.rows, *queries.rows):
        number.setdefault(row.product_id, len(number))
    # Numbers compare a hundred times as fast as hashes.
    _, pixels = np.unique(np.asarray([*queries.pixels, *gallery.pixels], str), return_inverse=True)
    return RankedGallery(
        query_group=np.array([number[row.product_id] for row in queries.rows], np.int64),
        gallery_group=np.array([number[row.product_id] for row in gallery.rows], np.int64),
        query_pixels=pixels[: len(queries.rows)],
        gallery_pixels=pixels[len(queries.rows) :],
    )


def tags_by_head(
    rows: Sequence[DatasetRow], targets: Sequence[Target]
) -> dict[str, tuple[str, int]]:
    """Map tags that a head predicts to (head name, class).

    Both mark the same training photos (F1 >= 0.9). ``targets`` have one label per row.
    """
    tags = sorted({tag for row in rows for tag in row.tags})
    tagged = incidence_matrix(
        [row.tags for row in rows], {tag: number for number, tag in enumerate(tags)}
    )
    carried = np.asarray(tagged.sum(0)).ravel()
    best: dict[str, float] = {}
    found: dict[str, tuple[str, int]] = {}
    for target in targets:
        known = np.flatnonzero(target.labels >= 0)
        places = target.labels[known]
        values = csr_array(
            (np.ones(len(known)), (places, known)), shape=(len(target.values), len(rows))
        )
        both = coo_array(values @ tagged)
        shown = np.bincount(places, minlength=len(target.values))
        f1 = 2 * both.data / (shown[both.coords[0]] + carried[both.coords[1]])
        for place, number, value in zip(
            both.coords[0].tolist(), both.coords[1].tolist(), f1.tolist(), strict=True
        ):
            tag = tags[number]
            if value >= SAME and value > best.get(tag, 0.0):
                best[tag] = value
                found[tag] = (target.name, place)
    return found


def tag_columns(rows: Sequence[DatasetRow]) -> dict[str, tuple[str, ...]]:
    """List the columns (category, text and bool attributes) whose values are tags of ``rows``."""
    return find_tag_groups(
        [row.tags for row in rows], [attribute_values(row.category, row.attributes) for row in rows]
    )


def sample_of(
    queries: TaggedPhotos,
    gallery: TaggedPhotos,
    blocks: Sequence[Block],
    *,
    logits: Mapping[str, np.ndarray] | None = None,
    tag_heads: Mapping[str, tuple[str, int]] | None = None,
    several: AbstractSet[str] = frozenset(),
    also: Iterable[str] = (),
    fitting: bool = False,
) -> TagSample | None:
    """The tagged products of ``queries`` and those of ``gallery`` that vote on them; None where
    either has none.

    Queries that an earlier split has shown are left out. ``logits`` (head name -> [N, C] of the
    query photos) and ``tag_heads`` add what the heads say of a product's photos together;
    ``several``: those of which several labels may be true. ``also`` are tags that the rule to be
    judged names; for ``fitting`` a rule a draw of many products will do.
    """
    rules = gallery_rules(queries, gallery)
    tags = {tag for row in (*queries.rows, *gallery.rows) for tag in row.tags}
    asked_limit = most_queries(len(tags)) if fitting else len(queries.rows)
    voter_limit = MAX_VOTERS if fitting else len(gallery.rows)
    asked, asked_rows = _side(
        queries, queries.judging, rules.query_group, rules.query_pixels, asked_limit
    )
    everyone = np.ones(len(gallery.rows), bool)
    voters, voter_rows = _side(
        gallery, everyone, rules.gallery_group, rules.gallery_pixels, voter_limit
    )
    if not len(asked_rows) or not len(voter_rows):
        return None
    words = None
    if logits and tag_heads:
        means = {
            name: mean_by_product(values[asked_rows], _starts(asked))
            for name, values in logits.items()
        }
        words = head_words(means, tag_heads, several)
    return tag_sample(
        asked,
        [queries.rows[asked_rows[start]].tags for start in _starts(asked)],
        voters,
        [gallery.rows[voter_rows[start]].tags for start in _starts(voters)],
        blocks,
        words=words,
        extra_tags=also,
    )


def _side(
    photos: TaggedPhotos,
    wanted: np.ndarray,
    products: np.ndarray,
    pixels: np.ndarray,
    limit: int,
) -> tuple[ProductPhotos, np.ndarray]:
    """Group the tagged photos among ``wanted`` (bool [N]) by product, of at most ``limit``
    products; also which they are."""
    tagged = np.flatnonzero(wanted & np.array([bool(row.tags) for row in photos.rows], bool))
    names = np.unique(products[tagged])
    kept = names[sample_indices(np.ones(len(names), bool), limit)]
    tagged = tagged[np.isin(products[tagged], kept)]
    rows = tagged[np.argsort(products[tagged], kind="stable")]
    return ProductPhotos(photos.vectors[rows], products[rows], pixels[rows]), rows


def _starts(side: ProductPhotos) -> np.ndarray:
    """Find where each product's photos begin."""
    return np.unique(side.products, return_index=True)[1]


def fit_tags(
    sample: TagSample | None, columns: Mapping[str, Sequence[str]]
) -> tuple[TagRule | None, float | None]:
    """Fit the rule on validation products; also its micro-F1 there; None without tags."""
    if sample is None:
        return None, None
    with threadpool_limits(1, "blas"):
        rule = fit_rule(sample, columns)
        suggested = sample.suggested(sample.confidence(rule), rule)
    return rule, f1_scores(sample.actual, suggested)[0]


def fit_equal_votes(sample: TagSample, k: int = 10) -> TagRule:
    """Fit the plain baseline: k nearest products, equal votes, one threshold on validation."""
    rule = TagRule(rest=TagGroup(k=k, temperature=1e6))
    bar = best_threshold(sample.actual, sample.confidence(rule))
    return replace(rule, threshold=0.5 if bar is None else bar)
