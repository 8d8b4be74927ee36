"""What colours the product in a photo has: a soft Lab histogram of what differs from the border."""

from __future__ import annotations

from typing import Any

import numpy as np

from indexer.model.spec import Preprocess
from indexer.native import torch

nn = torch.nn
functional = torch.nn.functional

_LIGHTNESS = (15.0, 35.0, 55.0, 75.0, 93.0)
_CHROMA = (-48.0, -28.0, -12.0, 0.0, 12.0, 28.0, 48.0, 66.0)  # of a* and of b*
_SOFTNESS = 8.0  # spread of a pixel over neighbouring bins, in Lab units
_SIDE = 56  # the photo is averaged to this side, then every other pixel is read
WIDTH = len(_LIGHTNESS) * len(_CHROMA) ** 2 + 6

# sRGB (D65) to XYZ, IEC 61966-2-1; rows already divided by the white point 0.95047, 1, 1.08883.
_XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)


class ColourStatistics(nn.Module):
    """Network input [N, 3, H, W] -> [N, WIDTH]: square roots of the histogram's shares, then mean and spread in Lab.

    Nothing is trained. Pixels count by how far they are from the border's median colour, a studio's background, and by
    how near the middle they lie; where nothing differs, the middle of the photo counts.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()

        self.mean: Any
        self.std: Any
        self.xyz: Any
        self.light: Any
        self.chroma: Any
        self.centre: Any

        def constant(name: str, value: Any) -> None:
            self.register_buffer(name, value, persistent=False)

        constant("mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1))
        constant("std", torch.tensor(preprocess.std).view(1, 3, 1, 1))
        constant("xyz", torch.tensor(_XYZ))
        constant("light", torch.tensor(_LIGHTNESS))
        constant("chroma", torch.tensor(_CHROMA))
        across = torch.linspace(-1, 1, _SIDE // 2)
        constant("centre", torch.exp(-(across[:, None] ** 2 + across[None] ** 2) / (2 * 0.6**2)))

    def forward(self, photos: Any) -> Any:
        # In float32 whatever the rest runs in: the cube root of a half is too coarse for dark colours.
        with torch.autocast(photos.device.type, enabled=False):
            rgb = (photos.float() * self.std + self.mean).clamp(0, 1)
            return self._statistics(functional.adaptive_avg_pool2d(rgb, _SIDE)[:, :, ::2, ::2])

    def of_pixels(self, pixels: np.ndarray) -> Any:
        """The same of the pixels themselves, uint8 [N, H, W, 3]; quicker, since every other one is never touched."""
        count, side = len(pixels), pixels.shape[1] // _SIDE
        if pixels.shape[1:3] != (side * _SIDE, side * _SIDE):
            whole = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            return self._statistics(functional.adaptive_avg_pool2d(whole, _SIDE)[:, :, ::2, ::2])
        rows = pixels.reshape(count, _SIDE, side, -1)[:, ::2].sum(axis=2, dtype=np.uint32)
        cells = rows.reshape(count, _SIDE // 2, _SIDE, side, 3)[:, :, ::2].sum(axis=3, dtype=np.uint32)
        small = cells.astype(np.float32) / (255 * side * side)
        return self._statistics(torch.from_numpy(small).permute(0, 3, 1, 2))

    def _statistics(self, small: Any) -> Any:
        """RGB in [0, 1], [N, 3, _SIDE / 2, _SIDE / 2] -> [N, WIDTH]."""
        with torch.autocast(small.device.type, enabled=False):
            lab = self._lab(small)
            border = torch.cat([lab[:, :, 0], lab[:, :, -1], lab[:, :, :, 0], lab[:, :, :, -1]], dim=2)
            ground = border.median(dim=2).values[:, :, None, None]
            product = torch.sigmoid(((lab - ground).norm(dim=1) - 8.0) / 2.0)  # 8 Lab units: plainly another colour
            weight = (self.centre * (product + 1e-4)).flatten(1)
            weight = (weight / weight.sum(1, keepdim=True)).unsqueeze(2)  # [N, P, 1]
            pixels = lab.flatten(2).transpose(1, 2)  # [N, P, 3]
            # A pixel's softmax over bins by squared distance is the product of one along each axis: [N, P, bins of it].
            light, red, blue = (
                torch.softmax(-((pixels[:, :, axis, None] - bins) ** 2) / (2 * _SOFTNESS**2), dim=2)
                for axis, bins in enumerate((self.light, self.chroma, self.chroma))
            )
            both = ((light * weight).unsqueeze(3) * red.unsqueeze(2)).flatten(2)  # [N, P, lightness x a*]
            shares = (both.transpose(1, 2) @ blue).flatten(1)
            mean = (pixels * weight).sum(1)
            spread = ((pixels - mean.unsqueeze(1)).square() * weight).sum(1).sqrt()
            return torch.cat([shares.sqrt(), mean / 50, spread / 50], dim=1)

    def _lab(self, rgb: Any) -> Any:
        """sRGB in [0, 1] -> CIE Lab (D65)."""
        linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
        xyz = torch.einsum("ij,njhw->nihw", self.xyz, linear)
        root = torch.where(xyz > 216 / 24389, xyz.clamp_min(1e-6) ** (1 / 3), xyz * (24389 / 27 / 116) + 16 / 116)
        x, y, z = root.unbind(1)
        return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
