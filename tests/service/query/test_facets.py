"""Facets: what too many values are, and how long counting may take."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from service.query import facets
from tests.service.api.routes.test_queries import assert_problem


def test_a_field_of_very_many_values_is_no_facet(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named it is 422, which names it; unasked it is left out, and the others are counted."""
    names = [facet["field"] for facet in web.get("/v1/facets").get_json()["facets"]]
    assert {"category", "tags", "colour"} <= set(names)
    monkeypatch.setattr(facets, "_MOST_VALUES", 5)
    # The tags are nine, the colours five.
    refused = assert_problem(web.get("/v1/facets?fields=tags"), 422, "bad-filter")
    assert refused["detail"].startswith("fields: 'tags' has 9 different values")
    assert web.get("/v1/facets?fields=colour").status_code == 200
    left = [facet["field"] for facet in web.get("/v1/facets").get_json()["facets"]]
    assert left == [name for name in names if name != "tags"]
