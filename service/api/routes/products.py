"""Products: read, list, upsert, change, erase."""

from __future__ import annotations

from flask import request
from flask_openapi import APIBlueprint

from service.api.conditions import expected_sequence, tagged
from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    engine,
    json_body,
    multipart_or_json,
    problem_responses,
)
from service.api.parsing import read_json, read_product, to_changes, to_draft
from service.api.product_requests import (
    DeleteQuery,
    ProductPatchRequest,
    ProductPutRequest,
    ProductQuery,
)
from service.api.requests import ListQuery, ProductPath
from service.api.responses import ProductResponse, ProductsResponse, WriteResponse
from service.products.catalog import WriteResult
from service.query.response import Envelope

api = APIBlueprint(
    "products", __name__, url_prefix="/v1", abp_tags=[{"name": "products"}], abp_security=SECURITY
)


@api.get(
    "/products",
    operation_id="list_products",
    responses={200: ProductsResponse, **problem_responses(503)},
)
def list_products(query: ListQuery) -> JsonResponse:
    """A few products spread over the catalog, to begin browsing with. Not a full listing."""
    return answer(engine().products.sample(query.limit))


@api.get(
    "/products/<product:product_id>",
    operation_id="get_product",
    responses={200: ProductResponse, **problem_responses(404)},
)
def get_product(path: ProductPath, query: ProductQuery) -> JsonResponse:
    """One product as stored; `fields` chooses what of it, `locale` and `market` its texts and
    prices.

    Its `ETag`, sent back as `If-Match` with a write, lets that happen only where nobody changed the
    product since (412 `changed`).
    """
    found = engine().products.get(path.product_id, query.view(), query.fields)
    return tagged(answer(found), path.product_id, found.content.sequence)


@api.put(
    "/products/<product:product_id>",
    operation_id="put_product",
    request_body=multipart_or_json(ProductPutRequest, files="images", json_field="product"),
    responses={200: WriteResponse, **problem_responses(400, 409, 412, 413, 415, 502, 503, 507)},
)
def put_product(path: ProductPath) -> JsonResponse:
    """Add or replace a product; idempotent. It is found by the next question.

    `If-Match` as of the product's `ETag`; `If-None-Match: *` where there must be none yet.
    """
    expected = expected_sequence(request, path.product_id)
    product, photos = read_product(request)
    return _written(
        engine().products.put(
            path.product_id,
            to_draft(product, photos),
            external_version=product.external_version,
            expected_sequence=expected,
        )
    )


@api.patch(
    "/products/<product:product_id>",
    operation_id="patch_product",
    request_body=json_body(ProductPatchRequest),
    responses={200: WriteResponse, **problem_responses(400, 404, 409, 412, 415, 503, 507)},
)
def patch_product(path: ProductPath) -> JsonResponse:
    """Change fields without touching photos; an attribute set to null is removed.

    `If-Match` as of the product's `ETag`.
    """
    expected = expected_sequence(request, path.product_id)
    patch = read_json(request, ProductPatchRequest)
    return _written(
        engine().products.patch(
            path.product_id,
            to_changes(patch),
            external_version=patch.external_version,
            expected_sequence=expected,
        )
    )


@api.delete(
    "/products/<product:product_id>",
    operation_id="delete_product",
    responses={200: WriteResponse, **problem_responses(400, 404, 409, 412, 503, 507)},
)
def delete_product(path: ProductPath, query: DeleteQuery) -> JsonResponse:
    """Erase a product with its tags, and the photos that no other product uses.

    `If-Match` as of the product's `ETag`.
    """
    return answer(
        engine().products.delete(
            path.product_id,
            external_version=query.external_version,
            expected_sequence=expected_sequence(request, path.product_id),
            ticket=query.ticket,
        )
    )


def _written(done: Envelope[WriteResult]) -> JsonResponse:
    return tagged(answer(done), done.content.product_id, done.content.sequence)
