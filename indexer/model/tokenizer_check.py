"""Bounds of what a tokenizer that somebody else made may make of a text."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

from indexer.core.regular_files import parse_json

# Steps of a tokenizer in all; those of published ones have six at most.
_MOST_STEPS = 16
# Nested in each other.
_MOST_DEPTH = 4
# Bytes that the steps may make of one.
_MOST_GROWTH = 4096
# Pieces that are set around a text.
_MOST_AROUND = 16
_PARTS = ("normalizer", "pre_tokenizer", "post_processor")
_INNER = ("normalizers", "pretokenizers", "processors")


def check_tokenizer(text: str) -> None:
    """Raise ``ValueError`` for a tokenizer, in the JSON of the package ``tokenizers``, that makes
    much of little: forty steps that each double a letter take all memory for one word."""
    stored = parse_json(text)
    if not isinstance(stored, dict):
        raise ValueError("it holds no object")
    steps = [step for part in _PARTS for step in _steps(stored.get(part))]
    if len(steps) > _MOST_STEPS:
        raise ValueError(f"it has {len(steps)} steps, at most {_MOST_STEPS} are run")
    growth = math.prod(map(_growth, steps))
    if growth > _MOST_GROWTH:
        raise ValueError(f"it makes {growth:,} bytes of one, at most {_MOST_GROWTH:,} are taken")
    around = sum(len(step[name]) for step in steps for name in ("single", "pair") if name in step)
    if around > _MOST_AROUND:
        raise ValueError(f"it sets {around:,} pieces around a text")


def _steps(found: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The steps in a part, those of a sequence one by one. Raises ``ValueError``."""
    if found is None:
        return
    if not isinstance(found, dict) or depth > _MOST_DEPTH:
        raise ValueError("its steps are none, or lie too deep in each other")
    inner = [one for name in _INNER if isinstance(found.get(name), list) for one in found[name]]
    for one in inner:
        yield from _steps(one, depth + 1)
    if not inner:
        yield found


def _growth(step: dict[str, Any]) -> int:
    """How many bytes a step makes of one at most. Raises ``ValueError``."""
    kind = step.get("type")
    if kind in ("Replace", "Prepend"):
        return max(len(str(step.get("content") or step.get("prepend") or "").encode()), 1)
    if kind == "Precompiled":
        # SentencePiece's: the size of a trie, the trie, and texts that each end with a zero byte.
        packed = base64.b64decode(str(step.get("precompiled_charsmap") or ""))
        texts = packed[4 + int.from_bytes(packed[:4], "little") :]
        return max(max(map(len, texts.split(b"\0"))), 1)
    # A byte as a letter of its own, which has two bytes.
    return 2 if kind == "ByteLevel" else 1
