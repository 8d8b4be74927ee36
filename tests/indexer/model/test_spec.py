"""The contract between training and serving has no defaults and takes no unknown field."""

from __future__ import annotations

import dataclasses

import pytest

from indexer.core.errors import BadModelError, NewerFormatError
from indexer.model.spec import Block, Head, ModelSpec, Preprocess

SPEC = ModelSpec(
    format=1,
    backbone="resnet18",
    feature_dim=512,
    numeric="fp32",
    preprocess=Preprocess("draft2", 256, 224, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), True),
    blocks=(Block("a", 16, 0.25), Block("g", 32, 0.75)),
    heads=(Head("category", (0, 1, 2)),),
)


@pytest.mark.parametrize("kind", [ModelSpec, Preprocess, Block, Head])
def test_no_field_has_a_default(kind: type) -> None:
    """Nothing can fall back silently to ImageNet's numbers."""
    for field in dataclasses.fields(kind):
        assert field.default is dataclasses.MISSING
        assert field.default_factory is dataclasses.MISSING


def test_json_round_trip_keeps_every_value() -> None:
    assert ModelSpec.from_json(SPEC.to_json(), where="spec.json") == SPEC
    assert SPEC.dim == 48


def test_heads_are_no_part_of_the_embedding() -> None:
    """A renamed or added class never re-embeds anything."""
    other = dataclasses.replace(SPEC, heads=())
    assert other.embedding_part() == SPEC.embedding_part()
    wider = dataclasses.replace(
        SPEC, preprocess=dataclasses.replace(SPEC.preprocess, decoder="full")
    )
    assert wider.embedding_part() != SPEC.embedding_part()


@pytest.mark.parametrize("change", [{"surprise": 1}, {"backbone": None}])
def test_a_missing_or_unknown_field_is_refused(change: dict[str, object]) -> None:
    stored = {**SPEC.to_json(), **change}
    if change.get("backbone", "") is None:
        del stored["backbone"]
    with pytest.raises(BadModelError, match=r"spec\.json"):
        ModelSpec.from_json(stored, where="spec.json")


def test_a_newer_format_says_upgrade() -> None:
    with pytest.raises(NewerFormatError, match="format 2"):
        ModelSpec.from_json({**SPEC.to_json(), "format": 2}, where="spec.json")


def test_block_weights_must_sum_to_one() -> None:
    stored = dataclasses.replace(SPEC, blocks=(Block("g", 32, 0.5),)).to_json()
    with pytest.raises(BadModelError, match="weights"):
        ModelSpec.from_json(stored, where="spec.json")
