"""A job as clients see it: without any path of this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from indexer.core.home import Home
from indexer.operations.jobs import ENDED, UPLOAD, Job, JobProblem, Jobs
from service.settings import reword, without_options

# Options that clients do not see.
_PRIVATE = ("path", "url", "root", "device", "most_bytes", "fetching")


def public_job(home: Home, jobs: Jobs, job: Job, *, cancelling: bool) -> Job:
    """``job`` for whoever asks. ``cancelling``: somebody asked to end it."""
    options = {name: value for name, value in job.options.items() if name not in _PRIVATE}
    problem, state = job.problem, job.state
    if problem is not None:
        problem = replace(problem, detail=_public_detail(home, jobs, job, problem))
    if state not in ENDED and cancelling:
        state = "cancelling"
    return replace(job, options=options, problem=problem, state=state, result=reword(job.result))


def _public_detail(home: Home, jobs: Jobs, job: Job, problem: JobProblem) -> str:
    if problem.code == "internal":
        return "an unexpected failure; the service's log says why"
    detail = without_options(problem.detail)
    places = {
        jobs.folder / job.job_id / "unpacked": "the archive",
        jobs.folder / job.job_id / UPLOAD: "the upload",
        home.path: "the home",
    }
    if job.options.get("root") is not None:
        places = {Path(job.options["root"]): "the folder that imports may read from", **places}
    for place, name in sorted(places.items(), key=lambda pair: -len(str(pair[0]))):
        for path in {str(place), str(place.resolve())}:
            detail = detail.replace(f"{path}{os.sep}", "").replace(path, name)
    return detail
