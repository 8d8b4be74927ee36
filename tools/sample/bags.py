"""Bags, drawn like the clothes of ``apparel``."""

from __future__ import annotations

import numpy as np

from tools.sample.brush import Sheet, box, ellipse, mirrored, ribbon, smooth
from tools.sample.details import BRASS, STEEL, pick, stitch
from tools.sample.surface import Surface


def handbag(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A handbag from the front."""
    style = pick(rng, "tote", "satchel", "crossbody", "bucket-bag")
    metal = s.plain(BRASS if rng.random() < 0.65 else STEEL, "metal")
    dark = s.plain(s.ground * np.float32(0.82))
    colour, strength = stitch(s)
    wide = rng.uniform(-0.04, 0.05)
    if style == "tote":
        for off, tone in ((0.03, 0.6), (0.0, 0.92)):
            handle = smooth(
                [
                    (-0.30, -0.16 - off),
                    (-0.27, -0.62 - off),
                    (0, -0.84 - off),
                    (0.27, -0.62 - off),
                    (0.30, -0.16 - off),
                ],
                closed=False,
            )
            sheet.part(
                ribbon(handle, 0.055), dark, puff=0.025, tone=tone, lift=0.012 if tone > 0.7 else 0
            )
            if tone < 0.7:
                sheet.part(
                    box(-0.58 - wide, -0.27, 0.58 + wide, -0.1), s.plain(s.ground * 0.5), lift=0
                )
        body = mirrored(
            [
                (0, -0.22),
                (0.60 + wide, -0.25, 0),
                (0.54 + wide, 0.3),
                (0.50 + wide, 0.66),
                (0.44, 0.72),
                (0, 0.735),
            ]
        )
        sheet.part(body, s, puff=0.08, folds=0.9)
        sheet.line(
            smooth([(-0.58 - wide, -0.17), (0, -0.145), (0.58 + wide, -0.17)], closed=False),
            0.007,
            colour,
            strength,
            dash=0.03,
        )
        for x in (-0.30, 0.30):
            sheet.part(box(x - 0.045, -0.30, x + 0.045, 0.0, 0.02), dark, puff=0.02, lift=0.01)
            sheet.part(ellipse(x, -0.05, 0.018, 0.018), metal, puff=0.01, lift=0)
    elif style == "bucket-bag":
        strap = smooth(
            [(-0.42, -0.22), (-0.44, -0.68), (0, -0.90), (0.44, -0.68), (0.42, -0.22)], closed=False
        )
        sheet.part(ribbon(strap, 0.045), dark, puff=0.02)
        sheet.part(ellipse(0, -0.26, 0.40, 0.09), s.plain(s.ground * 0.42), lift=0)
        body = mirrored(
            [
                (0, -0.21),
                (0.40, -0.28, 0),
                (0.46 + wide, 0.1),
                (0.52 + wide, 0.55),
                (0.44, 0.70),
                (0, 0.73),
            ]
        )
        sheet.part(body, s, puff=0.13, depth=1.3, folds=1.6)
        sheet.part(
            smooth(
                [
                    (-0.525 - wide, 0.50, 0),
                    (0, 0.56),
                    (0.525 + wide, 0.50, 0),
                    (0.46, 0.70),
                    (0, 0.745),
                    (-0.46, 0.70),
                ]
            ),
            dark,
            puff=0.06,
            lift=0.008,
        )
        cord = smooth(
            [(-0.41, -0.13), (-0.2, -0.06), (0, -0.05), (0.2, -0.06), (0.41, -0.13)], closed=False
        )
        sheet.part(ribbon(cord, 0.028), dark, puff=0.014, tone=0.8)
        for end in (-0.06, 0.07):
            sheet.part(
                ribbon(smooth([(0, -0.05), (end * 0.8, 0.12), (end, 0.26)], closed=False), 0.026),
                dark,
                puff=0.013,
                tone=0.8,
                lift=0.02,
            )
            sheet.part(ellipse(end, 0.28, 0.028, 0.04), metal, puff=0.015, lift=0.015)
        for x in (-0.42, 0.42):
            sheet.part(ellipse(x, -0.18, 0.034, 0.034), metal, puff=0.015)
    else:
        cross = style == "crossbody"
        top = -0.14 if cross else -0.24
        if cross:
            strap = smooth(
                [
                    (-0.50 - wide, top + 0.08),
                    (-0.52, -0.6),
                    (0, -0.94),
                    (0.52, -0.6),
                    (0.50 + wide, top + 0.08),
                ],
                closed=False,
            )
            sheet.part(ribbon(strap, 0.03), dark, puff=0.015)
        else:
            handle = smooth(
                [
                    (-0.24, top + 0.04),
                    (-0.23, top - 0.28),
                    (0, top - 0.40),
                    (0.23, top - 0.28),
                    (0.24, top + 0.04),
                ],
                closed=False,
            )
            sheet.part(ribbon(handle, 0.07), dark, puff=0.035)
        bottom = 0.50 if cross else 0.62
        body = mirrored(
            [
                (0, top),
                (0.48 + wide, top, 0),
                (0.56 + wide, top + 0.12),
                (0.60 + wide, bottom - 0.10),
                (0.54, bottom),
                (0, bottom + 0.02),
            ]
        )
        sheet.part(body, s, puff=0.09, folds=0.5)
        depth = rng.uniform(0.30, 0.42)
        point = 0.08 if rng.random() < 0.5 else 0.0
        flap = mirrored(
            [
                (0, top - 0.025),
                (0.49 + wide, top - 0.02),
                (0.565 + wide, top + 0.10),
                (0.565 + wide, top + depth - 0.10),
                (0.46, top + depth),
                (0, top + depth + point),
            ]
        )
        sheet.part(flap, s, puff=0.06, lift=0.035)
        stitched = flap * (0.94, 0.93) + (0, top * 0.07 + depth * 0.02)
        sheet.line(np.concatenate([stitched, stitched[:1]]), 0.006, colour, strength, dash=0.03)
        y = top + depth + point - 0.03
        sheet.part(box(-0.06, y - 0.06, 0.06, y + 0.07, 0.02), metal, puff=0.025, lift=0.02)
        sheet.part(
            box(-0.022, y - 0.02, 0.022, y + 0.03, 0.01), metal, puff=0.012, tone=0.6, lift=0
        )
        for x in (-0.24, 0.24) if not cross else (-0.5 - wide, 0.5 + wide):
            sheet.part(ellipse(x, top + 0.05, 0.036, 0.036), metal, puff=0.015)
    return (style,)


def backpack(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A backpack from the front."""
    style = pick(rng, "daypack", "roll-top", "flap-top")
    wide, dark = rng.uniform(-0.03, 0.05), s.plain(s.ground * np.float32(0.74))
    metal, (colour, strength) = s.plain(STEEL, "metal"), stitch(s)
    for x in (-1.0, 1.0):
        strap = smooth(
            [
                (x * 0.34, -0.62),
                (x * (0.62 + wide), -0.35),
                (x * (0.64 + wide), 0.25),
                (x * 0.48, 0.58),
            ],
            closed=False,
        )
        sheet.part(ribbon(strap, [0.11, 0.11, 0.05]), s.plain(s.ground * 0.55), puff=0.04)
    sheet.part(
        ribbon(
            smooth([(-0.13, -0.74), (-0.11, -0.90), (0.11, -0.90), (0.13, -0.74)], closed=False),
            0.05,
        ),
        dark,
        puff=0.025,
    )
    body = mirrored(
        [
            (0, -0.80),
            (0.28, -0.77),
            (0.46 + wide, -0.52),
            (0.52 + wide, 0.1),
            (0.53 + wide, 0.62),
            (0.43, 0.78),
            (0, 0.80),
        ]
    )
    if style == "roll-top":
        body = mirrored(
            [
                (0, -0.66),
                (0.46 + wide, -0.68, 0),
                (0.48 + wide, -0.3),
                (0.53 + wide, 0.62),
                (0.43, 0.78),
                (0, 0.80),
            ]
        )
    sheet.part(body, s, puff=0.13, depth=1.2, folds=0.9)
    for x in (-1.0, 1.0):
        pocket = smooth(
            [
                (x * (0.50 + wide), 0.22),
                (x * (0.57 + wide), 0.30),
                (x * (0.58 + wide), 0.66),
                (x * (0.50 + wide), 0.72),
            ]
        )
        sheet.part(pocket, dark, puff=0.04)
    if style == "daypack":
        arch = smooth(
            [
                (-0.46 - wide, -0.06),
                (-0.42 - wide, -0.48),
                (0, -0.66),
                (0.42 + wide, -0.48),
                (0.46 + wide, -0.06),
            ],
            closed=False,
        )
        sheet.line(arch, 0.030, s.ground * 0.35, 0.9)
        sheet.line(arch, 0.010, STEEL, 0.6, dash=0.02)
        sheet.part(
            box(0.40 + wide, -0.14, 0.44 + wide, 0.02, 0.015),
            s.plain(s.ink),
            puff=0.015,
            lift=0.012,
        )
    elif style == "roll-top":
        sheet.part(
            box(-0.50 - wide, -0.80, 0.50 + wide, -0.60, 0.09), s, puff=0.08, tone=0.97, lift=0.03
        )
        for x in (-0.22, 0.22):
            sheet.part(box(x - 0.03, -0.80, x + 0.03, 0.06, 0.01), dark, puff=0.012, lift=0.012)
            sheet.part(box(x - 0.05, -0.30, x + 0.05, -0.20, 0.02), metal, puff=0.015)
    else:
        flap = mirrored(
            [
                (0, -0.83),
                (0.30, -0.80),
                (0.49 + wide, -0.54),
                (0.50 + wide, -0.22),
                (0.40, -0.10),
                (0, -0.07),
            ]
        )
        sheet.part(flap, s, puff=0.08, lift=0.035)
        for x in (-0.24, 0.24):
            sheet.part(
                box(x - 0.035, -0.30, x + 0.035, 0.14, 0.02),
                s.plain(s.ground * 0.62, "leather"),
                puff=0.015,
                lift=0.012,
            )
            sheet.part(box(x - 0.055, -0.03, x + 0.055, 0.06, 0.015), metal, puff=0.015)
    front = mirrored(
        [
            (0, 0.12),
            (0.30, 0.12),
            (0.40 + wide, 0.18),
            (0.41 + wide, 0.60),
            (0.36, 0.70),
            (0, 0.715),
        ]
    )
    sheet.part(front, s, puff=0.07, folds=0.6, lift=0.03)
    zip_ = smooth([(-0.37 - wide, 0.26), (0, 0.235), (0.37 + wide, 0.26)], closed=False)
    sheet.line(zip_, 0.026, s.ground * 0.35, 0.9)
    sheet.line(zip_, 0.009, STEEL, 0.6, dash=0.02)
    sheet.part(
        box(-0.10, 0.40, 0.10, 0.50, 0.015),
        s.plain(s.ground * 0.55, "leather"),
        puff=0.012,
        lift=0.01,
    )
    sheet.line(front * (0.93, 0.90) + (0, 0.042), 0.006, colour, strength, dash=0.03)
    return (style,)
