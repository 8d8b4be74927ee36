"""What every route needs: the engine of the app, the standard answer,
the standard documentation."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from pydantic import BaseModel

from service.api.responses import Problem
from service.engine import Engine
from service.settings import Settings

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
SECURITY: list[dict[str, list[str]]] = [{"key": []}]


def engine() -> Engine:
    """The engine this app serves."""
    found: Engine = current_app.extensions["catalens"]
    return found


def settings() -> Settings:
    """The settings this app was made with."""
    found: Settings = current_app.extensions["catalens-settings"]
    return found


def answer(content: dict[str, Any]) -> dict[str, Any]:
    """The engine's answer with the request's id in front; feedback may name it."""
    engine().people.remember(g.request_id, content)
    return {"request_id": g.request_id, **content}


def problem_responses(*statuses: int) -> dict[Any, Any]:
    """Documentation of problem answers; those that any call can get are added."""
    return {status: {"content": PROBLEM} for status in sorted({*statuses, 401, 403, 422, 500})}


def multipart_or_json(
    model: type[BaseModel], *, files: str, json_field: str | None = None
) -> dict[str, Any]:
    """Documentation of a body that may be JSON or multipart; flask-openapi cannot take both for one
    route.

    ``files`` is the name of the file field; ``json_field`` the form field that holds the whole JSON
    object, otherwise each field of ``model`` is a form field of the same name.
    """
    binary: dict[str, Any] = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": binary}
    if json_field is not None:
        form = {json_field: {"$ref": _ref(model)}, files: several}
    else:
        names = [field.alias or name for name, field in model.model_fields.items() if name != files]
        form = {
            files: several if files == "images" else binary,
            **{
                name: {"description": "As in JSON; lists and objects as JSON text."}
                for name in names
            },
        }
        if "product_id" in form:
            form["product_id"] = {"type": "string"}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": _ref(model)}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": form, "additionalProperties": False}
            },
        },
    }


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Documentation of a JSON body that the route reads itself."""
    return {"required": True, "content": {"application/json": {"schema": {"$ref": _ref(model)}}}}


def _ref(model: type[BaseModel]) -> str:
    return f"#/components/schemas/{model.__name__}"


__all__ = [
    "PROBLEM",
    "SECURITY",
    "Problem",
    "answer",
    "engine",
    "json_body",
    "multipart_or_json",
    "problem_responses",
    "settings",
]
