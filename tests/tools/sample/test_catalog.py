"""Promises of the sample catalog: the same from the same seed, what its manifest says, and pictures
that show it."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.sample.catalog import COLUMNS, KINDS, plan_catalog
from tools.sample.palette import COLOURS, shade_of
from tools.sample.scene import photograph
from tools.sample.surface import PATTERNS
from tools.sample_catalog import draw_product, main, make_sample_catalog


def nearest_colour(rgb: np.ndarray) -> np.ndarray:
    """Index into ``COLOURS`` of the nearest name, for sRGB 0..255 of shape [..., 3] (plain RGB
    distance)."""
    names = np.array(list(COLOURS.values()), np.float32)
    return np.square(rgb[..., None, :].astype(np.float32) - names).sum(-1).argmin(-1)


def digest(folder: Path) -> str:
    """SHA-256 over every file's name and bytes."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def touches_edge(mask: np.ndarray) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample_catalog(tmp_path_factory.mktemp("sample"), products=2 * len(KINDS), size=96)


def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    """Seed and size decide every byte, however many processes draw; another seed gives another
    catalog."""
    for name, options in {"again": {}, "spread": {"workers": 2}, "other": {"seed": 8}}.items():
        make_sample_catalog(tmp_path / name, products=2 * len(KINDS), size=96, **options)
    assert digest(tmp_path / "again") == digest(small.parent)
    assert digest(tmp_path / "spread") == digest(small.parent)
    assert digest(tmp_path / "other") != digest(small.parent)


def test_the_manifest_describes_the_files(small: Path) -> None:
    """Two or three photos to a product, each row with its file, each file with its row, and one
    truth per product."""
    rows = rows_of(small)
    assert small.name == "products.csv"
    assert tuple(rows[0]) == COLUMNS
    assert sorted(row["image"] for row in rows) == sorted(
        f"images/{p.name}" for p in (small.parent / "images").iterdir()
    )
    products = defaultdict(list)
    for row in rows:
        products[row["product_id"]].append(row)
    assert len(products) == 2 * len(KINDS)
    assert {len(shots) for shots in products.values()} == {2, 3}
    for product_id, shots in products.items():
        assert len({tuple(v for k, v in row.items() if k != "image") for row in shots}) == 1
        row = shots[0]
        kind = KINDS[product_id.rsplit("-", 1)[0]]
        assert row["category"].split(" > ") == [*kind.path, kind.label]
        assert {row["colour"], row["pattern"], row["material"]} < set(row["tags"].split("|"))
        assert row["colour"] in row["title"]
        assert kind.label.lower() in row["title"].lower()
        assert row["split"] in {"train", "validation", "test"}
        assert float(row["price"]) > 5
        assert row["in_stock"] in {"true", "false"}
        for shot in shots:
            with Image.open(small.parent / shot["image"]) as photo:
                assert (photo.format, photo.size, photo.mode) == ("JPEG", (96, 96), "RGB")


def test_the_full_plan_has_what_a_shop_has() -> None:
    """600 products: at least 12 kinds evenly, every colour, pattern and material, and splits of
    about 70/15/15."""
    plans = plan_catalog(7, 600)
    assert len({plan.product_id for plan in plans}) == 600
    kinds = Counter(plan.kind for plan in plans)
    assert len(kinds) >= 12
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert {plan.colour for plan in plans} == set(COLOURS)
    assert {plan.pattern for plan in plans} == set(PATTERNS)
    assert {plan.material for plan in plans} >= {
        m for kind in KINDS.values() for m in kind.materials
    }
    shares = Counter(plan.split for plan in plans)
    assert shares["train"] == pytest.approx(420, abs=40)
    assert shares["validation"] == pytest.approx(90, abs=30)
    assert shares["test"] == pytest.approx(90, abs=30)


def test_a_longer_catalog_begins_with_the_shorter_one() -> None:
    """Asking for more products changes none of those there were."""
    assert plan_catalog(7, 100) == plan_catalog(7, 600)[:100]


@pytest.mark.parametrize("colour", COLOURS)
def test_shades_stay_near_their_name(colour: str) -> None:
    """Every shade sold under a name is nearest to that name; no two products share one."""
    rng = np.random.default_rng(3)
    shades = np.array([shade_of(colour, rng) for _ in range(200)])
    assert np.mean(nearest_colour(shades * 255) == list(COLOURS).index(colour)) >= 0.97
    assert len(np.unique(np.round(shades * 255), axis=0)) > 25


def looks(colour: str, pixels: np.ndarray) -> np.ndarray:
    """Which pixels [n, 3] someone would call that colour, in light or in shadow."""
    spread = np.ptp(pixels, axis=1)
    if colour == "white":
        return (spread < 35) & (pixels.mean(1) > 140)
    if colour == "yellow":
        return (spread > 50) & (pixels.argmin(1) == 2) & (pixels[:, 1] > 0.6 * pixels[:, 0])
    return (spread > 40) & (pixels.argmax(1) == {"red": 0, "green": 1, "blue": 2}[colour])


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_shows_its_colour(kind: str) -> None:
    """A plain product is mostly of its colour (lenses, soles, dials, stands and the insides of bags
    are not)."""
    least = {
        "sunglasses": 0.12,
        "watch": 0.3,
        "lamp": 0.25,
        "chair": 0.35,
        "sneaker": 0.33,
        "boot": 0.5,
    }.get(kind, 0.6)
    material = next(m for m in KINDS[kind].materials if m != "denim")
    for colour in ("red", "yellow", "green", "blue", "white"):
        product = np.asarray(
            draw_product(kind, colour, "solid", material, np.random.default_rng(5), 160)
        ).astype(float)
        share = looks(colour, product[..., :3][product[..., 3] > 250]).mean()
        assert share >= least, (colour, share)


def test_a_red_mug_is_red() -> None:
    """Red leads among the twelve names on plain red mugs, and what is red on them is near the named
    red."""
    found: Counter[int] = Counter()
    for seed in range(6):
        mug = np.asarray(
            draw_product("mug", "red", "solid", "ceramic", np.random.default_rng(seed), 160)
        ).astype(float)
        shown = mug[..., :3][mug[..., 3] > 250]
        found.update(nearest_colour(shown).tolist())
        assert np.abs(np.median(shown[looks("red", shown)], axis=0) - COLOURS["red"]).max() < 60
    assert list(COLOURS)[found.most_common(1)[0][0]] == "red"


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_one_kind_differ_in_outline(kind: str) -> None:
    """Eight products of a kind have eight outlines, each whole and inside its sheet."""
    outlines = []
    for seed in range(8):
        material, rng = KINDS[kind].materials[-1], np.random.default_rng([seed, 1])
        alpha = np.asarray(draw_product(kind, "blue", "solid", material, rng, 96))[..., 3] > 127
        assert 0.05 < alpha.mean() < 0.8
        assert not touches_edge(alpha)
        outlines.append(alpha)
    for a in range(8):
        for b in range(a):
            assert np.mean(outlines[a] != outlines[b]) > 0.002, (a, b)


def test_kinds_are_told_apart_by_outline_alone() -> None:
    """Even the nearest neighbour on raw 24 px silhouettes mostly finds the kind: the drawings are
    distinct."""
    features, labels = [], []
    for kind in KINDS:
        for seed in range(6):
            material, rng = KINDS[kind].materials[0], np.random.default_rng([seed, 2])
            colour = "blue"
            image = (
                draw_product(kind, colour, "solid", material, rng, 72)
                .getchannel("A")
                .resize((24, 24))
            )
            features.append(np.asarray(image, float).ravel())
            labels.append(kind)
    points = np.array(features)
    distance = np.square(points[:, None] - points[None]).sum(-1)
    np.fill_diagonal(distance, np.inf)
    right = np.mean([labels[n] == labels[row.argmin()] for n, row in enumerate(distance)])
    assert right >= 0.75


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p != "solid"])
def test_every_print_can_be_seen(pattern: str) -> None:
    """A printed mug has clearly more contrast than a plain one, and each print differs from the
    others."""

    def drawn(which: str) -> np.ndarray:
        image = draw_product("mug", "green", which, "ceramic", np.random.default_rng(11), 128)
        return np.asarray(image.convert("RGB"), float)[50:90, 35:65]

    plain, printed = drawn("solid"), drawn(pattern)
    assert printed.std(axis=(0, 1)).max() > plain.std(axis=(0, 1)).max() + 8
    for other in PATTERNS:
        if other != pattern:
            assert np.abs(drawn(other) - printed).mean() > 4


@pytest.mark.parametrize("kind", KINDS)
def test_materials_look_different(kind: str) -> None:
    """The same product in another of its kind's materials is another picture."""
    pictures = [
        np.asarray(
            draw_product(kind, "blue", "solid", material, np.random.default_rng(4), 128).convert(
                "RGB"
            ),
            float,
        )
        for material in KINDS[kind].materials
    ]
    for a in range(len(pictures)):
        for b in range(a):
            assert np.abs(pictures[a] - pictures[b]).mean() > 0.25


def test_photos_of_one_product_differ_but_stay_in_the_frame() -> None:
    """Background, place and light change from photo to photo; the product is never cut off at the
    frame's edge."""
    rng = np.random.default_rng(0)
    product = Image.new("RGBA", (200, 200))
    product.paste((0, 200, 0, 255), (20, 40, 180, 160))
    photos = [photograph(product, 128, rng, standing=bool(n % 2), first=n == 0) for n in range(24)]
    for photo in photos:
        pixels = np.asarray(photo).astype(int)
        green = (pixels[..., 1] - pixels[..., [0, 2]].max(-1)) > 60
        assert green.mean() > 0.12
        assert not touches_edge(green)
    corners = {np.asarray(photo)[2, 2].tobytes() for photo in photos}
    assert len(corners) > 12


def test_the_command_prints_the_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m tools.sample_catalog OUT`` says where the manifest is."""
    main([str(tmp_path / "shop"), "--products", "3", "--size", "48"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "shop" / "products.csv")
    assert len({row["product_id"] for row in rows_of(tmp_path / "shop" / "products.csv")}) == 3
