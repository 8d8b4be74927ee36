"""Made shop: products with variants, photos and prices, the same for every format that is written.

The feeds are written by ``feed_formats``. The photos are drawn as the sample catalog's are, so that
a model can learn their kinds.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.sample.catalog import KINDS, draw_product
from tools.sample.palette import COLOURS
from tools.sample.scene import photograph

_BRANDS = ("Kelp & Co", "Reef", "Dune", "Fjord", "Harbour", "Lark")
_SIZES = {"Apparel": ("S", "M", "L", "XL"), "Shoes": ("38", "39", "40", "41")}
_LOOKS = ("Shore", "Tide", "Kelp", "Cliff", "Marsh", "Pebble", "Drift", "Gull", "Foam", "Spray")
_TAGS = ("summer", "winter", "new-in", "gift", "outlet", "organic")


@dataclass(frozen=True)
class MadeVariant:
    """What a shopper buys. ``photos`` are file names, its own first."""

    sku: str
    gtin: str
    colour: str
    # None where the kind has no sizes.
    size: str | None
    price: float
    # Below ``price``; None where it is not on sale.
    sale_price: float | None
    stock: int
    photos: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its options as shops join them."""
        return f"{self.colour} / {self.size}" if self.size else self.colour


@dataclass(frozen=True)
class MadeProduct:
    """A product with its variants; with a single one it has no parent in any feed."""

    number: int
    handle: str
    title: str
    # HTML, and the text it stands for.
    markup: str
    text: str
    brand: str
    # From the top level to the leaf.
    category: tuple[str, ...]
    tags: tuple[str, ...]
    kind: str
    material: str
    variants: tuple[MadeVariant, ...]

    @property
    def photos(self) -> tuple[str, ...]:
        """All its file names, each once."""
        return tuple(dict.fromkeys(photo for one in self.variants for photo in one.photos))


def made_products(
    count: int,
    *,
    seed: int = 0,
    variants: int | None = None,
    photos: int = 2,
    changed: float = 0.0,
) -> Iterator[MadeProduct]:
    """The first ``count`` products of the shop of that ``seed``, one by one, in constant memory.

    A product is the same whatever the count. ``variants``: of each product (default: one to six, by
    chance); ``photos``: of each colour. Of the share ``changed`` of all products the price has
    changed by one, and nothing else.
    """
    for number in range(count):
        yield _made(number, random.Random(f"{seed}:{number}"), variants, photos, changed)


def _made(
    number: int, chance: random.Random, wanted: int | None, photos: int, changed: float
) -> MadeProduct:
    name = list(KINDS)[number % len(KINDS)]
    kind = KINDS[name]
    material = chance.choice(kind.materials)
    look = chance.choice(_LOOKS)
    handle = f"{look.lower()}-{name}-{number}"
    low, high = kind.price
    price = round(chance.uniform(low, high)) - 0.05
    price += chance.random() < changed
    on_sale = chance.random() < 0.2
    sizes: tuple[str | None, ...] = _SIZES.get(kind.path[0], (None,))
    number_of = wanted or chance.choice((1, 1, 2, 3, 4, 6))
    colours = chance.sample(sorted(COLOURS), min(-(-number_of // len(sizes)), len(COLOURS)))
    variants = []
    for place in range(min(number_of, len(colours) * len(sizes))):
        colour = colours[place // len(sizes)]
        size = sizes[place % len(sizes)]
        digits = f"{4_000_000_000 + (number * 31 + place) % 900_000_000:010d}00"
        sku = f"{look[:2].upper()}-{number}-{colour.upper()}" + (f"-{size}" if size else "")
        variants.append(
            MadeVariant(
                sku,
                digits + _check_digit(digits),
                colour,
                size,
                round(price, 2),
                round(price * 0.8, 2) if on_sale else None,
                chance.choice((0, 1, 4, 12)),
                tuple(f"{handle}-{colour}-{shot + 1}.jpg" for shot in range(photos)),
            )
        )
    label = kind.label
    return MadeProduct(
        number,
        handle,
        f"{look} {label}",
        f"<p>{label} of {material}, soft &amp; strong.</p><ul><li>Wash cold</li></ul>",
        f"{label} of {material}, soft & strong.\nWash cold",
        chance.choice(_BRANDS),
        (*kind.path, label),
        tuple(chance.sample(_TAGS, chance.choice((0, 1, 2)))),
        name,
        material,
        tuple(variants),
    )


def _check_digit(digits: str) -> str:
    """The last digit of a GTIN that begins with twelve ``digits``."""
    weighed = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return str(-weighed % 10)


def photo_bytes(product: MadeProduct, photo: str, size: int = 256) -> bytes:
    """JPEG of one of the product's photos, ``size`` px square: the same name, the same bytes."""
    variant = next(one for one in product.variants if photo in one.photos)
    shot = variant.photos.index(photo)
    seed = int.from_bytes(hashlib.sha256(photo.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    drawn = draw_product(
        product.kind, variant.colour, "solid", product.material, rng, round(size * 1.25)
    )
    standing = KINDS[product.kind].standing
    out = io.BytesIO()
    photograph(drawn, size, rng, standing=standing, first=shot == 0).save(out, "JPEG", quality=86)
    return out.getvalue()


def write_photos(folder: Path, products: Iterable[MadeProduct], size: int = 256) -> int:
    """Draw all photos of ``products`` into ``folder``; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for product in products:
        for photo in product.photos:
            (folder / photo).write_bytes(photo_bytes(product, photo, size))
            written += 1
    return written
