"""Thumbnails of stored photos."""

from __future__ import annotations

from flask import Response, request
from flask_openapi import APIBlueprint

from indexer.core.errors import UnknownPhotoError
from service.api.openapi import SECURITY, caller, engine, problem_responses
from service.api.requests import ImagePath, ImageQuery

api = APIBlueprint(
    "images", __name__, url_prefix="/v1", abp_tags=[{"name": "images"}], abp_security=SECURITY
)

_FOREVER = "public, max-age=31536000, immutable"


@api.get(
    "/images/<hash>",
    operation_id="image",
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "A JPEG."},
        304: None,
        **problem_responses(404),
    },
)
def image(path: ImagePath, query: ImageQuery) -> Response:
    """A thumbnail, `w` px wide at most. What a hash and a width name never changes, so it may be
    cached for ever."""
    width = int(query.w)
    digest = path.hash
    if len(digest) != 64 or not all(char in "0123456789abcdef" for char in digest):
        raise UnknownPhotoError(f"no photo {digest[:80]!r}")
    etag = f"{digest}-{width}"
    if request.if_none_match.contains(etag) and engine().products.has_photo(digest):
        response = Response(status=304)
    else:
        response = Response(engine().products.thumbnail(digest, width), content_type="image/jpeg")
    response.set_etag(etag)
    # Behind a key a shared cache must not hand it on.
    private = caller().name != ""
    response.headers["Cache-Control"] = (
        _FOREVER.replace("public", "private") if private else _FOREVER
    )
    return response
