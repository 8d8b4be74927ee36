"""Hooks of schemathesis: most valid cases name what the home has, and all answers are counted.

Loaded by its command line (``SCHEMATHESIS_HOOKS``). ``CATALENS_LIVE_SCHEMA`` names a folder with
``known.json``, what the home has; the counts go to ``seen.json`` beside it.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
from collections import Counter, defaultdict
from itertools import count
from pathlib import Path
from typing import Any

import schemathesis

_FOLDER = Path(os.environ["CATALENS_LIVE_SCHEMA"])
_KNOWN = json.loads((_FOLDER / "known.json").read_text())
# Of valid cases, one in so many stays as it was drawn.
_AS_DRAWN = 8
# Fields that a value drawn without knowledge of the home makes a refusal of.
_NAMED = (
    "cursor",
    "version",
    "min_sequence",
    "crop",
    "filter",
    "mix",
    "weights",
    "external_version",
)
_NAMED += ("expected_sequence", "group_by", "fields", "exclude", "instead_of", "types", "model")
_NAMED += ("attributes", "currency", "prices", "availability", "parent", "category", "categories")
_NAMED += (
    "locale",
    "market",
    "text",
    "min_score",
    "profile",
    "url",
    "label",
    "kind",
    "state",
    "tag",
)
_turn = count()
_made = count()
# Jobs that were asked for and may be cancelled.
_waiting: list[str] = []
seen: defaultdict[str, Counter[str]] = defaultdict(Counter)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Name what the home has in most of the valid cases."""
    meta = case.meta
    if meta is None or meta.generation.mode.is_negative or next(_turn) % _AS_DRAWN == 0:
        return
    name = f"{case.method} {case.path}"
    _name_path(name, case)
    if isinstance(case.query, dict):
        for field in (*_NAMED, "limit", "after"):
            case.query.pop(field, None)
        if name == "DELETE /v1/classes":
            case.query.clear()
            case.query["label"] = "Shapes > Star"
    if name == "POST /v1/imports":
        case.body = {"archive": base64.b64decode(_KNOWN["archive"])}
        case.media_type = "multipart/form-data"
    elif name in _BODIES:
        case.body = _BODIES[name]()
        case.media_type = "application/json"
    elif isinstance(case.body, dict) and case.media_type == "application/json":
        for field in _NAMED:
            case.body.pop(field, None)
        if "image" in case.body or name in _ASKS:
            case.body["image"] = {"base64": _KNOWN["photo"]}
            case.body.pop("product_id", None)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answers of each operation by status; a full queue says when to come again."""
    name = f"{case.method} {case.path}"
    status = str(response.status_code)
    if status == "503":
        told = {name.lower() for name in response.headers} >= {"retry-after"}
        status += f" {response.json()['code']}{'' if told else ' without Retry-After'}"
    seen[name][status] += 1
    if name == "POST /v1/search" and response.status_code == 200 and response.json()["results"]:
        answer = response.json()
        _KNOWN.update(request_id=answer["request_id"], found=answer["results"][0]["product_id"])
    if name == "POST /v1/indexes" and response.status_code == 202:
        _waiting.append(response.json()["job_id"])


def _name_path(name: str, case: Any) -> None:
    path = case.path_parameters
    if not isinstance(path, dict):
        return
    if name.startswith("DELETE /v1/products/"):
        # Each once: the last ones of the home.
        path["product_id"] = _KNOWN["spare"][next(_made) % len(_KNOWN["spare"])]
        return
    if name == "DELETE /v1/jobs/{job_id}" and _waiting:
        path["job_id"] = _waiting.pop()  # the last one, which has not begun
        return
    for field, values in _KNOWN["path"].items():
        if field in path:
            path[field] = values[next(_made) % len(values)]


def _photo() -> dict[str, str]:
    return {"base64": _KNOWN["photo"]}


_ASKS = (
    "POST /v1/classify",
    "POST /v1/search",
    "POST /v1/tags",
    "POST /v1/describe",
    "POST /v1/explain",
    "POST /v1/objects",
)
_BODIES: dict[str, Any] = {
    "POST /v1/classes": lambda: {"label": "Shapes > Star", "images": [_photo(), _photo()]},
    "POST /v1/classify:batch": lambda: {"images": [_photo()]},
    "POST /v1/search:batch": lambda: {"images": [_photo()], "k": 3},
    "POST /v1/tags:batch": lambda: {"images": [_photo()]},
    "POST /v1/review": lambda: {"images": [_photo()]},
    "POST /v1/recommendations": lambda: {
        "history": [{"product_id": _KNOWN["path"]["product_id"][0]}],
        "k": 3,
    },
    "POST /v1/feedback": lambda: {
        "request_id": _KNOWN["request_id"],
        "clicked": [_KNOWN["found"]],
    },
    "POST /v1/reviews/{name}:decide": lambda: {"decision": "approve"},
    "POST /v1/indexes:rollback": dict,
    "PATCH /v1/schema": lambda: {"types": {"made_of": "string"}},
    "PUT /v1/products/{product_id}": lambda: {"title": "one", "images": [_photo()]},
    "PATCH /v1/products/{product_id}": lambda: {"title": "another"},
}


@atexit.register
def _write() -> None:
    counts = {name: dict(found) for name, found in seen.items()}
    (_FOLDER / "seen.json").write_text(json.dumps(counts))
