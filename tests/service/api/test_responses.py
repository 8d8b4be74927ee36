"""Response models as the Python client reads them."""

from __future__ import annotations

import json
from typing import Any

from service.api.responses import JobModel, JobsResponse

FAILED: dict[str, Any] = {
    "job_id": "0" * 32,
    "kind": "build",
    "options": {},
    "created": 1.0,
    "state": "failed",
    "started": 2.0,
    "ended": 3.0,
    "result": None,
    "problem": {"code": "unknown-model", "detail": "no model 'x'"},
    "stage": None,
    "done": 0,
    "total": 0,
    "number": 7,
}
FRAME = {"request_id": "r", "model_version": None, "index_version": None, "timings_ms": {}}


def test_the_problem_of_a_job_has_code_and_detail() -> None:
    """As attributes, alone and in a list; as JSON it is the object that was answered."""
    job = JobModel.model_validate_json(json.dumps(FAILED))
    listed = JobsResponse.model_validate_json(json.dumps({**FRAME, "jobs": [FAILED]}))
    for problem in (job.problem, listed.jobs[0].problem):
        assert problem is not None
        assert (problem.code, problem.detail) == ("unknown-model", "no model 'x'")
    assert json.loads(job.model_dump_json()) == FAILED
