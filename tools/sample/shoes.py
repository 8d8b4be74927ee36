"""Shoes, drawn like the clothes of ``apparel``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.sample.brush import Sheet, ellipse, moved, ribbon, smooth
from tools.sample.details import STEEL, WHITE, pick, stitch
from tools.sample.surface import Surface


def sneaker(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A sneaker from its outer side, toe to the right."""
    style = pick(rng, "low-top", "high-top", "slip-on", "runner")
    tall = {"low-top": -0.22, "high-top": -0.62, "slip-on": -0.16, "runner": -0.26}[
        style
    ] + rng.uniform(-0.03, 0.02)
    thick = {"runner": 0.06}.get(style, 0.0) + rng.uniform(-0.01, 0.03)
    open_ = -0.10 if style != "high-top" else -0.06
    inner = smooth(
        [
            (-0.76, tall + 0.05),
            (-0.45, tall + 0.0),
            (open_, tall + 0.02),
            (open_ + 0.05, tall + 0.16),
            (-0.7, tall + 0.2),
        ]
    )
    sheet.part(inner, s.plain(s.ground * 0.45), puff=0.03, lift=0)
    if style != "slip-on":
        tongue = smooth(
            [
                (open_ - 0.16, tall + 0.08),
                (open_ - 0.08, tall - 0.13),
                (open_ + 0.05, tall - 0.12),
                (open_ + 0.30, 0.02),
                (open_ + 0.1, 0.1),
            ]
        )
        sheet.part(tongue, s.plain(), puff=0.05, tone=0.9)
    upper = [
        (-0.84, 0.32, 0),
        (-0.84, 0.10),
        (-0.80, tall + 0.10),
        (-0.78, tall - 0.01, 0),
        (-0.62, tall + 0.08),
        (open_ - 0.14, tall + 0.05),
    ]
    upper += [
        (open_ + 0.0, tall - 0.02, 0),
        (open_ + 0.20, -0.06),
        (0.42, 0.06),
        (0.72, 0.13),
        (0.86, 0.24),
        (0.87, 0.34, 0),
    ]
    sheet.part(smooth(upper), s, puff=0.13, depth=1.25, folds=0.6)
    dark = s.plain(s.ground * np.float32(0.78))
    if style == "runner":  # overlays in waves
        for k in range(3):
            wave = smooth(
                [
                    (-0.34 + 0.2 * k, 0.33),
                    (-0.22 + 0.2 * k, 0.15),
                    (-0.16 + 0.17 * k, -0.04 + 0.05 * k),
                ],
                closed=False,
            )
            sheet.part(ribbon(wave, [0.075, 0.035]), s.plain(s.ink), puff=0.02, lift=0.01)
        sheet.part(
            smooth([(0.52, 0.34, 0), (0.60, 0.20), (0.78, 0.17), (0.87, 0.25), (0.88, 0.34, 0)]),
            dark,
            puff=0.05,
            lift=0.012,
        )
    elif style == "slip-on":
        gore = smooth(
            [
                (open_ - 0.12, tall + 0.06, 0),
                (open_ + 0.03, tall + 0.0, 0),
                (open_ + 0.06, 0.16, 0),
                (open_ - 0.08, 0.18, 0),
            ]
        )
        sheet.part(gore, s.plain(s.ground * 0.45, "wool"), puff=0.02, lift=0.008)
    else:
        if rng.random() < 0.6:
            bar = smooth([(-0.52, 0.30), (-0.20, 0.10), (0.12, 0.02)], closed=False)
            sheet.part(ribbon(bar, [0.10, 0.045]), s.plain(s.ink), puff=0.02, lift=0.008)
        if style == "high-top":
            sheet.part(
                ellipse(-0.47, tall + 0.36, 0.10, 0.10), s.plain(WHITE), puff=0.02, lift=0.008
            )
            sheet.part(
                ellipse(-0.47, tall + 0.36, 0.06, 0.06), s.plain(s.ground), puff=0.02, lift=0.0
            )
    counter = smooth(
        [
            (-0.845, 0.32, 0),
            (-0.84, 0.08),
            (-0.80, tall + 0.14, 0),
            (-0.72, tall + 0.17),
            (-0.66, 0.12),
            (-0.60, 0.33, 0),
        ]
    )
    sheet.part(counter, dark, puff=0.05, lift=0.012)
    if style != "slip-on":
        steps = 7 if style == "high-top" else 5
        stay = smooth(
            [(open_ - 0.07, tall + 0.04), (open_ + 0.14, -0.04), (0.34, 0.10)], closed=False
        )
        sheet.part(ribbon(stay, 0.10), dark, puff=0.03, lift=0.012)
        lace = s.plain(WHITE if s.ground.mean() < 0.8 else np.array([0.25, 0.25, 0.28]), "cotton")
        a, b = np.array([open_ - 0.05, tall + 0.06]), np.array([0.27, 0.06])
        for t in np.linspace(0, 1, steps):
            p = (
                a
                + (b - a) * t
                + np.array([0, -0.09 * np.sin(np.pi * t)]) * (0.4 if style == "high-top" else 0.1)
            )
            sheet.part(
                ribbon(
                    smooth(
                        [moved(p, -0.035, 0.045), moved(p, 0.02, -0.02), moved(p, 0.09, -0.055)],
                        closed=False,
                    ),
                    0.032,
                ),
                lace,
                puff=0.016,
                lift=0.012,
            )
    colour, strength = stitch(s)
    sheet.line(
        smooth([(-0.60, 0.26), (0.0, 0.28), (0.5, 0.26)], closed=False),
        0.006,
        colour,
        strength,
        dash=0.03,
    )
    sole = (
        WHITE
        if rng.random() < 0.75
        else (
            np.array([0.30, 0.30, 0.32]) if s.ground.mean() > 0.4 else np.array([0.80, 0.72, 0.58])
        )
    )
    base = [
        (-0.88, 0.29),
        (-0.4, 0.315),
        (0.2, 0.315),
        (0.62, 0.29),
        (0.90, 0.29),
        (0.915, 0.36),
        (0.84, 0.45 + thick),
        (0.4, 0.46 + thick),
    ]
    base += [(-0.3, 0.455 + thick), (-0.82, 0.46 + thick), (-0.90, 0.38)]
    sheet.part(smooth(base), s.plain(sole, "rubber"), puff=0.045, lift=0.015)
    sheet.line(
        smooth([(-0.87, 0.345), (-0.3, 0.37), (0.3, 0.37), (0.89, 0.345)], closed=False),
        0.012,
        s.ink if rng.random() < 0.4 else s.ground,
        0.8,
    )
    tread = smooth(
        [(-0.86, 0.445 + thick), (0.3, 0.452 + thick), (0.82, 0.44 + thick)], closed=False
    )
    sheet.line(tread, 0.02, (0.12, 0.12, 0.12), 0.55, dash=0.045)
    return (style,)


@dataclass(frozen=True)
class _BootShape:
    """Heights and widths of a boot: shaft's top, sole's level, heel's lift and height, calf."""

    style: str
    top: float
    low: float
    lift: float
    heel: float
    calf: float


_BOOT_TOPS = {"chelsea": -0.42, "lace-up": -0.52, "knee-high": -0.88, "heeled": -0.46}


def boot(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A boot from its outer side, toe to the right."""
    style = pick(rng, "chelsea", "lace-up", "knee-high", "heeled")
    shape = _BootShape(
        style,
        top=_BOOT_TOPS[style] + rng.uniform(-0.04, 0.03),
        low=0.52,
        lift=0.17 if style == "heeled" else 0.0,
        heel=0.30 if style == "heeled" else 0.13,
        calf=0.07 if style == "knee-high" else 0.0,
    )
    dark = np.array([0.16, 0.13, 0.11]) if rng.random() < 0.7 else np.array([0.55, 0.40, 0.26])
    _boot_upper(sheet, s, shape)
    if style == "chelsea":
        _elastic_gore(sheet, s, shape)
    elif style == "lace-up":
        _laces_and_cap(sheet, s, shape)
    else:
        _zip(sheet, shape)
    _boot_seams(sheet, s, shape)
    _boot_sole(sheet, s.plain(dark, "rubber"), shape)
    return (style,)


def _boot_upper(sheet: Sheet, s: Surface, b: _BootShape) -> None:
    opening = smooth(
        [
            (-0.58 - b.calf, b.top),
            (-0.3, b.top - 0.02),
            (-0.02 + b.calf, b.top + 0.005),
            (-0.05 + b.calf, b.top + 0.07),
            (-0.5, b.top + 0.08),
        ]
    )
    sheet.part(opening, s.plain(s.ground * 0.4), puff=0.02, lift=0)
    upper = [
        (-0.58 - b.calf, b.top, 0),
        (-0.30, b.top + 0.04),
        (-0.02 + b.calf, b.top + 0.01, 0),
        (0.0 + b.calf * 0.6, b.top * 0.45),
        (0.02, -0.02 - b.lift * 0.5),
        (0.22, 0.14 - b.lift * 0.2),
    ]
    upper += [
        (0.52, 0.22),
        (0.74, 0.33),
        (0.80, 0.45),
        (0.78, b.low, 0),
        (0.2, b.low),
        (-0.05, b.low - b.lift * 0.6),
        (-0.58, b.low - b.lift, 0),
        (-0.62, 0.30 - b.lift),
        (-0.55 - b.calf * 0.3, 0.0 - b.lift * 0.6),
        (-0.57 - b.calf, b.top * 0.5),
    ]
    sheet.part(smooth(upper), s, puff=0.15, depth=1.25, folds=0.9)
    # The ankle gives.
    for y in (0.02, 0.09):
        crease = smooth(
            [(-0.30, y - b.lift), (-0.1, y + 0.02 - b.lift), (0.06, y - 0.03 - b.lift * 0.5)],
            closed=False,
        )
        sheet.shade(ribbon(crease, [0.005, 0.035]), -0.22, 0.018)
        sheet.shade(ribbon(moved(crease, 0, -0.03), [0.005, 0.03]), 0.13, 0.018)


def _elastic_gore(sheet: Sheet, s: Surface, b: _BootShape) -> None:
    gore = smooth(
        [
            (-0.40, b.top + 0.03, 0),
            (-0.15, b.top + 0.03, 0),
            (-0.2, b.top + 0.35),
            (-0.27, b.top + 0.50),
            (-0.35, b.top + 0.35),
        ]
    )
    sheet.part(gore, s.plain(s.ground * 0.5, "wool"), puff=0.02, lift=0.008)
    for x in np.linspace(-0.36, -0.19, 7):
        sheet.line(
            np.array([(x, b.top + 0.05), (x * 0.5 - 0.135, b.top + 0.44)]), 0.006, (0, 0, 0), 0.35
        )
    sheet.part(
        ribbon(
            smooth(
                [
                    (-0.57, b.top + 0.02),
                    (-0.60, b.top - 0.09),
                    (-0.52, b.top - 0.06),
                    (-0.53, b.top + 0.04),
                ],
                closed=False,
            ),
            0.03,
        ),
        s.plain(),
        tone=0.75,
    )


def _laces_and_cap(sheet: Sheet, s: Surface, b: _BootShape) -> None:
    sheet.part(
        ribbon(smooth([(-0.06, b.top + 0.02), (-0.02, -0.05), (0.24, 0.19)], closed=False), 0.13),
        s.plain(s.ground * 0.82),
        puff=0.03,
        lift=0.01,
    )
    lace = s.plain(
        np.array([0.85, 0.72, 0.42]) if s.ground.mean() < 0.6 else np.array([0.25, 0.2, 0.18]),
        "cotton",
    )
    for t in np.linspace(0, 1, 7):
        p = np.array(
            [
                -0.06 + 0.02 * t + 0.24 * max(0, t - 0.6) * 2.2,
                b.top + 0.07 + (0.12 - b.top) * t * 0.92,
            ]
        )
        sheet.part(
            ribbon(smooth([moved(p, -0.07, 0.02), p, moved(p, 0.075, -0.03)], closed=False), 0.028),
            lace,
            puff=0.014,
            lift=0.01,
        )
    sheet.part(
        smooth(
            [
                (0.42, b.low, 0),
                (0.44, 0.32),
                (0.55, 0.235),
                (0.74, 0.33),
                (0.80, 0.45),
                (0.78, b.low, 0),
            ]
        ),
        s.plain(),
        puff=0.08,
        lift=0.012,
        tone=0.94,
    )


def _zip(sheet: Sheet, b: _BootShape) -> None:
    zip_ = smooth([(-0.30, b.top + 0.06), (-0.27, 0.0), (-0.25, 0.36 - b.lift)], closed=False)
    sheet.line(zip_, 0.022, (0.1, 0.1, 0.1), 0.45)
    sheet.line(zip_, 0.010, STEEL, 0.85, dash=0.022)


def _boot_seams(sheet: Sheet, s: Surface, b: _BootShape) -> None:
    colour, strength = stitch(s)
    sheet.line(
        smooth(
            [
                (-0.55 - b.calf, b.top + 0.05),
                (-0.30, b.top + 0.085),
                (-0.03 + b.calf, b.top + 0.055),
            ],
            closed=False,
        ),
        0.006,
        colour,
        strength,
        dash=0.03,
    )
    sheet.line(
        smooth(
            [
                (-0.59, b.low - 0.04 - b.lift),
                (-0.05, b.low - 0.04 - b.lift * 0.6),
                (0.2, b.low - 0.045),
                (0.76, b.low - 0.04),
            ],
            closed=False,
        ),
        0.006,
        colour,
        strength,
        dash=0.03,
    )


def _boot_sole(sheet: Sheet, sole: Surface, b: _BootShape) -> None:
    sheet.part(
        smooth(
            [
                (-0.62, b.low - b.lift - 0.015, 0),
                (-0.05, b.low - b.lift * 0.6 - 0.01),
                (0.2, b.low - 0.015),
                (0.80, b.low - 0.03),
                (0.835, b.low + 0.03),
                (0.78, b.low + 0.075),
                (0.25, b.low + 0.07),
                (-0.05, b.low + 0.055 - b.lift * 0.6),
                (-0.63, b.low + 0.05 - b.lift, 0),
            ]
        ),
        sole,
        puff=0.03,
    )
    taper = 0.12 if b.style == "heeled" else 0.02
    sheet.part(
        smooth(
            [
                (-0.625, b.low + 0.03 - b.lift, 0),
                (-0.20 - (0.06 if b.lift else 0), b.low + 0.04 - b.lift * 0.85, 0),
                (-0.26 - taper, b.low + b.heel - b.lift + 0.04, 0),
                (-0.615, b.low + b.heel - b.lift + 0.04, 0),
            ],
            per=4,
        ),
        sole,
        puff=0.035,
        lift=0.008,
    )
