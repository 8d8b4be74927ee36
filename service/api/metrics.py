"""``GET /metrics``: requests, queue, delta, compaction and memory for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from flask import Response, g, request
from flask_openapi import OpenAPI
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from indexer.core.errors import CatalensError
from indexer.core.sqlite_library import LIBRARY
from service.api.openapi import SECURITY, problem_responses
from service.api.request_times import RequestTimes
from service.engine import Engine

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PHOTOS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _EngineNumbers(Collector):
    """What the engine knows, read at each scrape: nothing is counted twice and nothing is kept
    here."""

    def __init__(self, engine: Engine, version: str) -> None:
        self._engine = engine
        self._version = version

    def describe(self) -> Iterable[Metric]:
        return []  # else registering would read everything once

    def collect(self) -> Iterator[Metric]:
        engine = self._engine
        queue, folding, snapshot = engine.queue, engine.folding, engine.snapshot
        yield GaugeMetricFamily(
            "catalens_queue_waiting", "Requests that wait for the network.", queue.waiting
        )
        yield GaugeMetricFamily(
            "catalens_queue_limit",
            "Requests that may wait; the next one gets 503.",
            engine.settings.max_waiting,
        )
        yield _batches(queue.batches())
        yield from _compactions(engine)
        with suppress(CatalensError):
            yield from _people(engine)
        versions = {"version": self._version}
        with suppress(CatalensError):  # a catalog that cannot be read: everything else still can
            yield GaugeMetricFamily(
                "catalens_catalog_sequence",
                "Sequence number of the catalog's last change.",
                engine.last_sequence(),
            )
        if snapshot is not None:
            live = snapshot.live
            versions |= {
                "index_version": snapshot.index_version,
                "model_version": snapshot.model_version,
            }
            changes = live.sequence - live.base.manifest.last_sequence
            yield from (
                GaugeMetricFamily(
                    "catalens_products", "Products that searches can find.", live.product_count
                ),
                GaugeMetricFamily(
                    "catalens_delta_photos", "Photos searched beside the version.", live.delta_size
                ),
                GaugeMetricFamily(
                    "catalens_delta_changes", "Changes laid over the version.", changes
                ),
                GaugeMetricFamily(
                    "catalens_delta_age_seconds",
                    "Since the first change over this version.",
                    folding.age_s(),
                ),
                GaugeMetricFamily(
                    "catalens_index_sequence", "Sequence number searches have seen.", live.sequence
                ),
            )
        yield InfoMetricFamily("catalens", "What serves.", versions)
        yield InfoMetricFamily(
            "catalens_sqlite",
            "The SQLite library, and whether its version is without the fault of the log's reset.",
            {
                "library": LIBRARY.module,
                "version": LIBRARY.version,
                "sound": str(LIBRARY.sound).lower(),
            },
        )


def _compactions(engine: Engine) -> Iterator[Metric]:
    """Compactions of this process, and when the next one is due."""
    folding = engine.folding
    folds = CounterMetricFamily(
        "catalens_folds", "Compactions of the delta by this process.", labels=["outcome"]
    )
    folds.add_metric(["done"], folding.done)
    folds.add_metric(["failed"], folding.failed)
    yield folds
    yield GaugeMetricFamily(
        "catalens_fold_running", "Whether this process compacts the delta now.", folding.running
    )
    if folding.last_s is not None:
        yield GaugeMetricFamily(
            "catalens_fold_last_seconds", "How long the last compaction took.", folding.last_s
        )
    yield GaugeMetricFamily(
        "catalens_delta_limit_photos",
        "Photos in the delta above which it is compacted.",
        engine.settings.max_delta,
    )


def _people(engine: Engine) -> Iterator[Metric]:
    """The queue for people, and how often they agreed."""
    reviews = GaugeMetricFamily(
        "catalens_reviews", "Reviews that asked for a person.", labels=["state"]
    )
    for state, count in engine.reviews.counts().items():
        reviews.add_metric([state], count)
    yield reviews
    precision = engine.reviews.precision()
    judged = CounterMetricFamily(
        "catalens_tags_judged", "Suggested tags that people judged.", labels=["outcome"]
    )
    for outcome in ("accepted", "rejected"):
        judged.add_metric([outcome], getattr(precision.tags, outcome))
    yield judged
    decided = CounterMetricFamily(
        "catalens_alarms_decided",
        "Alarms of policies that people decided on.",
        labels=["policy", "outcome"],
    )
    right = GaugeMetricFamily(
        "catalens_alarm_precision",
        "Share of a policy's alarms that people confirmed.",
        labels=["policy"],
    )
    for policy, counts in precision.policies.items():
        decided.add_metric([policy, "confirmed"], counts.rejected)
        decided.add_metric([policy, "overruled"], counts.approved)
        if counts.precision is not None:
            right.add_metric([policy], counts.precision)
    yield decided
    yield right
    if precision.tags.precision is not None:
        yield GaugeMetricFamily(
            "catalens_tag_precision",
            "Share of judged tags that people accepted.",
            precision.tags.precision,
        )


def _batches(sizes: dict[int, int]) -> HistogramMetricFamily:
    """How many photos went through the network in one pass."""
    below = []
    for edge in _PHOTOS:
        count = sum(n for size, n in sizes.items() if size <= edge)
        below.append((str(edge), count))
    return HistogramMetricFamily(
        "catalens_inference_batch_photos",
        "Photos in one pass of the network.",
        buckets=[*below, ("+Inf", sum(sizes.values()))],
        sum_value=sum(size * n for size, n in sizes.items()),
    )


def install(app: OpenAPI, engine: Engine, version: str) -> RequestTimes:
    """Count the requests of ``app`` in a registry of its own, and answer ``/metrics`` from it.

    Returns the times of requests, for those that are answered beside ``app``.
    """
    registry = CollectorRegistry(auto_describe=False)
    requests = RequestTimes(registry, _SECONDS)
    stages = Histogram(
        "catalens_stage_seconds",
        "Time of answers by stage, as in their timings_ms.",
        ("stage",),
        buckets=_SECONDS,
        registry=registry,
    )
    registry.register(_EngineNumbers(engine, version))
    ProcessCollector(registry=registry)

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else None
        took = time.perf_counter() - g.get("started", time.perf_counter())
        requests.observe(rule, request.method, response.status_code, took)
        for stage, milliseconds in g.get("timings_ms", {}).items():
            if stage != "total":
                stages.labels(stage).observe(milliseconds / 1000)
        return response

    text = {"text/plain": {"schema": {"type": "string"}}}

    @app.get(
        "/metrics",
        tags=[{"name": "health"}],
        operation_id="metrics",
        security=SECURITY,
        responses={200: {"content": text}, **problem_responses()},
    )
    def metrics() -> Response:
        """Requests, queue, delta, compactions, versions and memory, as Prometheus text. Takes a
        key where `/v1` does."""
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return requests
