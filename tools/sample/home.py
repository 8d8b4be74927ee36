"""Things for the home: mugs, bottles, chairs, lamps, drawn like the clothes of ``apparel``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tools.sample.brush import Sheet, box, ellipse, mirrored, moved, ribbon, smooth
from tools.sample.details import BRASS, COFFEE, OAK, STEEL, WHITE, pick
from tools.sample.surface import Surface


def mug(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A mug seen a little from above, handle to the right."""
    style = pick(rng, "straight", "tapered", "rounded", "tall")
    rim = {"straight": 0.46, "tapered": 0.52, "rounded": 0.44, "tall": 0.36}[style] + rng.uniform(
        -0.02, 0.03
    )
    foot = {"straight": 0.44, "tapered": 0.34, "rounded": 0.30, "tall": 0.34}[style]
    belly = {"straight": 0.46, "tapered": 0.46, "rounded": 0.53, "tall": 0.36}[style]
    top, bottom = (-0.62 if style == "tall" else -0.46), (0.72 if style == "tall" else 0.58)
    tilt, cx = 0.10 + rng.uniform(-0.015, 0.02), -0.14
    middle = (top + bottom) / 2
    reach = rng.uniform(0.26, 0.34)
    handle = smooth(
        [
            (cx + belly - 0.04, top + 0.24),
            (cx + belly + reach * 0.8, top + 0.20),
            (cx + belly + reach, middle),
            (cx + belly + reach * 0.6, bottom - 0.26),
            (cx + belly - 0.08, bottom - 0.24),
        ],
        closed=False,
    )
    sheet.part(ribbon(handle, [0.11, 0.095, 0.11]), s.plain(), puff=0.05, depth=1.4, lift=0)
    half = [
        (0, top, 0),
        (rim, top, 0),
        (belly, middle if style != "tapered" else middle - 0.1),
        (foot + 0.03, bottom - 0.05),
    ]
    half += [
        (foot - 0.02, bottom + tilt * 0.35),
        (foot * 0.5, bottom + tilt * 0.62),
        (0, bottom + tilt * 0.7),
    ]
    sheet.part(moved(mirrored(half), cx, 0), s, round_=True, lift=0.03)
    if rng.random() < 0.3 and s.pattern == "solid":  # dipped in a second glaze
        y = middle + rng.uniform(0.05, 0.2)
        dip = [
            (0, y),
            (belly * 0.985, y - 0.06, 0),
            (foot + 0.035, bottom - 0.05),
            (foot - 0.02, bottom + tilt * 0.35),
            (0, bottom + tilt * 0.7),
        ]
        sheet.part(moved(mirrored(dip), cx, 0), s.plain(s.ink), round_=True, lift=0)
    edge = s.plain(np.array([0.18, 0.2, 0.26])) if s.material == "enamel" else s.plain()
    sheet.part(ellipse(cx, top, rim + 0.008, tilt), edge, puff=0.02, lift=0, tone=1.06)
    inside = s.plain(WHITE if rng.random() < 0.6 else s.ground * 0.9)
    sheet.part(
        ellipse(cx, top + 0.004, rim - 0.035, tilt - 0.022),
        inside,
        puff=0.05,
        depth=-0.9,
        tone=0.86,
        lift=0,
    )
    if rng.random() < 0.55:
        sheet.part(
            ellipse(cx, top + 0.035, rim - 0.065, tilt - 0.046),
            s.plain(COFFEE, "plastic"),
            puff=0.02,
            lift=0,
        )
        sheet.shade(ellipse(cx - rim * 0.3, top + 0.03, rim * 0.25, 0.014), 0.35, 0.02)
    return (style,)


def bottle(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A drinking bottle, standing."""
    style = pick(rng, "slim", "wide-mouth", "tumbler", "carafe")
    body = {"slim": 0.24, "wide-mouth": 0.31, "tumbler": 0.33, "carafe": 0.34}[style] + rng.uniform(
        -0.02, 0.02
    )
    neck = {"slim": 0.11, "wide-mouth": 0.19, "tumbler": 0.30, "carafe": 0.13}[style]
    top = -0.61 + rng.uniform(-0.05, 0.06)
    if style == "slim":
        half = [
            (0, top),
            (neck, top, 0),
            (neck, top + 0.12),
            (body * 0.92, top + 0.42),
            (body, top + 0.6),
            (body, 0.80),
            (body - 0.05, 0.87),
            (0, 0.885),
        ]
    elif style == "wide-mouth":
        half = [
            (0, top),
            (neck, top, 0),
            (neck + 0.01, top + 0.05),
            (body - 0.02, top + 0.22),
            (body, top + 0.34),
            (body, 0.80),
            (body - 0.05, 0.87),
            (0, 0.885),
        ]
    elif style == "tumbler":
        half = [
            (0, top),
            (body, top, 0),
            (body - 0.04, 0.1),
            (body - 0.08, 0.82),
            (body - 0.12, 0.87),
            (0, 0.885),
        ]
    else:
        half = [
            (0, top),
            (neck + 0.03, top, 0),
            (neck, top + 0.14),
            (neck + 0.02, top + 0.40),
            (body, 0.25),
            (body, 0.72),
            (body - 0.07, 0.86),
            (0, 0.885),
        ]
    path = mirrored(half)
    glass = s.material == "glass"
    if glass:
        sheet.part(path, s.plain(0.35 * s.ground + 0.6), round_=True, lift=0, opacity=0.55)
        water = top + rng.uniform(0.45, 0.7)
        low = path[path[:, 1] > water]
        sheet.part(low * (0.90, 0.985), s.plain(s.ground), round_=True, lift=0, opacity=0.80)
        sheet.part(path, s.plain(s.ground), round_=True, lift=0, opacity=0.42)
        width = (
            np.abs(low[:, 0]).max()
            if style != "carafe"
            else np.abs(low[low[:, 1] < water + 0.06][:, 0]).max()
        )
        sheet.shade(ellipse(0, water, width * 0.88, 0.02), 0.35, 0.005)
    else:
        sheet.part(path, s, round_=True, lift=0)
    sheet.shade(
        box(-body * 0.62, top + 0.46, -body * 0.42, 0.74, 0.05), 0.30 if glass else 0.16, 0.015
    )
    lid = (
        s.plain(STEEL, "metal")
        if rng.random() < 0.45
        else s.plain(
            s.ground * 0.45 if s.ground.mean() > 0.25 else np.array([0.75, 0.72, 0.68]), "plastic"
        )
    )
    if glass and rng.random() < 0.6:
        lid = s.plain(OAK, "wood")
    if style == "tumbler":
        sheet.part(box(-body - 0.015, top - 0.07, body + 0.015, top + 0.03, 0.03), lid, round_=True)
        straw = np.array([(0.08, top - 0.05), (0.14, top - 0.30)])
        sheet.part(
            ribbon(straw, 0.045),
            s.plain(s.ink if rng.random() < 0.5 else STEEL, "plastic"),
            puff=0.02,
        )
    else:
        high = 0.16 if style != "wide-mouth" else 0.13
        sheet.part(box(-neck - 0.02, top - high, neck + 0.02, top + 0.035, 0.03), lid, round_=True)
        if style == "wide-mouth":
            loop = smooth(
                [
                    (-0.11, top - high + 0.02),
                    (-0.10, top - high - 0.11),
                    (0.10, top - high - 0.11),
                    (0.11, top - high + 0.02),
                ],
                closed=False,
            )
            sheet.part(ribbon(loop, 0.045), lid, puff=0.022)
    if not glass and rng.random() < 0.35:
        sheet.part(
            box(-body * 0.99, 0.62, body * 0.99, 0.80),
            s.plain(s.ink, "rubber"),
            round_=True,
            lift=0,
        )
    if not glass and s.pattern == "solid" and rng.random() < 0.5:
        mark = s.ground * 0.5 if s.ground.mean() > 0.5 else WHITE
        sheet.line(ellipse(0.04, 0.12, 0.07, 0.07, 0, 300), 0.02, mark, 0.8)
    return (style,)


def _leg(
    sheet: Sheet,
    s: Surface,
    a: tuple[float, float],
    b: tuple[float, float],
    wide: float,
    tone: float = 1.0,
) -> None:
    sheet.part(
        ribbon(
            np.array([a, ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2), b]),
            [wide, wide * 0.85, wide * 0.62],
        ),
        s,
        puff=wide * 0.4,
        tone=tone,
        lift=0,
    )


def chair(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A chair seen from the front, a little from above."""
    soft = s.material in ("wool", "leather")
    style = pick(
        rng,
        "shell-chair",
        "stool",
        *(("armchair", "armchair") if soft else ("dining-chair", "dining-chair")),
    )
    frame = s.plain(OAK * np.float32(rng.uniform(0.6, 1.1)), "wood")
    if rng.random() < 0.3:
        frame = s.plain(np.array([0.17, 0.17, 0.18]), "metal")
    spread = rng.uniform(-0.02, 0.04)
    if style == "shell-chair":
        for x in (-1.0, 1.0):
            _leg(sheet, frame, (x * 0.26, 0.20), (x * (0.36 + spread), 0.74), 0.055, 0.7)
        for x in (-1.0, 1.0):
            _leg(sheet, frame, (x * 0.30, 0.26), (x * (0.50 + spread), 0.90), 0.07)
        back = mirrored(
            [
                (0, -0.88),
                (0.30, -0.85),
                (0.44, -0.62),
                (0.42, -0.25),
                (0.50, -0.02),
                (0.50, 0.12),
                (0, 0.16),
            ]
        )
        sheet.part(back, s, puff=0.13, depth=-0.7, lift=0)
        sheet.shade(mirrored([(0, -0.12), (0.36, -0.10), (0.42, 0.04), (0, 0.08)]), -0.28, 0.05)
        seat = mirrored(
            [(0, 0.02), (0.40, 0.0), (0.54, 0.06), (0.53, 0.22), (0.40, 0.33), (0, 0.35)]
        )
        sheet.part(seat, s, puff=0.09, depth=1.1, lift=0.02)
    elif style == "dining-chair":
        for x in (-1.0, 1.0):
            _leg(sheet, s.plain(), (x * 0.33, 0.1), (x * 0.35, 0.72), 0.06, 0.6)
        for x in (-1.0, 1.0):
            _leg(sheet, s.plain(), (x * 0.36, 0.2), (x * 0.33, -0.90), 0.075)
        slats = pick(rng, "slats", "spindles")
        if slats == "slats":
            for y in np.linspace(-0.78, -0.22, 3 + int(rng.integers(2))):
                rail = smooth([(-0.34, y), (0, y - 0.03), (0.34, y)], closed=False)
                sheet.part(ribbon(rail, 0.10), s, puff=0.03)
        else:
            for x in np.linspace(-0.22, 0.22, 5):
                sheet.part(ribbon(np.array([(x, -0.76), (x, 0.1)]), 0.038), s.plain(), puff=0.02)
            sheet.part(
                ribbon(smooth([(-0.38, -0.78), (0, -0.84), (0.38, -0.78)], closed=False), 0.15),
                s,
                puff=0.04,
            )
        for x in (-1.0, 1.0):
            _leg(sheet, s.plain(), (x * 0.40, 0.24), (x * (0.43 + spread), 0.92), 0.08)
        sheet.part(box(-0.38, 0.22, 0.38, 0.32), s.plain(), puff=0.02, tone=0.72)
        sheet.part(
            smooth(
                [
                    (-0.36, 0.04, 0),
                    (0.36, 0.04, 0),
                    (0.48, 0.22, 0),
                    (0.47, 0.27, 0),
                    (-0.47, 0.27, 0),
                    (-0.48, 0.22, 0),
                ],
                per=3,
            ),
            s,
            puff=0.03,
            lift=0.02,
        )
    elif style == "armchair":
        for x in (-1.0, 1.0):
            _leg(sheet, frame, (x * 0.52, 0.62), (x * 0.60, 0.90), 0.075)
        back = mirrored([(0, -0.72), (0.44, -0.70), (0.56, -0.56), (0.55, 0.2), (0, 0.25)])
        sheet.part(back, s, puff=0.12, folds=0.4)
        if rng.random() < 0.5:
            for x in (-0.36, -0.12, 0.12, 0.36):
                for y in (-0.48, -0.20):
                    sheet.shade(ellipse(x, y, 0.03, 0.03), -0.40, 0.022)
                    sheet.part(ellipse(x, y, 0.020, 0.020), s.plain(), puff=0.01, lift=0)
        sheet.part(box(-0.62, 0.36, 0.62, 0.68, 0.08), s.plain(), puff=0.06, tone=0.86)
        sheet.part(
            mirrored([(0, 0.12), (0.44, 0.13), (0.50, 0.24), (0.48, 0.38), (0, 0.41)]),
            s,
            puff=0.09,
            depth=1.3,
            folds=0.4,
            lift=0.03,
        )
        for x in (-1.0, 1.0):
            arm = box(0.46, -0.16, 0.74, 0.68, 0.13) * (x, 1)
            sheet.part(arm, s, puff=0.11, depth=1.2, folds=0.3, lift=0.025)
    else:
        high = rng.uniform(-0.42, -0.25)
        for x in (-1.0, 1.0):
            _leg(sheet, frame, (x * 0.22, high), (x * 0.33, 0.76), 0.055, 0.65)
        sheet.part(ribbon(np.array([(-0.42, 0.42), (0.42, 0.42)]), 0.045), frame, puff=0.02, lift=0)
        for x in (-1.0, 1.0):
            _leg(sheet, frame, (x * 0.28, high + 0.02), (x * (0.46 + spread), 0.90), 0.07)
        sheet.part(box(-0.48, high - 0.06, 0.48, high + 0.12, 0.09), s, puff=0.06, tone=0.82)
        sheet.part(ellipse(0, high - 0.06, 0.48, 0.135), s, puff=0.06, depth=0.8, lift=0.01)
    return (style,)


def lamp(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A lamp, lit: the named colour is its shade's (a desk lamp's: all of it)."""
    style = pick(rng, "table-lamp", "table-lamp", "floor-lamp", "desk-lamp")
    stand = s.plain(
        _stand_colour(s, rng), s.material if s.material in ("wood", "metal", "ceramic") else "metal"
    )
    cloth = s if s.material == "metal" else replace(s, material="canvas")
    if style == "desk-lamp":
        sheet.part(box(-0.42, 0.80, 0.26, 0.89, 0.04), s.plain(), puff=0.035, lift=0)
        knee = np.array([-0.34 + rng.uniform(-0.06, 0.04), 0.02])
        head = np.array([0.20 + rng.uniform(-0.04, 0.05), -0.52])
        for a, b in ((np.array([-0.08, 0.82]), knee), (knee, head)):
            sheet.part(ribbon(np.stack([a, (a + b) / 2, b]), 0.055), stand, puff=0.025, lift=0.0)
        sheet.part(ellipse(knee[0], knee[1], 0.055, 0.055), s.plain(STEEL, "metal"), puff=0.03)
        hood = np.array(
            [
                (-0.10, -0.12),
                (0.10, -0.12),
                (0.16, 0.02),
                (0.36, 0.34),
                (-0.36, 0.34),
                (-0.16, 0.02),
            ]
        )
        turn = np.radians(-28 + rng.uniform(-10, 10))
        spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        at = moved(head, 0.02, -0.02)
        sheet.part(
            ellipse(0, 0.33, 0.35, 0.085) @ spin + at,
            s.plain(np.array([1.0, 0.93, 0.70])),
            puff=0.03,
            depth=0.3,
            lift=0,
        )
        sheet.part(
            smooth([(*q, 0) if i in (3, 4) else tuple(q) for i, q in enumerate(hood)]) @ spin + at,
            cloth,
            puff=0.10,
            depth=1.5,
        )
        return (style,)
    if style == "floor-lamp":
        top, low, r0, r1 = (
            -0.90,
            -0.48,
            0.21 + rng.uniform(-0.04, 0.03),
            0.33 + rng.uniform(-0.03, 0.04),
        )
        if rng.random() < 0.5:
            for x in (-0.36, 0.05, 0.36):
                _leg(sheet, stand, (x * 0.08, low - 0.05), (x, 0.92), 0.055)
        else:
            sheet.part(box(-0.022, low - 0.1, 0.022, 0.88), stand, round_=True, lift=0)
            sheet.part(ellipse(0, 0.89, 0.26, 0.05), stand, puff=0.025, lift=0)
    else:
        top, low, r0, r1 = (
            -0.84,
            -0.14,
            0.28 + rng.uniform(-0.06, 0.10),
            0.52 + rng.uniform(-0.05, 0.05),
        )
        base = pick(rng, "gourd", "column", "ball")
        if base == "gourd":
            half = [
                (0, low - 0.1),
                (0.06, low - 0.1, 0),
                (0.06, low + 0.10),
                (0.24, 0.40),
                (0.27, 0.62),
                (0.18, 0.86),
                (0, 0.89),
            ]
        elif base == "column":
            half = [
                (0, low - 0.1),
                (0.045, low - 0.1, 0),
                (0.045, 0.72),
                (0.07, 0.79),
                (0.28, 0.82),
                (0.28, 0.88),
                (0, 0.90),
            ]
        else:
            half = [
                (0, low - 0.1),
                (0.05, low - 0.1, 0),
                (0.05, 0.20),
                (0.10, 0.26),
                (0.32, 0.52),
                (0.22, 0.82),
                (0.12, 0.89),
                (0, 0.895),
            ]
        sheet.part(mirrored(half), stand, round_=True, lift=0)
    bow = 0.035
    half = [(0, top + bow), (r0, top, 0), (r1, low, 0), (r1 * 0.5, low + bow * 0.8), (0, low + bow)]
    sheet.part(
        ellipse(0, top + 0.01, r0, bow), s.plain(np.array([0.98, 0.90, 0.72])), puff=0.02, lift=0
    )
    sheet.part(mirrored(half), cloth, puff=0.10, depth=0.55, lift=0.03)
    # Lit from within: the cloth glows around the bulb.
    glow = ellipse(0, (top + low) / 2 + 0.05, r1 * 0.42, (low - top) * 0.24)
    sheet.shade(glow, 0.34, 0.09)
    sheet.shade(
        ribbon(smooth([(-r1, low), (0, low + bow), (r1, low)], closed=False), 0.03), -0.20, 0.008
    )
    sheet.shade(
        ribbon(smooth([(-r0, top), (0, top + bow), (r0, top)], closed=False), 0.025), -0.20, 0.008
    )
    return (style,)


def _stand_colour(s: Surface, rng: np.random.Generator) -> np.ndarray:
    if s.material == "wood":
        return OAK * np.float32(rng.uniform(0.55, 1.1))
    if s.material == "ceramic":
        return s.ground * np.float32(0.9) if rng.random() < 0.6 else WHITE
    return BRASS if rng.random() < 0.6 else np.array([0.2, 0.2, 0.21], np.float32)
