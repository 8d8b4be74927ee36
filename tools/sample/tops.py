"""Tops: each function draws one product on a sheet and returns words for its style."""

from __future__ import annotations

import numpy as np

from tools.sample.brush import Sheet, box, ellipse, flip, mirrored, moved, ribbon, smooth
from tools.sample.details import hem_line, pick, stitch
from tools.sample.surface import Surface


def tshirt(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A T-shirt laid flat."""
    neck, sleeve = (
        pick(rng, "crew-neck", "v-neck", "scoop-neck"),
        pick(rng, "short-sleeve", "short-sleeve", "long-sleeve"),
    )
    wide, long = rng.uniform(-0.03, 0.07), rng.uniform(-0.08, 0.08)
    nw = {"crew-neck": 0.17, "v-neck": 0.17, "scoop-neck": 0.23}[neck] + rng.uniform(-0.01, 0.02)
    drop = {"crew-neck": 0.13, "v-neck": 0.36, "scoop-neck": 0.27}[neck] + rng.uniform(-0.02, 0.03)
    side, hem, top = 0.44 + wide, 0.80 + long, -0.74
    shoulder = (side + 0.0, top + 0.11)
    # Inside of the back, seen through the neck opening.
    inside = mirrored(
        [(0, top - 0.01), (nw, top - 0.01), (nw + 0.02, top + 0.08), (0, top + drop + 0.06, 0)]
    )
    sheet.part(inside, s.plain(), tone=0.58, puff=0.02, lift=0)
    sheet.part(
        mirrored([(0, top + 0.0), (nw, top - 0.02), (nw, top + 0.05), (0, top + 0.065)]),
        s.plain(),
        tone=0.78,
        lift=0,
    )
    if sleeve == "short-sleeve":
        out, low = 0.80 + wide, rng.uniform(-0.16, -0.02)
        arm = [
            (shoulder[0] - 0.10, shoulder[1] - 0.035, 0),
            (shoulder[0] + 0.06, shoulder[1] + 0.04),
            (out, low - 0.20, 0),
        ]
        arm += [(out - 0.17, low, 0), (side - 0.02, -0.20, 0)]
        cuff = ((out - 0.035, low - 0.215), (out - 0.205, low - 0.025))
    else:
        out, low = 0.80 + wide, 0.52 + long * 0.5
        arm = [
            (shoulder[0] - 0.10, shoulder[1] - 0.035, 0),
            (shoulder[0] + 0.05, shoulder[1] + 0.05),
            (out - 0.09, -0.1),
        ]
        arm += [
            (out, low, 0),
            (out - 0.15, low + 0.05, 0),
            (out - 0.25, 0.05),
            (side - 0.02, -0.20, 0),
        ]
        cuff = ((out - 0.015, low - 0.055), (out - 0.165, low - 0.005))
    for mirror in (False, True):
        path = smooth(arm)
        edge = np.array(cuff)
        sheet.part(
            flip(path) if mirror else path,
            s.turned(0.5 if mirror else -0.5),
            puff=0.05,
            folds=1.0,
            lift=0.015,
        )
        sheet.line(flip(edge) if mirror else edge, 0.008, (0, 0, 0), 0.25)
    start: list[tuple[float, ...]] = [(0, top + drop), (nw * 0.62, top + drop * 0.78)]
    if neck == "v-neck":
        start = [(0, top + drop, 0)]
    half: list[tuple[float, ...]] = [
        *start,
        (nw, top, 0),
        (shoulder[0] - 0.02, shoulder[1] - 0.03),
        (shoulder[0] + 0.02, shoulder[1] + 0.12),
    ]
    half += [
        (side - 0.015, -0.22),
        (side - 0.01, 0.25),
        (side + 0.01, hem - 0.02, 0),
        (0, hem + 0.015),
    ]
    sheet.part(mirrored(half), s, puff=0.07, folds=1.0, lean=rng.uniform(-0.5, 0.5), lift=0.02)
    neckline = [
        (-nw, top, 0),
        *[(-q[0], *q[1:]) for q in reversed(start[1:])],
        *start,
        (nw, top, 0),
    ]
    collar = smooth(neckline, closed=False)
    trim = s.plain(s.ink) if s.pattern == "solid" and rng.random() < 0.18 else s.plain()
    sheet.part(ribbon(moved(collar, 0, 0.012), 0.052), trim, puff=0.018, lift=0.01, tone=0.94)
    for x in (-1.0, 1.0):
        seam = smooth(
            [
                (x * (shoulder[0] - 0.03), shoulder[1] - 0.03),
                (x * (side + 0.0), -0.42),
                (x * (side - 0.02), -0.21),
            ],
            False,
        )
        sheet.line(seam, 0.008, (0, 0, 0), 0.22)
    hem_line(sheet, hem - 0.05, side + 0.0)
    return neck, sleeve


def shirt(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A buttoned shirt laid flat."""
    sleeve, collar = (
        pick(rng, "long-sleeve", "long-sleeve", "short-sleeve"),
        pick(rng, "point-collar", "band-collar", "point-collar"),
    )
    wide, long = rng.uniform(-0.03, 0.05), rng.uniform(-0.05, 0.05)
    side, hem, top = 0.43 + wide, 0.82 + long, -0.72
    upright = s.turned(np.pi / 2) if s.pattern == "stripes" else s
    sheet.part(
        mirrored([(0, top - 0.05), (0.17, top - 0.04), (0.18, top + 0.10), (0, top + 0.24, 0)]),
        s.plain(),
        tone=0.6,
        lift=0,
    )
    if sleeve == "long-sleeve":
        out, low = 0.76 + wide, 0.50 + long
        arm = [
            (side - 0.10, top + 0.06, 0),
            (side + 0.06, top + 0.15),
            (out - 0.06, -0.1),
            (out, low, 0),
        ]
        arm += [(out - 0.16, low + 0.04, 0), (out - 0.25, 0.05), (side - 0.03, -0.20, 0)]
        cuff = [
            (out + 0.012, low - 0.02, 0),
            (out + 0.015, low + 0.10, 0),
            (out - 0.14, low + 0.14, 0),
            (out - 0.165, low + 0.02, 0),
        ]
    else:
        out, low = 0.78 + wide, -0.10
        arm = [
            (side - 0.10, top + 0.06, 0),
            (side + 0.06, top + 0.13),
            (out, low - 0.16, 0),
            (out - 0.18, low + 0.04, 0),
            (side - 0.03, -0.2, 0),
        ]
        cuff = [
            (out, low - 0.16, 0),
            (out - 0.03, low - 0.21, 0),
            (out - 0.21, low - 0.015, 0),
            (out - 0.18, low + 0.04, 0),
        ]
    for mirror in (False, True):
        a, c = smooth(arm), smooth(cuff)
        sheet.part(
            flip(a) if mirror else a,
            upright.turned(0.25 if mirror else -0.25),
            puff=0.05,
            folds=1.2,
            lift=0.015,
        )
        sheet.part(
            flip(c) if mirror else c,
            s.plain() if s.pattern == "solid" else upright,
            puff=0.02,
            lift=0.012,
            tone=0.97,
        )
    half = [
        (0, top + 0.24, 0),
        (0.15, top, 0),
        (side - 0.03, top + 0.07),
        (side + 0.015, top + 0.2),
        (side - 0.02, -0.2),
    ]
    half += [
        (side - 0.02, 0.3),
        (side + 0.01, hem - 0.16),
        (side - 0.07, hem - 0.05),
        (0.16, hem),
        (0, hem - 0.005),
    ]
    sheet.part(
        mirrored(half), upright, puff=0.07, folds=1.0, lean=rng.uniform(-0.4, 0.4), lift=0.02
    )
    colour, strength = stitch(s)
    sheet.part(
        box(-0.045, top + 0.20, 0.045, hem - 0.005), upright, puff=0.012, depth=0.7, lift=0.008
    )
    for x in (-0.033, 0.033):
        sheet.line(np.array([(x, top + 0.24), (x, hem - 0.03)]), 0.006, colour, strength, dash=0.03)
    button = (0.95, 0.93, 0.88) if s.ground.mean() < 0.72 else (0.42, 0.36, 0.32)
    for y in np.linspace(top + 0.29, hem - 0.16, 6):
        sheet.shade(ellipse(0.005, y + 0.008, 0.023, 0.023), -0.35, 0.008)
        sheet.part(
            ellipse(0, y, 0.021, 0.021), s.plain(np.array(button), "plastic"), puff=0.01, lift=0
        )
    if collar == "point-collar":
        flap = smooth(
            [
                (0.0, top + 0.235, 0),
                (0.13, top - 0.085, 0),
                (0.185, top - 0.02, 0),
                (0.215, top + 0.20, 0),
                (0.02, top + 0.24, 0),
            ],
            per=4,
        )
        for path in (flap, flip(flap)):
            sheet.part(
                path,
                s.plain() if s.pattern == "solid" else upright.turned(0.5),
                puff=0.022,
                lift=0.022,
            )
        back = smooth([(-0.135, top - 0.075), (0, top - 0.055), (0.135, top - 0.075)], closed=False)
        sheet.part(ribbon(back, 0.045), s.plain(), puff=0.02, lift=0.0, tone=0.9)
    else:
        band = smooth(
            [
                (-0.15, top, 0),
                (-0.10, top + 0.15),
                (0, top + 0.23),
                (0.10, top + 0.15),
                (0.15, top, 0),
            ],
            closed=False,
        )
        sheet.part(ribbon(band, 0.06), s.plain(), puff=0.02, lift=0.012)
    if rng.random() < 0.6:
        pocket = smooth(
            [
                (0.13, -0.24, 0),
                (0.31, -0.24, 0),
                (0.31, -0.06, 0),
                (0.22, -0.02, 0),
                (0.13, -0.06, 0),
            ],
            per=3,
        )
        sheet.part(pocket, upright, puff=0.012, depth=0.7, lift=0.01)
        sheet.line(np.array([(0.14, -0.205), (0.30, -0.205)]), 0.006, colour, strength, dash=0.03)
    for x in (-1.0, 1.0):
        seam = smooth(
            [
                (x * (side - 0.03), top + 0.07),
                (x * (side - 0.01), -0.42),
                (x * (side - 0.03), -0.2),
            ],
            closed=False,
        )
        sheet.line(seam, 0.008, (0, 0, 0), 0.22)
    return collar, sleeve
