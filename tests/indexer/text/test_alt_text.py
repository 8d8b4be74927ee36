"""Alt texts in three languages, from what is known of a product."""

from __future__ import annotations

from indexer.text.alt_text import alt_texts


def test_a_photo_is_described_in_each_language_that_has_the_words() -> None:
    found = alt_texts(title=None, kind="Shirt", color="red", details=["striped"])
    assert found["en"] == "Red Shirt, striped"
    assert found["de"] == "Shirt, rot, gestreift"
    assert "红" in found["zh"]


def test_what_the_title_says_is_not_said_twice_and_plain_is_no_news() -> None:
    found = alt_texts(title="Red linen shirt", kind="Shirt", color="Red", details=["solid"])
    assert found["en"] == "Red linen shirt"


def test_a_word_without_a_translation_leaves_the_language_out() -> None:
    found = alt_texts(title="Kelp mug", kind="Mug", color="seafoam")
    assert found["en"] == "Seafoam Kelp mug"
    assert "de" not in found


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert alt_texts(title=None, kind=None, color="red") == {}


def test_a_long_title_is_cut_at_a_word() -> None:
    text = alt_texts(title="word " * 60, kind=None, color=None)["en"]
    assert len(text) <= 125
    assert text.endswith("word")
