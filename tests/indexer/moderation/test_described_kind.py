"""Policies in words: thresholds by the catalog's near misses, under the file's one budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import BadPolicyError, BadRequestError
from indexer.core.home import Home
from indexer.model.spec import Block
from indexer.moderation.checker import Checker
from indexer.moderation.described_kind import FittedWords, read_words, words_of
from indexer.moderation.fit_galleries import CatalogSample, FittedGalleries, fit_galleries
from indexer.moderation.gallery_store import fit_home, read_fitted
from indexer.moderation.policy import load_policies
from indexer.text.zero_shot import DescribedKind
from tests.indexer.moderation import drawn

BLOCKS = (Block("g", 4, 0.5), Block("t", 8, 0.5))
DIM, SCALE = 12, 100.0
WORDS = "  weapons:\n    prompts: [a rifle, a pistol]\n  drugs:\n    prompts: [a syringe]\n"
MEANINGS = {"a rifle": 0, "a pistol": 1, "a syringe": 2}


def vector(told: np.ndarray, seed: int) -> np.ndarray:
    general = np.random.default_rng(seed).normal(size=4)
    parts = [general / np.linalg.norm(general), told / np.linalg.norm(told)]
    return np.concatenate([0.5**0.5 * part for part in parts]).astype(np.float32)


def goods(count: int) -> np.ndarray:
    """A catalog whose photos look like no prompt more than by chance."""
    told = np.random.default_rng(3).normal(size=(count, 8))
    told[:, 3:] += 3
    return np.stack([vector(row, seed) for seed, row in enumerate(told)])


def describe(prompts: Sequence[str]) -> list[DescribedKind]:
    found = []
    for prompt in prompts:
        unit = np.zeros(DIM, np.float32)
        unit[4 + MEANINGS[prompt]] = 1
        found.append(DescribedKind((prompt,), unit / 0.5**0.5, unit * 0.5**0.5, SCALE))
    return found


def nothing(photos: Any) -> np.ndarray:
    raise AssertionError("prompts need no pass of the network")


def fitted(file: Path, count: int, budget: float | None = 0.01) -> FittedGalleries:
    words = {name: read_words(one, describe) for name, one in words_of(load_policies(file)).items()}
    vectors = goods(count) if count else np.zeros((0, DIM), np.float32)
    sample = CatalogSample(vectors, np.full(count, -1), iter(()))
    return fit_galleries({}, nothing, BLOCKS, sample, budget=budget, words=words)


def test_prompts_share_the_files_budget_and_never_block(tmp_path: Path) -> None:
    """All policies together ask about no more of the catalog than the budget; what they describe
    goes to a person, with the prompt that told most of it."""
    file = drawn.write(tmp_path, WORDS, version="2\nfalse_alarms: 0.01")
    found = fitted(file, 1000)
    assert found.alarms is not None
    assert found.alarms.shown
    assert 0 < found.alarms.alarms <= 10
    checker = Checker(load_policies(file), {}, found.words)
    photo = drawn.photo(drawn.product(1))

    def decide(row: np.ndarray) -> dict[str, Any]:
        return {one.policy: one for one in checker.check(photo, row[None], None, None, None)}

    asked = [
        any(one.decision != "allow" for one in decide(row).values()) for row in goods(1000)[:200]
    ]
    assert sum(asked) <= 10
    banned = decide(vector(np.eye(8)[1], 0))
    assert (banned["weapons"].decision, banned["drugs"].decision) == ("review", "allow")
    (piece,) = banned["weapons"].evidence
    assert (piece["text"], piece["block"], piece["review"]) == ("a pistol", None, 0.5)
    assert piece["score"] > 0.9


def test_prompts_that_cannot_be_asked_are_for_a_person(tmp_path: Path) -> None:
    """No text tower, words that it does not know, no catalog, not fitted yet: never ``allow``."""
    file = drawn.write(tmp_path, WORDS, version="2")
    policies = load_policies(file)

    def refuse(prompts: Sequence[str]) -> list[DescribedKind]:
        raise BadRequestError("prompt 'a rifle': the model's text tower does not know rifle")

    words = words_of(policies)["weapons"]
    for made, reason in (
        (read_words(words, None), "an image and text pair"),
        (read_words(words, refuse), "does not know rifle"),
        (fitted(file, 0).words["weapons"], "the catalog has no photos"),
        (None, "not fitted to this catalog"),
    ):
        given: dict[str, FittedWords] = {} if made is None else {"weapons": made}
        found = Checker(policies, {}, given).check(
            drawn.photo(drawn.product(1)), goods(1), None, None, None
        )[0]
        assert found.decision == "review"
        assert reason in found.evidence[0]["reason"]


@pytest.mark.parametrize(
    ("section", "version", "reason"),
    [
        ("prompts: [a rifle]", "1", "prompts needs version: 2"),
        ("prompts: []", "2", "list with at least one entry"),
        ("prompts: ['']", "2", "must be a text"),
        (f"prompts: [{'x' * 301}]", "2", "301 characters, at most 300"),
        ("prompts: {words: [a]}", "2", "unknown key"),
    ],
)
def test_a_section_that_is_wrong_is_refused_by_file_and_key(
    tmp_path: Path, section: str, version: str, reason: str
) -> None:
    """As every other mistake in the file."""
    file = drawn.write(tmp_path, f"  weapons:\n    {section}\n", version=version)
    with pytest.raises(BadPolicyError, match=reason) as raised:
        load_policies(file)
    assert "policy.yaml" in str(raised.value)


def test_what_was_fitted_is_stored_and_what_could_not_be_read_is_not(tmp_path: Path) -> None:
    """A file of prompts alone; a model that is mended later is asked again."""
    file = drawn.write(tmp_path, WORDS, version="2")
    policies = load_policies(file)
    spec = SimpleNamespace(dim=DIM, blocks=BLOCKS)
    bundle: Any = SimpleNamespace(embedding_id="e1", spec=spec, general_spread=lambda: None)
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        unread = fit_home(home, policies, bundle, catalog, nothing)
        assert unread.words["weapons"].reason is not None
        assert read_fitted(home, policies, bundle) is None
        first = fit_home(home, policies, bundle, catalog, nothing, describe=describe)
    again = read_fitted(home, policies, bundle)
    assert again is not None
    assert again.words.keys() == {"weapons", "drugs"}
    np.testing.assert_array_equal(
        again.words["weapons"].directions, first.words["weapons"].directions
    )
