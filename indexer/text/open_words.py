"""Open words: texts asked in block t by the text tower of an image and text pair."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from indexer.model.spec import Block
from indexer.text.text_tower import TEMPERATURE
from indexer.text.tokenizer import is_run

if TYPE_CHECKING:
    from indexer.model.joint_encoder import JointEncoder

# A word of another script is known where the tokenizer has pieces for it, not one for each letter
# or byte: pieces a letter at most, of scripts written without spaces and of alphabets.
_RUN_PIECES, _LETTER_PIECES = 1.25, 0.75
_MOST_SHARE = 0.9


def reads(encoder: JointEncoder, word: str) -> bool:
    """Whether the pair's tokenizer knows the script of ``word``, and the word where it has a list
    of words."""
    found = encoder.pieces(word)
    if found.foreign or not found.count:
        return False
    letters = [c for c in word if c.isalpha() and not unicodedata.name(c, "").startswith("LATIN")]
    if not letters:
        return True
    most = (_RUN_PIECES if is_run(word) else _LETTER_PIECES) * len(word)
    return found.cut or found.count <= max(most, 1)


def default_share(scale: float) -> float:
    """How much a pair counts beside a catalog's own tower where no titles could tell.

    Both have a softmax of their own over cosines, whose factors (``scale``, one over the tower's
    temperature) say how much a difference of cosines means: summed up, they are the shares.
    """
    return min(scale * TEMPERATURE / (1 + scale * TEMPERATURE), _MOST_SHARE)


def joint_query(blocks: Sequence[Block], texts: np.ndarray) -> np.ndarray:
    """Embeddings float32 [N, D] of nothing but unit ``texts`` [N, dim of t] in block t.

    Raises ``KeyError`` without a block t.
    """
    place, weight = joint_place(blocks)
    out = np.zeros((len(texts), sum(block.dim for block in blocks)), np.float32)
    out[:, place] = texts * np.float32(weight**0.5)
    return out


def joint_place(blocks: Sequence[Block]) -> tuple[slice, float]:
    """Where block t lies in the embedding, and its weight. Raises ``KeyError`` without one."""
    start = 0
    for block in blocks:
        if block.name == "t":
            return slice(start, start + block.dim), block.weight
        start += block.dim
    raise KeyError("t")
