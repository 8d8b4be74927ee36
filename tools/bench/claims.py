"""Benchmark ``claims``: wrong labels, same products and other prints, where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from indexer.core.csv_text import CsvWriter
from indexer.core.home import Home
from indexer.duplicates.groups import RepeatGroup, find_groups
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import decode_photo
from indexer.imaging.recapture import recapture
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import pretrained
from indexer.training.advise import frozen_features
from indexer.training.label_errors import check_labels, linked_groups, out_of_fold
from indexer.training.problem import categories_of, category_labels, read_problem
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, real_data
from tools.output import log

PARTS = ("labels", "products", "prints")
SIZES = (60, 300, 3000)  # photos
_PLANTED = 0.05
_DRAWS = {60: 10, 300: 10, 3000: 2}
_SECOND = 0.1  # share of the products that are listed again by another photo
_AGAIN = " again"  # behind the id of such a second product
_TRUE, _NONE = 0.7, 1.0


def _precise(size: int) -> Callable[[Sequence[BenchRow]], float | None]:
    """A reader of the share of reported labels that were planted; 1 where none is reported."""
    return figure("labels", f"planted_of_reported_{size}")


def _wrong(size: int) -> Callable[[Sequence[BenchRow]], float | None]:
    """A reader of the share of same-product groups that join different products."""
    return figure("products", f"wrong_groups_{size}")


def _seen(size: int) -> Callable[[Sequence[BenchRow]], float | None]:
    """A reader of the share of repeated listings that are claimed or suggested."""
    return figure("products", f"found_{size}")


GOALS = (
    *(
        Goal(f"{size} photos, 5% planted: reported that are planted", ">=", _TRUE, _precise(size))
        for size in SIZES
    ),
    Goal("3,000 photos: planted labels found", ">=", 0.5, figure("labels", "found_3000")),
    *(
        Goal(f"{size} products: wrong same-product groups", "<=", 0.1, _wrong(size))
        for size in SIZES
    ),
    # no goal is reached by silence
    *(
        Goal(f"{size} products: repeats claimed or suggested", ">=", 0.7, _seen(size))
        for size in SIZES
    ),
    Goal("24 prints on 3 mock-ups: groups", "<=", 0.0, figure("prints", "groups")),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part. ``CATALENS_BENCH_PRODUCTS``: the most products of a catalog."""
    log(f"bench claims: {part}")
    if part == "labels":
        return _measure_labels()
    return _measure_products(work) if part == "products" else _measure_prints(work)


def _measure_labels() -> BenchRow:
    """Labels of clothing that the probe agrees with, a share of them replaced."""
    problem = read_problem(real_data("clothing"), 0)
    features = frozen_features([*problem.of("train"), *problem.of("validation")])
    categories = categories_of(features.rows)
    labels = category_labels(features.rows, categories)
    groups = linked_groups([row.product_id for row in features.rows], features.pixels)
    probability = out_of_fold(features.values, labels, groups, len(categories))
    agreed = np.flatnonzero(probability.argmax(1) == labels)
    rng = np.random.default_rng(0)
    row: BenchRow = {
        "recipe": "train and validation photos of clothing whose label the out-of-fold probe gives "
        f"too; {_PLANTED:.0%} get another label at random",
        "agreed": len(agreed),
    }
    for size in SIZES:
        draws = []
        for _ in range(_DRAWS[size]):
            chosen = rng.permutation(agreed)[:size]
            given = labels[chosen].copy()
            planted = rng.permutation(len(chosen))[: round(_PLANTED * len(chosen))]
            given[planted] = (
                given[planted] + rng.integers(1, len(categories), len(planted))
            ) % len(categories)
            rows = [features.rows[number] for number in chosen]
            found = check_labels(
                rows, features.values[chosen], given, features.pixels[chosen], categories
            )
            wrong = {rows[number].where for number in planted}
            named = {issue.where for issue in found.issues}
            doubted = {issue.where for issue in found.doubts} | named
            draws.append([len(planted), len(named), len(named & wrong), len(doubted & wrong)])
        total, named_count, right, looked = np.sum(draws, axis=0).tolist()
        row |= {
            f"reported_{size}": named_count,
            f"planted_of_reported_{size}": right / named_count if named_count else _NONE,
            f"found_{size}": right / total,
            f"found_or_doubted_{size}": looked / total,
            f"draws_{size}": draws,
        }
    return row


def _measure_products(work: Path) -> BenchRow:
    """Different products of clothing, a tenth of them listed again as if photographed again."""
    problem = read_problem(real_data("clothing"), 0)
    files = [row.image for row in (*problem.of("train"), *problem.of("validation"))]
    drawn = np.random.default_rng(0).permutation(len(files))
    row: BenchRow = {
        "recipe": "train and validation photos of clothing, each a product; a tenth are listed "
        "again by a simulated second photo; the shipped pretrained network",
    }
    most = knob("PRODUCTS", max(SIZES))
    for size in (size for size in SIZES if size <= most):
        folder = work / f"products-{size}"
        folder.mkdir(parents=True, exist_ok=True)
        listed = [(str(place), files[place]) for place in drawn[:size].tolist()]
        for name, file in listed[: round(_SECOND * size)]:
            again = folder / f"{name}.png"
            recapture(decode_photo(file.read_bytes()), seed=int(name)).pixels.save(again)
            listed.append((f"{name}{_AGAIN}", again))
        found = find_groups(
            _built_home(folder / "home", listed), kinds=["same_product"], embedder=open_embedder
        )
        shown = [*found.groups, *found.suggestions]
        row |= {
            f"groups_{size}": len(found.groups),
            f"wrong_groups_{size}": _share_wrong(found.groups),
            f"suggestions_{size}": len(found.suggestions),
            f"wrong_suggestions_{size}": _share_wrong(found.suggestions),
            f"found_{size}": len(set().union(*map(_found_again, shown)))
            / max(round(_SECOND * size), 1),
            f"rule_{size}": None if found.rule is None else found.rule.threshold,
            f"notes_{size}": found.notes,
        }
    return row


def _share_wrong(groups: Sequence[RepeatGroup]) -> float:
    return sum(map(_is_wrong, groups)) / max(len(groups), 1)


def _is_wrong(group: RepeatGroup) -> bool:
    return len({name.removesuffix(_AGAIN) for name in group.products}) > 1


def _found_again(group: RepeatGroup) -> set[str]:
    """Products of a group that are listed a second time in it."""
    return {name for name in group.products if f"{name}{_AGAIN}" in group.products}


def _built_home(folder: Path, listed: Sequence[tuple[str, Path]]) -> Home:
    """A home of products with a photo each, indexed by the shipped network."""
    home = Home.create(folder)
    manifest = folder.with_suffix(".csv")
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        writer.writerow(("product_id", "image"))
        writer.writerows((name, file.absolute()) for name, file in listed)
    import_feed(home, manifest, ImportOptions(photos="reference"))
    build_index(home, pretrained(home), BuildOptions(recaptures=False), activate=True)
    return home


def _measure_prints(work: Path) -> BenchRow:
    """Eight prints on each of three drawn mock-ups: 24 products, none of which is another."""
    folder = work / "prints"
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for garment in range(3):
        for number in range(8):
            file = folder / f"{garment} {number}.jpg"
            _mock_up(garment, number).save(file, quality=88)
            listed.append((f"{garment} {number}", file))
    found: dict[str, Any] = {}
    home = _built_home(folder / "home", listed)
    groups = find_groups(home, embedder=open_embedder).groups
    for group in groups:
        found.setdefault(group.kind, []).append(group.products)
    return {
        "recipe": "drawn shirts, caps and mugs with eight prints each: words, discs and stripes",
        "products": len(listed),
        "groups": len(groups),
        "found": found,
    }


def _mock_up(garment: int, number: int, side: int = 500) -> Image.Image:
    """A drawn thing on a light ground with one print in its middle."""
    image = Image.new("RGB", (side, side), (238, 236, 232))
    pen = ImageDraw.Draw(image)
    body = ((45, 50, 60), (190, 60, 50), (245, 245, 240))[garment]
    if garment == 0:
        pen.polygon([(90, 120), (200, 80), (300, 80), (410, 120), (450, 220), (390, 240)], body)
        pen.polygon([(90, 120), (50, 220), (110, 240), (120, 450), (380, 450), (410, 120)], body)
    elif garment == 1:
        pen.pieslice((90, 90, 410, 470), 180, 360, body)
        pen.rectangle((60, 280, 440, 330), tuple(value * 3 // 4 for value in body))
    else:
        pen.rectangle((120, 100, 350, 420), body, outline=(150, 150, 150), width=3)
        pen.arc((310, 170, 430, 340), 270, 90, fill=(180, 180, 175), width=24)
    left, top = (190, 200) if garment != 1 else (190, 160)
    box = (left, top, left + 110, top + 110)
    # seen on each of the three: without a print one thing would be another's photo before a text
    colour = ((230, 180, 40), (60, 140, 220), (90, 180, 90), (190, 120, 210))[number % 4]
    if number < 2:
        pen.ellipse(box, fill=colour)
    elif number < 4:
        for step in range(0, 110, 22):
            pen.rectangle((left, top + step, left + 110, top + step + 10), fill=colour)
    else:
        word = ("MOM", "DAD", "SURF", "1984")[number - 4]
        text = Image.new("L", (40, 14), 0)
        ImageDraw.Draw(text).text((2, 1), word, fill=255)
        image.paste(Image.new("RGB", (110, 60), colour), (left, top + 20), text.resize((110, 60)))
    return image
