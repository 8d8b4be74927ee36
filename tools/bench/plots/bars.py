"""Picture of a benchmark's goals: how many times each was reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 760, 26, 390, 70, 40
_MOST = 16.0  # times a goal, at either end
_MET, _MISSED = "#0b6e4f", "#c8553d"


def drawn(goals: Sequence[Mapping[str, Any]], title: str) -> str:
    """One SVG: a bar for each goal that was measured, by powers of two, to the right of the line
    where it is met.

    The share is value over goal, or goal over value where less is better; of a goal of 0 it is 2 or
    1/2.
    """
    shown = [goal for goal in goals if goal["value"] is not None]
    height = _TOP + _ROW * len(shown) + 30
    span = (_WIDTH - _LEFT - _RIGHT) / 2
    zero = _LEFT + span

    def x(share: float) -> float:
        return zero + span * math.log2(min(max(share, 1 / _MOST), _MOST)) / math.log2(_MOST)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="14">{escape(title)}</text>',
    ]
    for number, goal in enumerate(shown):
        y = _TOP + _ROW * number
        share, colour = _share(goal), _MET if goal["met"] else _MISSED
        left, right = sorted((zero, x(share)))
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(goal["name"])}</text>'
        )
        parts.append(
            f'<rect x="{left:.1f}" y="{y + 2}" width="{max(right - left, 1):.1f}" height="16" '
            f'fill="{colour}"/>'
        )
        value = f"{goal['value']:.3g} ({goal['op']} {goal['goal']:.3g})"
        parts.append(f'<text x="{right + 4:.1f}" y="{y + 14}">{escape(value)}</text>')
    parts.append(f'<path d="M{zero:.1f} {_TOP}V{height - 24}" stroke="#333333"/>')
    for share in (0.25, 0.5, 1, 2, 4):
        parts.append(
            f'<text x="{x(share):.1f}" y="{height - 8}" text-anchor="middle">{share:g}x</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _share(goal: Mapping[str, Any]) -> float:
    value, wanted = float(goal["value"]), float(goal["goal"])
    if value <= 0 or wanted <= 0:
        return 2.0 if goal["met"] else 0.5
    return value / wanted if goal["op"].startswith(">") else wanted / value
