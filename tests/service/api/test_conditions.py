"""A write on the condition of what was read happens only where nobody changed that since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.client import Client
from service.client.transport import ProblemError
from service.engine import Engine
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import photo
from tests.service.products.test_writer import base64_of
from tools.browser import serving_engine

ONE = "/v1/products/ring-blue"


@pytest.fixture
def own_web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def body() -> dict[str, Any]:
    return {"title": "new", "images": [base64_of(photo("ring", "red", turn=11))]}


def test_a_write_goes_by_the_etag_that_was_read(own_web: FlaskClient) -> None:
    """Once written, the old tag is 412 `changed` for every kind of write and nothing happens; the
    tag of the write's answer goes on."""
    tag = own_web.get(ONE).headers["ETag"]
    first = own_web.patch(ONE, json={"title": "a"}, headers={"If-Match": tag})
    assert first.status_code == 200
    held = {"If-Match": tag}
    for again in (
        own_web.patch(ONE, json={"title": "b"}, headers=held),
        own_web.put(ONE, json=body(), headers=held),
        own_web.delete(ONE, headers=held),
    ):
        assert_problem(again, 412, "changed")
    assert own_web.get(ONE).get_json()["title"] == "a"
    assert own_web.get(ONE).headers["ETag"] == first.headers["ETag"] != tag
    both = {"If-Match": f'W/"1", {tag}, {first.headers["ETag"]}'}
    assert own_web.put(ONE, json=body(), headers=both).status_code == 200
    now = own_web.get(ONE).headers["ETag"]
    assert own_web.delete(ONE, headers={"If-Match": now}).status_code == 200
    assert_problem(own_web.put(ONE, json=body(), headers={"If-Match": now}), 412, "changed")


def test_a_number_that_was_given_again_is_another_state(own: Engine, own_web: FlaskClient) -> None:
    """A catalog that was put back from a backup gives the numbers of its changes again."""
    before = own_web.get(ONE)
    sequence = before.get_json()["sequence"]
    tag = before.headers["ETag"]
    query = "UPDATE products SET title = ? WHERE product_id = 'ring-blue'"
    with own.catalog.database.transaction() as sql:
        sql.execute(query, ("of the other one",))
    now = own_web.get(ONE)
    assert (now.get_json()["sequence"], now.headers["ETag"] == tag) == (sequence, False)
    found = own_web.patch(ONE, json={"title": "x"}, headers={"If-Match": tag})
    assert_problem(found, 412, "changed")
    assert "9223372036854775807" not in found.get_json()["detail"]
    several = {"If-Match": f'"1", {tag}'}
    assert own_web.patch(ONE, json={"title": "x"}, headers=several).status_code == 412
    with own.catalog.database.transaction() as sql:
        sql.execute(query, (before.get_json()["title"],))
    assert own_web.patch(ONE, json={"title": "x"}, headers={"If-Match": tag}).status_code == 200


def test_any_and_none_are_conditions_too(own_web: FlaskClient) -> None:
    """``If-Match: *`` asks for a product, ``If-None-Match: *`` for none."""
    assert_problem(
        own_web.put("/v1/products/n", json=body(), headers={"If-Match": "*"}), 412, "changed"
    )
    absent = {"If-None-Match": "*"}
    assert own_web.put("/v1/products/n", json=body(), headers=absent).status_code == 200
    assert_problem(own_web.put("/v1/products/n", json=body(), headers=absent), 412, "changed")
    assert own_web.patch(ONE, json={"title": "c"}, headers={"If-Match": "*"}).status_code == 200


@pytest.mark.parametrize("odd", ["12", '"12', "", '"1","', "*,*"])
def test_a_header_that_is_no_tag_is_said(own_web: FlaskClient, odd: str) -> None:
    """Taken for no condition it would overwrite what it was to spare."""
    found = own_web.patch(ONE, json={"title": "x"}, headers={"If-Match": odd})
    assert_problem(found, 400, "bad-request")
    both = {"If-Match": '"1"', "If-None-Match": "*"}
    assert_problem(own_web.patch(ONE, json={"title": "x"}, headers=both), 400, "bad-request")
    some = {"If-None-Match": '"1"'}
    assert_problem(own_web.put(ONE, json=body(), headers=some), 400, "bad-request")


@pytest.mark.parametrize("strange", ['"x"', '"0"', '"-1"', '"99999999999999999999"', 'W/"1"'])
def test_a_tag_that_was_never_given_matches_nothing(own_web: FlaskClient, strange: str) -> None:
    found = own_web.put("/v1/products/n", json=body(), headers={"If-Match": strange})
    assert_problem(found, 412, "changed")


def test_items_of_a_batch_and_the_client_have_conditions(own: Engine) -> None:
    """Each item its own; the client sends the sequence that it read."""
    with serving_engine(own) as address, Client(address) as client:
        seen = client.get_product("ring-blue").sequence
        patch = {"op": "patch", "product_id": "ring-blue", "expected_sequence": seen}
        rows = client.batch_products([{**patch, "title": "a"}, {**patch, "title": "b"}])
        assert [row["status"] for row in rows] == [200, 412]
        assert rows[1]["problem"]["code"] == "changed"
        with pytest.raises(ProblemError, match="412 changed"):
            client.patch_product("ring-blue", title="c", if_match=seen)
        client.patch_product("ring-blue", title="c", if_match=rows[0]["sequence"])
        with pytest.raises(ProblemError, match="412 changed"):
            client.delete_product("ring-blue", if_match=seen)
