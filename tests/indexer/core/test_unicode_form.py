"""Tests of indexer.core.unicode_form: normal forms at a bounded cost."""

from __future__ import annotations

import time
import unicodedata

from indexer.core.unicode_form import normalize
from indexer.feeds.column_words import plain_words
from indexer.feeds.values import availability
from indexer.text.tokenizer import words


def test_marks_without_end_cost_what_their_length_says() -> None:
    """A hundred thousand marks upon one letter take a moment in every reader of texts, and the
    letter is still found."""
    text = "a" + "\u0301" * 50_000 + "\u0316" * 50_000
    began = time.process_time()
    assert words(text) == ["a"]
    assert availability.parse(text) is None
    assert plain_words(text) == "a"
    assert time.process_time() - began < 2


def test_texts_of_people_are_normalized_as_unicode_says() -> None:
    """Letters with marks keep all of them, in short texts and in long ones."""
    text = "Été Ẹ̄ 红色 ﬁn " * 100
    assert normalize("NFKD", text) == unicodedata.normalize("NFKD", text)
    assert normalize("NFC", text) == unicodedata.normalize("NFC", text)
