"""``/metrics``: every number is the one it names, and nobody reads it who may not read the
products."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from indexer.catalog.store import open_catalog
from indexer.core.sqlite_library import LIBRARY
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import photo
from tests.service.products.test_writer import base64_of

KEY = "k" * 20
DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture
def web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def read(web: FlaskClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) -> value, as Prometheus' own parser reads them."""
    response = web.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    families = text_string_to_metric_families(response.get_data(as_text=True))
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in families
        for s in family.samples
    }


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_requests_are_counted_by_route_and_status(web: FlaskClient) -> None:
    """Latencies in a histogram for each route as written, so ids make no series; errors count under
    their status."""
    for product_id in ("cross-red", "cross-tan", "nobody", "nothing"):
        web.get(f"/v1/products/{product_id}")
    for path in ("/nowhere", "/nowhere/else"):
        web.get(path)
    found = read(web)
    route = "/v1/products/<product:product_id>"
    for status, count in (("200", 2), ("404", 2)):
        labels = {"route": route, "method": "GET", "status": status}
        assert value(found, "catalens_request_seconds_count", **labels) == count
        assert value(found, "catalens_request_seconds_bucket", le="+Inf", **labels) == count
        assert 0 < value(found, "catalens_request_seconds_sum", **labels) < 10
    assert (
        value(found, "catalens_request_seconds_count", route="none", method="GET", status="404")
        == 2
    )
    assert (
        value(
            read(web),
            "catalens_request_seconds_count",
            route="/metrics",
            method="GET",
            status="200",
        )
        == 1
    )


def test_stages_of_an_answer_are_timed(web: FlaskClient) -> None:
    """Where an answer's time went is a histogram by stage, of what its ``timings_ms`` say; their
    total is the request's own figure."""
    told = web.get("/v1/products/cross-red/similar").get_json()["timings_ms"]
    found = read(web)
    assert {"search", "describe", "total"} <= set(told)
    for stage, milliseconds in told.items():
        name = ("catalens_stage_seconds_sum", frozenset({("stage", stage)}))
        if stage == "total":
            assert name not in found
        else:
            assert found[name] == pytest.approx(milliseconds / 1000)


def test_delta_and_sequences_are_those_of_the_engine(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos in the delta, its changes and age, products, and how far the index is behind the
    catalog."""
    fresh = read(web)
    for name, expected in (
        ("catalens_products", 20),
        ("catalens_delta_photos", 0),
        ("catalens_delta_changes", 0),
        ("catalens_delta_age_seconds", 0),
        ("catalens_catalog_sequence", 20),
        ("catalens_index_sequence", 20),
        ("catalens_delta_limit_photos", 5000),
        ("catalens_queue_waiting", 0),
        ("catalens_queue_limit", 32),
        ("catalens_fold_running", 0),
    ):
        assert value(fresh, name) == expected, name
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("service.background.compaction.time", clock)
    web.put(
        "/v1/products/n",
        json={"images": [base64_of(photo("ring", "tan", turn=9 + turn)) for turn in range(2)]},
    )
    web.patch("/v1/products/n", json={"title": "x"})
    own.folding.poll()
    now += 7.5
    with open_catalog(own.home) as other:
        other.delete("cross-red")
    found = read(web)
    assert value(found, "catalens_products") == 21
    assert value(found, "catalens_delta_photos") == 2
    assert value(found, "catalens_delta_changes") == 2
    assert value(found, "catalens_delta_age_seconds") == 7.5
    assert (value(found, "catalens_catalog_sequence"), value(found, "catalens_index_sequence")) == (
        23,
        22,
    )
    own.refresh()
    assert value(read(web), "catalens_index_sequence") == 23


def test_passes_of_the_network_and_versions(web: FlaskClient, own: Engine) -> None:
    """How many photos went through in one pass, what serves, and the process's memory."""
    web.post("/v1/search", data=upload(photo("ring", "red", turn=5)))
    shots = [base64_of(photo("ring", "tan", turn=9 + turn)) for turn in range(3)]
    web.put("/v1/products/n", json={"images": shots})
    found = read(web)
    name = "catalens_inference_batch_photos"
    assert [value(found, f"{name}_bucket", le=edge) for edge in ("1", "2", "4", "+Inf")] == [
        1,
        1,
        2,
        2,
    ]
    assert (value(found, f"{name}_count"), value(found, f"{name}_sum")) == (2, 4)
    (labels,) = [dict(labels) for metric, labels in found if metric == "catalens_info"]
    snapshot = own.ready()
    assert (labels["index_version"], labels["model_version"]) == (
        snapshot.index_version,
        snapshot.model_version,
    )
    (sqlite,) = [dict(labels) for metric, labels in found if metric == "catalens_sqlite_info"]
    assert (sqlite["library"], sqlite["version"]) == (LIBRARY.module, LIBRARY.version)
    assert sqlite["sound"] == str(LIBRARY.sound).lower()
    assert value(found, "process_resident_memory_bytes") > 50e6


def test_folds_are_counted(web: FlaskClient, own: Engine) -> None:
    own.folding.done, own.folding.failed, own.folding.last_s = 3, 1, 2.5
    found = read(web)
    assert value(found, "catalens_folds_total", outcome="done") == 3
    assert value(found, "catalens_folds_total", outcome="failed") == 1
    assert value(found, "catalens_fold_last_seconds") == 2.5


def test_two_apps_count_for_themselves(open_web: Callable[..., FlaskClient]) -> None:
    """A registry for each app: nothing global, and making a second app does not fail or share
    counts."""
    one, other = open_web(), open_web()
    one.get("/livez")
    assert (
        value(
            read(one), "catalens_request_seconds_count", route="/livez", method="GET", status="200"
        )
        == 1
    )
    assert not [key for key in read(other) if ("route", "/livez") in key[1]]


def test_numbers_take_a_key_where_products_do(open_web: Callable[..., FlaskClient]) -> None:
    """With keys set, no key is 401 and a key reads them; a page of another site is refused as
    everywhere."""
    web = open_web(api_keys=(KEY,))
    assert_problem(web.get("/metrics"), 401, "unauthorized")
    assert web.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert_problem(
        open_web().get("/metrics", headers={"Host": "elsewhere.example"}), 403, "forbidden-host"
    )


def test_a_home_without_an_index_has_numbers_too(tmp_path: Any) -> None:
    """Before the first index there is nothing about one, and everything else."""
    from indexer.core.home import Home

    Home.create(tmp_path / "home")
    with Engine(Settings(home=tmp_path / "home"), watch=False) as engine:
        found = read(create_app(engine, engine.settings).test_client())
    assert value(found, "catalens_catalog_sequence") == 0
    assert not [name for name, _ in found if name == "catalens_products"]


# Of the process itself, of Prometheus, and what comes with people's first decision.
_OTHERS = {"process_resident_memory_bytes", "up", "catalens_tag_precision"}


def _asked(expression: str) -> set[str]:
    names = set(re.findall(r"\b(?:catalens|process|up)(?:_[a-z_]+)?\b(?=[{\[\s)]|$)", expression))
    return {name for name in names if name != "catalens"}


def test_numbers_of_rules_and_dashboard_are_in_metrics(web: FlaskClient) -> None:
    """A rule on a number that does not exist would never fire."""
    web.get("/v1/products/cross-red/similar")
    present = {name for name, _ in read(web)} | _OTHERS
    rules = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    for expression in expressions:
        assert _asked(expression), expression
        assert _asked(expression) <= present, expression
