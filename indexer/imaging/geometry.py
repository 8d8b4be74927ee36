"""Boxes in pixels."""

from __future__ import annotations

Box = tuple[int, int, int, int]  # x, y, width, height in px
