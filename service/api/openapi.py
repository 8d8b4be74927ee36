"""Engine, answer and OpenAPI documentation that every route shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from flask import Response as JsonResponse
from flask import current_app, g
from flask_openapi import APIBlueprint
from flask_openapi.models import RequestBody
from pydantic import BaseModel, Field

from service.access.caller import Caller
from service.access.control import AccessControl
from service.engine import Engine
from service.query.response import Envelope, Suggesting
from service.settings import Settings

JsonSchema = dict[str, Any]
OpenAPIDocument = dict[str, Any]

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
SECURITY: list[dict[str, list[str]]] = [{"key": []}]
# In the environment of a request: an event that is set when the server begins to end, so that an
# answer without an end of its own does too.
ENDING = "server.ending"


class DocumentedBody(RequestBody):
    """A request body in the document, and the model that the route reads it as."""

    model: type[BaseModel] = Field(exclude=True)

    @classmethod
    def of(cls, model: type[BaseModel], form: JsonSchema | None) -> DocumentedBody:
        """A JSON body of ``model``, or a multipart one with the schema ``form``."""
        content: JsonSchema = {"application/json": {"schema": {"$ref": _ref(model)}}}
        if form is not None:
            content["multipart/form-data"] = {"schema": form}
        return cls.model_validate({"model": model, "required": True, "content": content})


def engine() -> Engine:
    """The engine this app serves."""
    found: Engine = current_app.extensions["catalens"]
    return found


def settings() -> Settings:
    """The settings this app was made with."""
    found: Settings = current_app.extensions["catalens-settings"]
    return found


def access() -> AccessControl:
    """Who may ask this app what."""
    found: AccessControl = current_app.extensions["catalens-access"]
    return found


def caller() -> Caller:
    """Who asks."""
    found: Caller = g.caller
    return found


def answer(envelope: Envelope[object], status: int = 200) -> JsonResponse:
    """An answer of the engine as JSON, with the request's id in front."""
    g.timings_ms = envelope.timings_ms
    fields = {"request_id": g.request_id, **envelope.fields()}
    response = cast(JsonResponse, current_app.json.response(fields))
    response.status_code = status
    return response


def answer_suggestions(envelope: Envelope[Suggesting]) -> JsonResponse:
    """``answer`` that feedback can name by the request's id."""
    remember_suggestions(envelope)
    return answer(envelope)


def remember_suggestions(envelope: Envelope[Suggesting]) -> None:
    """Keep what an answer suggests for feedback, and give the request the id that names it."""
    stranger = caller().stranger is not None
    g.request_id = engine().feedback.remember(g.request_id, envelope, stranger=stranger)


def problem_responses(*statuses: int) -> dict[Any, Any]:
    """Documentation of problem answers; those that any call can get are added."""
    return {status: {"content": PROBLEM} for status in sorted({*statuses, 401, 403, 422, 429, 500})}


def multipart_or_json(
    model: type[BaseModel], *, files: str, json_field: str | None = None
) -> DocumentedBody:
    """Documentation of a body that may be JSON or multipart; flask-openapi cannot take both for one
    route.

    ``files`` is the name of the file field; ``json_field`` the form field that holds the whole JSON
    object, otherwise each field of ``model`` is a form field of the same name.
    """
    binary: JsonSchema = {"type": "string", "format": "binary"}
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
    return DocumentedBody.of(
        model,
        {"type": "object", "properties": form, "additionalProperties": False},
    )


def json_body(model: type[BaseModel]) -> DocumentedBody:
    """Documentation of a JSON body that the route reads itself."""
    return DocumentedBody.of(model, None)


def body_models(blueprint: APIBlueprint) -> Iterator[type[BaseModel]]:
    """The models of the request bodies that a blueprint's routes document."""
    for item in blueprint.paths.values():
        for method in type(item).model_fields:
            body = getattr(getattr(item, method), "requestBody", None)
            if isinstance(body, DocumentedBody):
                yield body.model


def tidy(document: OpenAPIDocument) -> OpenAPIDocument:
    """The document with each operation's docstring split by paragraphs: the first is the summary.

    flask-openapi splits it by lines, wherever they were wrapped, and joins them with ``<br/>``.
    """
    exact: OpenAPIDocument = _with_exact_bounds(document)
    paths = {path: _tidy_item(item) for path, item in exact["paths"].items()}
    return {**exact, "paths": paths}


def _with_exact_bounds(node: Any) -> Any:
    """Bounds of 64-bit numbers as whole numbers: as floats they name other numbers."""
    if isinstance(node, dict):
        return {key: _with_exact_bounds(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_exact_bounds(value) for value in node]
    if isinstance(node, float) and node.is_integer() and abs(node) > 2**53:
        return int(node)
    return node


def _tidy_item(item: JsonSchema) -> JsonSchema:
    return {method: _by_paragraphs(operation) for method, operation in item.items()}


def _by_paragraphs(operation: JsonSchema) -> JsonSchema:
    text = "\n".join(
        [operation.get("summary", ""), *operation.get("description", "").split("<br/>")]
    )
    summary, *rest = (part.strip() for part in text.split("\n\n") if part.strip())
    found = {**operation, "summary": summary.replace("\n", " ")}
    found.pop("description", None)
    if rest:
        found["description"] = "\n\n".join(rest)
    return found


def _ref(model: type[BaseModel]) -> str:
    return f"#/components/schemas/{model.__name__}"
