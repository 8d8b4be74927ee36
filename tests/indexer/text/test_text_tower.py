"""The text tower: words find the photos they tell of; it travels with a version; colours replace
the colour block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import DamagedIndexError, NewerFormatError
from indexer.index.hybrid_ranking import recolour_weights, replace_colour
from indexer.model.spec import Block
from indexer.text.fit_text_tower import Described, fit
from indexer.text.text_tower import FORMAT, TextTower

KINDS, COLOURS, DIM = ("Shirts", "Dresses", "Boots"), ("Red", "Navy Blue", "Green"), 12
BLOCKS = (Block("a", 6, 0.5), Block("c", 3, 0.2), Block("g", 3, 0.3))


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def photo(kind: int, colour: int, rng: np.random.Generator, noise: float = 0.1) -> np.ndarray:
    """An embedding whose block a tells the kind and block c the colour."""
    a, c, g = np.eye(6)[kind], np.eye(3)[colour], np.ones(3)
    parts = [unit(part + noise * rng.normal(size=len(part))) for part in (a, c, g)]
    return np.concatenate(
        [np.sqrt(block.weight) * part for block, part in zip(BLOCKS, parts, strict=True)]
    )


def products(count: int = 90) -> list[Described]:
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        kind, colour = number % 3, (number // 3) % 3
        words = f"{COLOURS[colour]} {KINDS[kind]}"
        title = (
            f"Brand{number % 5} {words} model{number}" if number % 2 else f"Brand{number % 5} item"
        )
        made.append(Described(title, words, words, COLOURS[colour], photo(kind, colour, rng)))
    return made


@pytest.fixture(scope="module")
def tower() -> TextTower:
    found = fit(products(), colours=True)
    assert found is not None
    return found


@pytest.mark.parametrize("colour", range(3))
@pytest.mark.parametrize("kind", range(3))
def test_words_find_photos_that_have_no_text(tower: TextTower, kind: int, colour: int) -> None:
    """Of new photos, one for each kind and colour, the one that the words tell of scores best."""
    rng = np.random.default_rng(2)
    stored = np.stack([photo(k, c, rng) for k in range(3) for c in range(3)])
    asked = tower.encode(f"{COLOURS[colour].lower()} {KINDS[kind]}")
    assert asked is not None
    assert asked.dtype == np.float32
    assert np.linalg.norm(asked) == pytest.approx(1, abs=1e-5)
    assert int((stored @ asked).argmax()) == 3 * kind + colour


def test_the_vocabulary_is_closed(tower: TextTower) -> None:
    """A word of no product has no meaning: not known, and alone no vector; beside known ones it
    changes nothing."""
    assert not tower.knows("zebra")
    assert tower.knows("dress")
    assert tower.encode("zebra") is None
    assert tower.encode("") is None
    np.testing.assert_array_equal(tower.encode("zebra dress"), tower.encode("dress"))


def test_colours_are_told_by_their_folded_words(tower: TextTower) -> None:
    assert tower.colours == {"red": "Red", "navy blue": "Navy Blue", "green": "Green"}
    assert (tower.colour("navy blue"), tower.colour("navy")) == ("Navy Blue", None)
    without = fit(products(), colours=False)
    assert without is not None
    assert without.colours == {}


def test_a_tower_is_fitted_alike_each_time_and_needs_some_words() -> None:
    one, other = fit(products(30), colours=True), fit(products(30), colours=True)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.weights.astype(float), other.weights.astype(float), atol=2e-3)
    assert fit(products(7), colours=True) is None


def test_a_saved_tower_says_the_same(tower: TextTower, tmp_path: Path) -> None:
    tower.save(tmp_path / "text.safetensors")
    again = TextTower.open(tmp_path / "text.safetensors")
    assert again.colours == tower.colours
    np.testing.assert_array_equal(again.encode("navy blue boots"), tower.encode("navy blue boots"))


def test_a_damaged_or_newer_tower_is_named(
    tower: TextTower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(DamagedIndexError, match=r"text\.safetensors cannot be read"):
        TextTower.open(path)
    replace(tower, bias=np.full_like(tower.bias, np.nan)).save(path)
    with pytest.raises(DamagedIndexError, match="no finite number"):
        TextTower.open(path)
    monkeypatch.setattr("indexer.text.text_tower.FORMAT", FORMAT + 1)
    tower.save(path)
    monkeypatch.undo()
    with pytest.raises(NewerFormatError, match="format 2"):
        TextTower.open(path)


def test_a_colour_word_replaces_the_colour_block_and_leaves_the_article(tower: TextTower) -> None:
    """Block c becomes the colour's (cosine 1), block a stays (cosine 1), g turns to the colour's by
    nine tenths."""
    rng = np.random.default_rng(3)
    mine, colour = photo(1, 0, rng), tower.encode("green")
    assert colour is not None
    (made,) = replace_colour(mine[None], colour, BLOCKS)
    cosines = {}
    start = 0
    for block in BLOCKS:
        part = slice(start, start + block.dim)
        start += block.dim
        np.testing.assert_allclose(np.linalg.norm(made[part]) ** 2, block.weight, atol=1e-5)
        cosines[block.name] = tuple(
            float(unit(made[part]) @ unit(other[part])) for other in (mine, colour)
        )
    assert cosines["a"][0] == pytest.approx(1, abs=1e-5)
    assert cosines["c"][1] == pytest.approx(1, abs=1e-5)
    assert cosines["c"][0] < 0.5
    turned = unit(0.1 * unit(mine[9:]) + 0.9 * unit(colour[9:]))
    np.testing.assert_allclose(unit(made[9:]), turned, atol=1e-5)
    stored = np.stack([photo(kind, tone, rng) for kind in range(3) for tone in range(3)])
    assert int((stored @ made).argmax()) == 3 * 1 + 2  # a green dress


def test_without_an_article_block_the_general_one_stays(tower: TextTower) -> None:
    """Else nothing of the photo were left; weights are asked for blocks that are there only."""
    blocks = (Block("c", 3, 0.4), Block("g", 9, 0.6))
    mine, colour = unit(np.arange(1.0, 13)), unit(np.ones(12))
    (made,) = replace_colour(mine[None], colour, blocks)
    np.testing.assert_allclose(unit(made[3:]), unit(mine[3:]), atol=1e-6)
    assert recolour_weights(blocks) == {"c": 0.45, "g": 0.1}
    assert recolour_weights((Block("a", 3, 1.0), Block("c", 3, 0.0))) == {"a": 0.45}
