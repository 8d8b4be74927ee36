"""``POST /v1/products:batch``: many writes in one commit, each with a status of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from flask import g, request
from flask_openapi import APIBlueprint
from pydantic import Field

from indexer.catalog.records import Delete, Patch, Written
from indexer.core.errors import BadRequestError, CatalensError
from service.api.errors import InvalidRequestError, item_problem
from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    engine,
    json_body,
    problem_responses,
    settings,
)
from service.api.parsing import (
    parse_photo,
    read_object,
    require_json,
    to_changes,
    to_draft,
    validate,
)
from service.api.product_requests import ProductPatchRequest, ProductPutRequest
from service.api.requests import ProductId, RequestModel, Whole
from service.api.responses import ItemProblem, Response
from service.products.catalog import Outcome
from service.products.writer import Upsert, WriteRequest
from service.query.response import OPTIONAL

api = APIBlueprint(
    "batch", __name__, url_prefix="/v1", abp_tags=[{"name": "products"}], abp_security=SECURITY
)


# As a product's ``ETag`` says it, without the quotes.
ExpectedSequence = Annotated[
    Annotated[Whole, Field(ge=0, lt=2**63)] | None,
    Field(description="The product's `sequence` as it was read, else `changed`; 0: none yet."),
]


class BatchPut(ProductPutRequest):
    """Add or replace a product."""

    expected_sequence: ExpectedSequence = None

    op: Literal["put"]
    product_id: ProductId


class BatchPatch(ProductPatchRequest):
    """Change fields of a product without touching its photos."""

    expected_sequence: ExpectedSequence = None

    op: Literal["patch"]
    product_id: ProductId


class BatchDelete(RequestModel):
    """Erase a product."""

    op: Literal["delete"]
    product_id: ProductId
    expected_sequence: ExpectedSequence = None
    external_version: Annotated[Whole, Field(ge=0, lt=2**63)] | None = None


class ProductBatch(RequestModel):
    """Writes, done in this order; the same product may stand in it several times."""

    items: list[Annotated[BatchPut | BatchPatch | BatchDelete, Field(discriminator="op")]]


@dataclass(frozen=True)
class BatchResult:
    """What became of one item: `outcome` and `sequence`, or the `problem`."""

    index: int
    product_id: str | None
    status: int
    outcome: Outcome | None = field(default=None, metadata=OPTIONAL)
    sequence: int | None = field(default=None, metadata=OPTIONAL)
    warnings: list[str] | None = field(default=None, metadata=OPTIONAL)
    problem: ItemProblem | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class BatchResults:
    """What became of each item, in their order."""

    results: list[BatchResult]


class BatchResponse(Response, BatchResults, frozen=True):
    """What became of a batch of writes."""


_ITEMS: dict[Any, type[BatchPut] | type[BatchPatch] | type[BatchDelete]] = {
    "put": BatchPut,
    "patch": BatchPatch,
    "delete": BatchDelete,
}


@api.post(
    "/products:batch",
    operation_id="batch_products",
    request_body=json_body(ProductBatch),
    responses={200: BatchResponse, **problem_responses(400, 413, 415, 502, 503, 507)},
)
def batch_products() -> JsonResponse:
    """Put, patch and delete many products: one status per item, in their order, and a bad one never
    fails the rest.

    All good items are committed in one transaction and found by the next question. JSON only:
    photos in base64 or by the hash of a stored one. At most `max_batch_items` items (1,000 unless
    set otherwise).
    """
    items = _items(settings().max_batch_items)
    writes: dict[int, WriteRequest] = {}
    failed: dict[int, InvalidRequestError | CatalensError] = {}
    for index, item in enumerate(items):
        try:
            writes[index] = _write_request(item)
        except (InvalidRequestError, CatalensError) as error:
            failed[index] = error
    found = engine().products.batch(list(writes.values()))
    outcomes: dict[int, Written | InvalidRequestError | CatalensError] = dict(
        zip(writes, found.content.outcomes, strict=True)
    )
    outcomes |= failed
    rows = [_row(index, item, outcomes[index]) for index, item in enumerate(items)]
    return answer(found.with_content(BatchResults(rows)))


def _row(
    index: int, item: Any, outcome: Written | InvalidRequestError | CatalensError
) -> BatchResult:
    given = item.get("product_id") if isinstance(item, dict) else None
    product_id = given if isinstance(given, str) else None
    if isinstance(outcome, Written):
        said = list(outcome.warnings) or None
        return BatchResult(index, product_id, 200, outcome.outcome, outcome.sequence, said)
    problem = item_problem(outcome, g.request_id, engine().log)
    return BatchResult(index, product_id, problem["status"], problem=problem)


def _items(most: int) -> list[Any]:
    require_json(request)
    body = read_object(request)
    for name in body:
        if name != "items":
            raise InvalidRequestError([{"field": name, "message": "unknown field"}])
    items = body.get("items")
    if not isinstance(items, list):
        raise InvalidRequestError([{"field": "items", "message": "must be a list of writes"}])
    if len(items) > most:
        raise BadRequestError(
            f"items: {len(items)} writes in one batch, at most {most} are taken: send several "
            "batches"
        )
    return items


def _write_request(item: Any) -> WriteRequest:
    """One item as what the writer takes. Raises ``InvalidRequestError`` or ``CatalensError`` that
    names the field."""
    kind = item.get("op") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in _ITEMS:
        raise InvalidRequestError(
            [{"field": "op", "message": f"must be one of {', '.join(_ITEMS)}"}]
        )
    asked = validate(_ITEMS[kind], item)
    if isinstance(asked, BatchPut):
        photos = [
            parse_photo(ref, f"images.{position}") for position, ref in enumerate(asked.images)
        ]
        draft = to_draft(asked, photos)
        return Upsert(asked.product_id, draft, asked.external_version, asked.expected_sequence)
    if isinstance(asked, BatchPatch):
        changes = to_changes(asked)
        return Patch(asked.product_id, changes, asked.external_version, asked.expected_sequence)
    return Delete(asked.product_id, asked.external_version, asked.expected_sequence)
