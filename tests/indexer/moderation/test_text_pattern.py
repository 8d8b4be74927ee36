"""Patterns on texts of strangers: what Python would find, in bounded time, beside other threads."""

from __future__ import annotations

import re
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.moderation import text_pattern
from indexer.moderation.text_pattern import PatternTime, PatternTimeoutError, TextPattern

PATTERNS = [
    r"https://shop\.example/.*",
    r"\b1[3-9]\d{9}\b",
    r"(a|ab)+c?",
    r"we\s?chat|微信",
    r"^\w+$",
    r"(?=.*a)b\D",
    r"[^\W\d]{2,}",
    r"(ab?)\1",
    r"[[:a]b",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab1389 \n微信é٣_https://sxmple.[:"), max_size=24))
def test_it_finds_what_python_finds(pattern: str, text: str) -> None:
    """Whichever engine it is that answers: RE2 for ASCII, the other one for the rest."""
    # Python allows a line's end behind $, which is no part of a text that was read.
    text = text.strip("\n")
    made, left = TextPattern(pattern), PatternTime()
    python = re.compile(pattern, re.IGNORECASE)
    assert made.search(text, left) == (python.search(text) is not None)
    assert made.fullmatch(text, left) == (python.fullmatch(text) is not None)


def test_a_text_that_was_made_for_it_is_no_danger() -> None:
    """Python's engine takes years for this; ASCII is answered, anything else is stopped."""
    nested = TextPattern(r"(x+x+)+y")
    assert not nested.fullmatch("x" * 4000, PatternTime())
    around = TextPattern(r"(?=(x+x+)+y)z|(?:(x|x)+)+y")
    for text in ("x" * 4000, "é" + "x" * 4000):
        started = time.thread_time()
        with pytest.raises(PatternTimeoutError):
            around.search(text, PatternTime())
        assert time.thread_time() - started < 4 * text_pattern.PATTERN_S


def test_other_threads_work_meanwhile() -> None:
    """Python's lock is not held: a counter goes on while a pattern is at work."""
    pattern = TextPattern(r"(?=(x|x)+y)z|((x|x)+)+y")
    counted = 0
    done = threading.Event()

    def match() -> None:
        with pytest.raises(PatternTimeoutError):
            pattern.search("é" + "x" * 4000, PatternTime())
        done.set()

    thread = threading.Thread(target=match)
    thread.start()
    while not done.wait(0.005):
        counted += 1
    thread.join()
    assert counted > 10


def test_time_is_shared_by_all_patterns_of_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty codes of one photo take no fifty times as long."""
    monkeypatch.setattr(text_pattern, "PATTERN_S", 0.05)
    pattern = TextPattern(r"(?:(x|x)+)+y\b(?!a)")
    left = PatternTime()
    started = time.monotonic()
    for _ in range(50):
        with pytest.raises(PatternTimeoutError):
            pattern.search("é" + "x" * 4000, left)
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a+)+b", "repeats what is repeated"),
        (r"(\d*,)*", "repeats what is repeated"),
        (r"a(?!b)", "looks around"),
        (r"https://shop\.example/.*", None),
        (r"\b1[3-9]\d{9}\b", None),
    ],
)
def test_a_pattern_says_its_risk(pattern: str, said: str | None) -> None:
    """What ``policy check`` warns of."""
    risk = TextPattern(pattern).risk
    assert risk is None if said is None else said in str(risk)
