"""Limit from which two prints are two; in a file of its own, which loads nothing."""

from __future__ import annotations

# Copies stay below, also with a watermark or a band of text over them.
PRINTS_DIFFER = 1.9
