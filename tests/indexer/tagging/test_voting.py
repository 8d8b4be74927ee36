"""Tags are votes of the nearest products and words of heads; of each column one value, with its
supporters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from indexer.index.query_weighting import view_queries
from indexer.model.few_shot import CATEGORY_SHARES, background, fit_tag
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule
from indexer.tagging.voting import (
    TagSuggestion,
    Voters,
    knn_vote,
    suggest_tags,
    tag_probabilities,
    vote_weights,
)

BLOCK = [Block("g", 8, 1.0)]
APART = np.eye(8, dtype=np.float32)  # vectors of products that are no copies of each other
EQUAL = 1e9  # a temperature at which all votes weigh the same
TAGS = {1: ["red", "mug"], 2: ["red"], 3: ["blue"]}
COLOUR = TagGroup("colour", ("blue", "red"), k=3, temperature=EQUAL)


def suggest(
    hits: Sequence[tuple[int, float]],
    rule: TagRule,
    *,
    probabilities: Mapping[str, float] | None = None,
    vectors: np.ndarray = APART,
    tags_of: Mapping[int, Sequence[str]] = TAGS,
) -> list[TagSuggestion]:
    near = Voters(
        [pid for pid, _ in hits], np.array([score for _, score in hits]), vectors[: len(hits)]
    )
    return suggest_tags([near] * len(rule.parts), tags_of, rule, BLOCK, probabilities=probabilities)


def weights(scores: Sequence[float], vectors: np.ndarray, column: TagGroup) -> list[float]:
    alike = vectors @ vectors.T
    return vote_weights(
        knn_vote(np.array([scores]), alike[None], (alike >= 0.995)[None], column.k), column
    )[0].tolist()


def test_weights_are_a_softmax_of_scores() -> None:
    found = weights([0.9, 0.8], APART[:2], TagGroup(temperature=0.1))
    assert found[0] / found[1] == pytest.approx(np.e)
    assert sum(found) == pytest.approx(1.0)


def test_near_duplicates_have_one_vote_together() -> None:
    """Five listings of one photo say no more than one of them, and a sixth product
    still gets in."""
    vectors = np.stack([APART[0]] * 5 + [APART[1], APART[2]])
    found = weights([0.9] * 5 + [0.8, 0.7], vectors, TagGroup(k=2, temperature=EQUAL))
    assert found == pytest.approx([0.1] * 5 + [0.5, 0.0])
    assert Voters(range(7), np.ones(7), vectors).count_groups() == 3
    assert Voters([], np.ones(0), np.empty((0, 8))).count_groups() == 0


def test_a_product_in_a_crowd_counts_less_than_one_apart() -> None:
    """Density is the mean cosine to the nearest voters; it is taken off the score."""
    vectors = np.array([[1, 0, 0], [0.6, 0.8, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)
    vectors[2] = [0.8, 0.6, 0]
    column = TagGroup(k=4, temperature=0.1, crowding=0.5)
    found = np.array(weights([0.5] * 4, vectors, column))
    density = np.array([(0.6 + 0.8 + 0) / 3, (0.6 + 0.96 + 0) / 3, (0.8 + 0.96 + 0) / 3, 0.0])
    wanted = np.exp((0.5 - 0.5 * density) / 0.1)
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-5)


def test_shares_follow_the_weights_and_name_their_supporters() -> None:
    rule = TagRule(rest=TagGroup(k=3, temperature=0.1), threshold=0.0)
    found = suggest([(1, 0.9), (2, 0.8), (3, 0.8)], rule)
    first, other = np.e / (np.e + 2), 1 / (np.e + 2)
    assert [(tag.tag, pytest.approx(tag.confidence)) for tag in found] == [
        ("red", first + other),
        ("mug", first),
        ("blue", other),
    ]
    assert found[0].neighbours == [(1, 0.9), (2, 0.8)]


def test_a_tag_must_reach_its_own_threshold() -> None:
    """A bar of its own where it has one, the common one else."""
    rule = TagRule(
        rest=TagGroup(k=3, temperature=EQUAL), threshold=0.5, thresholds={"blue": 0.3, "red": 0.7}
    )
    assert [tag.tag for tag in suggest([(1, 0.9), (2, 0.8), (3, 0.8)], rule)] == ["blue"]


def test_no_voters_no_tags() -> None:
    rule = TagRule((COLOUR,), seen={"red": 9, "blue": 9}, size=20, threshold=0.01)
    assert suggest([], rule) == []


def test_of_a_column_the_best_value_only() -> None:
    """Two of three voters say red: blue is not suggested, however low the bar; mug is no colour and
    stands alone."""
    rule = TagRule(
        (COLOUR,), TagGroup(k=3, temperature=EQUAL), {"red": 50, "blue": 50}, 100, threshold=0.01
    )
    found = suggest([(1, 0.9), (2, 0.8), (3, 0.8)], rule)
    assert [(tag.tag, pytest.approx(tag.confidence, abs=0.01)) for tag in found] == [
        ("red", 0.66),
        ("mug", 0.33),
    ]


def test_confidences_of_a_column_are_no_more_than_the_vote_that_names_a_value() -> None:
    """Half of the voters carry no colour at all: no colour is surer than a half."""
    rule = TagRule((COLOUR,), TagGroup(k=2), {"red": 50, "blue": 50}, 100, threshold=0.01)
    found = {
        tag.tag: tag.confidence
        for tag in suggest([(2, 0.9), (5, 0.9)], rule, tags_of={2: ["red"], 5: ["mug"]})
    }
    assert 0.45 < found["red"] < 0.5


def test_a_rare_value_is_believed_sooner_where_frequency_counts_against_a_value() -> None:
    """A negative strength of the frequency lifts what the head learned to say too seldom."""
    column = TagGroup("colour", ("blue", "red"), head=1.0, vote=0.0, prior=-0.5)
    rule = TagRule((column,), TagGroup(), {"red": 9000, "blue": 90}, 10000, threshold=0.0)
    says = {"red": 0.7, "blue": 0.3}
    assert [
        tag.tag for tag in suggest([(1, 0.9)], rule, probabilities=says) if tag.tag != "mug"
    ] == ["blue"]


def test_a_head_is_trusted_as_far_as_it_saw_the_value() -> None:
    """Of a value seen once the head's word counts 1/6, of one seen 1,000 times all but nothing is
    lost."""
    column = TagGroup("colour", ("blue", "red"), k=2, temperature=EQUAL, head=1.0, vote=0.0)
    sure = {}
    for count in (1, 1000):
        rule = TagRule((column,), TagGroup(k=2), {"red": count, "blue": count}, 2000, threshold=0.0)
        found = suggest([(2, 0.9), (3, 0.9)], rule, probabilities={"red": 0.9, "blue": 0.1})
        sure[count] = next(tag.confidence for tag in found if tag.tag == "red")
    assert sure[1000] == pytest.approx(0.89, abs=0.01)
    assert 0.5 < sure[1] < 0.65


def test_heads_and_votes_on_other_tags_are_added_up_as_log_odds() -> None:
    """A tag no head knows keeps its vote; one nobody voted for needs a sure head."""
    rule = TagRule(rest=TagGroup(k=2, temperature=EQUAL, head=0.5, vote=0.5), threshold=0.0)
    found = {
        tag.tag: tag
        for tag in suggest([(1, 0.9), (3, 0.9)], rule, probabilities={"red": 0.9, "green": 0.5})
    }
    assert found["red"].confidence == pytest.approx(1 / (1 + np.exp(-0.5 * np.log(9))))
    assert found["mug"].confidence == pytest.approx(0.5)
    assert (found["green"].confidence < 0.1, found["green"].neighbours) == (True, [])


def test_heads_speak_alone_where_nobody_votes_and_not_at_all_without_a_share() -> None:
    probabilities = {"red": 0.9}
    column = TagGroup("colour", ("blue", "red"), head=1.0, vote=0.0)
    for rule in (
        TagRule(rest=TagGroup(head=0.3, vote=0.7)),
        TagRule((column,), seen={"red": 99}, size=100),
    ):
        assert [tag.tag for tag in suggest([], rule, probabilities=probabilities)] == ["red"]
    assert suggest([], TagRule(rest=TagGroup(head=0.0)), probabilities=probabilities) == []


def test_a_view_weighs_the_blocks_anew() -> None:
    """The query's product with an embedding is the mean of the blocks' cosines by the view's
    weights."""
    rng = np.random.default_rng(0)
    blocks = [Block("a", 3, 0.7), Block("c", 2, 0.3)]

    def unit(shape: tuple[int, int]) -> np.ndarray:
        drawn = rng.normal(size=shape)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    a, c = unit((2, 3)), unit((2, 2))
    whole = np.concatenate([np.sqrt(0.7) * a, np.sqrt(0.3) * c], axis=1)
    found = view_queries(whole[:1], blocks, {"a": 0.25, "c": 0.75}) @ whole[1]
    assert found[0] == pytest.approx(0.25 * a[0] @ a[1] + 0.75 * c[0] @ c[1])
    np.testing.assert_allclose(view_queries(whole, blocks, {}), whole, rtol=1e-6)


def test_tag_probabilities_are_the_softmax_of_the_class_that_stands_for_the_tag() -> None:
    logits = {"colour": np.log(np.array([1.0, 3.0])), "category": np.array([0.0, 0.0])}
    assert tag_probabilities(logits, {"red": ("colour", 1), "mug": ("category", 0)}) == {
        "red": pytest.approx(0.75),
        "mug": pytest.approx(0.5),
    }


def test_of_a_head_of_several_labels_each_tag_has_a_probability_of_its_own() -> None:
    """By its sigmoid, whatever the others' are; a head of one value beside it keeps its softmax."""
    logits = {"tags": np.array([0.0, 9.0, -1.0]), "category": np.array([0.0, 0.0])}
    heads = {"wool": ("tags", 0), "lace": ("tags", 2), "mug": ("category", 0)}
    assert tag_probabilities(logits, heads, {"tags"}) == {
        "wool": pytest.approx(0.5),
        "lace": pytest.approx(1 / (1 + np.e)),
        "mug": pytest.approx(0.5),
    }
    assert tag_probabilities({}, {}) == {}


def test_a_block_without_weight_says_nothing_in_any_view() -> None:
    """It holds zeros: the score is that of the other blocks, and there is a score."""
    blocks = [Block("a", 3, 1.0), Block("c", 2, 0.0)]
    asked, stored = np.array([[0.6, 0.8, 0, 0, 0]]), np.array([0.8, 0.6, 0, 0, 0])
    for view, expected in (({"a": 0.25, "c": 0.75}, 0.24), ({"c": 1.0}, 0.0), ({"a": 1.0}, 0.96)):
        found = view_queries(asked, blocks, view) @ stored
        assert found[0] == pytest.approx(expected)


def test_a_row_from_photos_needs_no_weight_of_every_block() -> None:
    """Of blocks g and a the second weighs nothing: g gets all of the share, and the row tells its
    kind from others."""
    rng = np.random.default_rng(0)
    blocks = (Block("a", 4, 0.0), Block("g", 16, 1.0))

    def of(centre: int, count: int) -> np.ndarray:
        part = np.eye(16)[centre] + 0.1 * rng.normal(size=(count, 16))
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        return np.concatenate([np.zeros((count, 4)), part], axis=1)

    catalog = np.concatenate([of(0, 50), of(1, 50)])
    behind = background(catalog, np.repeat([0, 1], 50), blocks, CATEGORY_SHARES)
    np.testing.assert_array_equal(behind.scale[4:], 1.0)
    row = fit_tag(of(2, 5), behind, catalog)
    assert (of(2, 40) @ row.weight + row.bias).min() > (catalog @ row.weight + row.bias).max()
