"""Colour features of the product in a photo: a soft Lab histogram against the background."""

from __future__ import annotations

from typing import Any

from indexer.core.native import torch
from indexer.imaging.lab_color import CELLS, CHROMA, LIGHTNESS, SIDE, SOFTNESS, XYZ
from indexer.model.spec import Preprocess

nn = torch.nn
functional = torch.nn.functional


class ColourStatistics(nn.Module):
    """Colour statistics of a network's input: [N, 3, H, W] to [N, K] of a ``version``.

    Version 1: square roots of the histogram's shares, then mean and spread in Lab. Pixels count by
    how far they are from the border's median colour, a studio's background, and by how near the
    middle they lie; where nothing differs, the middle of the photo counts. Version 2 has behind
    these the mean in Lab of what differs in each of ``CELLS`` x ``CELLS`` cells, and how much of
    the cell that is. Nothing is trained. ``lab_color.statistics`` computes the same in numpy.
    """

    def __init__(self, preprocess: Preprocess, version: int) -> None:
        super().__init__()
        self.version = version

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
        constant("xyz", torch.tensor(XYZ))
        constant("light", torch.tensor(LIGHTNESS))
        constant("chroma", torch.tensor(CHROMA))
        across = torch.linspace(-1, 1, SIDE // 2)
        constant("centre", torch.exp(-(across[:, None] ** 2 + across[None] ** 2) / (2 * 0.6**2)))

    def forward(self, photos: Any) -> Any:
        # In float32 whatever the rest runs in: the cube root of a half is too coarse for dark
        # colours.
        with torch.autocast(photos.device.type, enabled=False):
            rgb = (photos.float() * self.std + self.mean).clamp(0, 1)
            return self._statistics(functional.adaptive_avg_pool2d(rgb, SIDE)[:, :, ::2, ::2])

    def _statistics(self, small: Any) -> Any:
        """Compute the statistics [N, K] of RGB in [0, 1], [N, 3, SIDE / 2, SIDE / 2]."""
        with torch.autocast(small.device.type, enabled=False):
            lab = self._lab(small)
            border = torch.cat(
                [lab[:, :, 0], lab[:, :, -1], lab[:, :, :, 0], lab[:, :, :, -1]], dim=2
            )
            ground = border.median(dim=2).values[:, :, None, None]
            # 8 Lab units: plainly another colour.
            product = torch.sigmoid(((lab - ground).norm(dim=1) - 8.0) / 2.0)
            weight = (self.centre * (product + 1e-4)).flatten(1)
            weight = (weight / weight.sum(1, keepdim=True)).unsqueeze(2)  # [N, P, 1]
            pixels = lab.flatten(2).transpose(1, 2)  # [N, P, 3]
            # A pixel's softmax over bins by squared distance is the product of one along each axis:
            # [N, P, bins of it].
            light, red, blue = (
                torch.softmax(-((pixels[:, :, axis, None] - bins) ** 2) / (2 * SOFTNESS**2), dim=2)
                for axis, bins in enumerate((self.light, self.chroma, self.chroma))
            )
            # [N, P, lightness x a*]
            both = ((light * weight).unsqueeze(3) * red.unsqueeze(2)).flatten(2)
            shares = (both.transpose(1, 2) @ blue).flatten(1)
            mean = (pixels * weight).sum(1)
            spread = ((pixels - mean.unsqueeze(1)).square() * weight).sum(1).sqrt()
            found = [shares.sqrt(), mean / 50, spread / 50]
            if self.version >= 2:
                found += self._by_place(lab, product)
            return torch.cat(found, dim=1)

    def _by_place(self, lab: Any, product: Any) -> list[Any]:
        """Lab and presence of the product in cells: [N, 3 cells] and [N, cells]."""
        weight = product.unsqueeze(1) + 1e-3
        side = SIDE // 2 // CELLS
        presence = functional.avg_pool2d(weight, side)
        colour = functional.avg_pool2d(lab * weight, side) / presence
        return [(colour / 50).permute(0, 2, 3, 1).flatten(1), presence.flatten(1)]

    def _lab(self, rgb: Any) -> Any:
        """Convert sRGB in [0, 1] to CIE Lab (D65)."""
        linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
        xyz = torch.einsum("ij,njhw->nihw", self.xyz, linear)
        root = torch.where(
            xyz > 216 / 24389, xyz.clamp_min(1e-6) ** (1 / 3), xyz * (24389 / 27 / 116) + 16 / 116
        )
        x, y, z = root.unbind(1)
        return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
