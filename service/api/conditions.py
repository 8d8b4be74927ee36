"""Conditions of a write: ``If-Match`` and ``If-None-Match``, and the ``ETag`` they name."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from flask import Request
from flask import Response as JsonResponse

from indexer.catalog.records import Product
from indexer.core.errors import ChangedError, UnknownProductError
from service.access.refusal import RequestRefusedError
from service.api.openapi import engine

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
# A sequence number, and a mark of what the change left: a catalog that is put back from a backup
# gives its numbers again. The number alone, as JSON has it, is a condition too.
_VALUE = re.compile(r"(0|[1-9][0-9]{0,18})(?:-([0-9a-f]{8}))?")
# Never the number of a change.
_NONE = 2**63 - 1


class _Revision(NamedTuple):
    """A state of a product, as an ``ETag`` names it. ``mark``: None for any content."""

    sequence: int
    mark: str | None

    def is_of(self, product: Product) -> bool:
        """Whether ``product`` is in this state."""
        return self.sequence == product.sequence and self.mark in (None, _mark(product))


def tagged(response: JsonResponse, product_id: str, sequence: int) -> JsonResponse:
    """``response`` with the ``ETag`` of a product whose last change is ``sequence``."""
    value = str(sequence)
    try:
        product = engine().catalog.get(product_id)
    except UnknownProductError:
        pass  # erased meanwhile
    else:
        # Changed meanwhile: the number alone, which is no longer that of the last change.
        value += f"-{_mark(product)}" if product.sequence == sequence else ""
    response.headers["ETag"] = f'"{value}"'
    return response


def _mark(product: Product) -> str:
    content = (
        *(product.title, product.category, product.tags, product.attributes, product.photos),
        *(product.fields, product.sources),
    )
    return f"{zlib.crc32(repr(content).encode('utf-8', 'replace')):08x}"


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
        return _present(product_id).sequence
    tags = [part.strip() for part in given.split(",")]
    found = [_TAG.fullmatch(tag) for tag in tags]
    if not all(found):
        raise RequestRefusedError(
            400,
            "bad-request",
            "If-Match must be an ETag as a product came with it, in its quotes: If-Match: "
            '"12-0f3a9c5e"',
        )
    # A weak one never matches.
    values = [_VALUE.fullmatch(tag.strip('"')) for tag in tags if not tag.startswith("W/")]
    wanted = [_Revision(int(value[1]), value[2]) for value in values if value is not None]
    if len(wanted) == 1 and wanted[0].mark is None:
        # 0 would say that there must be none.
        return wanted[0].sequence or _NONE
    now = _present(product_id)
    if any(revision.is_of(now) for revision in wanted):
        return now.sequence
    # The number that it no longer has says since when it was changed.
    known = [revision.sequence for revision in wanted if 0 < revision.sequence != now.sequence]
    return known[0] if len(wanted) == 1 and known else _NONE


def _present(product_id: str) -> Product:
    """The product. Raises ``ChangedError`` where there is none."""
    try:
        return engine().catalog.get(product_id)
    except UnknownProductError as error:
        raise ChangedError(
            f"product {product_id!r} was erased, or never there: If-Match asks for one"
        ) from error
