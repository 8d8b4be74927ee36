"""Tokenizer: Latin words folded, Chinese ones as pairs of characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from indexer.core.unicode_form import normalize

# Of a question's text; longer ones are refused.
MOST_CHARACTERS = 2000
# Of a question that are looked for; the rest adds nothing but time.
MOST_WORDS = 64

# Scripts written without spaces: Han, kana, Hangul.
_RUN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_RUN}]+|[^\W_{_RUN}]+")
_HAN = re.compile(rf"[{_RUN}]")


def words(text: str) -> list[str]:
    """The words of ``text`` in order: runs of letters and digits, folded; a run of Chinese
    characters is one word.

    Case and accents are folded ("Été" is "ete"), and so is the English plural ("dresses" is
    "dress"): the same rule holds for what is stored, so a fold that no grammar knows harms nothing.
    All else separates words: punctuation, markup and emojis are never part of one.
    """
    return [_singular(word) for word in spelled(text)]


def spelled(text: str) -> list[str]:
    """``words`` with their plurals as they stand: what is shown to people."""
    marked = normalize("NFKD", text.casefold())
    plain = normalize("NFC", "".join(c for c in marked if unicodedata.category(c) != "Mn"))
    return _WORD.findall(plain)


def tokens(word: str, *, stored: bool = False) -> list[str]:
    """What of a word is looked for: itself; of a Chinese one its pairs of neighbouring characters.

    A lone character is looked for as it is, so with ``stored`` the single characters are added:
    "裙" finds "红裙子".
    """
    if not is_run(word):
        return [word]
    pairs = [word[place : place + 2] for place in range(len(word) - 1)]
    return [*pairs, *word] if stored or not pairs else pairs


def is_run(word: str) -> bool:
    """Whether a word is of a script that is written without spaces."""
    return _HAN.match(word) is not None


def features(given: Iterable[str]) -> list[str]:
    """What the tower reads of ``words``: their tokens, and each pair of neighbours."""
    found = [token for word in given for token in tokens(word)]
    return found + [f"{one} {next_}" for one, next_ in pairwise(found)]


def _singular(word: str) -> str:
    if (
        len(word) < 4
        or not word.endswith("s")
        or word.endswith("ss")
        or not word.isascii()
        or not word.isalpha()
    ):
        return word
    for ending, stem in (
        ("ies", "y"),
        ("sses", "ss"),
        ("shes", "sh"),
        ("ches", "ch"),
        ("xes", "x"),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + stem
    return word[:-1]
