"""Kinds described by words: prompts checked and scored by cosine in block t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.core.errors import BadRequestError
from indexer.model.spec import Block
from indexer.text.open_words import joint_place, reads
from indexer.text.tokenizer import spelled

if TYPE_CHECKING:
    from indexer.model.joint_encoder import JointEncoder

MOST_PROMPTS = 20
# Characters of one; its pieces are counted besides.
MOST_PROMPT = 300
# What a name alone is asked as; a picture's caption seldom is one word (Radford et al. 2021).
_TEMPLATES = ("{}", "a photo of {}")
# Share of a catalog's photos that a described kind may reach where none of them is of it.
_RARE = 0.99


@dataclass(frozen=True)
class DescribedKind:
    """A kind in the words of its prompts, as a pair understands them."""

    prompts: tuple[str, ...]
    # float32 [D]: its product with an embedding is the cosine of block t with the prompts' mean.
    direction: np.ndarray
    # float32 [D]: an embedding that holds that mean in block t and nothing else.
    example: np.ndarray
    # Of a cosine in the pair's own softmax.
    scale: float


def prompts_for(name: str, given: Sequence[str]) -> tuple[str, ...]:
    """The prompts of a kind: those ``given``, or its ``name`` alone and within a sentence."""
    return tuple(given) or tuple(
        template.format(name) for template in (_TEMPLATES if name.isascii() else _TEMPLATES[:1])
    )


def describe_kind(
    encoder: JointEncoder, blocks: Sequence[Block], prompts: Sequence[str]
) -> DescribedKind:
    """Read 1 to 20 prompts.

    Raises ``BadRequestError`` for too many, one that is empty or longer than the tower reads, words
    that its tokenizer does not know, and an embedding that stores nothing of block t.
    """
    place, weight = joint_place(blocks)
    if weight <= 0:
        raise BadRequestError("block t weighs nothing in this embedding, so no words can be asked")
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise BadRequestError(f"a kind has 1 to {MOST_PROMPTS} prompts, not {len(prompts)}")
    for prompt in prompts:
        _check_prompt(encoder, prompt)
    texts = encoder.encode(list(prompts)).mean(axis=0)
    length = float(np.linalg.norm(texts))
    if not length > 1e-6:
        raise BadRequestError("the prompts contradict each other: give fewer")
    texts = texts / length
    direction = np.zeros(sum(block.dim for block in blocks), np.float32)
    example = direction.copy()
    direction[place], example[place] = texts / weight**0.5, texts * weight**0.5
    return DescribedKind(tuple(prompts), direction, example, encoder.scale)


def _check_prompt(encoder: JointEncoder, prompt: str) -> None:
    shown = prompt[:60]
    if not prompt.strip():
        raise BadRequestError("a prompt is empty: give words, such as 'a striped shirt'")
    if len(prompt) > MOST_PROMPT:
        raise BadRequestError(
            f"prompt {shown!r}... has {len(prompt):,} characters, at most {MOST_PROMPT} are read"
        )
    said = spelled(prompt)
    if not said:
        raise BadRequestError(f"prompt {shown!r} has no letter and no digit")
    if encoder.pieces(prompt).cut:
        raise BadRequestError(
            f"prompt {shown!r} is longer than the model's text tower reads: shorten it"
        )
    strange = [word for word in said if not reads(encoder, word)]
    if strange:
        raise BadRequestError(
            f"prompt {shown!r}: the model's text tower does not know {', '.join(strange)}: use "
            "other words, or a language that it was trained on"
        )


def rare_score(scores: np.ndarray) -> float:
    """A score that a photo of another kind seldom reaches, of ``scores`` [M] of a whole catalog.

    Which of its photos are of the kind nobody knows, so the upper end may be the kind itself: it is
    that of the 99% that the lower end has, mirrored at the median, and at most the 99% quantile.
    """
    low, middle, high = np.quantile(scores, (1 - _RARE, 0.5, _RARE))
    return float(min(high, 2 * middle - low))
