"""A product that was deleted does not come back by a delivery that was overtaken."""

from __future__ import annotations

from typing import Any


def test_a_late_put_over_http_is_refused(open_web: Any) -> None:
    """409 `stale-version` alone and in a batch, which says so of this item and stores the others;
    a newer delivery stores the product again."""
    web = open_web()
    images = web.get("/v1/products/ring-blue").get_json()["images"]
    body = {"title": "late", "images": [{"hash": images[0]["hash"]}]}
    put = {**body, "external_version": 3}
    assert web.put("/v1/products/ring-blue", json=put).status_code == 200
    assert web.delete("/v1/products/ring-blue?external_version=5").status_code == 200
    # Its photo is gone with it: another one is sent.
    other = web.get("/v1/products/cross-red").get_json()["images"][0]["hash"]
    late = {"title": "late", "images": [{"hash": other}]}
    found = web.put("/v1/products/ring-blue", json={**late, "external_version": 4})
    assert (found.status_code, found.get_json()["code"]) == (409, "stale-version")
    items = [
        {"op": "put", "product_id": "ring-blue", **late, "external_version": 4},
        {"op": "put", "product_id": "never-deleted", **late, "external_version": 4},
    ]
    answer = web.post("/v1/products:batch", json={"items": items}).get_json()
    assert [item["status"] for item in answer["results"]] == [409, 200], answer
    assert web.get("/v1/products/ring-blue").status_code == 404
    found = web.put("/v1/products/ring-blue", json={**late, "external_version": 6})
    assert found.status_code == 200
