"""Conditions of a write: ``If-Match`` and ``If-None-Match``, and the ``ETag`` they name."""

from __future__ import annotations

import re

from flask import Request
from flask import Response as JsonResponse

from indexer.core.errors import ChangedError, UnknownProductError
from service.access.refusal import RequestRefusedError
from service.api.openapi import engine

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
# A sequence number.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
# Never the number of a change.
_NONE = 2**63 - 1


def tagged(response: JsonResponse, sequence: int) -> JsonResponse:
    """``response`` with the ``ETag`` of a product whose last change is ``sequence``."""
    response.headers["ETag"] = f'"{sequence}"'
    return response


def expected_sequence(request: Request, product_id: str) -> int | None:
    """The last change that the product must still have, as the request's headers say.

    None without a condition, 0 where there must be no product (``If-None-Match: *``). Raises
    ``ChangedError`` where a product must be there and is not, ``RequestRefusedError`` for a header
    that is no list of ETags.
    """
    given = request.headers.get("If-Match")
    absent = request.headers.get("If-None-Match")
    if given is None:
        if absent is None:
            return None
        if absent.strip() != "*":
            raise RequestRefusedError(400, "bad-request", "If-None-Match of a write can only be *")
        return 0
    if absent is not None:
        raise RequestRefusedError(
            400, "bad-request", "If-Match and If-None-Match cannot both be asked for"
        )
    if given.strip() == "*":
        return _present(product_id)
    tags = [part.strip() for part in given.split(",")]
    found = [_TAG.fullmatch(tag) for tag in tags]
    if not all(found):
        raise RequestRefusedError(
            400,
            "bad-request",
            'If-Match must be an ETag as a product came with it, in its quotes: If-Match: "12"',
        )
    # A weak one never matches.
    numbers = [
        int(tag.strip('"'))
        for tag in tags
        if not tag.startswith("W/") and _NUMBER.fullmatch(tag.strip('"'))
    ]
    if len(numbers) == 1:
        # 0 would say that there must be none.
        return numbers[0] or _NONE
    now = _present(product_id)
    return now if now in numbers else _NONE


def _present(product_id: str) -> int:
    """The last change of the product. Raises ``ChangedError`` where there is none."""
    try:
        return engine().products.get(product_id).content.sequence
    except UnknownProductError as error:
        raise ChangedError(
            f"product {product_id!r} was erased, or never there: If-Match asks for one"
        ) from error
