"""The benchmarks of speed: goals of the issue, photo files of the recipe, and figures that follow
from samples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.bench import decode, embed, http, startup
from tools.bench.data.enlarged_photos import enlarged
from tools.bench.data.photo_home import _varied
from tools.bench.plots import bars


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        (embed, [10.0, 6.0, 0.995, 0.995, 0.5, 0.5, 0.9, 0.9]),
        (decode, [3.0, 5.0]),
        (http, [1 / 3, 25.0, 3.0, 5.0, 0.9, 5.0, 2.0]),
        (startup, [2.0, 5.0, 900.0, 1.03]),
    ],
)
def test_goals_are_those_that_were_set_and_read_their_rows(
    module: Any, wanted: list[float]
) -> None:
    """Each goal finds its figure in the row of its part, and judges it by the set number."""
    assert [goal.goal for goal in module.GOALS] == wanted
    rows = [{"part": part} for part in module.PARTS]
    assert all(goal.judge(rows)["met"] is None for goal in module.GOALS)


def test_enlarged_photos_are_what_the_recipe_says(tmp_path: Path) -> None:
    """The size asked for, JPEG, the same bytes for the same seed, other grain for another."""
    source = tmp_path / "small.png"
    Image.new("RGB", (60, 80), (200, 30, 30)).save(source)
    one, again, other = (enlarged(source, (300, 200), seed) for seed in (1, 1, 2))
    assert one == again != other
    with Image.open(io.BytesIO(one)) as image:
        assert (image.format, image.size) == ("JPEG", (300, 200))
        assert np.asarray(image).std() > 2


def test_leave_one_out_hits_and_likeness() -> None:
    """By hand: three of four have a neighbour of their class; a turned vector costs one of them."""
    files = ["a/1", "a/2", "b/1", "b/2"]
    own = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.8, 0.2]], np.float32)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    found = embed._alike(own, own, files)
    assert (found["cosine_mean"], found["lost_points"]) == (pytest.approx(1), 0)
    assert found["hit_rate_at_1"]["reference"] == 0.75
    turned = own[[2, 1, 0, 3]]
    changed = embed._alike(own, turned, files)
    assert changed["lost_points"] == pytest.approx(
        25.0 * (changed["hits_changed"]["lost"] - changed["hits_changed"]["won"])
    )


def test_varied_products_keep_the_lengths_of_their_blocks() -> None:
    from indexer.model.network import Network

    spec = Network.frozen_spec("efficientnet_lite0")
    rng = np.random.default_rng(0)
    real = rng.standard_normal((5, spec.dim)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    places, vectors = _varied(real, spec, 40)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[:5], real, atol=1e-6)
    cosine = (vectors * real[places]).sum(axis=1)[5:]
    assert 0.85 < cosine.min() < cosine.max() < 0.99


def test_the_picture_shows_every_measured_goal_on_its_side_of_the_line() -> None:
    """Reached to the right, missed to the left, by value over goal or goal over value; names are
    text."""
    from xml.etree import ElementTree

    goals = [
        {"name": "a < b & c", "op": ">=", "goal": 2.0, "value": 8.0, "met": True},
        {"name": "late", "op": "<=", "goal": 10.0, "value": 20.0, "met": False},
        {"name": "lost", "op": "<=", "goal": 0.0, "value": 0.0, "met": True},
        {"name": "not measured", "op": ">=", "goal": 1.0, "value": None, "met": None},
    ]
    picture = ElementTree.fromstring(bars.drawn(goals, "bench"))
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        (float(box.get("x", 0)), float(box.get("width", 0))) for box in picture.iter(f"{space}rect")
    ][1:]
    zero = boxes[0][0]
    assert boxes[0][1] == pytest.approx(
        2 * boxes[1][1], abs=0.2
    )  # four times against twice, by powers of two
    assert boxes[1][0] + boxes[1][1] == pytest.approx(zero, abs=0.2)
    assert boxes[2] == (zero, pytest.approx(boxes[1][1], abs=0.2))
    words = [text.text for text in picture.iter(f"{space}text")]
    assert "a < b & c" in words
    assert "not measured" not in words
