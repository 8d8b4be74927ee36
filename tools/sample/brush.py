"""Sheet to draw lit, textured parts on: outlines, relief, shadows, seams, highlights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tools.sample.surface import Surface, noise

# Towards the light: from the upper left, in front of the sheet.
_LIGHT = np.array([-0.42, -0.56, 0.71], np.float32)
_HALF = (_LIGHT + np.array([0, 0, 1], np.float32)) / np.linalg.norm(
    _LIGHT + np.array([0, 0, 1], np.float32)
)
Points = Sequence[Sequence[float] | np.ndarray] | np.ndarray


def smooth(points: Points, closed: bool = True, per: int = 9) -> np.ndarray:
    """A smooth outline [n, 2] through points ``(x, y)``; a point ``(x, y, 0)`` is a corner."""
    corner = np.array([len(p) > 2 for p in points])
    p = np.array([(q[0], q[1]) for q in points], np.float64)
    after, before = np.roll(p, -1, 0), np.roll(p, 1, 0)
    if not closed:
        after[-1], before[0] = p[-1], p[0]
    tangent = (after - before) * 0.5
    # Next to much shorter or longer neighbours a full tangent would overshoot.
    reach = np.minimum(np.linalg.norm(after - p, axis=1), np.linalg.norm(p - before, axis=1))
    length = np.maximum(np.linalg.norm(tangent, axis=1), 1e-9)
    tangent *= np.minimum(1, 1.4 * reach / length)[:, None]
    tangent[corner] = 0
    t = np.linspace(0, 1, per, endpoint=False)[:, None, None]
    q, m, n = np.roll(p, -1, 0), tangent, np.roll(tangent, -1, 0)
    # A segment that leaves or reaches a corner bends only at its other end.
    h = (
        (2 * t**3 - 3 * t**2 + 1) * p
        + (t**3 - 2 * t**2 + t) * m
        + (3 * t**2 - 2 * t**3) * q
        + (t**3 - t**2) * n
    )
    curve = h.transpose(1, 0, 2)
    if not closed:
        return np.concatenate([curve[:-1].reshape(-1, 2), p[-1:]])
    return curve.reshape(-1, 2)


def mirrored(half: Points) -> np.ndarray:
    """A closed symmetric outline from its right half, listed from the top to the bottom."""
    left = [(-q[0], *q[1:]) for q in reversed(list(half)) if q[0] > 1e-6]
    return smooth([*half, *left])


def flip(path: np.ndarray) -> np.ndarray:
    """The path seen in a mirror (left for right)."""
    return path * np.array([-1, 1])


def moved(path: np.ndarray, right: float, down: float) -> np.ndarray:
    """The path moved."""
    return path + np.array([right, down])


def ellipse(
    cx: float, cy: float, rx: float, ry: float, start: float = 0, stop: float = 360
) -> np.ndarray:
    """An ellipse, or an arc of it in degrees clockwise from the right."""
    t = np.radians(
        np.linspace(
            start, stop, max(12, round(abs(stop - start) / 7)), endpoint=abs(stop - start) < 360
        )
    )
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> np.ndarray:
    """A rectangle with rounded corners."""
    r = min(radius, (right - left) / 2, (bottom - top) / 2)
    if r <= 0:
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    corners = (
        (right - r, top + r, 270),
        (right - r, bottom - r, 0),
        (left + r, bottom - r, 90),
        (left + r, top + r, 180),
    )
    return np.concatenate([ellipse(x, y, r, r, a, a + 90) for x, y, a in corners])


def ribbon(points: np.ndarray, width: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """The outline of a line of the given width (one number, or widths from its start
    to its end)."""
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    widths = np.atleast_1d(np.asarray(width, float))
    widths = np.interp(np.linspace(0, 1, len(points)), np.linspace(0, 1, len(widths)), widths)
    side = np.stack([-along[:, 1], along[:, 0]], 1) * widths[:, None] / 2
    return np.concatenate([points + side, (points - side)[::-1]])


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a float array with zeros around it (Pillow blurs bytes, whose steps would
    show)."""
    reach = int(2.4 * sigma) + 1
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    weights = (weights / weights.sum()).astype(np.float32)
    for _ in range(2):
        n = values.shape[0]
        padded = np.pad(values, ((reach, reach), (0, 0)))
        total = padded[:n] * weights[0]
        for k in range(1, 2 * reach + 1):
            total += padded[k : k + n] * weights[k]
        values = np.ascontiguousarray(total.T)
    return values


def _resized(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if values.shape == shape:
        return values
    return np.asarray(
        Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    )


class Sheet:
    """An RGBA drawing ``size`` px square whose plane spans -1..1 across and down.

    ``give`` is how far the whole outline may be stretched and tapered by chance, so that no two
    drawings of one shape are congruent.
    """

    def __init__(self, size: int, rng: np.random.Generator, give: float = 0.0) -> None:
        self.size = size
        self.rng = rng
        self._stretch = 1 - rng.uniform(0, give, 2)
        self._taper = rng.uniform(-0.5, 0.5) * give
        self.rgb = np.zeros((size, size, 3), np.float32)  # premultiplied by alpha
        self.alpha = np.zeros((size, size), np.float32)

    def image(self) -> Image.Image:
        """The drawing as an RGBA image."""
        rgb = self.rgb / np.maximum(self.alpha, 1e-4)[..., None]
        pixels = np.dstack([np.clip(rgb, 0, 1), np.clip(self.alpha, 0, 1)]) * 255 + 0.5
        return Image.fromarray(pixels.astype(np.uint8), "RGBA")

    def _placed(self, path: np.ndarray) -> np.ndarray:
        """Sheet coordinates to px."""
        x = path[:, 0] * (self._stretch[0] + self._taper * path[:, 1])
        return (np.stack([x, path[:, 1] * self._stretch[1]], 1) + 1) * (self.size / 2)

    # --- masks
    # ----------------------------------------------------------------------------------------------

    def _mask(
        self, *paths: np.ndarray, pad: int = 2
    ) -> tuple[tuple[slice, slice], np.ndarray] | None:
        """Where the outlines lie on the sheet, and their anti-aliased coverage there."""
        paths = tuple(self._placed(path) for path in paths)
        p = np.concatenate(paths)
        left, top = np.maximum(np.floor(p.min(0)).astype(int) - pad, 0)
        right, bottom = np.minimum(np.ceil(p.max(0)).astype(int) + pad, self.size)
        if right - left < 1 or bottom - top < 1:
            return None
        big = Image.new("L", (int(right - left) * 3, int(bottom - top) * 3))
        draw = ImageDraw.Draw(big)
        for path in paths:
            outline = (path - (left, top)) * 3 - 0.5
            draw.polygon([tuple(q) for q in outline.tolist()], fill=255)
        mask = np.asarray(big.reduce(3), np.float32) / np.float32(255)
        return (slice(int(top), int(bottom)), slice(int(left), int(right))), mask

    def _relief(
        self, mask: np.ndarray, radius: float, depth: float, folds: float, lean: float, sharp: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Light (1 = as on a flat sheet) and highlight (0..1) on a cushion of that outline, with
        creases."""
        f = max(1, round(radius / 2.6))
        h, w = mask.shape
        shape = (max(4, h // f), max(4, w // f))
        small = (
            mask
            if f == 1
            else np.asarray(
                Image.fromarray(mask).resize(shape[::-1], Image.Resampling.BOX), np.float32
            )
        )
        sigma = max(0.8, radius / f)
        height: np.ndarray = _blurred(small, sigma) * np.float32(sigma * depth * 2)
        if folds:
            # Creases run down the cloth: far fewer bumps along than across; `lean` shears them.
            scale = self.size / f
            slack = int(abs(lean) * shape[0])
            crease: np.ndarray = noise(
                self.rng,
                (shape[0], shape[1] + slack),
                (shape[0] / scale * 3.2, (shape[1] + slack) / scale * 11),
            )
            if slack:
                matrix = (1, lean, slack if lean < 0 else 0, 0, 1, 0)
                leant = Image.fromarray(crease).transform(
                    shape[::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
                )
                crease = np.asarray(leant)
            height = height + crease * np.float32(folds * scale * 0.011)
        gy, gx = np.gradient(height)
        length = np.sqrt(gx * gx + gy * gy + 1)
        light = (-gx * _LIGHT[0] - gy * _LIGHT[1] + _LIGHT[2]) / length / _LIGHT[2]
        shine = np.clip((-gx * _HALF[0] - gy * _HALF[1] + _HALF[2]) / length, 0, 1)
        flat = _HALF[2]
        shine = np.clip(shine**sharp - flat**sharp, 0, 1) / (1 - flat**sharp)
        return _resized(light.astype(np.float32), mask.shape), _resized(
            shine.astype(np.float32), mask.shape
        )

    # --- parts
    # ----------------------------------------------------------------------------------------------

    def part(
        self,
        path: np.ndarray,
        surface: Surface,
        *,
        puff: float = 0.05,
        depth: float = 1.0,
        folds: float = 0.0,
        lean: float = 0.0,
        round_: bool = False,
        lift: float = 0.02,
        tone: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Lay a part on the sheet.

        ``puff`` is how far its edge is rounded (sheet units), ``depth`` how strongly; ``folds`` the
        strength of creases; ``round_`` shades it as a body of revolution instead; ``lift`` is the
        reach of the shadow it casts on what lies below; ``tone`` darkens or lightens the colour.
        """
        found = self._mask(path)
        if found is None:
            return
        where, mask = found
        h, w = mask.shape
        top, left = where[0].start, where[1].start
        pixel = 2 / self.size
        x = np.broadcast_to(
            ((np.arange(left, left + w, dtype=np.float32) + 0.5) * np.float32(pixel) - 1)[None],
            (h, w),
        )
        y = np.broadcast_to(
            ((np.arange(top, top + h, dtype=np.float32) + 0.5) * np.float32(pixel) - 1)[:, None],
            (h, w),
        )
        finish = surface.finish
        if round_:
            solid = mask > 0.4
            first, last = solid.argmax(1), w - solid[:, ::-1].argmax(1)
            half = np.maximum((last - first) / 2, 1)[:, None].astype(np.float32)
            turn = np.clip(
                (np.arange(w, dtype=np.float32)[None] + 0.5 - (first + last)[:, None] / 2) / half,
                -1,
                1,
            )
            light = 0.58 + 0.46 * np.sqrt(1 - turn * turn) - 0.20 * turn
            shine = np.exp(-np.square((turn + 0.46) / 0.13)) + 0.35 * np.exp(
                -np.square((turn - 0.72) / 0.10)
            )
            if surface.material == "metal":
                light = light + 0.22 * np.cos(turn * 7.5 + 0.9) - 0.05
            shine = shine * 0.75
            x = (np.arcsin(turn) * half * np.float32(pixel)).astype(np.float32)
        else:
            creases = folds * finish.fold
            light, shine = self._relief(
                mask, puff * self.size / 2, depth, creases, lean, finish.sharp
            )
            if finish.sheen:
                light = 1 + (light - 1) * (1 + finish.sheen)
        colour = surface.paint(x, y, (top, left), pixel) * np.float32(tone)
        light = np.clip(light, 0.38, 1.5)[..., None]
        # Below 1 light darkens; above 1 it approaches white instead of burning out.
        colour = colour * np.minimum(light, 1) + (1 - colour) * np.clip(
            light - 1, 0, 1
        ) * np.float32(0.38)
        if finish.gloss:
            colour = colour + (1 - colour) * (shine * np.float32(finish.gloss))[..., None]
        if lift:
            self.shade(moved(path, lift * 0.45, lift * 0.7), -0.42, lift)
        cover = (mask * np.float32(opacity))[..., None]
        self.rgb[where] = self.rgb[where] * (1 - cover) + np.clip(colour, 0, 1) * cover
        self.alpha[where] = self.alpha[where] * (1 - cover[..., 0]) + cover[..., 0]

    def shade(self, path: np.ndarray, amount: float, blur: float) -> None:
        """Darken (negative) or lighten a soft-edged area of what is drawn already."""
        sigma = blur * self.size / 2
        found = self._mask(path, pad=int(2.5 * sigma) + 2)
        if found is None:
            return
        where, mask = found
        if sigma > 0.3:
            soft = Image.fromarray((mask * 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(sigma)
            )
            mask = np.asarray(soft, np.float32) / np.float32(255)
        mask = (mask * np.float32(abs(amount)))[..., None]
        if amount < 0:
            self.rgb[where] *= 1 - mask
        else:
            self.rgb[where] += (self.alpha[where][..., None] - self.rgb[where]) * mask

    def line(
        self,
        points: np.ndarray,
        width: float,
        rgb: Sequence[float] | np.ndarray,
        opacity: float = 1.0,
        dash: float = 0.0,
    ) -> None:
        """Draw a line (a seam; dashed: stitches) on what is drawn already; it never leaves it."""
        pieces = [points]
        if dash:
            steps = np.concatenate(
                [[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
            )
            spans = [
                np.linspace(at, min(at + 0.55 * dash, steps[-1]), 3)
                for at in np.arange(0, steps[-1] - 1e-6, dash)
            ]
            pieces = []
            for t in spans:
                x = np.interp(t, steps, points[:, 0])
                pieces.append(np.stack([x, np.interp(t, steps, points[:, 1])], 1))
        found = self._mask(*[ribbon(piece, width) for piece in pieces])
        if found is not None:
            where, mask = found
            cover = (mask * np.float32(opacity))[..., None]
            colour = np.asarray(rgb, np.float32) * self.alpha[where][..., None]
            self.rgb[where] = self.rgb[where] * (1 - cover) + colour * cover
