"""Types of what a manifest holds within its fields: anybody can seal one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

# Hits that searches are tuned for.
_DEPTHS = ("10", "100")
_EFFORTS = ("nprobe", "efSearch")
# One pair of factors, as versions before 0.2 hold it.
_FACTORS = ("effort", "rerank")
_MOST = 2**53


def odd_values(
    counts: Mapping[str, Any], params: Mapping[str, Any], recall: Mapping[str, Any]
) -> list[str]:
    """Names of values of another type, or out of the range, than those that are read.

    What is not known is not read, and may be anything.
    """
    found = [f"counts.{name}" for name, value in counts.items() if not _is_count(value)]
    found += [f"params.{name}" for name in _odd_params(params)]
    found += [f"recall.{name}" for name in _odd_recall(recall)]
    return found


def _odd_params(params: Mapping[str, Any]) -> Iterator[str]:
    for name in _EFFORTS:
        if name in params and not _is_tuned(params[name]):
            yield name
    rerank = params.get("rerank", 1)
    if not (_is_positive(rerank) or _is_tuned(rerank)):
        yield "rerank"
    wider = params.get("widen", {})
    if wider is None or wider == {}:
        return
    groups = [wider] if isinstance(wider, dict) and "effort" in wider else _values(wider)
    if not all(isinstance(pair, dict) and _has(pair, _FACTORS) for pair in groups):
        yield "widen"


def _odd_recall(recall: Mapping[str, Any]) -> Iterator[str]:
    asked = recall.get("asked")
    if asked is not None and not (_is_positive(asked) and asked <= 1):
        yield "asked"
    for name in ("at_10", "at_100"):
        value = recall.get(name)
        if value is not None and not (_is_number(value) and 0 <= value <= 1):
            yield name
    if "queries" in recall and not _is_count(recall["queries"]):
        yield "queries"
    kinds: dict[str, type] = {"curve": list, "weighted": dict, "fallback_from": str}
    for name, kind in kinds.items():
        if name in recall and not isinstance(recall[name], kind):
            yield name


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else [None]


def _is_tuned(value: Any) -> bool:
    return isinstance(value, dict) and _has(value, _DEPTHS)


def _has(value: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(_is_positive(value.get(name)) for name in names)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= _MOST


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST
