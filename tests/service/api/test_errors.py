"""Failures as problem documents: every code keeps its status, and every code is explained."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from indexer.core.errors import (
    BadImageError,
    CatalensError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from service.api.errors import STATUS, explain, shorten, status_of

ROOT = Path(__file__).parents[3]
STATUS_OF_CODE = {
    "alert-not-sent": 503,
    "already-decided": 409,
    "bad-backup": 500,
    "bad-data": 422,
    "bad-filter": 422,
    "bad-home": 500,
    "bad-image": 422,
    "bad-model": 500,
    "bad-policy": 500,
    "bad-product": 422,
    "bad-request": 422,
    "bad-settings": 500,
    "bad-vectors": 500,
    "busy": 503,
    "catalog-behind": 500,
    "catalog-mismatch": 409,
    "changed": 412,
    "cursor-gone": 410,
    "damaged-file": 503,
    "replaced-file": 503,
    "damaged-home": 500,
    "damaged-index": 409,
    "deadline-exceeded": 503,
    "disk-full": 507,
    "feed-held": 409,
    "image-too-large": 413,
    "index-mismatch": 409,
    "job-ended": 409,
    "key-exists": 409,
    "missing-catalog": 500,
    "missing-embeddings": 500,
    "missing-reviews": 503,
    "newer-format": 409,
    "no-categories": 409,
    "no-text-tower": 409,
    "no-index": 503,
    "no-memory": 503,
    "no-orders": 409,
    "no-profile": 422,
    "not-alike": 500,
    "nothing-imported": 500,
    "not-erased": 500,
    "not-undoable": 409,
    "out-of-memory": 500,
    "outdated-version": 409,
    "overloaded": 503,
    "read-only": 503,
    "refused-sync": 500,
    "stale-version": 409,
    "storage-failed": 503,
    "training-failed": 500,
    "unknown-action": 404,
    "unknown-class": 404,
    "unknown-job": 404,
    "unknown-key": 404,
    "unknown-model": 404,
    "unknown-photo": 404,
    "unknown-product": 404,
    "unknown-request": 404,
    "unknown-review": 404,
    "unknown-source": 404,
    "unknown-version": 404,
    "unsupported-format": 415,
    "url-failed": 502,
    "url-refused": 422,
    "weights-unavailable": 500,
}
# Modules that define failures beside those of ``indexer.core.errors``.
DEFINING = (
    "indexer.index.embedding_store",
    "indexer.operations.sync_source",
    "service.alerts.channels",
    "service.inference.admission",
)
# Where a code is written: in a refusal, in a job's problem, or as that of a class.
_WRITTEN = re.compile(
    r"(?:(?:RequestRefusedError|JobProblem|_fail|\bproblem|document|fail_job)\("
    r'\s*(?:[\w.\[\]]+,\s*)?|^    code = )"([a-z]+(?:-[a-z]+)*)"(?! if)',
    re.MULTILINE,
)
KINDS = {InvalidInputError, NotFoundError, ConflictError, UnavailableError}


def failures(base: type[CatalensError] = CatalensError) -> Iterator[type[CatalensError]]:
    """Every failure of the project, without those that tests define."""
    for name in DEFINING:
        import_module(name)
    for kind in base.__subclasses__():
        if not kind.__module__.startswith("tests"):
            yield kind
        yield from failures(kind)


def test_every_code_has_its_status() -> None:
    """Clients rely on both; a new failure is added here with the status it shall have."""
    found = {kind.code: status_of(kind("x")) for kind in failures() if kind not in KINDS}
    assert found == STATUS_OF_CODE


def test_kinds_carry_no_code_of_their_own() -> None:
    """A kind says which status; what is raised is always something with a code."""
    assert {kind for kind in failures() if "code" not in vars(kind)} == KINDS
    assert explain(CatalensError.code) is None


def test_statuses_are_a_handful_of_rows() -> None:
    """Four kinds and a few failures with a status of their own."""
    assert len(STATUS) <= 12


@pytest.mark.parametrize("code", STATUS_OF_CODE)
def test_every_code_is_explained(code: str) -> None:
    """``GET /problems/{code}`` says what a code means, as one line."""
    for name in DEFINING:
        import_module(name)
    text = explain(code)
    assert text
    assert text == " ".join(text.split())


def test_every_code_of_the_code_is_explained() -> None:
    """Whatever code an answer or a job can carry has its page in a service that runs: its class
    lies in a module that each service loads."""
    found: dict[str, list[str]] = {}
    for path in [*(ROOT / "service").rglob("*.py"), *(ROOT / "indexer").rglob("*.py")]:
        for code in _WRITTEN.findall(path.read_text()):
            found.setdefault(code, []).append(path.relative_to(ROOT).as_posix())
    assert {"interrupted", "worker-died", "forbidden-host", "no-index", "internal"} <= set(found)
    bases = {"error"}  # of all failures: never told
    unexplained = {code: found[code] for code in {*found} - bases if not explain(code)}
    assert unexplained == {}
    loaded = {name.replace(".", "/") + ".py" for name in ("indexer.core.errors", *DEFINING)}
    classes = {place for code in STATUS_OF_CODE for place in found.get(code, ())}
    assert {place for place in classes if _defines(ROOT / place)} == loaded


def _defines(path: Path) -> bool:
    return bool(re.search(r'^    code = "', path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("code", ["interrupted", "worker-died", "no-memory", "internal"])
def test_problems_of_jobs_have_a_page(web: FlaskClient, code: str) -> None:
    page = web.get(f"/problems/{code}")
    assert (page.status_code, page.text.splitlines()[0]) == (200, code)


@pytest.mark.parametrize(
    "code",
    [
        *("bad-json", "too-many-values", "invalid-request", "forbidden", "unauthorized"),
        # What the server answers by itself, and what has only the name of its status.
        *("request-timeout", "headers-too-large", "not-implemented", "body-too-large"),
        *("gone", "not-acceptable"),
    ],
)
def test_failures_of_http_are_explained(code: str) -> None:
    """The address in ``type`` of a problem leads to a text, whoever answered it."""
    assert explain(code)


def test_a_failure_without_a_kind_is_the_service_s_own() -> None:
    """What no client can cause is 500; a subclass has its base's status."""

    class OddImageError(BadImageError):
        code = "odd-image"

    assert status_of(CatalensError("x")) == 500
    assert status_of(OddImageError("x")) == 422


@pytest.mark.parametrize(("count", "told", "last"), [(60, 51, "10 more"), (3000, 1, "3000 faults")])
def test_very_many_faults_are_not_told_one_by_one(
    web: FlaskClient, count: int, told: int, last: str
) -> None:
    """The answer to a small request is small."""
    answer = web.post("/v1/search", json={f"a{number}": 1 for number in range(count)})
    faults = answer.get_json()["errors"]
    assert (answer.status_code, len(faults)) == (422, told)
    assert last in faults[-1]["message"]


def test_an_answer_holds_little_of_what_was_sent(web: FlaskClient) -> None:
    """Megabytes of a wrong field do not come back: begin and end of the text do."""
    long = "f" * 1_000_000
    for path, body in (
        ("search", {"product_id": "ring-blue", long: 1}),
        ("search", {"product_id": "ring-blue", "fields": [long]}),
        ("search", {"product_id": "ring-blue", "weights": {long: 1}}),
        ("search", {"product_id": "ring-blue", "filter": {"must": [{"field": long, "eq": 1}]}}),
        ("explain", {"product_id": "ring-blue", "category": long}),
    ):
        answer = web.post(f"/v1/{path}", json=body)
        assert answer.status_code == 422, path
        assert len(answer.data) < 10_000, body.keys()
        assert "characters" in answer.get_json()["detail"]
    assert shorten("a" * 90 + "b" * 30, 100) == "a" * 75 + " ... 20 characters ... " + "b" * 25


def test_forms_and_encodings_that_are_refused_are_named(web: FlaskClient) -> None:
    """413 of a form says what is too much of it, and a packed body is 415, not broken JSON."""
    answer = web.post(
        "/v1/search",
        data={f"f{number}": "1" for number in range(1001)},
        content_type="multipart/form-data",
    )
    assert answer.status_code == 413
    assert "1000 parts" in answer.get_json()["detail"]
    packed = gzip.compress(b'{"product_id": "ring-blue"}')
    answer = web.post(
        "/v1/search",
        data=packed,
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )
    assert answer.status_code == 415
    assert "content encoding gzip" in answer.get_json()["detail"]
