"""Recommendations over HTTP: what is left out, what is reported, what each result carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.catalog.store import open_catalog
from indexer.recommendation.orders import import_orders
from service.app import create_app
from service.engine import Engine
from service.products.writer import Draft
from service.query import recommend
from service.query.filters import FilterParser
from service.query.interest_ranking import StockFilter
from service.query.recommend import Event, mean_vectors
from service.settings import Settings
from tests.service.conftest import COLOURS, KINDS, product_id

URL = "/v1/recommendations"
RINGS = ["ring-blue", "ring-black"]


def ask(web: Any, status: int = 200, **body: Any) -> dict[str, Any]:
    response = web.post(URL, json=body)
    assert response.status_code == status, response.get_json()
    return response.get_json()  # type: ignore[no-any-return]


def events(*ids: str, **more: Any) -> list[dict[str, Any]]:
    return [{"product_id": one, **more} for one in ids]


def ids(found: dict[str, Any]) -> list[str]:
    return [row["product_id"] for row in found["results"]]


def test_a_history_finds_its_kind_with_a_reason_each(web: Any) -> None:
    """Rings find the other rings first; nothing seen comes back; scores fall from 1; each reason
    names a ring."""
    found = ask(web, history=events(*RINGS), k=5)
    assert set(ids(found)[:3]) == {"a/similar", "shop:7", "ring-tan"}
    assert not set(ids(found)) & set(RINGS)
    scores = [row["score"] for row in found["results"]]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    for row in found["results"]:
        assert row["reason"]["product_id"] in RINGS
        assert row["reason"]["text"]["en"] == f"Because you viewed {row['reason']['title']}"
        assert row["reason"]["text"]["zh"] == f"因为您看过“{row['reason']['title']}”"
    assert found["unknown_products"] == []


def test_two_interests_both_stand_in_the_list(web: Any) -> None:
    """Rings and dots: two interests of equal share, and each has its products among
    the first six."""
    found = ask(web, history=events(*RINGS, "dots-red", "dots-blue"), k=6)
    assert [sorted(one["products"]) for one in found["interests"]] == [
        sorted(part) for part in ((RINGS, ["dots-red", "dots-blue"]))
    ]
    assert [one["share"] for one in found["interests"]] == [0.5, 0.5]
    kinds = {row["category"] for row in found["results"]}
    assert kinds == {"Shapes > ring", "Shapes > dots"}


def test_what_counts_for_nothing_does_not_come_back_either(
    web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the heaviest of a long history say what the shopper likes; all of it is left out."""
    monkeypatch.setattr(recommend, "_COUNTED", 2)
    light = ["a/similar", "shop:7", "ring-tan"]
    found = ask(web, history=[*events(*RINGS, weight=5), *events(*light)], k=20)
    assert len(found["results"]) == 15
    assert not set(ids(found)) & {*RINGS, *light}
    assert sorted(name for one in found["interests"] for name in one["products"]) == sorted(RINGS)


def test_always_min_k_of_what_is_left(web: Any) -> None:
    """All 18 other products at k = 1000, each once."""
    found = ask(web, history=events(*RINGS), k=1000)
    others = {product_id(kind, colour) for kind in KINDS for colour in COLOURS} - set(RINGS)
    assert sorted(ids(found)) == sorted(others)


def test_a_filter_holds(web: Any) -> None:
    """Only red: four kinds, none of them seen, so four results; a fault in it is named where it
    stands."""
    red = {"must": [{"field": "colour", "eq": "red"}]}
    found = ask(web, history=events(*RINGS), k=50, filter=red)
    assert {row["attributes"]["colour"] for row in found["results"]} == {"red"}
    assert len(found["results"]) == 4
    wrong = ask(
        web, 422, history=events(*RINGS), filter={"must": [{"field": "color", "eq": "red"}]}
    )
    assert wrong["code"] == "bad-filter"
    assert wrong["detail"].startswith("filter.must[0]")


def test_unknown_products_are_reported_and_the_rest_is_used(web: Any) -> None:
    """One unknown of three: the answer is that of the two others; all unknown is 404, none at all
    422."""
    mixed = ask(web, history=events(RINGS[0], "nobody", RINGS[1]), k=5)
    assert mixed["unknown_products"] == ["nobody"]
    assert ids(mixed) == ids(ask(web, history=events(*RINGS), k=5))
    assert ask(web, 404, history=events("nobody", "none"))["code"] == "unknown-product"
    empty = ask(web, 422, history=[])
    assert empty["errors"][0]["field"] == "history"


@pytest.mark.parametrize(
    "event",
    [
        {"weight": 0},
        {"weight": -1},
        {"weight": "2"},
        {"time": "yesterday"},
        {"time": True},
        {"views": 3},
    ],
)
def test_a_bad_event_is_422(web: Any, event: dict[str, Any]) -> None:
    """Weights above zero, times as numbers or ISO dates, no unknown field."""
    ask(web, 422, history=[{"product_id": RINGS[0], **event}])


def test_weights_and_times_shift_the_shares(web: Any) -> None:
    """A purchase of weight 3 counts thrice; an event 30 days older counts half."""
    found = ask(web, history=[*events("ring-blue", weight=3), *events("dots-red")])
    assert [(one["product_id"], one["share"]) for one in found["interests"]] == [
        ("ring-blue", 0.75),
        ("dots-red", 0.25),
    ]
    found = ask(
        web,
        history=[
            *events("ring-blue", time="2026-01-01"),
            *events("dots-red", time="2026-01-31T00:00:00Z"),
        ],
    )
    shares = {one["product_id"]: one["share"] for one in found["interests"]}
    assert shares == pytest.approx({"dots-red": 2 / 3, "ring-blue": 1 / 3}, abs=1e-5)


def test_out_of_stock_is_never_recommended(own: Engine, open_web: Callable[..., Any]) -> None:
    """in_stock false or stock 0 by default, from the next question on; other conditions where the
    settings say so."""
    web = open_web()
    assert {"a/similar", "shop:7"} <= set(ids(ask(web, history=events(*RINGS), k=50)))
    own.products.patch("a/similar", {"attributes": {"in_stock": False}})
    own.products.patch("shop:7", {"attributes": {"stock": 0}})
    own.products.patch("ring-tan", {"attributes": {"stock": 2}})
    left = ids(ask(web, history=events(*RINGS), k=50))
    assert not {"a/similar", "shop:7"} & set(left)
    assert "ring-tan" in left
    assert len(left) == 16
    settings = Settings(home=own.home.path, out_of_stock=({"field": "colour", "eq": "tan"},))
    with Engine(settings, watch=False) as engine:
        other = create_app(engine, settings, check_answers=True).test_client()
        assert "ring-tan" not in ids(ask(other, history=events(*RINGS), k=50))


def test_variants_are_recommended_as_one_and_never_those_of_the_history(
    own: Engine, open_web: Callable[..., Any]
) -> None:
    """One result a group, as many as there are groups left; nothing that shares a parent with what
    was viewed; what is out of stock hidden, last or shown."""
    web = open_web()
    for name, parent in {
        "ring-blue": "seen",
        "dots-red": "seen",
        "a/similar": "hoop",
        "shop:7": "hoop",
        "ring-tan": "hoop",
    }.items():
        own.products.patch(name, {"attributes": {"parent": parent, "in_stock": True}})
    history = events("ring-blue")
    each = ids(ask(web, history=history, k=50))
    assert "dots-red" not in each
    assert len(each) == 18
    grouped = ask(web, history=history, k=50, group_by="parent", group_size=3)["results"]
    assert len(grouped) == 16
    (hoop,) = [row for row in grouped if row["group"]["value"] == "hoop"]
    assert (hoop["group"]["size"], hoop["group"]["in_stock"]) == (3, True)
    shown = {hoop["product_id"], *(row["product_id"] for row in hoop["group"]["members"])}
    assert shown == {"a/similar", "shop:7", "ring-tan"}
    assert len(ids(ask(web, history=history, k=7, group_by="parent"))) == 7
    for name in ("a/similar", "shop:7", "ring-tan"):
        own.products.patch(name, {"attributes": {"in_stock": False}})
    options: dict[str, Any] = {"history": history, "k": 50, "group_by": "parent"}
    hidden = ask(web, **options)["results"]
    assert (len(hidden), "hoop" in {row["group"]["value"] for row in hidden}) == (15, False)
    last = ask(web, **options, out_of_stock="last")["results"]
    assert [row["group"]["value"] for row in last[-1:]] == ["hoop"]
    assert (len(last), last[-1]["group"]["in_stock"]) == (16, False)
    assert len(ids(ask(web, history=history, k=50, out_of_stock="show"))) == 18
    settings = Settings(home=own.home.path, out_of_stock_results="hide")
    with Engine(settings, watch=False) as engine:
        found = engine.similar("cross-red", k=50).content.results
        assert not shown & {row.product_id for row in found}
        assert engine.facets().content.total == 17
        assert len(engine.similar("cross-red", k=50, out_of_stock="show").content.results) == 19


def test_a_stock_condition_of_another_type_is_logged_once(own: Engine) -> None:
    """Of an attribute that the catalog has; of one that it lacks, the condition is ignored."""
    lines: list[dict[str, Any]] = []
    log = SimpleNamespace(warning=lambda event, **more: lines.append({"event": event, **more}))
    own.products.patch("ring-tan", {"attributes": {"stock": 2}})
    conditions = [
        {"field": "stock", "eq": "none"},
        {"field": "absent", "lte": 0},
        {"field": "colour", "lt": 1},
        {"field": "colour", "eq": "tan"},
    ]
    filters = FilterParser(own.catalog, log=log)
    stock = StockFilter(filters, conditions)
    for _ in range(2):
        bound = stock.bind(filters.fields(own.ready()), None)
        assert bound is not None
    assert [line["field"] for line in lines] == ["stock", "colour"]
    assert "expected number, got 'none'" in lines[0]["reason"]
    assert all(line["event"].startswith("a condition of out_of_stock") for line in lines)


def test_complete_takes_categories_that_were_bought_together(
    own: Engine, open_web: Callable[..., Any], tmp_path: Path
) -> None:
    """Rings sold with crosses: crosses alone are recommended to a ring's viewer; without orders it
    is 409."""
    web = open_web()
    assert ask(web, 409, history=events(*RINGS), mode="complete")["code"] == "no-orders"
    lines = ["order_id,product_id"]
    for number in range(6):
        lines += [f"o{number},ring-blue", f"o{number},cross-red", f"p{number},dots-red"]
    file = tmp_path / "orders.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    with open_catalog(own.home) as catalog:
        assert import_orders(catalog, file).pairs == 1
    found = ask(web, history=events(*RINGS), mode="complete")
    assert {row["category"] for row in found["results"]} == {"Shapes > cross"}
    assert len(found["results"]) == 5
    assert found["results"][0]["reason"]["text"]["en"].startswith("Goes with ")
    assert ask(web, 409, history=events("dots-red"), mode="complete")["code"] == "no-orders"


def test_a_filter_may_leave_out_the_categories_that_go_together_best(
    own: Engine, tmp_path: Path
) -> None:
    """Five categories go with rings. The products of the four best do not pass the filter, and the
    fifth is found, also where more is asked for than the four best hold. A filter that nothing
    passes leaves nothing, which is no want of orders."""
    shown = own.products.get("cross-red").content.images[0]
    lines = ["order_id,product_id", *(f"d{one},dots-red" for one in range(500))]
    for number in range(5):
        own.products.put(
            f"kind-{number}",
            Draft(
                category=("Other", f"kind {number}"),
                attributes={"fit": "wide" if number == 4 else "slim"},
                photos=(shown.hash,),
            ),
        )
        lines += [f"o{number}-{one},ring-blue\no{number}-{one},kind-{number}" for one in range(20)]
        # Sold alone too, each more often than the one before: it goes ever less with rings.
        lines += [f"a{number}-{one},kind-{number}" for one in range(10 * number)]
    file = tmp_path / "orders.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert import_orders(own.catalog, file).pairs == 5

    def found(k: int, *must: dict[str, Any]) -> set[str]:
        history = [Event(one) for one in RINGS]
        asked: dict[str, Any] = {"filter": {"must": list(must)}} if must else {}
        results = own.recommend(history, mode="complete", k=k, **asked).content.results
        return {row.product_id for row in results}

    assert found(1, {"field": "fit", "eq": "wide"}) == {"kind-4"}
    assert found(5) == {f"kind-{number}" for number in range(5)}
    assert found(5, {"field": "fit", "eq": "none such"}) == set()


def test_stock_conditions_of_two_states_at_once_are_not_mixed(own: Engine) -> None:
    """While one question fits the conditions to its types, another one does so to others."""
    fields = FilterParser(own.catalog, log=None).fields(own.ready())
    with_stock = replace(fields, types={**fields.types, "stock": "number"})

    class Overtaken(StockFilter):
        """Loses its slot to the other question at once."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "_fitting" and value is not None:
                super().__setattr__(name, ({}, []))

    overtaken = Overtaken(FilterParser(own.catalog, log=None), [{"field": "stock", "eq": 0}])
    assert overtaken.known(with_stock) == [{"field": "stock", "eq": 0}]


def test_the_mean_of_photos_stands_for_a_product(shop: Engine) -> None:
    """A history of one product: its query is the unit mean of its two photos' vectors."""
    now = shop.ready()
    pid = int(now.live.base.rows[0][0])
    vectors = now.live.vectors_of(pid)[1]
    assert len(vectors) == 2
    mean = vectors.mean(axis=0)
    found = mean_vectors(shop.catalog, now, [pid, 10**9])
    assert list(found) == [pid]
    assert np.allclose(found[pid], mean / np.linalg.norm(mean), atol=1e-6)
