"""The live service against its own OpenAPI document, by schemathesis.

``CATALENS_LIVE_CASES``: valid and invalid cases of each operation (``make prove-live``); few
without it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.client import Client
from service.engine import Engine
from service.server import make_server
from service.settings import Settings
from tests.service.conftest import COLOURS, KINDS, photo, product_id
from tests.service.review.test_review import POLICY

pytest.importorskip("schemathesis")

ROOT = Path(__file__).parents[2]
CASES = int(os.environ.get("CATALENS_LIVE_CASES", "0"))
_PLAIN = re.compile("[a-z-]+")
KEY = "schema" + "k" * 20
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "use_after_free",
    "ignored_auth",
    "negative_data_rejection",
    "positive_data_acceptance",
)
# What schemathesis may report, by check and operation, and why it is right all the same.
_FORM = "a form field is given once, and has text where the schema of JSON has null"
_KNOWLEDGE = "a schema cannot say what the home has, or which values fit together"
VALID_REFUSED: dict[str, str] = {
    "DELETE /v1/classes": "one of id and label must be given",
    "GET /v1/facets": _KNOWLEDGE,
    "GET /v1/products": _KNOWLEDGE,
    "GET /v1/products/{product_id}": "fields must be those that products have",
    "GET /v1/products/{product_id}/similar": _KNOWLEDGE,
    "GET /v1/reviews": _KNOWLEDGE,
    "PATCH /v1/products/{product_id}": _KNOWLEDGE,
    "PATCH /v1/schema": _KNOWLEDGE,
    "POST /v1/classes": _FORM,
    "POST /v1/classify": _FORM,
    "POST /v1/classify:batch": _FORM,
    "POST /v1/describe": _FORM,
    "POST /v1/explain": _FORM,
    "POST /v1/feedback": _KNOWLEDGE,
    "POST /v1/imports": _FORM,
    "POST /v1/indexes:rollback": "412: another version is active than the one named",
    "POST /v1/objects": _FORM,
    "POST /v1/recommendations": _KNOWLEDGE,
    "POST /v1/review": _FORM,
    "POST /v1/reviews/{name}:decide": _KNOWLEDGE,
    "POST /v1/search": _FORM,
    "POST /v1/search:batch": _FORM,
    "POST /v1/tags": _FORM,
    "POST /v1/tags:batch": _FORM,
    "PUT /v1/products/{product_id}": "without a photo, or with a file that is none",
}
_ITEMS = "each item has a status of its own, in an answer that is 200"
INVALID_ACCEPTED = {
    "POST /v1/classify:batch": _ITEMS,
    "POST /v1/search:batch": _ITEMS,
    "POST /v1/tags:batch": _ITEMS,
    "POST /v1/products:batch": _ITEMS,
    "POST /v1/imports": "an empty list is no field of a form",
}
# More jobs than may wait are 503 `overloaded` with Retry-After: docs/reference/http.md says so.
QUEUES = ("POST /v1/indexes", "POST /v1/imports")
OTHERS = {
    ("UseAfterFree", "Stateful tests"): "DELETE of a job cancels it; it can still be read",
    ("ServerError", "Stateful tests"): "503 of a full queue of jobs; others are counted",
    **{("ServerError", name): "503 of a full queue of jobs; others are counted" for name in QUEUES},
    (
        "JsonSchemaError",
        "GET /v1/jobs/{job_id}/events",
    ): "a stream of events, which OpenAPI 3.0 has not",
}


@contextmanager
def _served(home: Path, folder: Path) -> Iterator[tuple[str, Client]]:
    """The service on a free port of loopback, and a client with its key."""
    (folder / "policy.yaml").write_text(POLICY)
    settings = Settings(
        home=home, port=0, api_keys=(KEY,), policy_file=folder / "policy.yaml", address_rate=0.0
    )
    with Engine(settings) as engine:
        engine.prepare_reviews()
        server = make_server(create_app(engine, settings), settings)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.effective_port}"
        try:
            yield url, Client(url, key=KEY)
        finally:
            server.close()
            thread.join(10)


def _archive() -> bytes:
    """A zip of one product."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("products.csv", "product_id,image,title\nsent,a.png,Sent\n")
        archive.writestr("a.png", photo("cross", "tan", turn=40))
    return file.getvalue()


def _activated(client: Client) -> list[str]:
    """Build and activate a second version, which a rollback needs; the job."""
    job_id = client.build_index(activate=True).job_id
    *_, last = client.follow_job(job_id)
    assert last.state == "done", last
    return [job_id]


def _known(client: Client) -> dict[str, Any]:
    """What cases may name: products, photos, versions, reviews, a job, an answer."""
    stored_ids = [product_id(kind, colour) for kind in KINDS for colour in COLOURS]
    stored = client.get_product(product_id("cross", "red"))
    reviews: list[str | None] = []
    for _ in range(max(1, 2 * CASES)):
        reviews.append(client.review([photo("ring", "tan", turn=len(reviews) * 7)]).review_id)
    jobs, versions = (_activated(client), ["v000001", "v000002"]) if CASES else (["none"], [])
    told = client.search(photo("ring", "red"))
    return {
        "photo": base64.b64encode(photo("cross", "red", turn=5)).decode(),
        "spare": [name for name in stored_ids[-5:] if _PLAIN.fullmatch(name)],
        "archive": base64.b64encode(_archive()).decode(),
        "request_id": told.request_id,
        "found": told.results[0].product_id,
        "path": {
            "product_id": [name for name in stored_ids[:-5] if _PLAIN.fullmatch(name)],
            "hash": [image.hash for image in stored.images],
            "version": versions or ["v000001"],
            "name": [name for name in reviews if name],
            "position": [0],
            "job_id": jobs,
        },
    }


def _run(url: str, folder: Path) -> tuple[set[tuple[str, str]], dict[str, Counter[str]], str]:
    """One run of schemathesis: (kind, operation) of what failed, answers by operation and status,
    what it printed."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--checks", ",".join(CHECKS)]
    command += ["--max-examples", str(CASES or 1), "--seed", "1", "--continue-on-failure"]
    command += ["--no-shrink", "--report", "json", "--report-json-path", str(report)]
    command += ["--phases", "coverage,fuzzing,stateful" if CASES else "fuzzing"]
    if not CASES:  # each job is a process that loads torch
        for operation in ("build_index", "import_products", "activate_index", "rollback_index"):
            command += ["--exclude-operation-id", operation]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.service.api.schema_hooks",
        "CATALENS_LIVE_SCHEMA": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    counts = {name: Counter(found) for name, found in seen.items()}
    failures = json.loads(report.read_text())["failures"]
    failed = {(entry["type"], name) for entry in failures for name in entry["operations"]}
    return failed, counts, done.stdout


def test_the_service_keeps_what_its_document_promises(own_home: Path, tmp_path: Path) -> None:
    """No answer is a fault of ours, none is without its key, each has a documented status, type and
    schema; valid cases that are refused and invalid ones that are taken stand in a list with the
    reason. At length every operation succeeds, and a third of all cases do."""
    with _served(own_home, tmp_path) as (url, client):
        (tmp_path / "known.json").write_text(json.dumps(_known(client)))
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:
            paths = json.load(answer)["paths"]
        failed, seen, printed = _run(url, tmp_path)
    accepted = {("RejectedPositiveData", name) for name in VALID_REFUSED}
    accepted |= {("AcceptedNegativeData", name) for name in INVALID_ACCEPTED}
    assert failed <= accepted | set(OTHERS), printed
    faults = [
        (name, status)
        for name, counts in seen.items()
        for status in counts
        if status >= "500" and not (status == "503 overloaded" and name in QUEUES)
    ]
    assert faults == []
    if not CASES:
        return
    documented = [f"{method.upper()} {path}" for path, item in paths.items() for method in item]
    good = {name: sum(n for it, n in counts.items() if it < "300") for name, counts in seen.items()}
    asked = sum(sum(counts.values()) for counts in seen.values())
    print(f"{asked} cases, {sum(good.values())} of them 2xx")
    assert [name for name in documented if not good.get(name)] == []
    assert sum(good.values()) >= asked / 3
