"""The listing assistant: reviews of new listings, the queue for people, and what people said."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint

from service.api.openapi import (
    SECURITY,
    answer,
    engine,
    json_body,
    multipart_or_json,
    problem_responses,
)
from service.api.parsing import read_json, read_review
from service.api.requests import (
    DecisionRequest,
    FeedbackRequest,
    PreviewPath,
    ReviewPath,
    ReviewRequest,
    ReviewsQuery,
)
from service.api.responses import FeedbackResponse, QueuedResponse, QueueResponse, ReviewResponse
from service.review.feedback import Feedback

api = APIBlueprint(
    "reviews", __name__, url_prefix="/v1", abp_tags=[{"name": "reviews"}], abp_security=SECURITY
)


@api.post(
    "/review",
    operation_id="review",
    request_body=multipart_or_json(ReviewRequest, files="images"),
    responses={200: ReviewResponse, **problem_responses(400, 404, 409, 413, 415, 503)},
)
def review() -> dict[str, Any]:
    """Is this listing fit to publish: category, tags, quality with advice, prohibited content and
    duplicates.

    `verdict`: `publish`; `improve` (advice in `quality`, or it repeats another product); `review`
    (a person must look) or `block` (a policy forbids it), both of which wait in the queue under
    `review_id`. What stands above `photos` is for all photos together, the worst of each.
    """
    ask, photos = read_review(request)
    return answer(
        engine().review(
            photos,
            product_id=ask.product_id,
            profile=ask.profile,
            min_sequence=ask.min_sequence,
            version=ask.version,
        )
    )


@api.get(
    "/reviews",
    operation_id="list_reviews",
    responses={200: QueueResponse, **problem_responses(404, 503)},
)
def list_reviews(query: ReviewsQuery) -> dict[str, Any]:
    """The reviews that wait for a person (`state=open`), the oldest first, or those decided; our
    precision."""
    return answer(engine().people.queue(query.state, limit=query.limit, after=query.after))


@api.get(
    "/reviews/<string:name>",
    operation_id="get_review",
    responses={200: QueuedResponse, **problem_responses(404)},
)
def get_review(path: ReviewPath) -> dict[str, Any]:
    """One review, its evidence and its decision."""
    return answer(engine().people.review(path.name))


@api.get(
    "/reviews/<string:name>/photos/<string:position>",
    operation_id="review_photo",
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "A JPEG."},
        **problem_responses(404),
    },
)
def review_photo(path: PreviewPath) -> Response:
    """A photo of a review, small; 404 once it is no longer kept."""
    return Response(engine().people.preview(path.name, path.position), content_type="image/jpeg")


@api.post(
    "/reviews/<string:name>:decide",
    operation_id="decide_review",
    request_body=json_body(DecisionRequest),
    responses={200: QueuedResponse, **problem_responses(400, 404, 409, 415)},
)
def decide_review(path: ReviewPath) -> dict[str, Any]:
    """Approve or reject a listing, with a reason. Made once (409 `already-decided`), logged for
    good."""
    wanted = read_json(request, DecisionRequest)
    return answer(engine().people.decide(path.name, wanted.decision, wanted.reason))


@api.post(
    "/feedback",
    operation_id="feedback",
    request_body=json_body(FeedbackRequest),
    responses={200: FeedbackResponse, **problem_responses(400, 404, 415)},
)
def feedback() -> dict[str, Any]:
    """What people accepted, rejected, added or clicked of an answer. 404 `unknown-request` for one
    not remembered."""
    given = read_json(request, FeedbackRequest)
    said = Feedback(
        given.request_id,
        given.accepted,
        given.rejected,
        given.added,
        given.clicked,
        None if given.category is None else tuple(given.category),
        given.product_id,
    )
    return answer(engine().people.feedback(said))
