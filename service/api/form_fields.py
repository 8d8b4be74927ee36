"""Multipart form fields: which are plain text and which JSON, for server and client."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from service.api.json_text import parse_json
from service.query.shown_product import split_names

FieldValues = dict[str, Any]


def is_plain(model: type[BaseModel], name: str) -> bool:
    """Whether a form holds the field as it stands: it is a text, or reads texts itself, which its
    alias says. All others are JSON text."""
    field = model.model_fields.get(name)
    if field is None:
        return any(other.alias == name for other in model.model_fields.values())
    return _is_text(field)


def decode_field(model: type[BaseModel], name: str, text: str) -> object:
    """A form field's text as the value that the model checks. Raises ``ValueError`` for what is not
    JSON; an unknown name stays a text, which the model refuses."""
    if name not in model.model_fields or is_plain(model, name):
        return text
    if not text.startswith("[") and _splits_texts(model.model_fields[name]):
        return text
    return parse_json(text.encode("utf-8", "surrogatepass"))


def encode_fields(
    model: type[BaseModel] | None, fields: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Names and texts of a form that ``decode_field`` reads; without a model all is JSON text."""
    return [
        (name, value)
        if isinstance(value, str) and model is not None and is_plain(model, name)
        else (name, json.dumps(value, ensure_ascii=False))
        for name, value in fields.items()
    ]


def _splits_texts(field: FieldInfo) -> bool:
    """Whether a list may be one text with commas."""
    validators = (part for part in field.metadata if isinstance(part, BeforeValidator))
    return any(part.func is split_names for part in validators)


def _is_text(field: FieldInfo) -> bool:
    kinds = [field.annotation]
    while any(get_origin(kind) in (Union, types.UnionType, Annotated) for kind in kinds):
        kinds = [part for kind in kinds for part in _unwrapped(kind)]
    return all(_takes_texts(kind) for kind in kinds if kind is not type(None))


def _takes_texts(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in get_args(kind))
    return kind is str


def _unwrapped(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Annotated:
        return get_args(kind)[:1]
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
