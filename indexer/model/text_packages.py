"""Packages that a text tower needs, and what it is given of a text."""

from __future__ import annotations

import html
import importlib
import string
from collections.abc import Callable
from typing import Any

from indexer.core.errors import WeightsUnavailableError

HOW_TO_INSTALL = "pip install 'catalens[text-image]'"
# How texts are cleaned before they are taken apart, by open_clip's names.
CLEANINGS = ("lower", "whitespace", "canonicalize")
_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def load_package(name: str) -> Any:
    """Import a package, or raise ``WeightsUnavailableError`` that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeightsUnavailableError(
            f"a text tower needs the package {name.partition('.')[0]}: {HOW_TO_INSTALL}"
        ) from error


def cleaner(kind: str) -> Callable[[str], str]:
    """Return what cleans a text: one of ``CLEANINGS``, as open_clip does, without its torch."""
    fix = load_package("ftfy").fix_text

    def clean(text: str) -> str:
        mended = html.unescape(html.unescape(fix(text)))
        if kind == "canonicalize":
            mended = mended.strip().translate(_PUNCTUATION)
        spaced = " ".join(mended.split())
        return spaced if kind == "whitespace" else spaced.lower()

    return clean
