"""Shoes, bags, watches and sunglasses, drawn like the clothes of ``apparel``."""

from __future__ import annotations

import numpy as np

from tools.sample.apparel import _pick, _stitch
from tools.sample.brush import Sheet, box, ellipse, flip, mirrored, ribbon, smooth
from tools.sample.surface import Surface

WHITE = np.array([0.95, 0.94, 0.92], np.float32)
BRASS = np.array([0.80, 0.66, 0.40], np.float32)
STEEL = np.array([0.76, 0.77, 0.80], np.float32)


def sneaker(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A sneaker from its outer side, toe to the right."""
    style = _pick(rng, "low-top", "high-top", "slip-on", "runner")
    tall = {"low-top": -0.22, "high-top": -0.62, "slip-on": -0.16, "runner": -0.26}[style] + rng.uniform(-0.03, 0.02)
    thick = {"runner": 0.06}.get(style, 0.0) + rng.uniform(-0.01, 0.03)
    open_ = -0.10 if style != "high-top" else -0.06
    inner = smooth([(-0.76, tall + 0.05), (-0.45, tall + 0.0), (open_, tall + 0.02), (open_ + 0.05, tall + 0.16), (-0.7, tall + 0.2)])
    sheet.part(inner, s.plain(s.ground * 0.45), puff=0.03, lift=0)
    if style != "slip-on":
        tongue = smooth([(open_ - 0.16, tall + 0.08), (open_ - 0.08, tall - 0.13), (open_ + 0.05, tall - 0.12), (open_ + 0.30, 0.02), (open_ + 0.1, 0.1)])
        sheet.part(tongue, s.plain(), puff=0.05, tone=0.9)
    upper = [(-0.84, 0.32, 0), (-0.84, 0.10), (-0.80, tall + 0.10), (-0.78, tall - 0.01, 0), (-0.62, tall + 0.08), (open_ - 0.14, tall + 0.05)]
    upper += [(open_ + 0.0, tall - 0.02, 0), (open_ + 0.20, -0.06), (0.42, 0.06), (0.72, 0.13), (0.86, 0.24), (0.87, 0.34, 0)]
    sheet.part(smooth(upper), s, puff=0.13, depth=1.25, folds=0.6)
    dark = s.plain(s.ground * np.float32(0.78))
    if style == "runner":  # overlays in waves
        for k in range(3):
            wave = smooth([(-0.34 + 0.2 * k, 0.33), (-0.22 + 0.2 * k, 0.15), (-0.16 + 0.17 * k, -0.04 + 0.05 * k)], closed=False)
            sheet.part(ribbon(wave, [0.075, 0.035]), s.plain(s.ink), puff=0.02, lift=0.01)
        sheet.part(smooth([(0.52, 0.34, 0), (0.60, 0.20), (0.78, 0.17), (0.87, 0.25), (0.88, 0.34, 0)]), dark, puff=0.05, lift=0.012)
    elif style == "slip-on":
        gore = smooth([(open_ - 0.12, tall + 0.06, 0), (open_ + 0.03, tall + 0.0, 0), (open_ + 0.06, 0.16, 0), (open_ - 0.08, 0.18, 0)])
        sheet.part(gore, s.plain(s.ground * 0.45, "wool"), puff=0.02, lift=0.008)
    else:
        if rng.random() < 0.6:
            bar = smooth([(-0.52, 0.30), (-0.20, 0.10), (0.12, 0.02)], closed=False)
            sheet.part(ribbon(bar, [0.10, 0.045]), s.plain(s.ink), puff=0.02, lift=0.008)
        if style == "high-top":
            sheet.part(ellipse(-0.47, tall + 0.36, 0.10, 0.10), s.plain(WHITE), puff=0.02, lift=0.008)
            sheet.part(ellipse(-0.47, tall + 0.36, 0.06, 0.06), s.plain(s.ground), puff=0.02, lift=0.0)
    counter = smooth([(-0.845, 0.32, 0), (-0.84, 0.08), (-0.80, tall + 0.14, 0), (-0.72, tall + 0.17), (-0.66, 0.12), (-0.60, 0.33, 0)])
    sheet.part(counter, dark, puff=0.05, lift=0.012)
    if style != "slip-on":
        steps = 7 if style == "high-top" else 5
        stay = smooth([(open_ - 0.07, tall + 0.04), (open_ + 0.14, -0.04), (0.34, 0.10)], closed=False)
        sheet.part(ribbon(stay, 0.10), dark, puff=0.03, lift=0.012)
        lace = s.plain(WHITE if s.ground.mean() < 0.8 else np.array([0.25, 0.25, 0.28]), "cotton")
        a, b = np.array([open_ - 0.05, tall + 0.06]), np.array([0.27, 0.06])
        for t in np.linspace(0, 1, steps):
            p = a + (b - a) * t + np.array([0, -0.09 * np.sin(np.pi * t)]) * (0.4 if style == "high-top" else 0.1)
            sheet.part(ribbon(smooth([p + (-0.035, 0.045), p + (0.02, -0.02), p + (0.09, -0.055)], closed=False), 0.032), lace, puff=0.016, lift=0.012)
    colour, strength = _stitch(s)
    sheet.line(smooth([(-0.60, 0.26), (0.0, 0.28), (0.5, 0.26)], closed=False), 0.006, colour, strength, dash=0.03)
    sole = WHITE if rng.random() < 0.75 else (np.array([0.30, 0.30, 0.32]) if s.ground.mean() > 0.4 else np.array([0.80, 0.72, 0.58]))
    base = [(-0.88, 0.29), (-0.4, 0.315), (0.2, 0.315), (0.62, 0.29), (0.90, 0.29), (0.915, 0.36), (0.84, 0.45 + thick), (0.4, 0.46 + thick)]
    base += [(-0.3, 0.455 + thick), (-0.82, 0.46 + thick), (-0.90, 0.38)]
    sheet.part(smooth(base), s.plain(sole, "rubber"), puff=0.045, lift=0.015)
    sheet.line(smooth([(-0.87, 0.345), (-0.3, 0.37), (0.3, 0.37), (0.89, 0.345)], closed=False), 0.012, s.ink if rng.random() < 0.4 else s.ground, 0.8)
    tread = smooth([(-0.86, 0.445 + thick), (0.3, 0.452 + thick), (0.82, 0.44 + thick)], closed=False)
    sheet.line(tread, 0.02, (0.12, 0.12, 0.12), 0.55, dash=0.045)
    return (style,)


def boot(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A boot from its outer side, toe to the right."""
    style = _pick(rng, "chelsea", "lace-up", "knee-high", "heeled")
    top = {"chelsea": -0.42, "lace-up": -0.52, "knee-high": -0.88, "heeled": -0.46}[style] + rng.uniform(-0.04, 0.03)
    heel = 0.30 if style == "heeled" else 0.13
    lift = 0.17 if style == "heeled" else 0.0
    low = 0.52
    calf = 0.07 if style == "knee-high" else 0.0
    dark = np.array([0.16, 0.13, 0.11]) if rng.random() < 0.7 else np.array([0.55, 0.40, 0.26])
    opening = smooth([(-0.58 - calf, top), (-0.3, top - 0.02), (-0.02 + calf, top + 0.005), (-0.05 + calf, top + 0.07), (-0.5, top + 0.08)])
    sheet.part(opening, s.plain(s.ground * 0.4), puff=0.02, lift=0)
    upper = [(-0.58 - calf, top, 0), (-0.30, top + 0.04), (-0.02 + calf, top + 0.01, 0), (0.0 + calf * 0.6, top * 0.45), (0.02, -0.02 - lift * 0.5), (0.22, 0.14 - lift * 0.2)]
    upper += [(0.52, 0.22), (0.74, 0.33), (0.80, 0.45), (0.78, low, 0), (0.2, low), (-0.05, low - lift * 0.6), (-0.58, low - lift, 0), (-0.62, 0.30 - lift), (-0.55 - calf * 0.3, 0.0 - lift * 0.6), (-0.57 - calf, top * 0.5)]
    sheet.part(smooth(upper), s, puff=0.15, depth=1.25, folds=0.9)
    for y in (0.02, 0.09):  # the ankle gives
        crease = smooth([(-0.30, y - lift), (-0.1, y + 0.02 - lift), (0.06, y - 0.03 - lift * 0.5)], closed=False)
        sheet.shade(ribbon(crease, [0.005, 0.035]), -0.22, 0.018)
        sheet.shade(ribbon(crease + (0, -0.03), [0.005, 0.03]), 0.13, 0.018)
    colour, strength = _stitch(s)
    if style == "chelsea":
        gore = smooth([(-0.40, top + 0.03, 0), (-0.15, top + 0.03, 0), (-0.2, top + 0.35), (-0.27, top + 0.50), (-0.35, top + 0.35)])
        sheet.part(gore, s.plain(s.ground * 0.5, "wool"), puff=0.02, lift=0.008)
        for x in np.linspace(-0.36, -0.19, 7):
            sheet.line(np.array([(x, top + 0.05), (x * 0.5 - 0.135, top + 0.44)]), 0.006, (0, 0, 0), 0.35)
        sheet.part(ribbon(smooth([(-0.57, top + 0.02), (-0.60, top - 0.09), (-0.52, top - 0.06), (-0.53, top + 0.04)], closed=False), 0.03), s.plain(), tone=0.75)
    elif style == "lace-up":
        sheet.part(ribbon(smooth([(-0.06, top + 0.02), (-0.02, -0.05), (0.24, 0.19)], closed=False), 0.13), s.plain(s.ground * 0.82), puff=0.03, lift=0.01)
        lace = s.plain(np.array([0.85, 0.72, 0.42]) if s.ground.mean() < 0.6 else np.array([0.25, 0.2, 0.18]), "cotton")
        for t in np.linspace(0, 1, 7):
            p = np.array([-0.06 + 0.02 * t + 0.24 * max(0, t - 0.6) * 2.2, top + 0.07 + (0.12 - top) * t * 0.92])
            sheet.part(ribbon(smooth([p + (-0.07, 0.02), p, p + (0.075, -0.03)], closed=False), 0.028), lace, puff=0.014, lift=0.01)
        sheet.part(smooth([(0.42, low, 0), (0.44, 0.32), (0.55, 0.235), (0.74, 0.33), (0.80, 0.45), (0.78, low, 0)]), s.plain(), puff=0.08, lift=0.012, tone=0.94)
    else:
        zip_ = smooth([(-0.30, top + 0.06), (-0.27, 0.0), (-0.25, 0.36 - lift)], closed=False)
        sheet.line(zip_, 0.022, (0.1, 0.1, 0.1), 0.45)
        sheet.line(zip_, 0.010, STEEL, 0.85, dash=0.022)
    sheet.line(smooth([(-0.55 - calf, top + 0.05), (-0.30, top + 0.085), (-0.03 + calf, top + 0.055)], closed=False), 0.006, colour, strength, dash=0.03)
    sheet.line(smooth([(-0.59, low - 0.04 - lift), (-0.05, low - 0.04 - lift * 0.6), (0.2, low - 0.045), (0.76, low - 0.04)], closed=False), 0.006, colour, strength, dash=0.03)
    sole = s.plain(dark, "rubber")
    sheet.part(smooth([(-0.62, low - lift - 0.015, 0), (-0.05, low - lift * 0.6 - 0.01), (0.2, low - 0.015), (0.80, low - 0.03), (0.835, low + 0.03), (0.78, low + 0.075), (0.25, low + 0.07), (-0.05, low + 0.055 - lift * 0.6), (-0.63, low + 0.05 - lift, 0)]), sole, puff=0.03)
    taper = 0.12 if style == "heeled" else 0.02
    sheet.part(smooth([(-0.625, low + 0.03 - lift, 0), (-0.20 - (0.06 if lift else 0), low + 0.04 - lift * 0.85, 0), (-0.26 - taper, low + heel - lift + 0.04, 0), (-0.615, low + heel - lift + 0.04, 0)], per=4), sole, puff=0.035, lift=0.008)
    return (style,)


def handbag(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A handbag from the front."""
    style = _pick(rng, "tote", "satchel", "crossbody", "bucket-bag")
    metal = s.plain(BRASS if rng.random() < 0.65 else STEEL, "metal")
    dark = s.plain(s.ground * np.float32(0.82))
    colour, strength = _stitch(s)
    wide = rng.uniform(-0.04, 0.05)
    if style == "tote":
        for off, tone in ((0.03, 0.6), (0.0, 0.92)):
            handle = smooth([(-0.30, -0.16 - off), (-0.27, -0.62 - off), (0, -0.84 - off), (0.27, -0.62 - off), (0.30, -0.16 - off)], closed=False)
            sheet.part(ribbon(handle, 0.055), dark, puff=0.025, tone=tone, lift=0.012 if tone > 0.7 else 0)
            if tone < 0.7:
                sheet.part(box(-0.58 - wide, -0.27, 0.58 + wide, -0.1), s.plain(s.ground * 0.5), lift=0)
        body = mirrored([(0, -0.22), (0.60 + wide, -0.25, 0), (0.54 + wide, 0.3), (0.50 + wide, 0.66), (0.44, 0.72), (0, 0.735)])
        sheet.part(body, s, puff=0.08, folds=0.9)
        sheet.line(smooth([(-0.58 - wide, -0.17), (0, -0.145), (0.58 + wide, -0.17)], closed=False), 0.007, colour, strength, dash=0.03)
        for x in (-0.30, 0.30):
            sheet.part(box(x - 0.045, -0.30, x + 0.045, 0.0, 0.02), dark, puff=0.02, lift=0.01)
            sheet.part(ellipse(x, -0.05, 0.018, 0.018), metal, puff=0.01, lift=0)
    elif style == "bucket-bag":
        strap = smooth([(-0.42, -0.22), (-0.44, -0.68), (0, -0.90), (0.44, -0.68), (0.42, -0.22)], closed=False)
        sheet.part(ribbon(strap, 0.045), dark, puff=0.02)
        sheet.part(ellipse(0, -0.26, 0.40, 0.09), s.plain(s.ground * 0.42), lift=0)
        body = mirrored([(0, -0.21), (0.40, -0.28, 0), (0.46 + wide, 0.1), (0.52 + wide, 0.55), (0.44, 0.70), (0, 0.73)])
        sheet.part(body, s, puff=0.13, depth=1.3, folds=1.6)
        sheet.part(smooth([(-0.525 - wide, 0.50, 0), (0, 0.56), (0.525 + wide, 0.50, 0), (0.46, 0.70), (0, 0.745), (-0.46, 0.70)]), dark, puff=0.06, lift=0.008)
        cord = smooth([(-0.41, -0.13), (-0.2, -0.06), (0, -0.05), (0.2, -0.06), (0.41, -0.13)], closed=False)
        sheet.part(ribbon(cord, 0.028), dark, puff=0.014, tone=0.8)
        for end in (-0.06, 0.07):
            sheet.part(ribbon(smooth([(0, -0.05), (end * 0.8, 0.12), (end, 0.26)], closed=False), 0.026), dark, puff=0.013, tone=0.8, lift=0.02)
            sheet.part(ellipse(end, 0.28, 0.028, 0.04), metal, puff=0.015, lift=0.015)
        for x in (-0.42, 0.42):
            sheet.part(ellipse(x, -0.18, 0.034, 0.034), metal, puff=0.015)
    else:
        cross = style == "crossbody"
        top = -0.14 if cross else -0.24
        if cross:
            strap = smooth([(-0.50 - wide, top + 0.08), (-0.52, -0.6), (0, -0.94), (0.52, -0.6), (0.50 + wide, top + 0.08)], closed=False)
            sheet.part(ribbon(strap, 0.03), dark, puff=0.015)
        else:
            handle = smooth([(-0.24, top + 0.04), (-0.23, top - 0.28), (0, top - 0.40), (0.23, top - 0.28), (0.24, top + 0.04)], closed=False)
            sheet.part(ribbon(handle, 0.07), dark, puff=0.035)
        bottom = 0.50 if cross else 0.62
        body = mirrored([(0, top), (0.48 + wide, top, 0), (0.56 + wide, top + 0.12), (0.60 + wide, bottom - 0.10), (0.54, bottom), (0, bottom + 0.02)])
        sheet.part(body, s, puff=0.09, folds=0.5)
        depth = rng.uniform(0.30, 0.42)
        point = 0.08 if rng.random() < 0.5 else 0.0
        flap = mirrored([(0, top - 0.025), (0.49 + wide, top - 0.02), (0.565 + wide, top + 0.10), (0.565 + wide, top + depth - 0.10), (0.46, top + depth), (0, top + depth + point)])
        sheet.part(flap, s, puff=0.06, lift=0.035)
        stitched = flap * (0.94, 0.93) + (0, top * 0.07 + depth * 0.02)
        sheet.line(np.concatenate([stitched, stitched[:1]]), 0.006, colour, strength, dash=0.03)
        y = top + depth + point - 0.03
        sheet.part(box(-0.06, y - 0.06, 0.06, y + 0.07, 0.02), metal, puff=0.025, lift=0.02)
        sheet.part(box(-0.022, y - 0.02, 0.022, y + 0.03, 0.01), metal, puff=0.012, tone=0.6, lift=0)
        for x in (-0.24, 0.24) if not cross else (-0.5 - wide, 0.5 + wide):
            sheet.part(ellipse(x, top + 0.05, 0.036, 0.036), metal, puff=0.015)
    return (style,)


def backpack(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A backpack from the front."""
    style = _pick(rng, "daypack", "roll-top", "flap-top")
    wide, dark = rng.uniform(-0.03, 0.05), s.plain(s.ground * np.float32(0.74))
    metal, (colour, strength) = s.plain(STEEL, "metal"), _stitch(s)
    for x in (-1, 1):
        strap = smooth([(x * 0.34, -0.62), (x * (0.62 + wide), -0.35), (x * (0.64 + wide), 0.25), (x * 0.48, 0.58)], closed=False)
        sheet.part(ribbon(strap, [0.11, 0.11, 0.05]), s.plain(s.ground * 0.55), puff=0.04)
    sheet.part(ribbon(smooth([(-0.13, -0.74), (-0.11, -0.90), (0.11, -0.90), (0.13, -0.74)], closed=False), 0.05), dark, puff=0.025)
    body = mirrored([(0, -0.80), (0.28, -0.77), (0.46 + wide, -0.52), (0.52 + wide, 0.1), (0.53 + wide, 0.62), (0.43, 0.78), (0, 0.80)])
    if style == "roll-top":
        body = mirrored([(0, -0.66), (0.46 + wide, -0.68, 0), (0.48 + wide, -0.3), (0.53 + wide, 0.62), (0.43, 0.78), (0, 0.80)])
    sheet.part(body, s, puff=0.13, depth=1.2, folds=0.9)
    for x in (-1, 1):
        pocket = smooth([(x * (0.50 + wide), 0.22), (x * (0.57 + wide), 0.30), (x * (0.58 + wide), 0.66), (x * (0.50 + wide), 0.72)])
        sheet.part(pocket, dark, puff=0.04)
    if style == "daypack":
        arch = smooth([(-0.46 - wide, -0.06), (-0.42 - wide, -0.48), (0, -0.66), (0.42 + wide, -0.48), (0.46 + wide, -0.06)], closed=False)
        sheet.line(arch, 0.030, s.ground * 0.35, 0.9)
        sheet.line(arch, 0.010, STEEL, 0.6, dash=0.02)
        sheet.part(box(0.40 + wide, -0.14, 0.44 + wide, 0.02, 0.015), s.plain(s.ink), puff=0.015, lift=0.012)
    elif style == "roll-top":
        sheet.part(box(-0.50 - wide, -0.80, 0.50 + wide, -0.60, 0.09), s, puff=0.08, tone=0.97, lift=0.03)
        for x in (-0.22, 0.22):
            sheet.part(box(x - 0.03, -0.80, x + 0.03, 0.06, 0.01), dark, puff=0.012, lift=0.012)
            sheet.part(box(x - 0.05, -0.30, x + 0.05, -0.20, 0.02), metal, puff=0.015)
    else:
        flap = mirrored([(0, -0.83), (0.30, -0.80), (0.49 + wide, -0.54), (0.50 + wide, -0.22), (0.40, -0.10), (0, -0.07)])
        sheet.part(flap, s, puff=0.08, lift=0.035)
        for x in (-0.24, 0.24):
            sheet.part(box(x - 0.035, -0.30, x + 0.035, 0.14, 0.02), s.plain(s.ground * 0.62, "leather"), puff=0.015, lift=0.012)
            sheet.part(box(x - 0.055, -0.03, x + 0.055, 0.06, 0.015), metal, puff=0.015)
    front = mirrored([(0, 0.12), (0.30, 0.12), (0.40 + wide, 0.18), (0.41 + wide, 0.60), (0.36, 0.70), (0, 0.715)])
    sheet.part(front, s, puff=0.07, folds=0.6, lift=0.03)
    zip_ = smooth([(-0.37 - wide, 0.26), (0, 0.235), (0.37 + wide, 0.26)], closed=False)
    sheet.line(zip_, 0.026, s.ground * 0.35, 0.9)
    sheet.line(zip_, 0.009, STEEL, 0.6, dash=0.02)
    sheet.part(box(-0.10, 0.40, 0.10, 0.50, 0.015), s.plain(s.ground * 0.55, "leather"), puff=0.012, lift=0.01)
    sheet.line(front * (0.93, 0.90) + (0, 0.042), 0.006, colour, strength, dash=0.03)
    return (style,)


def watch(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """A wristwatch from the front."""
    shape = _pick(rng, "round-dial", "round-dial", "square-dial")
    size = 0.36 + rng.uniform(-0.03, 0.04)
    case = s.plain(BRASS if rng.random() < 0.35 else STEEL, "metal")
    width = size * rng.uniform(0.56, 0.68)
    for y in (-1, 1):
        strap = np.array([(-width, y * 0.22), (width, y * 0.22), (width * 0.80, y * 0.93), (-width * 0.80, y * 0.93)])
        strap = smooth([(*q, 0) for q in strap], per=5)
        if s.material == "metal":
            links = s.plain(0.55 * s.ground + 0.25 * case.ground)
            sheet.part(strap, links, puff=0.06, lift=0)
            for v in np.linspace(0.30, 0.91, 9):
                w = width * (1 - 0.2 * (v - 0.22) / 0.7)
                sheet.line(np.array([(-w, y * v), (w, y * v)]), 0.012, (0, 0, 0), 0.45)
                sheet.line(np.array([(-w, y * v + 0.012), (w, y * v + 0.012)]), 0.008, (1, 1, 1), 0.4)
            for x in (-0.38, 0.38):
                sheet.line(np.array([(x * width, y * 0.25), (x * width * 0.8, y * 0.92)]), 0.010, (0, 0, 0), 0.35)
        else:
            sheet.part(strap, s, puff=0.06, lift=0)
            colour, strength = _stitch(s)
            for x in (-0.84, 0.84):
                sheet.line(np.array([(x * width, y * 0.26), (x * width * 0.8, y * 0.90)]), 0.007, colour, strength, dash=0.035)
            if y > 0:
                for v in (0.58, 0.68, 0.78):
                    sheet.part(ellipse(0, v, 0.018, 0.022), s.plain(s.ground * 0.25), lift=0)
    for x in (-1, 1):
        for y in (-1, 1):
            sheet.part(box(x * width * 0.92 - 0.045, y * size * 0.90 - 0.09, x * width * 0.92 + 0.045, y * size * 0.90 + 0.09, 0.03), case, puff=0.03)
    sheet.part(box(size - 0.01, -0.05, size + 0.075, 0.05, 0.02), case, puff=0.02)
    dial_rgb = s.ground if rng.random() < 0.5 else (WHITE if s.ground.mean() < 0.6 else np.array([0.14, 0.15, 0.18]))
    mark = np.array([0.12, 0.12, 0.14]) if dial_rgb.mean() > 0.5 else WHITE

    def outline(scale: float) -> np.ndarray:
        r = size * scale
        return ellipse(0, 0, r, r) if shape == "round-dial" else box(-r * 0.92, -r, r * 0.92, r, r * 0.28)

    sheet.part(outline(1.0), case, puff=0.04, lift=0.03)
    sheet.part(outline(0.87), case, puff=0.03, tone=0.62, lift=0)
    sheet.part(outline(0.83), s.plain(dial_rgb, "enamel" if False else "plastic"), puff=0.02, depth=0.3, lift=0)
    for hour in range(12):
        a = np.radians(hour * 30)
        d, long = np.array([np.sin(a), -np.cos(a)]), 0.12 if hour % 3 == 0 else 0.07
        sheet.line(np.array([d * size * 0.74, d * size * (0.74 - long)]), 0.022 if hour % 3 == 0 else 0.012, mark, 0.95)
    words = [shape]
    if rng.random() < 0.4:
        words.append("chronograph")
        for at in ((-0.3, 0), (0.3, 0), (0, 0.34)):
            sheet.part(ellipse(at[0] * size, at[1] * size, size * 0.17, size * 0.17), s.plain(dial_rgb * 0.8 + 0.1 * mark), puff=0.01, depth=0.4, lift=0)
    hour_at, minute_at = np.radians(rng.uniform(290, 320)), np.radians(rng.uniform(40, 70))
    for a, long, thick in ((hour_at, 0.42, 0.032), (minute_at, 0.64, 0.024)):
        d = np.array([np.sin(a), -np.cos(a)]) * size
        sheet.shade(ribbon(np.array([-d * 0.1, d * long]) + 0.012, thick), -0.3, 0.008)
        sheet.line(np.array([-d * 0.1, d * long]), thick, mark, 1.0)
    sheet.line(np.array([(0, 0.09 * size), (0, -0.68 * size)]), 0.009, (0.85, 0.2, 0.15), 0.95)
    sheet.part(ellipse(0, 0, 0.022, 0.022), case, puff=0.01, lift=0)
    glare = ellipse(0, 0, size * 0.8, size * 0.8, 190, 300)
    sheet.shade(np.concatenate([glare, smooth([(0.2 * size, -0.5 * size), (-0.3 * size, -0.25 * size), (-0.6 * size, 0.1 * size)], closed=False)]), 0.13, 0.012)
    return tuple(words)


def sunglasses(sheet: Sheet, s: Surface, rng: np.random.Generator) -> tuple[str, ...]:
    """Sunglasses from the front, temples folded open behind."""
    style = _pick(rng, "round", "aviator", "square", "cat-eye")
    thin = s.material == "metal"
    rim = 0.028 if thin else rng.uniform(0.055, 0.075)
    c = 0.43 + rng.uniform(-0.01, 0.02)
    if style == "round":
        r = 0.31 + rng.uniform(-0.02, 0.02)
        lens = ellipse(c, 0, r, r)
    elif style == "aviator":
        lens = smooth([(c - 0.30, -0.20), (c, -0.26), (c + 0.33, -0.22), (c + 0.37, 0.0), (c + 0.24, 0.28), (c, 0.36), (c - 0.22, 0.22), (c - 0.33, -0.04)])
    elif style == "square":
        lens = box(c - 0.34, -0.24, c + 0.35, 0.27, 0.11)
    else:
        lens = smooth([(c - 0.31, -0.10), (c - 0.1, -0.22), (c + 0.2, -0.27), (c + 0.47, -0.36, 0), (c + 0.42, -0.02), (c + 0.24, 0.24), (c - 0.08, 0.27), (c - 0.30, 0.10)])
    right = lens[:, 0].max()
    for mirror in (False, True):
        temple = smooth([(right - 0.02, -0.12), (right + 0.05, -0.30), (right - 0.02, -0.52), (right - 0.16, -0.60)], closed=False)
        path = ribbon(temple, [rim * 1.2, rim * 0.8])
        sheet.part(flip(path) if mirror else path, s.plain(), puff=0.02, tone=0.75)
    bridge = smooth([(-0.16, -0.03), (-0.07, -0.11), (0.07, -0.11), (0.16, -0.03)], closed=False)
    sheet.part(ribbon(bridge, rim * 0.95), s.plain(), puff=0.02)
    if style == "aviator":
        sheet.part(ribbon(smooth([(-c + 0.1, -0.27), (0, -0.25), (c - 0.1, -0.27)], closed=False), rim * 0.9), s.plain(), puff=0.02)
    glass = 0.30 * s.ground + 0.05 if rng.random() < 0.7 else np.array([0.20, 0.15, 0.12])
    centre = lens.mean(0)
    outer = centre + (lens - centre) * (1 + rim / np.abs(lens - centre).max(0) * 0.98)
    for mirror in (False, True):
        o, i = (flip(outer), flip(lens)) if mirror else (outer, lens)
        sheet.part(o, s, puff=0.026, lift=0.02)
        sheet.part(i, s.plain(glass, "glass"), puff=0.02, depth=0.5, lift=0)
        x0, y0 = i.mean(0)
        span = np.ptp(i[:, 1])
        low = np.array([(x0 - 0.5, y0 + 0.06), (x0 + 0.5, y0 + 0.06), (x0 + 0.5, y0 + 0.6), (x0 - 0.5, y0 + 0.6)])
        inside = np.array([(np.clip(px, i[:, 0].min(), i[:, 0].max()), py) for px, py in low])
        del inside, span
        sheet.shade(x0_scaled(i, 0.62, (0.0, 0.09)), 0.20, 0.06)
        streak = np.array([(x0 - 0.20, y0 + 0.08), (x0 - 0.04, y0 - 0.19), (x0 + 0.05, y0 - 0.19), (x0 - 0.13, y0 + 0.13)])
        sheet.shade(streak, 0.30, 0.008)
        sheet.shade(streak * (1, 1) + (0.13, 0.01), 0.18, 0.008)
    if not thin:
        for x in (-1, 1):
            sheet.part(ellipse(x * (right + rim * 0.2), -0.17, 0.018, 0.012), s.plain(STEEL, "metal"), puff=0.01, lift=0)
    return (style,)


def x0_scaled(path: np.ndarray, by: float, move: tuple[float, float]) -> np.ndarray:
    """The path shrunk about its middle, then moved."""
    middle = path.mean(0)
    return middle + (path - middle) * by + move
