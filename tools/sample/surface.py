"""Surfaces of drawn products: prints and materials as textures."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

PATTERNS = ("solid", "stripes", "dots", "checks", "plaid", "zigzag", "floral")
TILE = 512


@dataclass(frozen=True)
class Finish:
    """How a material takes light: ``grain`` (strength of its texture), ``gloss`` (white
    highlights), ``sheen`` (broad highlights in its own colour), ``fold`` (how much it creases),
    ``sharp`` (tightness of the highlights)."""

    grain: float
    gloss: float = 0.0
    sheen: float = 0.0
    fold: float = 0.0
    sharp: float = 12.0


FINISHES: dict[str, Finish] = {
    "cotton": Finish(0.035, fold=0.7),
    "linen": Finish(0.13, fold=1.0),
    "denim": Finish(0.16, fold=0.6),
    "silk": Finish(0.008, gloss=0.14, sheen=0.4, fold=0.9, sharp=9),
    "wool": Finish(0.20, fold=0.35),
    "canvas": Finish(0.12, fold=0.35),
    "nylon": Finish(0.06, gloss=0.16, sheen=0.15, fold=0.7, sharp=8),
    "leather": Finish(0.07, gloss=0.32, sheen=0.1, fold=0.3, sharp=14),
    "suede": Finish(0.11, fold=0.3),
    "rubber": Finish(0.01, gloss=0.42, sharp=26),
    "ceramic": Finish(0.0, gloss=0.42, sharp=34),
    "enamel": Finish(0.05, gloss=0.30, sharp=40),
    "metal": Finish(0.022, gloss=0.55, sheen=0.45, sharp=18),
    "glass": Finish(0.0, gloss=0.6, sharp=40),
    "plastic": Finish(0.0, gloss=0.34, sharp=26),
    "wood": Finish(0.13, gloss=0.08, sharp=10),
}


def noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]
) -> np.ndarray:
    """Smooth noise, float32 [h, w], about -1..1, with roughly ``cells`` (down, across) bumps."""
    grid = (
        rng.standard_normal((max(2, round(cells[0])) + 3, max(2, round(cells[1])) + 3)).astype(
            np.float32
        )
        * 0.5
    )
    return np.asarray(Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


@functools.cache
def tile(material: str) -> np.ndarray:
    """The material's texture, float32 [TILE, TILE], about -1..1; the same on every machine."""
    rng = np.random.default_rng(sum(map(ord, material)))
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    fine = noise(rng, (TILE, TILE), (TILE / 2.2, TILE / 2.2))
    soft = noise(rng, (TILE, TILE), (TILE / 7, TILE / 7))
    if material in ("cotton", "ceramic", "plastic", "glass", "rubber", "silk"):
        return (0.6 * fine + 0.5 * soft).astype(np.float32)
    if material in ("linen", "canvas"):
        step = 0.62 if material == "linen" else 0.9
        across = noise(rng, (TILE, TILE), (TILE / 2.5, TILE / 40))
        down = noise(rng, (TILE, TILE), (TILE / 40, TILE / 2.5))
        return (0.7 * across + 0.7 * down + 0.35 * np.sin(x / step) * np.sin(y / step)).astype(
            np.float32
        )
    if material == "denim":
        twill = np.sin((x + 0.9 * y) * 1.35)
        slub = noise(rng, (TILE, TILE), (TILE / 60, TILE / 2.2))
        return (0.45 * twill + 0.6 * slub + 0.4 * fine + 0.35 * soft).astype(np.float32)
    if material == "wool":  # knitted: columns of little v
        column = (x % 9) / 9
        v = np.sin((y + np.abs(column - 0.5) * 9) * 2 * np.pi / 7)
        return (0.75 * v - 1.1 * (np.abs(column - 0.5) > 0.42) + 0.3 * fine + 0.2).astype(
            np.float32
        )
    if material == "leather":
        pebble = noise(rng, (TILE, TILE), (TILE / 4.5, TILE / 4.5))
        return (np.abs(pebble) * 2.2 - 0.9 + 0.3 * soft).astype(np.float32)
    if material == "suede":
        nap = noise(rng, (TILE, TILE), (TILE / 26, TILE / 15))
        return (0.9 * nap + 0.6 * fine).astype(np.float32)
    if material == "nylon":
        return (0.8 * (((x % 10) < 1.4) | ((y % 10) < 1.4)) + 0.3 * fine - 0.2).astype(np.float32)
    if material == "metal":
        return (noise(rng, (TILE, TILE), (TILE / 1.6, TILE / 130)) * 1.2).astype(np.float32)
    if material == "enamel":
        return np.where(noise(rng, (TILE, TILE), (TILE / 5, TILE / 5)) > 1.15, -5.0, 0.0).astype(
            np.float32
        )
    if material == "wood":
        bend = noise(rng, (TILE, TILE), (TILE / 160, TILE / 55)) * 1.6
        rings = np.sin(x * 0.32 + bend * 5 + np.sin(y / 70))
        return (0.55 * rings + 0.5 * noise(rng, (TILE, TILE), (TILE / 70, TILE / 2.5))).astype(
            np.float32
        )
    raise KeyError(material)


def step(value: np.ndarray, soft: float) -> np.ndarray:
    """1 where ``value`` > 0, 0 where it is < 0, a ramp of width ``soft`` between: an anti-aliased
    edge."""
    return np.clip(value / np.float32(soft) + 0.5, 0, 1)


@dataclass(frozen=True)
class Surface:
    """Colours, print and material of a part. Coordinates are the drawing's: -1..1
    across and down."""

    ground: np.ndarray
    ink: np.ndarray
    accent: np.ndarray
    pattern: str
    material: str
    scale: float
    angle: float
    offset: tuple[int, int]

    @property
    def finish(self) -> Finish:
        return FINISHES[self.material]

    def plain(self, rgb: np.ndarray | None = None, material: str | None = None) -> Surface:
        """The same without print, in another colour or material where given."""
        return replace(
            self,
            pattern="solid",
            ground=self.ground if rgb is None else np.asarray(rgb, np.float32),
            material=material or self.material,
        )

    def turned(self, angle: float) -> Surface:
        """The same with the print turned by ``angle`` radians."""
        return replace(self, angle=self.angle + angle)

    def paint(self, x: np.ndarray, y: np.ndarray, at: tuple[int, int], pixel: float) -> np.ndarray:
        """Colour float32 [h, w, 3] at coordinates ``x``, ``y``; ``at`` is the pixel (row, column)
        of the corner."""
        colour = np.broadcast_to(self.ground, (*x.shape, 3))
        if self.pattern != "solid":
            c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
            u, v = (
                (x * c + y * s) / np.float32(self.scale),
                (y * c - x * s) / np.float32(self.scale),
            )
            colour = self._print(u, v, pixel / self.scale)
        grain = self.finish.grain
        if not grain:
            return colour.copy()
        top, left = (at[0] + self.offset[0]) % TILE, (at[1] + self.offset[1]) % TILE
        h, w = x.shape
        rows, columns = np.arange(top, top + h) % TILE, np.arange(left, left + w) % TILE
        texture = tile(self.material)[rows][:, columns]
        return colour * (1 + np.float32(grain) * texture)[..., None]

    def _print(self, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
        """The print at pattern coordinates (one repeat is 1 x 1)."""
        soft = max(1.5 * pixel, 0.02)
        ground, ink, accent = self.ground, self.ink, self.accent
        if self.pattern == "stripes":
            mix = step(0.21 - np.abs(v % 1 - 0.5), soft)
        elif self.pattern == "dots":
            row = np.floor(v)
            du, dv = (u + 0.5 * (row % 2)) % 1 - 0.5, v - row - 0.5
            mix = step(0.27 - np.sqrt(du * du + dv * dv), soft)
        elif self.pattern == "checks":
            across, down = (
                step(0.25 - np.abs(u % 1 - 0.5), soft),
                step(0.25 - np.abs(v % 1 - 0.5), soft),
            )
            mix = 0.40 * across + 0.40 * down
        elif self.pattern == "plaid":
            wide = [step(0.16 - np.abs(t * 0.6 % 1 - 0.5), soft) for t in (u, v)]
            thin = [step(0.030 - np.abs((t * 0.6 + 0.35) % 1 - 0.5), soft) for t in (u, v)]
            dark = ground * np.float32(0.58)
            colour = ground + (dark - ground) * (0.5 * (wide[0] + wide[1]))[..., None]
            return colour + (ink - colour) * (0.75 * np.maximum(*thin))[..., None]
        elif self.pattern == "zigzag":
            mix = step(0.19 - np.abs((v + 0.5 * np.abs(u * 0.8 % 1 - 0.5) * 2) % 1 - 0.5), soft)
        else:  # floral: one five-petalled flower to a cell, each with its own place, size and turn
            cu, cv = np.floor(u * 0.8).astype(np.int64), np.floor(v * 0.8).astype(np.int64)
            chance = np.random.default_rng(self.offset[0]).random((3, 64), dtype=np.float32)
            which = (cu * 7 + cv * 19) % 64
            du = u * 0.8 - cu - 0.5 + (chance[0][which] - 0.5) * 0.3
            dv = v * 0.8 - cv - 0.5 + (chance[1][which] - 0.5) * 0.3
            radius, turn = np.sqrt(du * du + dv * dv), np.arctan2(dv, du) + chance[2][which] * 6
            size = 0.20 + 0.12 * chance[2][which]
            petals = step(size * (0.62 + 0.38 * np.abs(np.cos(2.5 * turn))) - radius, soft)
            colour = ground + (ink - ground) * petals[..., None]
            return colour + (accent - colour) * step(size * 0.3 - radius, soft)[..., None]
        return ground + (ink - ground) * mix[..., None]
