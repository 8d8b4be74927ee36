"""Hats, watches and sunglasses, drawn like the clothes of ``apparel``."""

from __future__ import annotations

import numpy as np

from tools.sample.brush import Sheet, box, ellipse, flip, mirrored, moved, ribbon, smooth
from tools.sample.details import BRASS, STEEL, WHITE, pick, shrunk, stitch
from tools.sample.surface import Surface


def hat(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A baseball cap, a beanie or a bucket hat."""
    style = pick(rng, "baseball-cap", "beanie", "bucket-hat")
    colour, strength = stitch(s)
    if style == "baseball-cap":
        high = rng.uniform(-0.03, 0.06)
        brim = smooth(
            [
                (0.12, 0.17, 0),
                (0.55, 0.10),
                (0.84, 0.25),
                (0.88, 0.38),
                (0.60, 0.37),
                (0.25, 0.36),
                (0.02, 0.30, 0),
            ]
        )
        dome = smooth(
            [
                (-0.62, 0.30, 0),
                (-0.64, 0.02),
                (-0.50, -0.32),
                (-0.14, -0.52 - high),
                (0.22, -0.42 - high),
                (0.46, -0.12),
                (0.53, 0.20, 0),
                (0.1, 0.30),
                (-0.25, 0.34),
            ]
        )
        sheet.part(moved(brim, 0, 0.02), s.plain(), puff=0.03, tone=0.5, lift=0)
        sheet.part(dome, s, puff=0.16, depth=1.6, folds=0.3)
        for a in (
            [(-0.13, -0.51 - high), (-0.02, -0.2), (0.06, 0.30)],
            [(-0.15, -0.51 - high), (-0.38, -0.2), (-0.42, 0.32)],
            [(-0.12, -0.51 - high), (0.28, -0.25), (0.44, 0.23)],
        ):
            seam = smooth(a, closed=False)
            sheet.line(seam, 0.008, (0, 0, 0), 0.3)
            for d in (-0.02, 0.02):
                sheet.line(moved(seam, d, 0), 0.006, colour, strength, dash=0.03)
        for at in ((-0.24, -0.22), (0.16, -0.20)):
            sheet.part(ellipse(*at, 0.02, 0.024), s.plain(), tone=0.4, lift=0)
        trim = s.plain() if rng.random() < 0.6 else s.plain(s.ink)
        sheet.part(brim, trim, puff=0.07, depth=0.9, lift=0.03)
        for d in (0.03, 0.06, 0.09):
            sheet.line(
                smooth(
                    [(0.14, 0.175 + d), (0.55, 0.12 + d * 0.9), (0.82, 0.26 + d * 0.55)],
                    closed=False,
                ),
                0.006,
                colour,
                strength * 0.8,
                dash=0.026,
            )
        sheet.part(ellipse(-0.14, -0.53 - high, 0.045, 0.026), trim, puff=0.02, lift=0.01)
    elif style == "beanie":
        high, pompom = rng.uniform(-0.04, 0.08), rng.random() < 0.5
        if pompom:
            fluff = np.radians(np.arange(0, 360, 4))
            radius = 0.155 + rng.uniform(-0.018, 0.018, len(fluff))
            ball = np.stack([radius * np.cos(fluff), -0.55 - high + radius * np.sin(fluff)], 1)
            sheet.part(ball, s.plain(s.ink, "wool"), puff=0.09, depth=1.3)
        sheet.part(
            mirrored(
                [(0, -0.52 - high), (0.26, -0.45 - high), (0.47, -0.15), (0.52, 0.25), (0, 0.33)]
            ),
            s,
            puff=0.16,
            depth=1.5,
            folds=0.5,
        )
        for at in np.linspace(-0.85, 0.85, 9):
            rib = smooth(
                [(at * 0.10, -0.50 - high), (at * 0.42, -0.2), (at * 0.52, 0.2)], closed=False
            )
            sheet.shade(ribbon(rib, 0.02), -0.22, 0.008)
        cuff = mirrored(
            [(0, 0.16), (0.50, 0.10), (0.555, 0.15), (0.55, 0.38), (0.50, 0.42), (0, 0.48)]
        )
        sheet.part(cuff, s.plain(), puff=0.06, lift=0.025)
        for x in np.linspace(-0.5, 0.5, 15):
            rib = smooth(
                [(x, 0.15 + 0.03 * (1 - (x / 0.5) ** 2)), (x, 0.43 + 0.04 * (1 - (x / 0.5) ** 2))],
                closed=False,
            )
            sheet.shade(ribbon(rib, 0.014), -0.25, 0.006)
    else:
        wide = 0.74 + rng.uniform(-0.05, 0.04)
        brim = mirrored(
            [
                (0, 0.10),
                (0.40, 0.06),
                (wide - 0.03, 0.33),
                (wide - 0.06, 0.42),
                (0.42, 0.50),
                (0, 0.53),
            ]
        )
        sheet.part(
            mirrored([(0, 0.2), (0.4, 0.2), (wide - 0.05, 0.40), (0.4, 0.56), (0, 0.585)]),
            s.plain(),
            tone=0.45,
            lift=0,
        )
        sheet.part(brim, s, puff=0.07, folds=0.5)
        for t in (0.25, 0.5, 0.75, 0.93):
            row = [
                (-0.42 - t * (wide - 0.46), 0.13 + t * 0.26),
                (0, 0.16 + t * 0.36),
                (0.42 + t * (wide - 0.46), 0.13 + t * 0.26),
            ]
            sheet.line(smooth(row, closed=False), 0.006, colour, strength, dash=0.03)
        sheet.part(
            mirrored(
                [(0, -0.46), (0.30, -0.43), (0.36, -0.36), (0.43, 0.10), (0.2, 0.17), (0, 0.185)]
            ),
            s,
            puff=0.09,
            depth=1.3,
            folds=0.6,
            lift=0.02,
        )
        sheet.part(
            mirrored([(0, -0.47), (0.28, -0.44), (0.345, -0.38), (0.2, -0.335), (0, -0.325)]),
            s.turned(0.3),
            puff=0.05,
            lift=0.0,
            tone=1.04,
        )
        sheet.line(
            smooth([(-0.415, 0.06), (0, 0.145), (0.415, 0.06)], closed=False), 0.008, (0, 0, 0), 0.3
        )
    return (style,)


def watch(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A wristwatch from the front."""
    shape = pick(rng, "round-dial", "round-dial", "square-dial")
    size = 0.36 + rng.uniform(-0.03, 0.04)
    case = s.plain(BRASS if rng.random() < 0.35 else STEEL, "metal")
    width = size * rng.uniform(0.56, 0.68)
    for y in (-1, 1):
        strap = np.array(
            [
                (-width, y * 0.22),
                (width, y * 0.22),
                (width * 0.80, y * 0.93),
                (-width * 0.80, y * 0.93),
            ]
        )
        strap = smooth([(*q, 0) for q in strap], per=5)
        if s.material == "metal":
            links = s.plain(0.55 * s.ground + 0.25 * case.ground)
            sheet.part(strap, links, puff=0.06, lift=0)
            for v in np.linspace(0.30, 0.91, 9):
                w = width * (1 - 0.2 * (v - 0.22) / 0.7)
                sheet.line(np.array([(-w, y * v), (w, y * v)]), 0.012, (0, 0, 0), 0.45)
                sheet.line(
                    np.array([(-w, y * v + 0.012), (w, y * v + 0.012)]), 0.008, (1, 1, 1), 0.4
                )
            for x in (-0.38, 0.38):
                sheet.line(
                    np.array([(x * width, y * 0.25), (x * width * 0.8, y * 0.92)]),
                    0.010,
                    (0, 0, 0),
                    0.35,
                )
        else:
            sheet.part(strap, s, puff=0.06, lift=0)
            colour, strength = stitch(s)
            for x in (-0.84, 0.84):
                sheet.line(
                    np.array([(x * width, y * 0.26), (x * width * 0.8, y * 0.90)]),
                    0.007,
                    colour,
                    strength,
                    dash=0.035,
                )
            if y > 0:
                for v in (0.58, 0.68, 0.78):
                    sheet.part(ellipse(0, v, 0.018, 0.022), s.plain(s.ground * 0.25), lift=0)
    for x in (-1, 1):
        for y in (-1, 1):
            sheet.part(
                box(
                    x * width * 0.92 - 0.045,
                    y * size * 0.90 - 0.09,
                    x * width * 0.92 + 0.045,
                    y * size * 0.90 + 0.09,
                    0.03,
                ),
                case,
                puff=0.03,
            )
    sheet.part(box(size - 0.01, -0.05, size + 0.075, 0.05, 0.02), case, puff=0.02)
    dial_rgb = (
        s.ground
        if rng.random() < 0.5
        else (WHITE if s.ground.mean() < 0.6 else np.array([0.14, 0.15, 0.18]))
    )
    mark = np.array([0.12, 0.12, 0.14]) if dial_rgb.mean() > 0.5 else WHITE

    def outline(scale: float) -> np.ndarray:
        r = size * scale
        return (
            ellipse(0, 0, r, r)
            if shape == "round-dial"
            else box(-r * 0.92, -r, r * 0.92, r, r * 0.28)
        )

    sheet.part(outline(1.0), case, puff=0.04, lift=0.03)
    sheet.part(outline(0.87), case, puff=0.03, tone=0.62, lift=0)
    sheet.part(outline(0.83), s.plain(dial_rgb, "plastic"), puff=0.02, depth=0.3, lift=0)
    for hour in range(12):
        a = np.radians(hour * 30)
        d, long = np.array([np.sin(a), -np.cos(a)]), 0.12 if hour % 3 == 0 else 0.07
        sheet.line(
            np.array([d * size * 0.74, d * size * (0.74 - long)]),
            0.022 if hour % 3 == 0 else 0.012,
            mark,
            0.95,
        )
    words = [shape]
    if rng.random() < 0.4:
        words.append("chronograph")
        for at in ((-0.3, 0), (0.3, 0), (0, 0.34)):
            sheet.part(
                ellipse(at[0] * size, at[1] * size, size * 0.17, size * 0.17),
                s.plain(dial_rgb * 0.8 + 0.1 * mark),
                puff=0.01,
                depth=0.4,
                lift=0,
            )
    hour_at, minute_at = np.radians(rng.uniform(290, 320)), np.radians(rng.uniform(40, 70))
    for a, long, thick in ((hour_at, 0.42, 0.032), (minute_at, 0.64, 0.024)):
        d = np.array([np.sin(a), -np.cos(a)]) * size
        sheet.shade(ribbon(np.array([-d * 0.1, d * long]) + 0.012, thick), -0.3, 0.008)
        sheet.line(np.array([-d * 0.1, d * long]), thick, mark, 1.0)
    sheet.line(np.array([(0, 0.09 * size), (0, -0.68 * size)]), 0.009, (0.85, 0.2, 0.15), 0.95)
    sheet.part(ellipse(0, 0, 0.022, 0.022), case, puff=0.01, lift=0)
    glare = ellipse(0, 0, size * 0.8, size * 0.8, 190, 300)
    sheet.shade(
        np.concatenate(
            [
                glare,
                smooth(
                    [
                        (0.2 * size, -0.5 * size),
                        (-0.3 * size, -0.25 * size),
                        (-0.6 * size, 0.1 * size),
                    ],
                    closed=False,
                ),
            ]
        ),
        0.13,
        0.012,
    )
    return tuple(words)


def sunglasses(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """Sunglasses from the front, temples folded open behind."""
    style = pick(rng, "round", "aviator", "square", "cat-eye")
    thin = s.material == "metal"
    rim = 0.028 if thin else rng.uniform(0.055, 0.075)
    c = 0.43 + rng.uniform(-0.01, 0.02)
    if style == "round":
        r = 0.31 + rng.uniform(-0.02, 0.02)
        lens = ellipse(c, 0, r, r)
    elif style == "aviator":
        lens = smooth(
            [
                (c - 0.30, -0.20),
                (c, -0.26),
                (c + 0.33, -0.22),
                (c + 0.37, 0.0),
                (c + 0.24, 0.28),
                (c, 0.36),
                (c - 0.22, 0.22),
                (c - 0.33, -0.04),
            ]
        )
    elif style == "square":
        lens = box(c - 0.34, -0.24, c + 0.35, 0.27, 0.11)
    else:
        lens = smooth(
            [
                (c - 0.31, -0.10),
                (c - 0.1, -0.22),
                (c + 0.2, -0.27),
                (c + 0.47, -0.36, 0),
                (c + 0.42, -0.02),
                (c + 0.24, 0.24),
                (c - 0.08, 0.27),
                (c - 0.30, 0.10),
            ]
        )
    right = lens[:, 0].max()
    for mirror in (False, True):
        temple = smooth(
            [
                (right - 0.02, -0.12),
                (right + 0.05, -0.30),
                (right - 0.02, -0.52),
                (right - 0.16, -0.60),
            ],
            closed=False,
        )
        path = ribbon(temple, [rim * 1.2, rim * 0.8])
        sheet.part(flip(path) if mirror else path, s.plain(), puff=0.02, tone=0.75)
    bridge = smooth([(-0.16, -0.03), (-0.07, -0.11), (0.07, -0.11), (0.16, -0.03)], closed=False)
    sheet.part(ribbon(bridge, rim * 0.95), s.plain(), puff=0.02)
    if style == "aviator":
        sheet.part(
            ribbon(
                smooth([(-c + 0.1, -0.27), (0, -0.25), (c - 0.1, -0.27)], closed=False), rim * 0.9
            ),
            s.plain(),
            puff=0.02,
        )
    glass = 0.30 * s.ground + 0.05 if rng.random() < 0.7 else np.array([0.20, 0.15, 0.12])
    centre = lens.mean(0)
    outer = centre + (lens - centre) * (1 + rim / np.abs(lens - centre).max(0) * 0.98)
    for mirror in (False, True):
        o, i = (flip(outer), flip(lens)) if mirror else (outer, lens)
        sheet.part(o, s, puff=0.026, lift=0.02)
        sheet.part(i, s.plain(glass, "glass"), puff=0.02, depth=0.5, lift=0)
        x0, y0 = i.mean(0)
        sheet.shade(shrunk(i, 0.62, (0.0, 0.09)), 0.20, 0.06)
        streak = np.array(
            [
                (x0 - 0.20, y0 + 0.08),
                (x0 - 0.04, y0 - 0.19),
                (x0 + 0.05, y0 - 0.19),
                (x0 - 0.13, y0 + 0.13),
            ]
        )
        sheet.shade(streak, 0.30, 0.008)
        sheet.shade(moved(streak, 0.13, 0.01), 0.18, 0.008)
    if not thin:
        for x in (-1, 1):
            sheet.part(
                ellipse(x * (right + rim * 0.2), -0.17, 0.018, 0.012),
                s.plain(STEEL, "metal"),
                puff=0.01,
                lift=0,
            )
    return (style,)
