"""What clients send as JSON and base64 costs no more than it is worth."""

from __future__ import annotations

import base64
import json

import pytest

from service.api import json_text
from service.api.json_text import TooManyValuesError, parse_base64, parse_json


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" + b"{}," * 300_000 + b"0]", id="objects"),
        pytest.param(b"[" * 300_000, id="depth"),
        pytest.param(b"[" + b"0," * 300_000 + b"0]", id="numbers"),
        pytest.param(b'["\\\\",' + b"0," * 300_000 + b"0]", id="a text that ends in a backslash"),
        pytest.param(b'["\\",",' + b"0," * 300_000 + b"0]", id="a text with a quote"),
    ],
)
def test_many_values_are_refused_before_they_are_parsed(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parser that holds Python's lock for seconds is not even started."""
    monkeypatch.setattr(json_text.json, "loads", None)
    with pytest.raises(TooManyValuesError, match="250000"):
        parse_json(data)


def test_what_stands_in_texts_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long descriptions with many commas pass, across the portions that are counted in."""
    monkeypatch.setattr(json_text, "_PORTION", 1000)
    plain = {"title": 'a, b, [c] {"d"}\\' * 100, "tags": ["x", "y,"], "n": [1, [2]]}
    given = [plain] * 200
    assert parse_json(json.dumps(given).encode()) == given
    assert parse_json(json.dumps(given).encode(), most=200 * 9) == given
    with pytest.raises(TooManyValuesError):
        parse_json(json.dumps(given).encode(), most=200 * 9 - 1)


@pytest.mark.parametrize("text", [b"NaN", b"[1", b"\xff", b"[" * 20_000, b"9" * 5000])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - texts of the standard library
        parse_json(text)


def test_a_number_that_is_too_long_is_said_in_our_words() -> None:
    with pytest.raises(ValueError, match=r"^a number has more than \d+ digits$"):
        parse_json(b"[" + b"9" * 5000 + b"]")


def test_long_base64_is_read_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As strictly as in one piece."""
    monkeypatch.setattr(json_text, "_PORTION", 8)
    for size in range(40):
        data = bytes(range(size))
        assert parse_base64(base64.b64encode(data).decode()) == data
    for wrong in (
        "QUJDREVGR0hJSg==QUJD",
        "QUJDREVGR0hJSktM QUJD",
        "QUJDREVGR0hJSktMQ",
        "QUJDREV=R0hJSktM",
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - texts of the standard library
            parse_base64(wrong)
