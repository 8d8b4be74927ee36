"""Dresses, trousers and skirts: each function draws one and returns words for its style."""

from __future__ import annotations

import numpy as np

from tools.sample.brush import Sheet, box, ellipse, flip, mirrored, moved, ribbon, smooth
from tools.sample.details import pick, stitch
from tools.sample.surface import Surface


def dress(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A dress laid flat or hung."""
    top_, cut = (
        pick(rng, "strappy", "short-sleeve", "sleeveless"),
        pick(rng, "a-line", "sheath", "flared"),
    )
    hem = {"mini": 0.55, "midi": 0.84}[length := pick(rng, "mini", "midi", "midi")] + rng.uniform(
        -0.03, 0.06
    )
    chest, waist, top = (
        0.28 + rng.uniform(-0.02, 0.02),
        0.20 + rng.uniform(-0.01, 0.02),
        -0.82 if length == "midi" else -0.74,
    )
    belt = top + 0.66 + rng.uniform(-0.05, 0.03)
    flare = {"a-line": 0.46, "sheath": 0.27, "flared": 0.62}[cut] + rng.uniform(-0.02, 0.04)
    drop = 0.20 if top_ != "strappy" else 0.24
    if top_ != "strappy":
        sheet.part(
            mirrored([(0, top), (0.15, top), (0.15, top + 0.08), (0, top + drop + 0.04)]),
            s.plain(),
            tone=0.55,
            lift=0,
        )
    if top_ == "short-sleeve":
        arm = smooth(
            [
                (0.22, top + 0.03, 0),
                (0.36, top + 0.10),
                (0.47, top + 0.30, 0),
                (0.33, top + 0.37, 0),
                (0.24, top + 0.33, 0),
            ]
        )
        for path in (arm, flip(arm)):
            sheet.part(path, s, puff=0.05, folds=1.0)
    # The skirt's hem swings in soft waves where there is cloth for it.
    waves = 0.015 if cut == "flared" else 0.010
    xs = np.linspace(flare, 0, 5)
    hems = [(x, hem + waves * (-1) ** i + 0.03 * (1 - (x / flare) ** 2)) for i, x in enumerate(xs)]
    skirt = mirrored(
        [
            (0, belt - 0.02),
            (waist, belt - 0.02, 0),
            ((waist + flare) * 0.54, (belt * 0.45 + hem * 0.55)),
            *hems,
        ]
    )
    sheet.part(
        skirt, s, puff=0.06, folds={"a-line": 1.6, "sheath": 0.9, "flared": 2.4}[cut], lift=0.012
    )
    if cut != "sheath":
        for at in np.linspace(-0.75, 0.75, 6) + rng.uniform(-0.06, 0.06, 6):
            pleat = smooth(
                [
                    (at * waist, belt),
                    (at * (waist + flare) * 0.52, (belt + hem) / 2),
                    (at * flare, hem),
                ],
                closed=False,
            )
            sheet.shade(ribbon(pleat, [0.004, 0.05]), -0.20, 0.014)
            sheet.shade(ribbon(moved(pleat, 0.03, 0), [0.004, 0.035]), 0.10, 0.012)
    if top_ == "strappy":
        for x in (-1.0, 1.0):
            strap = smooth(
                [
                    (x * chest * 0.72, top + 0.25),
                    (x * chest * 0.62, top + 0.1),
                    (x * chest * 0.50, top - 0.04),
                ],
                closed=False,
            )
            sheet.part(ribbon(strap, 0.03), s.plain(), puff=0.012)
        half = [
            (0, top + drop + 0.04),
            (chest * 0.72, top + 0.18, 0),
            (chest, top + 0.36),
            (waist, belt, 0),
            (0, belt + 0.005),
        ]
    else:
        half = [(0, top + drop), (0.10, top + drop * 0.72), (0.15, top, 0), (0.25, top + 0.035, 0)]
        half += [(0.235, top + 0.22), (chest, top + 0.36), (waist, belt, 0), (0, belt + 0.005)]
    sheet.part(mirrored(half), s, puff=0.07, folds=0.8, lift=0.012)
    words = [top_, cut, length]
    if rng.random() < 0.55:
        sheet.part(
            box(-waist - 0.008, belt - 0.03, waist + 0.008, belt + 0.03, 0.01),
            s.plain(s.ground * 0.72),
            puff=0.02,
            lift=0.012,
        )
        words.append("belted")
    else:
        sheet.line(np.array([(-waist, belt), (waist, belt)]), 0.008, (0, 0, 0), 0.3)
    return tuple(words)


def trousers(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """Trousers, jeans or shorts laid flat."""
    cut = pick(rng, "slim", "straight", "wide-leg", "shorts")
    ankle = {"slim": 0.11, "straight": 0.155, "wide-leg": 0.235, "shorts": 0.24}[cut] + rng.uniform(
        -0.01, 0.01
    )
    end = (0.10 if cut == "shorts" else 0.90) + rng.uniform(-0.05, 0.02)
    top, waist, hip = (
        (-0.60 if cut == "shorts" else -0.90),
        0.29 + rng.uniform(-0.01, 0.02),
        0.37 + rng.uniform(-0.01, 0.02),
    )
    if cut == "wide-leg":
        hip += 0.02
    crotch = top + 0.60
    middle = 0.07 + ankle + (0.05 if cut != "slim" else 0.08)
    leg = [(-0.03, top + 0.05, 0), (waist, top + 0.05, 0), (hip, top + 0.42)]
    if cut == "shorts":
        crotch, middle = top + 0.48, 0.25
        leg += [
            (middle + ankle - 0.03, end, 0),
            (middle - ankle + 0.03, end + 0.03, 0),
            (0.0, crotch, 0),
        ]
    else:
        leg += [
            (middle + ankle * 0.55, (crotch + end) / 2),
            (middle + ankle, end, 0),
            (middle - ankle, end + 0.012, 0),
        ]
        leg += [(0.075, (crotch + end) / 2), (0.0, crotch, 0)]
    leg += [(-0.03, crotch - 0.05, 0)]
    upright = s.turned(np.pi / 2) if s.pattern == "stripes" else s
    path = smooth(leg)
    sheet.part(flip(path), upright, puff=0.07, folds=1.5, lean=0.2, lift=0.0)
    sheet.part(path, upright, puff=0.07, folds=1.5, lean=-0.2, lift=0.018)
    colour, strength = stitch(s)
    for x in (-1.0, 1.0):
        hem = np.array(
            [
                (x * (middle + ankle - 0.01), end - 0.045),
                (x * (middle - ankle + 0.005), end - 0.035),
            ]
        )
        sheet.line(hem, 0.007, colour, strength, dash=0.03)
        pocket = smooth(
            [
                (x * waist * 0.62, top + 0.10),
                (x * (waist - 0.03), top + 0.22),
                (x * (hip - 0.03), top + 0.27),
            ],
            closed=False,
        )
        sheet.line(pocket, 0.010, (0, 0, 0), 0.32)
        sheet.line(moved(pocket, -x * 0.018, -0.004), 0.007, colour, strength, dash=0.03)
        if s.material in ("wool", "cotton", "linen") and cut != "slim":
            crease = smooth(
                [
                    (x * 0.20, top + 0.2),
                    (x * middle * 0.95, (crotch + end) / 2),
                    (x * middle, end - 0.01),
                ],
                closed=False,
            )
            sheet.shade(ribbon(crease, 0.012), 0.28, 0.006)
            sheet.shade(ribbon(moved(crease, 0.014, 0), 0.016), -0.25, 0.006)
    fly = smooth([(0.0, top + 0.08), (0.0, crotch - 0.02)], closed=False)
    sheet.line(fly, 0.009, (0, 0, 0), 0.3)
    sheet.line(
        smooth([(0.075, top + 0.1), (0.07, top + 0.3), (0.0, top + 0.42)], closed=False),
        0.007,
        colour,
        strength,
        dash=0.03,
    )
    sheet.part(
        box(-waist - 0.008, top, waist + 0.008, top + 0.085, 0.012),
        s.plain(),
        puff=0.02,
        lift=0.012,
    )
    for x in (-0.2, 0.2, -0.08, 0.08):
        sheet.part(
            box(x - 0.014, top - 0.012, x + 0.014, top + 0.1, 0.005),
            s.plain(),
            puff=0.01,
            lift=0.006,
        )
    metal = s.plain(
        np.array([0.72, 0.6, 0.38]) if s.material == "denim" else s.ground * 0.6,
        "metal" if s.material == "denim" else "plastic",
    )
    sheet.part(ellipse(0.0, top + 0.042, 0.024, 0.024), metal, puff=0.01, lift=0.008)
    return (cut,)


def skirt(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A skirt laid flat."""
    cut, length = pick(rng, "pleated", "a-line", "pencil", "flared"), pick(rng, "mini", "midi")
    top = -0.62 if length == "mini" else -0.78
    hem = (0.36 if length == "mini" else 0.74) + rng.uniform(-0.04, 0.06)
    waist = 0.27 + rng.uniform(-0.02, 0.02)
    flare = {"pleated": 0.56, "a-line": 0.52, "pencil": 0.33, "flared": 0.74}[cut] + rng.uniform(
        -0.02, 0.03
    )
    hip = {"pleated": 0.42, "a-line": 0.42, "pencil": 0.38, "flared": 0.46}[cut]
    count = {"pleated": 11, "a-line": 5, "pencil": 5, "flared": 9}[cut]
    wave = {"pleated": 0.014, "a-line": 0.004, "pencil": 0.0, "flared": 0.017}[cut]
    xs = np.linspace(flare, 0, count)
    hems = [
        (
            x,
            hem + wave * (-1) ** i + (0.07 if cut != "pencil" else 0.015) * (1 - (x / flare) ** 2),
            *((0,) if i == 0 else ()),
        )
        for i, x in enumerate(xs)
    ]
    half = [
        (0, top + 0.06),
        (waist, top + 0.05, 0),
        ((hip + waist) / 2 + 0.03, top + 0.25),
        ((hip + flare) / 2, (top + hem) / 2 + 0.06),
        *hems,
    ]
    sheet.part(
        mirrored(half),
        s,
        puff=0.06,
        folds={"pleated": 0.5, "a-line": 1.2, "pencil": 0.8, "flared": 2.4}[cut],
        lift=0.0,
    )
    if cut in ("pleated", "flared"):
        for at in np.linspace(-0.86, 0.86, 10 if cut == "pleated" else 6):
            at = at + rng.uniform(-0.02, 0.02)
            bottom = hem + 0.07 * (1 - at * at) - 0.01
            pleat = smooth(
                [
                    (at * waist, top + 0.08),
                    (at * (hip + flare) / 2, (top + hem) / 2 + 0.06),
                    (at * flare, bottom),
                ],
                closed=False,
            )
            sheet.shade(ribbon(pleat, [0.010, 0.05]), -0.30, 0.008)
            sheet.shade(ribbon(moved(pleat, 0.036, 0), [0.008, 0.03]), 0.14, 0.008)
            if cut == "pleated":
                sheet.line(pleat, 0.006, (0, 0, 0), 0.3)
    else:
        colour, strength = stitch(s)
        line = smooth(
            [
                (-flare + 0.012, hem - 0.035),
                (0, hem + (0.03 if cut == "a-line" else -0.02)),
                (flare - 0.012, hem - 0.035),
            ],
            closed=False,
        )
        sheet.line(line, 0.007, colour, strength, dash=0.03)
        if s.material in ("denim", "suede", "leather", "cotton"):
            sheet.line(np.array([(0, top + 0.08), (0, hem + 0.03)]), 0.008, (0, 0, 0), 0.3)
            sheet.line(
                np.array([(0.02, top + 0.08), (0.02, hem)]), 0.006, colour, strength, dash=0.03
            )
            brass = s.plain(np.array([0.74, 0.62, 0.42]), "metal")
            for y in np.linspace(top + 0.16, hem - 0.14, 5):
                sheet.part(ellipse(-0.0, y, 0.02, 0.02), brass, puff=0.01, lift=0.008)
    sheet.part(
        box(-waist - 0.006, top, waist + 0.006, top + 0.085, 0.012),
        s.plain(),
        puff=0.02,
        lift=0.014,
        tone=0.96,
    )
    return cut, length
