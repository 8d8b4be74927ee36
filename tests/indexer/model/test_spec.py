"""The contract between training and serving has no defaults and takes no unknown field."""

from __future__ import annotations

import dataclasses
import json

import pytest

from indexer.core.errors import BadModelError, NewerFormatError
from indexer.model.preprocessing import with_look
from indexer.model.spec import LOOKS, Block, Head, ModelSpec, Preprocess

SPEC = ModelSpec(
    format=1,
    backbone="resnet18",
    feature_dim=512,
    numeric="fp32",
    preprocess=Preprocess(
        "draft2", 256, 224, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), True, (), False
    ),
    blocks=(Block("a", 16, 0.25), Block("g", 32, 0.75)),
    heads=(Head("category", (0, 1, 2), several=False),),
    colours=1,
)
COLOURED = dataclasses.replace(
    SPEC, format=3, blocks=(Block("c", 16, 0.25), Block("g", 32, 0.75)), colours=2
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
    with pytest.raises(NewerFormatError, match="format 5"):
        ModelSpec.from_json({**SPEC.to_json(), "format": 5}, where="spec.json")


def test_block_weights_must_sum_to_one() -> None:
    stored = dataclasses.replace(SPEC, blocks=(Block("g", 32, 0.5),)).to_json()
    with pytest.raises(BadModelError, match="weights"):
        ModelSpec.from_json(stored, where="spec.json")


def test_a_spec_without_shapes_is_written_as_before_there_were_any() -> None:
    """So the ids of stored vectors stay, and an older Catalens opens it."""
    stored = SPEC.to_json()
    assert stored["format"] == 1
    for name in ("shapes", "both"):
        assert name not in stored["preprocess"]
        assert name not in SPEC.embedding_part()["preprocess"]
    read = ModelSpec.from_json(stored, where="spec.json").preprocess
    assert (read.shapes, read.both) == ((), False)


@pytest.mark.parametrize("look", ["rect", "both"])
def test_a_new_look_raises_the_format_and_is_part_of_the_embedding(look: str) -> None:
    """An older Catalens names the format instead of showing the network something else."""
    spec = SPEC.with_preprocess(with_look(SPEC.preprocess, look))
    assert spec.format == 2
    assert spec.embedding_part() != SPEC.embedding_part()
    stored = json.loads(json.dumps(spec.to_json()))
    assert ModelSpec.from_json(stored, where="spec.json") == spec
    with pytest.raises(BadModelError, match="format 1"):
        ModelSpec.from_json({**stored, "format": 1}, where="spec.json")


def test_a_spec_of_the_first_colours_is_written_as_before_there_were_others() -> None:
    """So the ids of stored vectors stay, an absent version means the first, and an older Catalens
    names the format of a later one."""
    first = dataclasses.replace(SPEC, blocks=COLOURED.blocks)
    assert "colours" not in first.to_json() | first.embedding_part()
    read = ModelSpec.from_json(first.to_json(), where="spec.json")
    assert (read, read.colour_width) == (first, 326)
    assert COLOURED.embedding_part()["colours"] == 2
    assert ModelSpec.from_json(COLOURED.to_json(), where="spec.json") == COLOURED
    assert COLOURED.with_preprocess(with_look(SPEC.preprocess, "both")).format == 3


@pytest.mark.parametrize("change", [{"colours": 99}, {"colours": True}, {"colours": 1}])
def test_a_version_of_colours_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadModelError, match="colours"):
        ModelSpec.from_json({**COLOURED.to_json(), **change}, where="spec.json")


@pytest.mark.parametrize("shapes", [[[224]], [[224, 0]], [[224, -1]], [[10**6, 224]], "wide", 3])
def test_shapes_that_are_none_are_refused(shapes: object) -> None:
    spec = SPEC.with_preprocess(with_look(SPEC.preprocess, "rect")).to_json()
    with pytest.raises(BadModelError, match=r"spec\.json"):
        ModelSpec.from_json(
            {**spec, "preprocess": {**spec["preprocess"], "shapes": shapes}}, where="spec.json"
        )


def test_each_look_is_known_again() -> None:
    """From the stored numbers alone; the look of backbones is ``crop``."""
    assert [with_look(SPEC.preprocess, look).look for look in LOOKS] == list(LOOKS)


@pytest.mark.parametrize(
    "change",
    [
        {"feature_dim": -1},
        {"feature_dim": 10**12},
        {"feature_dim": True},
        {"feature_dim": float("nan")},
        {"backbone": ["resnet18"]},
        {"blocks": [{"name": "a", "dim": 16, "weight": 1.0}]},
        {"blocks": [{"name": "g", "dim": 16, "weight": 0.5}] * 2},
        {"blocks": [{"name": "g", "dim": 10**9, "weight": 1.0}]},
        {"blocks": [{"name": "g", "dim": 16, "weight": None}]},
        {"blocks": [{"name": "g", "dim": 16, "weight": float("nan")}]},
        {"heads": [{"name": "category", "classes": "abc"}]},
        {"heads": [{"name": {}, "classes": [0]}]},
        {"preprocess": {**dataclasses.asdict(SPEC.preprocess), "crop": 10**6}},
        {"preprocess": {**dataclasses.asdict(SPEC.preprocess), "resize": 0}},
        {"preprocess": {**dataclasses.asdict(SPEC.preprocess), "std": [0, 1, 1]}},
        {"preprocess": {**dataclasses.asdict(SPEC.preprocess), "decoder": 5}},
        {"preprocess": {**dataclasses.asdict(SPEC.preprocess), "keep_aspect": "x"}},
    ],
)
def test_numbers_that_no_network_has_are_refused(change: dict[str, object]) -> None:
    """A stranger's spec takes memory by its numbers, so they are looked at first."""
    with pytest.raises(BadModelError, match=r"spec\.json"):
        ModelSpec.from_json({**SPEC.to_json(), **change}, where="spec.json")


def test_a_head_of_several_labels_has_a_format_of_its_own_and_changes_no_vector() -> None:
    """A Catalens that would take its sigmoids for a softmax refuses the model by its format; specs
    without one are written as before there were any."""
    several = SPEC.with_heads((*SPEC.heads, Head("tags", (0, 1), several=True)))
    assert several.format == 4
    assert several.several == {"tags"}
    assert ModelSpec.from_json(several.to_json(), where="spec.json") == several
    assert several.embedding_part() == SPEC.embedding_part()
    assert [set(head) for head in SPEC.to_json()["heads"]] == [{"name", "classes"}]
    assert COLOURED.with_heads(several.heads).embedding_part() == COLOURED.embedding_part()
    wrong = {**several.to_json(), "format": 1}
    with pytest.raises(BadModelError, match="format"):
        ModelSpec.from_json(wrong, where="spec.json")
