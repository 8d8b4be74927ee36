"""A colour column is known by what photos' colours tell, not by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadRequestError
from indexer.training.colour_column import colour_statistics_for, mark_colour
from indexer.training.targets import Target, colour_target
from tests.indexer.training.dataset_rows import rows_with

WIDTH = 12


def photos(count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features whose first WIDTH numbers tell a kind and whose others tell a shade."""
    rng = np.random.default_rng(0)
    kind, shade = rng.integers(0, 3, count), rng.integers(0, 4, count)
    network = np.eye(3, WIDTH)[kind] + 0.3 * rng.normal(size=(count, WIDTH))
    colours = np.eye(4, 9)[shade] + 0.3 * rng.normal(size=(count, 9))
    return np.concatenate([network, colours], axis=1).astype(np.float32), kind, shade


def target(name: str, labels: np.ndarray) -> Target:
    values = tuple(f"v{number}" for number in range(int(labels.max()) + 1))
    return Target(name, values, labels.astype(np.int64))


def marked(
    targets: list[Target],
    types: dict[str, Any],
    count: int = 200,
    named: str = "auto",
    **lists: Any,
) -> tuple[str | None, list[Target], str]:
    features = photos()[0][:count]
    use = np.ones(count, bool)
    found, notes = mark_colour(
        targets, rows_with(count, **lists), features, WIDTH, use, types, named=named
    )
    colour = colour_target(found)
    return None if colour is None else colour.name, found, " ".join(notes)


@pytest.mark.parametrize("name", ["farbe", "颜色", "colour_family"])
def test_a_column_of_any_name_is_the_colour_that_it_reads(name: str) -> None:
    _, kind, shade = photos()
    types = {"sleeve": "string", name: "string"}
    found, targets, said = marked([target("sleeve", kind), target(name, shade)], types)
    assert found == name
    assert [one.colour for one in targets] == [False, True]
    assert f"colour is attribute {name!r}" in said


def test_a_column_named_colour_with_random_values_is_none() -> None:
    """And the report says so, with the way to insist."""
    noise = np.random.default_rng(1).integers(0, 4, 200)
    types = {"colour": "string"}
    found, _, said = marked([target("colour", noise)], types)
    assert found is None
    assert "'colour'" in said
    assert "--colour-attribute" in said
    assert marked([target("colour", noise)], types, named="colour")[0] == "colour"


@pytest.mark.parametrize("count", [6, 40])
def test_of_few_photos_the_name_decides(count: int) -> None:
    """A small shop keeps its colours; a column of another name claims nothing."""
    shade = photos()[2][:count]
    found, _, said = marked([target("colour", shade)], {"colour": "string"}, count)
    assert found == "colour"
    assert "fewer than 60 photos" in said
    assert marked([target("farbe", shade)], {"farbe": "string"}, count)[0] is None


def test_none_and_a_name_decide() -> None:
    _, kind, shade = photos()
    targets = [target("sleeve", kind), target("farbe", shade)]
    types = {"sleeve": "string", "farbe": "string"}
    assert marked(targets, types, named="none")[0] is None
    assert marked(targets, types, named="sleeve")[0] == "sleeve"
    with pytest.raises(BadRequestError, match="farbe, sleeve"):
        marked(targets, types, named="shade")


def test_the_first_value_of_a_list_counts() -> None:
    """A list gets a head only where it is the colour."""
    _, kind, shade = photos()
    shades = [[f"v{number}", "white"] for number in shade]
    sizes = [[f"v{number}"] for number in kind]
    types = {"shades": "list", "sizes": "list"}
    found, targets, _ = marked([], types, shades=shades, sizes=sizes)
    assert found == "shades"
    assert [one.name for one in targets] == ["shades"]
    assert targets[0].values == ("v0", "v1", "v2", "v3")
    np.testing.assert_array_equal(targets[0].labels, shade)


def test_data_without_attributes_keeps_the_statistics_of_its_cached_features() -> None:
    assert colour_statistics_for({}) == 1
    assert colour_statistics_for({"price": "number"}) == 1
    assert colour_statistics_for({"farbe": "string"}) == 2
