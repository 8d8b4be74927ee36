"""Reports of jobs without what may name an erased product."""

from __future__ import annotations

from typing import Any

from indexer.catalog.erased_texts import COVER

# Of a result: names that no product has.
_NAMES = frozenset(
    {"version", "model_version", "embedding_id", "recipe", "profile"}
    | {"action", "undone_by", "kind", "at"}
)
# Problems whose words are the service's own.
_STOPPED = ("interrupted", "worker-died")


def without_names(stored: dict[str, Any]) -> dict[str, Any]:
    """What ``job.json`` says of an ended job, without what may name a product."""
    redacted = {**stored, "result": _redacted(stored.get("result"))}
    problem = stored.get("problem")
    if problem is not None and problem["code"] not in _STOPPED:
        redacted["problem"] = {**problem, "detail": COVER}
    return redacted


def _redacted(value: Any, name: str = "result") -> Any:
    """A result without its lists and without texts, but those that name what a job made."""
    if isinstance(value, dict):
        return {key: _redacted(entry, key) for key, entry in value.items()}
    if isinstance(value, list):
        return []
    return COVER if isinstance(value, str) and name not in _NAMES else value
