"""How much a pair counts, by titles that were held back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import WeightsUnavailableError
from indexer.model.spec import Block
from indexer.text.fit_joint_share import with_joint_share
from indexer.text.fit_text_tower import Described, fit_tower
from indexer.text.text_tower import TextTower

DIM = 32
BLOCKS = (Block("g", 8, 0.5), Block("t", DIM, 0.5))
RNG = np.random.default_rng(4)
# What each of 400 one-word titles looks like to the pair.
MEANINGS = {f"word{n}": v / np.linalg.norm(v) for n, v in enumerate(RNG.normal(size=(400, DIM)))}


def products() -> list[Described]:
    """Each with a title of its own, so that the catalog's own words say nothing of another's."""
    found = []
    for title, meaning in MEANINGS.items():
        general = RNG.normal(size=8)
        parts = [0.5**0.5 * general / np.linalg.norm(general), 0.5**0.5 * meaning]
        found.append(Described(title, "", "", None, np.concatenate(parts).astype(np.float32)))
    return found


def bundle() -> Any:
    spec = SimpleNamespace(blocks=BLOCKS, block=lambda name: dict(t=BLOCKS[1]).get(name))
    return SimpleNamespace(spec=spec)


@pytest.mark.parametrize(("knows", "least", "most"), [(True, 0.2, 0.9), (False, 0.0, 0.0)])
def test_titles_choose_the_share(
    monkeypatch: pytest.MonkeyPatch, knows: bool, least: float, most: float
) -> None:
    """A pair that finds titles has a share, one that finds no more than chance is not asked."""

    class Pair:
        scale = 20.0

        def __init__(self, bundle: Any) -> None:
            pass

        def encode(self, texts: list[str]) -> np.ndarray:
            if knows:
                return np.stack([MEANINGS[text] for text in texts])
            found = np.random.default_rng(9).normal(size=(len(texts), DIM))
            return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    monkeypatch.setattr("indexer.model.joint_encoder.JointEncoder", Pair)
    told = products()
    tower = fit_tower(told, BLOCKS)
    found = with_joint_share(tower, told, bundle())
    assert found is not None
    assert found.joint_share is not None
    assert least <= found.joint_share <= most
    few = with_joint_share(tower, told[:100], bundle())
    assert few is not None
    assert few.joint_share is None


def test_a_share_is_stored_and_a_tower_that_cannot_be_used_leaves_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A file from before has none; without the package the build goes on."""

    def refuse(bundle: Any) -> None:
        raise WeightsUnavailableError("needs open_clip")

    monkeypatch.setattr("indexer.model.joint_encoder.JointEncoder", refuse)
    told = products()[:200]
    tower = fit_tower(told, BLOCKS)
    assert tower is not None
    assert with_joint_share(tower, told, bundle()) is tower
    for share in (None, 0.75):
        from dataclasses import replace

        replace(tower, joint_share=share).save(tmp_path / "text.safetensors")
        assert TextTower.open(tmp_path / "text.safetensors").joint_share == share
