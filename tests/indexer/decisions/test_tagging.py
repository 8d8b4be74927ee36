"""Tags are votes of the nearest products, weighted by similarity, each with its supporters."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.decisions.tagging import head_chances, vote_tags, vote_weights
from indexer.model.decision import TagParams

TAGS = {1: ["red", "mug"], 2: ["red"], 3: ["blue"], 4: []}


def test_weights_are_a_softmax_of_scores() -> None:
    weights = vote_weights(np.array([0.9, 0.8]), 0.1)
    assert weights[0] / weights[1] == pytest.approx(np.e)
    assert weights.sum() == pytest.approx(1.0)


def test_shares_follow_the_weights_and_name_their_supporters() -> None:
    found = vote_tags([(1, 0.9), (2, 0.8), (3, 0.8)], TAGS, TagParams(k=3, temperature=0.1, threshold=0.0))
    first, rest = np.e / (np.e + 2), 1 / (np.e + 2)
    assert [(tag.tag, pytest.approx(tag.confidence)) for tag in found] == [
        ("red", first + rest),
        ("mug", first),
        ("blue", rest),
    ]
    assert found[0].neighbours == [(1, 0.9), (2, 0.8)]


def test_only_tags_over_the_threshold_are_suggested() -> None:
    found = vote_tags([(1, 0.9), (2, 0.8), (3, 0.8)], TAGS, TagParams(k=3, temperature=0.1, threshold=0.5))
    assert [tag.tag for tag in found] == ["red", "mug"]


def test_a_product_without_tags_takes_no_share() -> None:
    """60% of a shop's products may carry no tag yet: their silence must not drown the others' votes."""
    found = vote_tags([(4, 0.99), (3, 0.5)], TAGS, TagParams(k=1, temperature=0.05, threshold=0.4))
    assert [(tag.tag, tag.confidence) for tag in found] == [("blue", 1.0)]


def test_no_voters_no_tags() -> None:
    assert vote_tags([(4, 0.9)], TAGS, TagParams()) == []
    assert vote_tags([], TAGS, TagParams()) == []


def test_heads_have_their_share_of_the_tags_they_know() -> None:
    """A blend of votes and heads; a tag no head knows keeps its whole vote, one nobody voted for can still be said."""
    params = TagParams(k=2, temperature=1e6, threshold=0.0, heads=0.5)
    found = vote_tags([(1, 0.9), (3, 0.9)], TAGS, params, chances={"red": 0.9, "green": 0.4})
    assert {tag.tag: (pytest.approx(tag.confidence), tag.neighbours) for tag in found} == {
        "red": (0.5 * 0.5 + 0.5 * 0.9, [(1, 0.9)]),
        "mug": (0.5, [(1, 0.9)]),
        "blue": (0.5, [(3, 0.9)]),
        "green": (0.5 * 0.4, []),
    }


def test_heads_speak_alone_where_nobody_votes_and_not_at_all_without_a_share() -> None:
    chances = {"red": 0.9}
    alone = vote_tags([], TAGS, TagParams(heads=0.3), chances=chances)
    assert [(tag.tag, tag.confidence) for tag in alone] == [("red", pytest.approx(0.9))]
    assert vote_tags([], TAGS, TagParams(heads=0.0), chances=chances) == []


def test_head_chances_are_the_softmax_of_the_class_that_stands_for_the_tag() -> None:
    logits = {"colour": np.log(np.array([1.0, 3.0])), "category": np.array([0.0, 0.0])}
    assert head_chances(logits, {"red": ("colour", 1), "mug": ("category", 0)}) == {
        "red": pytest.approx(0.75),
        "mug": pytest.approx(0.5),
    }
