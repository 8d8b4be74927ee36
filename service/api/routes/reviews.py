"""Routes of the listing assistant: reviews, their queue, and feedback."""

from __future__ import annotations

from flask import Response, request
from flask_openapi import APIBlueprint

from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    answer_suggestions,
    caller,
    engine,
    json_body,
    multipart_or_json,
    problem_responses,
    settings,
)
from service.api.parsing import read_json, read_review
from service.api.requests import (
    DecisionRequest,
    FeedbackRequest,
    PreviewPath,
    ReviewPath,
    ReviewRequest,
    ReviewsQuery,
    UndoDecisionQuery,
)
from service.api.responses import FeedbackResponse, QueuedResponse, QueueResponse, ReviewResponse
from service.review.feedback import Feedback
from service.review.queue import ListingName

api = APIBlueprint(
    "reviews", __name__, url_prefix="/v1", abp_tags=[{"name": "reviews"}], abp_security=SECURITY
)


@api.post(
    "/review",
    operation_id="review",
    request_body=multipart_or_json(ReviewRequest, files="images"),
    responses={200: ReviewResponse, **problem_responses(400, 404, 409, 413, 415, 502, 503)},
)
def review() -> JsonResponse:
    """Is this listing fit to publish: category, tags, quality with advice, prohibited content and
    duplicates.

    `verdict`: `publish`; `improve` (advice in `quality`, or it repeats another product); `review`
    (a person must look) or `block` (a policy forbids it), both of which wait in the queue under
    `review_id`. What stands above `photos` is for all photos together, the worst of each.
    """
    ask, photos = read_review(request)
    name = ListingName(ask.external_id, ask.title)
    return answer_suggestions(
        engine().review(photos, ask, product_id=ask.product_id, profile=ask.profile, name=name)
    )


@api.get(
    "/reviews",
    operation_id="list_reviews",
    responses={200: QueueResponse, **problem_responses(404, 503)},
)
def list_reviews(query: ReviewsQuery) -> JsonResponse:
    """The reviews that wait for a person (`state=open`), the oldest first, or those decided; our
    precision."""
    return answer(engine().reviews.list(query.state, limit=query.limit, after=query.after))


@api.get(
    "/reviews/<string:name>",
    operation_id="get_review",
    responses={200: QueuedResponse, **problem_responses(404)},
)
def get_review(path: ReviewPath) -> JsonResponse:
    """One review, its evidence and its decision."""
    return answer(engine().reviews.get(path.name))


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
    return Response(engine().reviews.preview(path.name, path.position), content_type="image/jpeg")


@api.post(
    "/reviews/<string:name>:decide",
    operation_id="decide_review",
    request_body=json_body(DecisionRequest),
    responses={200: QueuedResponse, **problem_responses(400, 404, 409, 415)},
)
def decide_review(path: ReviewPath) -> JsonResponse:
    """Approve or reject a listing, with a reason, in the caller's name. Made once (409
    `already-decided`), logged for good; it can be undone."""
    wanted = read_json(request, DecisionRequest)
    return answer(engine().reviews.decide(path.name, wanted.decision, wanted.reason))


@api.post(
    "/reviews/<string:name>:undo",
    operation_id="undo_review",
    responses={200: QueuedResponse, **problem_responses(404, 409)},
)
def undo_review(path: ReviewPath, query: UndoDecisionQuery) -> JsonResponse:
    """Take a decision back within 30 days: the review waits again. Both stay in the log.

    `entry` names the decision that was seen; where another was made since, it is 409
    `not-undoable` and nothing happens. Without it the last one is taken back, whichever it is.
    """
    return answer(engine().reviews.undo(path.name, entry=query.entry))


@api.post(
    "/feedback",
    operation_id="feedback",
    request_body=json_body(FeedbackRequest),
    responses={200: FeedbackResponse, **problem_responses(400, 404, 415)},
)
def add_feedback() -> JsonResponse:
    """What people accepted, rejected, added or clicked of an answer. 404 `unknown-request` for one
    not remembered."""
    given = read_json(request, FeedbackRequest)
    feedback = Feedback(
        given.request_id,
        given.accepted,
        given.rejected,
        given.added,
        given.clicked,
        None if given.category is None else tuple(given.category),
        given.product_id,
    )
    network = caller().stranger
    # Without a limit per address nobody said that an address is one shopper's.
    if network is not None and not settings().address_rate:
        network = ""
    return answer(engine().feedback.add(feedback, stranger=network))
