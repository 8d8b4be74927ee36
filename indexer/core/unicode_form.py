"""Unicode normal forms of texts of strangers, at a cost that their length says."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

# Marks upon one letter: the most of Stream-Safe Text Format (Unicode Standard Annex 15, 13).
_MOST_MARKS = 30
# Characters of a text that is taken as it is.
_SHORT = 256


def normalize(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    """``text`` in a normal form; of more than 30 marks upon one letter the others are dropped.

    Python puts a letter's marks in order in the square of their number, holding its lock.
    """
    if len(text) > _SHORT and not text.isascii():
        text = "".join(_few_marks(text))
    return unicodedata.normalize(form, text)


def _few_marks(text: str) -> Iterator[str]:
    marks = 0
    for sign in text:
        marks = marks + 1 if unicodedata.combining(sign) else 0
        if marks <= _MOST_MARKS:
            yield sign
