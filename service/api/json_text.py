"""JSON and base64 of clients, read at a bounded cost."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any, NoReturn

import numpy as np

# Values of one document. Python's parser holds its lock from the first to the last: twenty million
# empty objects in 60 MB stop every other thread for seconds, and take gigabytes.
MOST_VALUES = 250_000
_VALUE_MARKS = b",[{"
_PORTION = 4 * 2**20  # of base64, a multiple of four characters; other threads run in between


class TooManyValuesError(ValueError):
    """More values in a document than one may hold."""


def parse_json(data: bytes, *, most: int = MOST_VALUES) -> Any:
    """The value of a document in UTF-8.

    Raises ``TooManyValuesError`` before anything is parsed, ``UnicodeDecodeError``, ``ValueError``
    with the reason for anything else that is no JSON.
    """
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > most and _values(data) > most:
        raise TooManyValuesError(f"more than {most} values: send it in several requests")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):
            most_digits = sys.get_int_max_str_digits()
            raise ValueError(f"a number has more than {most_digits} digits") from None
        raise


def parse_base64(text: str) -> bytes:
    """The bytes of strict base64. Raises ``ValueError``."""
    if len(text) <= _PORTION:
        return base64.b64decode(text, validate=True)
    padding = text.find("=", 0, len(text) - 2)
    if padding >= 0:
        raise ValueError("padding before the end")
    starts = range(0, len(text), _PORTION)
    return b"".join(base64.b64decode(text[at : at + _PORTION], validate=True) for at in starts)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _values(data: bytes) -> int:
    """How many commas and opening brackets stand outside of texts."""
    plain = data.replace(rb"\\", b"  ").replace(rb"\"", b"  ")
    count = 0
    inside = False
    for start in range(0, len(plain), _PORTION):
        codes = np.frombuffer(plain, np.uint8, min(_PORTION, len(plain) - start), start)
        within = np.bitwise_xor.accumulate(codes == ord('"')) ^ inside
        count += int(np.count_nonzero(np.isin(codes, list(_VALUE_MARKS)) & ~within))
        inside = bool(within[-1])
    return count
