"""Tag rules fitted on products whose tags are known: columns, views, strengths, thresholds,
calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from indexer.index.near_duplicates import COPY
from indexer.model.calibration import pair_calibration_error
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule
from indexer.tagging.fit import best_threshold, f1_scores, fit_rule, fit_thresholds
from indexer.tagging.samples import (
    ProductPhotos,
    TagSample,
    find_tag_groups,
    nearest_products,
    tag_sample,
)
from indexer.tagging.voting import HeadWords, Voters, suggest_tags

BLOCKS = (Block("a", 16, 0.5), Block("c", 16, 0.5))
KINDS, COLOURS = ("bag", "cap", "mug"), ("blue", "green", "red")


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def catalog(count: int, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """Products whose kind stands in block a and whose colour in block c, both with noise; and a
    loose tag."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    kind, colour = rng.integers(0, 3, count), rng.integers(0, 3, count)
    centres = fixed.normal(size=(2, 3, 16))
    a = unit(centres[0][kind] + 1.2 * rng.normal(size=(count, 16)))
    c = unit(centres[1][colour] + 1.2 * rng.normal(size=(count, 16)))
    loose = rng.random(count) < np.where(kind == 0, 0.8, 0.1)
    tags = [
        [KINDS[k], COLOURS[c_], *(["sale"] if on else [])]
        for k, c_, on in zip(kind, colour, loose, strict=True)
    ]
    return np.sqrt(0.5) * np.concatenate([a, c], axis=1), tags


def side(vectors: np.ndarray, first: int) -> ProductPhotos:
    numbers = np.arange(first, first + len(vectors))
    return ProductPhotos(vectors.astype(np.float32), numbers, numbers)


@pytest.fixture(scope="module")
def sample() -> TagSample:
    """150 products asked, 400 that vote; a head that knows two of three colours."""
    vectors, tags = catalog(150, 1)
    voters, voter_tags = catalog(400, 0)
    says = [[0.8 if colour in held else 0.1 for colour in COLOURS[:2]] for held in tags]
    words = HeadWords(COLOURS[:2], np.array(says))
    return tag_sample(side(vectors, 1000), tags, side(voters, 0), voter_tags, BLOCKS, words=words)


@pytest.fixture(scope="module")
def rule(sample: TagSample) -> TagRule:
    return fit_rule(sample, {"category": KINDS, "colour": COLOURS})


def test_each_column_is_seen_in_the_view_that_shows_it(sample: TagSample) -> None:
    """The colour is voted by products alike in colour, the kind by those alike in kind."""
    votes = replace(sample, probabilities=np.full(sample.probabilities.shape, np.nan))
    views = {
        group.name: dict(group.view)
        for group in fit_rule(votes, {"category": KINDS, "colour": COLOURS}).groups
    }
    assert views == {"category": {"a": 1.0}, "colour": {"c": 1.0}}


def test_the_fitted_rule_beats_plain_votes(sample: TagSample, rule: TagRule) -> None:
    plain = fit_thresholds(sample, TagRule())
    found = f1_scores(sample.actual, sample.suggested(sample.confidence(rule), rule))
    before = f1_scores(sample.actual, sample.suggested(sample.confidence(plain), plain))
    assert found[0] > before[0] + 0.05
    assert found[1] > before[1] + 0.05


def test_confidences_are_honest(sample: TagSample, rule: TagRule) -> None:
    """On other products than those it was fitted on, of pairs said to be right with p about a share
    p is."""
    vectors, tags = catalog(400, 7)
    voters, voter_tags = catalog(400, 0)
    fresh = tag_sample(
        side(vectors, 1000),
        tags,
        side(voters, 0),
        voter_tags,
        BLOCKS,
    )
    assert pair_calibration_error(fresh.confidence(rule), fresh.actual) < 0.06


def test_what_was_fitted_is_what_serves(sample: TagSample, rule: TagRule) -> None:
    """The suggestions of one photo, from its neighbours, are those that the fit was judged by."""
    vectors, _ = catalog(150, 1)
    voters, voter_tags = catalog(400, 0)
    confidence = sample.confidence(rule)
    suggested = sample.suggested(confidence, rule)
    assert suggested.any()
    for number in range(0, 150, 7):
        near = []
        for part in rule.parts:
            found = nearest_products(
                side(vectors[number : number + 1], 1000),
                side(voters, 0),
                BLOCKS,
                part.view,
                limit=90,
            )
            pids = found.products[0].tolist()
            near.append(Voters(pids, found.scores[0], voters[pids].astype(np.float32)))
        probabilities = {
            tag: float(chance)
            for tag, chance in zip(sample.tags, sample.probabilities[number], strict=True)
            if not np.isnan(chance)
        }
        said = suggest_tags(
            near, dict(enumerate(voter_tags)), rule, BLOCKS, probabilities=probabilities
        )
        assert {entry.tag: pytest.approx(entry.confidence, abs=1e-5) for entry in said} == {
            tag: confidence[number, place]
            for place, tag in enumerate(sample.tags)
            if suggested[number, place]
        }


def test_thresholds_of_rare_tags_stay_near_the_common_one() -> None:
    """A tag with n positives goes n / (n + m) of the way to its own best threshold; none trades
    micro-F1 away."""
    vectors, tags = catalog(150, 1)
    voters, voter_tags = catalog(400, 0)
    for held in tags[:3]:
        held.append("rare")
    voter_tags[0].append("rare")
    sample = tag_sample(
        side(vectors, 1000),
        tags,
        side(voters, 0),
        voter_tags,
        BLOCKS,
    )
    shared = fit_thresholds(sample, TagRule())
    confidence = sample.confidence(shared)
    together = best_threshold(sample.actual, confidence)
    assert shared.threshold == together
    assert abs(shared.bar("rare") - shared.threshold) <= 3 / 13
    plain = replace(shared, thresholds={})
    micro = [
        f1_scores(sample.actual, sample.suggested(confidence, one))[0] for one in (shared, plain)
    ]
    assert micro[0] >= micro[1] - 0.01


def test_a_product_never_votes_on_itself_nor_do_copies_of_its_photo() -> None:
    """Leave one product out: its other photos and exact copies of its photo elsewhere say nothing
    about it."""
    vectors = unit(np.array([[1, 0, 0], [0.9, 0.1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]))
    everyone = ProductPhotos(vectors, np.array([0, 0, 1, 2, 3]), np.array([10, 11, 10, 12, 13]))
    found = nearest_products(everyone, everyone, [Block("g", 3, 1.0)], {})
    reached = [
        set(row[np.isfinite(scores)].tolist())
        for row, scores in zip(found.products, found.scores, strict=True)
    ]
    assert reached == [
        {1, 2, 3},
        {0, 2, 3},
        {0, 1, 3},
        {0, 1, 2},
    ]  # 0's second photo is no copy of 1's
    assert found.scores[1].max() == pytest.approx(float(vectors[2] @ vectors[1]))


def test_equal_photos_count_as_copies() -> None:
    vectors = unit(np.array([[1, 0, 0], [1, 0.02, 0], [0, 1, 0.0], [1, 0, 0.5]]))
    asked = ProductPhotos(unit(np.array([[1, 1, 1.0]])), np.array([9]), np.array([9]))
    found = nearest_products(
        asked, ProductPhotos(vectors, np.arange(4), np.arange(4)), [Block("g", 3, 1.0)], {}
    )
    order = found.products[0].tolist()
    first, second = order.index(0), order.index(1)
    assert found.duplicates[0, first, second]
    assert found.duplicates[0].sum() == 4 + 2
    assert vectors[0] @ vectors[1] >= COPY > vectors[0] @ vectors[3]


def test_columns_are_found_by_what_marks_the_same_products() -> None:
    """Tags that are the values of one attribute; sizes, of which a product has several, exclude
    nothing."""
    tags = [["red", "S", "M"], ["blue", "S"], ["red", "M"], ["blue", "L", "M"], ["green", "L"]] * 4
    values = [{"colour": held[0], "brand": "x"} for held in tags]
    assert find_tag_groups(tags, values) == {"colour": ("blue", "green", "red")}
    sizes = [["S"]] * 8 + [["S", "L"]] * 2 + [["L"]] * 10
    assert find_tag_groups(sizes, [{"size": held[0]} for held in sizes]) == {}
    single = [["S"]] * 10 + [["L"]] * 10
    assert find_tag_groups(single, [{"size": held[0]} for held in single]) == {"size": ("L", "S")}
    assert find_tag_groups([], []) == {}


def test_a_rule_survives_its_json(rule: TagRule) -> None:
    assert TagRule.from_json(rule.to_json()) == rule
    with pytest.raises(KeyError):
        TagRule.from_json({"columns": []})
    assert rule.bar("never seen") == rule.threshold
    assert TagGroup().view == {}
