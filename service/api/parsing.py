"""Parsing of request bodies, JSON or multipart, into a checked model and photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

from flask import Request, g
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import FileStorage

from indexer.catalog.product_fields import FIELD_NAMES, ProductFields
from indexer.core.errors import BadRequestError, CatalensError, UrlFailedError, UrlRefusedError
from indexer.core.nesting import TOO_DEEP, find_deeper
from service.access.refusal import RequestRefusedError
from service.api.errors import InvalidRequestError
from service.api.form_fields import FieldValues, decode_field
from service.api.json_text import (
    MOST_VALUES,
    TooManyValuesError,
    parse_base64,
    parse_json,
)
from service.api.openapi import caller, engine, settings
from service.api.product_requests import (
    FieldsRequest,
    PhotoRef,
    ProductPatchRequest,
    ProductPutRequest,
)
from service.api.requests import (
    MOST_LISTING_PHOTOS,
    MOST_PHOTOS,
    ClassRequest,
    ImageRef,
    PhotosRequest,
    QueryRequest,
    ReviewRequest,
    SearchRequest,
)
from service.api.role_fields import check_fields
from service.engine import Query
from service.products.writer import Draft
from service.query.photo_urls import FetchedBytes

Model = TypeVar("Model", bound=BaseModel)
PhotosRequestT = TypeVar("PhotosRequestT", bound=PhotosRequest)
JSON = "application/json"
MULTIPART = "multipart/form-data"
_VALUES_OF_AN_ITEM = 250  # of a batch of writes


def read_ask(request: Request, model: type[Model]) -> tuple[Model, Query]:
    """A question and what it is about. Raises ``RequestRefusedError`` (400, 415),
    ``InvalidRequestError`` and ``BadRequestError``."""
    ask, image = read_image(request, model)
    assert isinstance(ask, QueryRequest)
    text = ask.text if isinstance(ask, SearchRequest) else None
    if image is None and ask.product_id is None and text is None:
        offered = "`image` or `product_id`"
        if isinstance(ask, SearchRequest):
            offered = "`image`, `product_id` or `text`"
        raise BadRequestError(f"no query: provide {offered}")
    if ask.crop is not None and image is None:
        raise BadRequestError("crop needs an image")
    crop = None if ask.crop is None else (ask.crop[0], ask.crop[1], ask.crop[2], ask.crop[3])
    return ask, Query(image=image, product_id=ask.product_id, crop=crop, text=text)


def read_image(request: Request, model: type[Model]) -> tuple[Model, bytes | None]:
    """A question and the bytes of its photo, if it has one. Raises as ``read_ask``."""
    image: bytes | None = None
    if _kind(request, JSON, MULTIPART) == JSON:
        fields = read_object(request)
        ask = validate(model, fields)
        ref = getattr(ask, "image", None)
        if isinstance(ref, ImageRef):
            image = read_ref(ref, "image")
    else:
        _only_files(request, "image")
        if "image" in request.form:
            raise BadRequestError(
                "image must be a file part of the multipart body (give it a filename)"
            )
        uploads = request.files.getlist("image")
        if len(uploads) > 1:
            raise BadRequestError(f"{len(uploads)} files named image: send one")
        ask = validate(model, _form_fields(request, model))
        image = uploads[0].read() if uploads else None
    return ask, image


def read_photos(
    request: Request, model: type[PhotosRequestT]
) -> tuple[PhotosRequestT, list[bytes | InvalidRequestError | CatalensError]]:
    """A question about many photos and the bytes of each, or what is wrong with it. Raises as
    ``read_ask``."""
    photos: list[bytes | InvalidRequestError | CatalensError] = []
    if _kind(request, JSON, MULTIPART) == JSON:
        fields = read_object(request)
        listed = fields.get("images", [])
        if not isinstance(listed, list):
            raise InvalidRequestError([{"field": "images", "message": "must be a list of photos"}])
        for place, item in enumerate(listed):
            try:
                photos.append(read_ref(validate(ImageRef, item), f"images.{place}"))
            except (InvalidRequestError, CatalensError) as error:
                photos.append(error)
    else:
        _only_files(request, "images")
        if "images" in request.form:
            raise BadRequestError(
                "images must be file parts of the multipart body (give each a filename)"
            )
        fields = _form_fields(request, model)
        photos += [upload.read() for upload in request.files.getlist("images")]
    if not 1 <= len(photos) <= MOST_PHOTOS:
        raise BadRequestError(
            f"images: {len(photos)} photos in one question, 1 to {MOST_PHOTOS} are taken"
        )
    return validate(model, {**fields, "images": [{}]}), photos


def read_review(request: Request) -> tuple[ReviewRequest, list[bytes]]:
    """A listing to review and the bytes of its photos; none where a stored product's
    own are meant."""
    if _kind(request, JSON, MULTIPART) == JSON:
        ask = validate(ReviewRequest, read_object(request))
        refs = [("image", ask.image)] if ask.image else []
        refs += [(f"images.{place}", ref) for place, ref in enumerate(ask.images)]
        photos = [read_ref(ref, where) for where, ref in refs]
    else:
        _only_files(request, "image", "images")
        for name in ("image", "images"):
            if name in request.form:
                raise BadRequestError(
                    f"{name} must be a file part of the multipart body (give it a filename)"
                )
        ask = validate(ReviewRequest, _form_fields(request, ReviewRequest))
        photos = [
            upload.read() for name in ("image", "images") for upload in request.files.getlist(name)
        ]
    if not photos and ask.product_id is None:
        raise BadRequestError("no query: provide `image`, `images` or `product_id`")
    if len(photos) > MOST_LISTING_PHOTOS:
        raise BadRequestError(
            f"{len(photos)} photos in one listing: at most {MOST_LISTING_PHOTOS} are taken"
        )
    return ask, photos


def read_product(request: Request) -> tuple[ProductPutRequest, list[bytes | str]]:
    """A whole product and its photos in order: bytes, or the hash of a stored one."""
    uploads: list[bytes] = []
    if _kind(request, JSON, MULTIPART) == JSON:
        fields = read_object(request)
    else:
        _only_files(request, "images")
        for name in request.form:
            if name != "product":
                raise InvalidRequestError(
                    [
                        {
                            "field": name,
                            "message": "unknown field (the form takes product and images)",
                        }
                    ]
                )
        texts = request.form.getlist("product")
        if len(texts) > 1:
            raise BadRequestError("product is given twice")
        text = texts[0] if texts else "{}"
        fields = _object(text.encode("utf-8", "surrogatepass"), "form field product")
        uploads = [upload.read() for upload in request.files.getlist("images")]
    product = validate(ProductPutRequest, fields)
    photos = [parse_photo(ref, f"images.{position}") for position, ref in enumerate(product.images)]
    return product, [*photos, *uploads]


def to_draft(product: ProductPutRequest, photos: Sequence[bytes | str]) -> Draft:
    """A checked product with its photos (bytes, or the hash of a stored one) as what the writer
    takes."""
    return Draft(
        title=product.title,
        category=None if product.category is None else tuple(product.category),
        tags=tuple((tag.tag, tag.source) for tag in product.tags),
        attributes=product.attributes,
        photos=tuple(photos),
        fields=ProductFields(**_field_values(product)),
        sources=tuple(ref.image_src or ref.url for ref in product.images),
    )


def to_changes(patch: ProductPatchRequest) -> FieldValues:
    """The fields that a patch names. Raises ``InvalidRequestError`` for a null
    that means nothing."""
    named = [name for name in ProductPatchRequest.model_fields if name in patch.model_fields_set]
    changes: FieldValues = {
        name: getattr(patch, name)
        for name in named
        if name != "external_version" and name not in FIELD_NAMES
    }
    if fields := {name: value for name, value in _all_fields(patch).items() if name in named}:
        changes["fields"] = fields
    if changes.get("category") is not None:
        changes["category"] = tuple(changes["category"])
    for name in ("tags", "attributes"):
        if name in changes and changes[name] is None:
            raise InvalidRequestError(
                [
                    {
                        "field": name,
                        "message": "null is not possible here; send an empty list or object",
                    }
                ]
            )
    return changes


def _field_values(model: FieldsRequest) -> FieldValues:
    """The page fields that were given a value, as the catalog takes them."""
    return {name: value for name, value in _all_fields(model).items() if value is not None}


def _all_fields(model: FieldsRequest) -> FieldValues:
    found: FieldValues = {name: getattr(model, name) for name in FIELD_NAMES}
    if model.categories is not None:
        paths = model.categories.items()
        found["categories"] = {language: tuple(path) for language, path in paths}
    if model.prices is not None:
        prices = model.prices.items()
        found["prices"] = {market: price.model_dump(exclude_none=True) for market, price in prices}
    return found


def read_class(request: Request) -> tuple[ClassRequest, list[bytes]]:
    """A new class and its photos: JSON with base64, or multipart with the files ``images``."""
    uploads: list[bytes] = []
    if _kind(request, JSON, MULTIPART) == JSON:
        wanted = validate(ClassRequest, read_object(request))
    else:
        _only_files(request, "images")
        for name in request.form:
            if name not in ("label", "kind") or len(request.form.getlist(name)) > 1:
                raise InvalidRequestError(
                    [
                        {
                            "field": name,
                            "message": "the form takes label and kind, once each, and files images",
                        }
                    ]
                )
        wanted = validate(ClassRequest, request.form.to_dict())
        uploads = [upload.read() for upload in request.files.getlist("images")]
    return wanted, [
        *(read_ref(ref, f"images.{place}") for place, ref in enumerate(wanted.images)),
        *uploads,
    ]


def read_import(request: Request, model: type[Model]) -> tuple[Model, FileStorage | None]:
    """What an import is asked to do, and the archive of a multipart body, if it has one."""
    if _kind(request, JSON, MULTIPART) == JSON:
        return read_json(request, model), None
    _only_files(request, "archive")
    uploads = request.files.getlist("archive")
    if len(uploads) > 1:
        raise BadRequestError(f"archive: send one zip file, not {len(uploads)}")
    return validate(model, _form_fields(request, model)), uploads[0] if uploads else None


def read_json(request: Request, model: type[Model]) -> Model:
    """A JSON body as ``model``."""
    require_json(request)
    return validate(model, read_object(request))


def require_json(request: Request) -> None:
    """Raise ``RequestRefusedError`` 415 for a body of another type."""
    _kind(request, JSON)


def read_object(request: Request) -> FieldValues:
    """The JSON object in the body. Raises ``RequestRefusedError`` 400 for anything else."""
    # Not kept: beside the photo in it and the server's own copy that is a third one while it waits.
    return _object(request.get_data(cache=False), "the body")


def validate(model: type[Model], fields: Any) -> Model:
    """``fields`` as ``model``.

    Raises ``InvalidRequestError`` with one entry per wrong field, ``RequestRefusedError`` 403 for
    one that is not of the caller's role. What it gives can be walked by recursion.
    """
    if (place := find_deeper(fields)) is not None:
        raise InvalidRequestError([{"field": place, "message": TOO_DEEP}])
    try:
        found = model.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequestError.from_error(error) from None
    check_fields(found)
    return found


def _kind(request: Request, *offered: str) -> str:
    packed = request.headers.get("Content-Encoding", "identity")
    if packed.strip().lower() not in ("", "identity"):
        raise RequestRefusedError(
            415, "unsupported-media-type", f"content encoding {packed}: send the body as it is"
        )
    if request.mimetype not in offered:
        given = request.mimetype or "none"
        wanted = " or ".join(offered)
        if not request.mimetype and JSON in offered:
            wanted += ", {} where there is nothing to say"
        raise RequestRefusedError(
            415, "unsupported-media-type", f"content type {given}: send {wanted}"
        )
    return request.mimetype


def _object(data: bytes, where: str) -> FieldValues:
    most = max(MOST_VALUES, _VALUES_OF_AN_ITEM * settings().max_batch_items)
    try:
        fields = parse_json(data, most=most)
    except TooManyValuesError as error:
        raise RequestRefusedError(413, "too-many-values", f"{where} holds {error}") from None
    except UnicodeDecodeError:
        raise RequestRefusedError(400, "bad-json", f"{where} is not UTF-8") from None
    except ValueError as error:
        raise RequestRefusedError(400, "bad-json", f"{where} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RequestRefusedError(400, "bad-json", f"{where} must be a JSON object")
    return fields


def _only_files(request: Request, *names: str) -> None:
    for other in request.files:
        if other not in names:
            raise InvalidRequestError(
                [
                    {
                        "field": other,
                        "message": f"unknown file field (files go into {' or '.join(names)})",
                    }
                ]
            )


def _form_fields(request: Request, model: type[BaseModel]) -> FieldValues:
    """Form texts as the values that the model checks."""
    fields: FieldValues = {}
    for name in request.form:
        values = request.form.getlist(name)
        if len(values) > 1:
            raise InvalidRequestError(
                [
                    {
                        "field": name,
                        "message": f"given {len(values)} times (send a list as JSON text)",
                    }
                ]
            )
        try:
            fields[name] = decode_field(model, name, values[0])
        except ValueError:
            raise InvalidRequestError([{"field": name, "message": "not JSON text"}]) from None
    return fields


def parse_photo(ref: PhotoRef, where: str) -> bytes | str:
    """The bytes of a photo in JSON, or the hash it names. Raises ``InvalidRequestError`` or
    ``BadRequestError`` naming ``where``."""
    if sum(value is not None for value in (ref.base64, ref.url, ref.hash)) != 1:
        raise InvalidRequestError(
            [{"field": where, "message": "give exactly one of base64, url and hash"}]
        )
    return ref.hash if ref.hash is not None else read_ref(ref, where)


def read_ref(ref: ImageRef | PhotoRef, where: str) -> bytes:
    """The bytes of a photo in JSON, fetched where it is a URL. Raises ``InvalidRequestError``, or
    ``BadRequestError`` and ``UrlFailedError`` naming ``where``."""
    if ref.base64 is not None and ref.url is not None:
        raise InvalidRequestError([{"field": where, "message": "give one of base64 and url"}])
    if ref.url is not None:
        return _fetch(ref.url, where)
    if ref.base64 is None:
        raise InvalidRequestError([{"field": f"{where}.base64", "message": "missing"}])
    try:
        return parse_base64(ref.base64)
    except ValueError:
        raise InvalidRequestError([{"field": f"{where}.base64", "message": "not base64"}]) from None


def _fetch(url: str, where: str) -> bytes:
    """The photo of a URL. All URLs of one request share its time."""
    urls = engine().photo_urls
    if not urls.allowed:
        raise BadRequestError(
            f"{where}.url: fetching URLs is off (setting allow_urls); send the bytes as base64"
        )
    if "urls_until" not in g:
        g.urls_until = time.monotonic() + urls.timeout_s
        g.fetched = FetchedBytes(stranger=caller().role == "search")
    try:
        return urls.read(url, g.urls_until, g.fetched)
    except UrlRefusedError as error:
        raise UrlRefusedError(f"{where}.url: {error}") from error
    except UrlFailedError as error:
        raise UrlFailedError(f"{where}.url: {error}", status=error.status) from error
