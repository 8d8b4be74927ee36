"""The sample catalog: plan of its products, photos on disk, manifest."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.core.category_path import format_path
from indexer.core.container import usable_cores
from indexer.core.csv_text import CsvWriter
from tools.sample import accessories, apparel, bags, home, shoes, tops
from tools.sample.brush import Sheet
from tools.sample.palette import COLOURS, partner_of, shade_of, to_unit
from tools.sample.scene import photograph
from tools.sample.surface import PATTERNS, Surface

COLUMNS = (
    "product_id",
    "image",
    "title",
    "category",
    "tags",
    "split",
    "colour",
    "pattern",
    "material",
    "price",
    "in_stock",
)
_MAKERS = (
    "Alder",
    "Brook",
    "Cove",
    "Dune",
    "Ember",
    "Fjord",
    "Grove",
    "Harbour",
    "Isle",
    "Juniper",
    "Kite",
    "Lark",
    "Mesa",
    "North",
)
_ADJECTIVE = {
    "stripes": "striped",
    "dots": "dotted",
    "checks": "checked",
    "plaid": "plaid",
    "zigzag": "zigzag",
    "floral": "floral",
}
_PRINTED = ("solid", "solid", *PATTERNS)
_DENIM_COLOURS = ("blue", "blue", "black", "grey", "white")


@dataclass(frozen=True)
class ArticleKind:
    """One kind of product: where it stands in the shop, what it may be made of, how it is drawn."""

    label: str
    path: tuple[str, ...]
    materials: tuple[str, ...]
    patterns: tuple[str, ...]
    draw: Callable[[Sheet, Surface, np.random.Generator], tuple[str, ...]]
    price: tuple[float, float]
    standing: bool = False
    give: float = 0.09  # how far its outline may be stretched
    scale: float = 0.16  # one repeat of a print, in half widths of the drawing


KINDS: dict[str, ArticleKind] = {
    kind.label.lower().replace(" ", "-"): kind
    for kind in (
        ArticleKind(
            "T-shirt", ("Apparel", "Tops"), ("cotton", "linen"), _PRINTED, tops.tshirt, (12, 45)
        ),
        ArticleKind(
            "Shirt",
            ("Apparel", "Tops"),
            ("cotton", "linen", "denim"),
            _PRINTED,
            tops.shirt,
            (29, 95),
            scale=0.11,
        ),
        ArticleKind(
            "Dress",
            ("Apparel", "Dresses"),
            ("cotton", "silk", "linen"),
            _PRINTED,
            apparel.dress,
            (39, 160),
            scale=0.13,
        ),
        ArticleKind(
            "Trousers",
            ("Apparel", "Bottoms"),
            ("denim", "cotton", "wool", "linen"),
            ("solid", "solid", "solid", "stripes", "checks", "plaid"),
            apparel.trousers,
            (35, 130),
            scale=0.10,
        ),
        ArticleKind(
            "Skirt",
            ("Apparel", "Bottoms"),
            ("cotton", "denim", "silk", "suede"),
            _PRINTED,
            apparel.skirt,
            (25, 110),
            scale=0.13,
        ),
        ArticleKind(
            "Hat",
            ("Apparel", "Headwear"),
            ("cotton", "wool", "canvas"),
            _PRINTED,
            accessories.hat,
            (15, 55),
            scale=0.14,
        ),
        ArticleKind(
            "Sneaker",
            ("Shoes", "Casual"),
            ("canvas", "leather", "suede"),
            ("solid", "solid", "solid", "stripes", "dots", "checks", "floral"),
            shoes.sneaker,
            (45, 150),
            True,
            scale=0.12,
        ),
        ArticleKind(
            "Boot",
            ("Shoes", "Boots"),
            ("leather", "suede", "rubber"),
            ("solid",),
            shoes.boot,
            (70, 260),
            True,
        ),
        ArticleKind(
            "Handbag",
            ("Accessories", "Bags"),
            ("leather", "canvas", "suede"),
            _PRINTED,
            bags.handbag,
            (40, 320),
            True,
            scale=0.15,
        ),
        ArticleKind(
            "Backpack",
            ("Accessories", "Bags"),
            ("nylon", "canvas", "leather"),
            _PRINTED,
            bags.backpack,
            (35, 180),
            True,
            scale=0.15,
        ),
        ArticleKind(
            "Watch",
            ("Accessories", "Jewellery"),
            ("leather", "metal", "rubber", "canvas"),
            ("solid", "solid", "solid", "stripes"),
            accessories.watch,
            (60, 480),
            scale=0.12,
            give=0.03,
        ),
        ArticleKind(
            "Sunglasses",
            ("Accessories", "Eyewear"),
            ("plastic", "metal"),
            ("solid",),
            accessories.sunglasses,
            (18, 210),
            give=0.03,
        ),
        ArticleKind(
            "Mug",
            ("Home", "Kitchen"),
            ("ceramic", "enamel"),
            _PRINTED,
            home.mug,
            (8, 32),
            True,
            scale=0.17,
        ),
        ArticleKind(
            "Bottle",
            ("Home", "Kitchen"),
            ("metal", "glass", "plastic"),
            ("solid", "solid", "stripes", "dots", "zigzag", "floral"),
            home.bottle,
            (14, 48),
            True,
            scale=0.13,
        ),
        ArticleKind(
            "Chair",
            ("Home", "Furniture"),
            ("wood", "plastic", "wool", "leather"),
            ("solid", "solid", "solid", "stripes", "checks"),
            home.chair,
            (60, 540),
            True,
            scale=0.12,
        ),
        ArticleKind(
            "Lamp",
            ("Home", "Lighting"),
            ("ceramic", "wood", "metal"),
            ("solid", "solid", "stripes", "dots", "zigzag", "floral"),
            home.lamp,
            (30, 220),
            True,
            scale=0.13,
        ),
    )
}


@dataclass(frozen=True)
class Plan:
    """What one product is, before it is drawn."""

    product_id: str
    kind: str
    colour: str
    pattern: str
    material: str
    split: str
    seed: tuple[int, int]


def _surface(
    kind: ArticleKind, colour: str, pattern: str, material: str, rng: np.random.Generator
) -> Surface:
    second = partner_of(colour, rng)
    ground = shade_of(colour, rng)
    if material == "denim":  # indigo is never as bright as other dyes
        ground = ground * np.float32(0.62) + ground.mean() * np.float32(0.38)
    return Surface(
        ground=ground,
        ink=shade_of(second, rng),
        accent=to_unit(
            COLOURS["yellow" if second != "yellow" and colour != "yellow" else "orange"]
        ),
        pattern=pattern,
        material=material,
        scale=kind.scale * rng.uniform(0.75, 1.35),
        angle=float(rng.normal(0, 0.02)) if pattern != "dots" else float(rng.uniform(-0.5, 0.5)),
        offset=(int(rng.integers(400)), int(rng.integers(400))),
    )


def _draw(
    kind: str, colour: str, pattern: str, material: str, rng: np.random.Generator, size: int
) -> tuple[Image.Image, tuple[str, ...]]:
    surface = _surface(KINDS[kind], colour, pattern, material, rng)
    sheet = Sheet(size, rng, KINDS[kind].give)
    words = KINDS[kind].draw(sheet, surface, rng)
    return sheet.image(), words


def draw_product(
    kind: str, colour: str, pattern: str, material: str, rng: np.random.Generator, size: int
) -> Image.Image:
    """One product cut out: RGBA, ``size`` px square; names as in ``KINDS``, ``COLOURS``,
    ``PATTERNS``, ``FINISHES``."""
    return _draw(kind, colour, pattern, material, rng, size)[0]


def plan_catalog(seed: int, products: int) -> list[Plan]:
    """Which products the catalog of that seed and size has; kinds in turn, the rest by chance."""
    rng = np.random.default_rng([seed, 0])
    plans = []
    for n in range(products):
        name = list(KINDS)[n % len(KINDS)]
        kind = KINDS[name]
        material = str(rng.choice(kind.materials))
        pattern = str(rng.choice(kind.patterns))
        if material == "enamel" and pattern != "solid":
            material = "ceramic"
        if material in ("glass", "denim", "suede"):
            pattern = "solid"
        colour = str(rng.choice(_DENIM_COLOURS if material == "denim" else list(COLOURS)))
        product_id = f"{name}-{n // len(KINDS) + 1:04d}"
        share = (
            int.from_bytes(hashlib.sha256(f"{seed}:{product_id}".encode()).digest()[:8], "big")
            / 2**64
        )
        split = "train" if share < 0.70 else "validation" if share < 0.85 else "test"
        plans.append(Plan(product_id, name, colour, pattern, material, split, (seed, n + 1)))
    return plans


def _make(plan: Plan, size: int) -> tuple[list[dict[str, str]], list[bytes]]:
    """Rows and JPEG files of one product, from nothing but its plan."""
    rng = np.random.default_rng(plan.seed)
    kind = KINDS[plan.kind]
    product, words = _draw(
        plan.kind, plan.colour, plan.pattern, plan.material, rng, round(size * 1.25)
    )
    look = [_ADJECTIVE[plan.pattern]] if plan.pattern != "solid" else []
    title = " ".join(
        [
            _MAKERS[int(rng.integers(len(_MAKERS)))],
            plan.colour,
            *look,
            plan.material,
            words[0].replace("-", " "),
            kind.label.lower() if plan.kind != "t-shirt" else "T-shirt",
        ]
    )
    low, high = kind.price
    price = f"{round(low + (high - low) * float(rng.beta(1.6, 3.0))) - 0.05:.2f}"
    shared = {
        "product_id": plan.product_id,
        "title": title,
        "category": format_path([*kind.path, kind.label]),
        "tags": "|".join(
            dict.fromkeys([plan.kind, plan.colour, plan.pattern, plan.material, *words])
        ),
        "split": plan.split,
        "colour": plan.colour,
        "pattern": plan.pattern,
        "material": plan.material,
        "price": price,
        "in_stock": "true" if rng.random() < 0.85 else "false",
    }
    rows, files = [], []
    for shot in range(2 + int(rng.random() < 0.5)):
        photo = photograph(product, size, rng, standing=kind.standing, first=shot == 0)
        out = io.BytesIO()
        photo.save(out, "JPEG", quality=86, optimize=False)
        files.append(out.getvalue())
        rows.append({**shared, "image": f"images/{plan.product_id}-{shot + 1}.jpg"})
    return rows, files


def _write(job: tuple[list[Plan], int, str]) -> list[dict[str, str]]:
    plans, size, out = job
    written = []
    for plan in plans:
        rows, files = _make(plan, size)
        for row, data in zip(rows, files, strict=True):
            (Path(out) / row["image"]).write_bytes(data)
        written += rows
    return written


def make_sample_catalog(
    out: Path,
    *,
    seed: int = 7,
    products: int = 600,
    size: int = 288,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw the catalog: ``out/images/*.jpg`` (``size`` px square) and ``out/products.csv``, whose
    path is returned.

    The same seed, number and size give the same bytes. Work is spread over ``workers`` processes
    (default: one per core; small catalogs are drawn in this one). ``progress`` is called with
    products done and in all.
    """
    plans = plan_catalog(seed, products)
    (out / "images").mkdir(parents=True, exist_ok=True)
    workers = min(workers or usable_cores(), 16, max(1, products // 40))
    jobs = [(plans[at : at + 20], size, str(out)) for at in range(0, products, 20)]
    rows: list[dict[str, str]] = []

    def collect(parts: list[dict[str, str]], done: int) -> None:
        rows.extend(parts)
        if progress is not None:
            progress(min(20 * done, products), products)

    if workers == 1:
        for done, job in enumerate(jobs, 1):
            collect(_write(job), done)
    else:  # spawn: a fork may inherit locks of torch or FAISS in the middle of work
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for done, parts in enumerate(pool.map(_write, jobs), 1):
                collect(parts, done)
    manifest = out / "products.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow(row[column] for column in COLUMNS)
    return manifest
