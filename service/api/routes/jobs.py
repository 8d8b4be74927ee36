"""Long work: imports and rebuilds as jobs that can be followed and cancelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from flask import Response, request, url_for
from flask_openapi import APIBlueprint

from indexer.core.errors import BadRequestError
from indexer.operations.jobs import ENDED, Job, JobKind
from service.access.refusal import RequestRefusedError
from service.api.openapi import (
    ENDING,
    SECURITY,
    JsonResponse,
    access,
    answer,
    caller,
    engine,
    multipart_or_json,
    problem_responses,
)
from service.api.parsing import read_import
from service.api.requests import ImportRequest, JobPath
from service.api.responses import ImportOfferResponse, JobList, JobResponse, JobsResponse
from service.background.import_offer import offer_imports
from service.inference.deadline import Deadline

api = APIBlueprint(
    "jobs", __name__, url_prefix="/v1", abp_tags=[{"name": "jobs"}], abp_security=SECURITY
)

# What a job takes over as it was asked.
_OPTIONS = (
    *("feed", "profile", "save_as", "encoding", "delimiter", "photos", "fetch", "accept"),
    *("sync", "allow_deletes", "dry_run", "types"),
)
# What starts a job of a kind, and so who may end it.
_STARTS: dict[JobKind, tuple[str, str]] = {
    "import": ("POST", "/v1/imports"),
    "build": ("POST", "/v1/indexes"),
    "undo": ("POST", "/v1/actions/<string:name>:undo"),
}


@api.post(
    "/imports",
    operation_id="import_products",
    request_body=multipart_or_json(ImportRequest, files="archive"),
    responses={202: JobResponse, **problem_responses(400, 413, 415, 503, 507)},
)
def import_products() -> JsonResponse:
    """Add or replace the products of a feed; 202 and a job, which `Location` names.

    Multipart: `archive`, a feed (CSV, TSV, XML, JSON, XLSX, also gzipped), or a zip of photos in
    class folders or beside a feed, as `catalens import` takes them; `feed` names the feed where
    there are several. JSON: `url`, the address of a feed, where `allow_urls` is on, or `path`, a
    folder or feed below the setting `import_root` of the machine that serves. With `dry_run` the
    job's result is `profile`, `why`, `map`, `columns`, `samples`, `warnings` and `counts`, and
    nothing is changed. Imported products are found as soon as they are embedded; no rebuild is
    needed.
    """
    wanted, upload = read_import(request, ImportRequest)
    given = [upload is not None, wanted.path is not None, wanted.url is not None]
    if sum(given) != 1:
        raise BadRequestError(
            "give an archive (multipart file) or a path, or a url: exactly one of them"
        )
    if wanted.photos == "reference" and wanted.path is None:
        raise BadRequestError("photos of an archive are copied: reference needs a path")
    options = {name: getattr(wanted, name) for name in _OPTIONS}
    if wanted.map is not None:
        options |= {"corrections": wanted.map, "draft": True}
    return accepted(
        engine().jobs.add_import(
            upload=upload,
            name=None if upload is None else upload.filename,
            path=wanted.path,
            url=wanted.url,
            **options,
        )
    )


@api.get(
    "/imports",
    operation_id="get_import_offer",
    responses={200: ImportOfferResponse, **problem_responses(503)},
)
def get_import_offer() -> JsonResponse:
    """What can be imported here: whether addresses and folders may be named, profiles, and the
    meanings that `map` may give to columns."""
    serving = engine()
    offer = offer_imports(
        serving.home,
        Deadline(serving.settings.deadline_s),
        folders=serving.jobs.takes_paths,
        addresses=serving.jobs.takes_urls,
        max_body_bytes=serving.settings.max_body_bytes,
    )
    return answer(serving.frame(offer))


@api.get("/jobs", operation_id="list_jobs", responses={200: JobsResponse, **problem_responses()})
def list_jobs() -> JsonResponse:
    """Jobs, the newest first; the last 100 that ended are remembered."""
    return answer(engine().frame(JobList(engine().jobs.list())))


@api.get(
    "/jobs/<string:job_id>",
    operation_id="get_job",
    responses={200: JobResponse, **problem_responses(404)},
)
def get_job(path: JobPath) -> JsonResponse:
    """State and progress of a job; `result` where it is done, `problem` where it failed."""
    return answer(engine().frame(engine().jobs.get(path.job_id)))


@api.delete(
    "/jobs/<string:job_id>",
    operation_id="cancel_job",
    responses={200: JobResponse, 202: JobResponse, **problem_responses(404, 409)},
)
def cancel_job(path: JobPath) -> JsonResponse:
    """Cancel a job: batches that an import committed stay, a build leaves no version; one that has
    published it ends as `done`. 409 for one that ended, 403 for who may start none of its kind.

    200 where it ended within a second; else 202, and it is `cancelling` until its process has ended
    (10 seconds later that is killed), then `cancelled`.
    """
    access().require(caller(), *_STARTS[engine().jobs.get(path.job_id).kind])
    job = engine().jobs.cancel(path.job_id)
    return answer(engine().frame(job)) if job.state in ENDED else accepted(job)


@api.get(
    "/jobs/<string:job_id>/events",
    operation_id="follow_job",
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **problem_responses(404, 503),
    },
)
def follow_job(path: JobPath) -> Response:
    """Server-sent events: `progress` with the job at each change; last `done`, `failed` or
    `cancelled`; then the end.

    A stream lasts ten minutes at most, and ends where its key is revoked; a few at a time are
    served (503 beyond). `GET /v1/jobs/{id}` says the same. A client that goes away changes nothing
    for the job.
    """
    # The lines are made when this request is over.
    changes = engine().jobs.watch(path.job_id, request.environ.get(ENDING))
    keys, who, rule = access(), caller(), str(request.url_rule)
    key = request.headers.get("Authorization", "")

    def lines() -> Iterator[str]:
        for job in changes:
            try:
                keys.confirm(who, "GET", rule, key)
            except RequestRefusedError:
                return
            if job is None:
                yield ": still there\n\n"
                continue
            name = job.state if job.state in ENDED else "progress"
            yield f"event: {name}\ndata: {json.dumps(asdict(job), ensure_ascii=False)}\n\n"

    response = Response(lines(), content_type="text/event-stream; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"  # proxies would keep the events back
    response.call_on_close(changes.close)
    return response


def accepted(job: Job) -> JsonResponse:
    """202 with a job that was started or is to end, and where to ask for it."""
    response = answer(engine().frame(job), 202)
    response.headers["Location"] = url_for("jobs.get_job", job_id=job.job_id)
    return response
