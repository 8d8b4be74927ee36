"""The map of the catalog: where products lie, that one version gives one map, and that what was
deleted is gone."""

from __future__ import annotations

import numpy as np
import pytest
from flask.testing import FlaskClient

from service.engine import Engine
from service.query.catalog_map import project
from tests.service.conftest import COLOURS, KINDS, product_id


def test_axes_are_the_two_directions_of_most_variance() -> None:
    """Known points on a tilted plane in eight dimensions come back as they lie on it, and all
    variance is explained."""
    rng = np.random.default_rng(3)
    plane = np.linalg.qr(rng.normal(size=(8, 2)))[0]
    known = rng.normal(size=(200, 2)) * (5.0, 1.0)
    points, explained = project((known @ plane.T + 7.0).astype(np.float32))
    assert explained == pytest.approx(1.0, abs=1e-5)
    for axis in (0, 1):
        assert abs(np.corrcoef(points[:, axis], known[:, axis])[0, 1]) > 0.97
        assert (points[:, axis].min(), points[:, axis].max()) == pytest.approx((-1, 1), abs=1e-5)


def test_a_map_does_not_depend_on_the_sign_an_eigenvector_happens_to_have() -> None:
    """Mirrored vectors give the same map: the farthest point lies on the positive side."""
    vectors = np.random.default_rng(5).normal(size=(50, 6)).astype(np.float32) ** 3
    assert np.allclose(project(vectors)[0], project(-vectors)[0], atol=1e-4)


@pytest.mark.parametrize(
    "vectors", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.eye(2, 1)]
)
def test_too_few_or_equal_products_lie_in_the_middle(vectors: np.ndarray) -> None:
    """No division by nothing: finite coordinates for none, one, and equal products."""
    points, explained = project(vectors.astype(np.float32))
    assert points.shape == (len(vectors), 2)
    assert np.isfinite(points).all()
    assert 0.0 <= explained <= 1.0


def test_alike_products_lie_near_each_other(web: FlaskClient) -> None:
    """Every product is on the map once; one of the same kind is nearer than one of another, on the
    average."""
    body = web.get("/v1/map").get_json()
    places = {point["product_id"]: np.array([point["x"], point["y"]]) for point in body["points"]}
    assert set(places) == {product_id(kind, colour) for kind in KINDS for colour in COLOURS}
    assert body["total"] == 20
    assert body["points"][0]["image_url"].startswith("/v1/images/")

    def apart(same: bool) -> float:
        pairs = [
            np.linalg.norm(places[product_id(kind, one)] - places[product_id(other, two)])
            for kind in KINDS
            for other in KINDS
            if (kind == other) is same
            for one in COLOURS
            for two in COLOURS
            if one != two
        ]
        return float(np.mean(pairs))

    assert apart(same=True) < 0.7 * apart(same=False)


def test_fewer_points_are_spread_over_the_catalog(web: FlaskClient) -> None:
    points = web.get("/v1/map?limit=4").get_json()["points"]
    assert len({point["product_id"] for point in points}) == 4
    assert web.get("/v1/map?limit=0").status_code == 422
    assert web.get("/v1/map?limit=2001").status_code == 422


def test_what_was_deleted_is_on_no_map(own: Engine) -> None:
    """A deleted product leaves the map at once, though the version still holds its vector; the
    others stay put."""
    before = {point.product_id: point for point in own.map().content.points}
    own.products.delete("cross-red")
    after = {point.product_id: point for point in own.map().content.points}
    assert set(before) - set(after) == {"cross-red"}
    assert all(before[name].x == point.x for name, point in after.items())
