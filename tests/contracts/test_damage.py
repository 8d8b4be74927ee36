"""Each file of a home, one at a time, missing, cut, zeroed or with one bit flipped: no loss is
silent, nothing that ``verify`` calls intact answers wrongly, and the command it names mends it.

A sample by default; ``CATALENS_LIVE_DAMAGE=all`` takes every file and kind (``make prove-damage``).
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import hash_content
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.bundle import write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.registry import by_version, register_model
from indexer.operations.backup import back_up
from indexer.operations.repair import repair_home
from indexer.operations.restore import restore
from indexer.operations.verification import Damage, Verification, verify_home
from indexer.reviews.store import open_reviews
from tests.indexer.model.test_bundle import make_network

PRODUCTS = 6
ALL = os.environ.get("CATALENS_LIVE_DAMAGE") == "all"
SAMPLE = 16
# Of databases, most of whose bytes are free.
MORE_FLIPS = 20
SEED = int(os.environ.get("CATALENS_LIVE_DAMAGE_SEED", "1"))
# Nothing is lost with them, and nothing answers from them.
WORTHLESS = ("locks/", "VERIFIED", ".transfer.lock", "build_costs.json", "LAST", "-shm", "-wal")


@dataclass(frozen=True)
class Shop:
    """A home with its feed, its model's own folder and a backup."""

    home: Path
    feed: Path
    model: Path
    backup: Path


def colour(number: int) -> tuple[int, int, int]:
    return (40 * number % 256, 90 * number % 256, 255 - 37 * number % 256)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Products with titles, tags and attributes, two versions, reviews, thumbnails."""
    top = tmp_path_factory.mktemp("damage")
    feed = top / "feed"
    feed.mkdir()
    rows = ["product_id,image,title,category,tags,size"]
    for number in range(PRODUCTS):
        Image.new("RGB", (64, 48), colour(number)).save(feed / f"{number}.png")
        rows.append(f"p{number},{number}.png,Title {number},A > B{number % 2},t{number}|u,{number}")
    (feed / "products.csv").write_text("\n".join(rows) + "\n")
    bundle = write_bundle(top / "model", make_network(), Decision(), metrics={}, training={})
    home = Home.create(top / "home")
    import_feed(home, feed)
    for _ in range(2):
        build_index(home, register_model(home, bundle.path), activate=True)
    with open_reviews(home) as reviews:
        reviews.decide(
            reviews.open_review({"category": "B0"}, [], name="r1"), "approve", reason="fine"
        )
    with open_catalog(home) as catalog:
        for row in catalog.photos_by_hash(catalog.get("p0").photos).values():
            PhotoStore(home).thumbnail(row, 160)
        catalog.database.checkpoint()
    back_up(home, top / "backup")
    return Shop(home.path, feed, bundle.path, top / "backup")


def answers(path: Path) -> dict[str, Any]:
    """What a home answers: products, photos, nearest products, reviews, what serves and served."""
    home = Home(path)
    found: dict[str, Any] = {}
    with open_catalog(home) as catalog:
        store = PhotoStore(home)
        for product in catalog.iterate():
            rows = catalog.photos_by_hash(product.photos)
            found[product.product_id] = (
                product.title,
                product.category,
                [(tag.tag, tag.source) for tag in product.tags],
                dict(product.attributes),
                [hash_content(store.read(rows[name])) for name in product.photos],
                [hash_content(store.thumbnail(rows[name], 160)) for name in product.photos],
            )
        active = home.active()
        assert active is not None
        bundle = by_version(home, active.model_version)
        opened = Versions(home).open(active.index_version)
        live = LiveIndex(opened)
        for row, vector in zip(opened.rows.tolist(), opened.stored, strict=True):
            hits = live.search(vector[None].astype("float32"), 3)[0]
            names = catalog.ids_of(hits.pids.tolist())
            found[f"near {catalog.ids_of([row[0]])[row[0]]}"] = (
                [names[pid] for pid in hits.pids.tolist()],
                [round(float(score), 3) for score in hits.scores],
            )
    found["model"] = (bundle.model_version, active.model_version)
    with open_reviews(home) as reviews:
        review = reviews.get("r1")
        found["reviews"] = (review.state, review.body, review.decided)
    return found


def files(home: Path) -> list[str]:
    found = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return sorted(name for name in found if not any(odd in name for odd in WORTHLESS))


def missing(path: Path, _: random.Random) -> None:
    path.unlink()


def cut(path: Path, _: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def zeroed(path: Path, _: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


KINDS: tuple[Callable[[Path, random.Random], None], ...] = (missing, cut, zeroed, flipped)


def copy_of(shop: Shop, folder: Path) -> Path:
    """The home, models and photos as links of files that are replaced before they are damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(shop.home, folder, copy_function=shutil.copy2))


def mend(shop: Shop, home: Path, damages: list[Damage]) -> None:
    """Do what the damages name."""
    said = " ".join(damage.mend for damage in damages)
    if "import DATA" in said or "verify --repair" in said:
        repair_home(home)
    if "import DATA" in said:
        import_feed(Home(home), shop.feed, ImportOptions())
    elif "restore FROM" in said:
        beside = home.with_name("restored")
        restore(shop.backup, beside)
        shutil.rmtree(home)
        beside.rename(home)
    for damage in damages:
        if damage.mend.startswith("delete it"):
            (home / damage.where).unlink()
    if "model add" in said:
        register_model(Home(home), shop.model)


def judge(shop: Shop, home: Path, expected: dict[str, Any]) -> str | None:
    """What is wrong with how a damaged home is seen and mended; None where nothing is."""
    found = check(home)
    if isinstance(found, Verification) and found.intact:
        try:
            seen = answers(home)
        except CatalensError as error:
            return f"said to be intact, and then {error}"
        return None if seen == expected else f"said to be intact: {difference(seen, expected)}"
    for _ in range(3):
        if isinstance(found, CatalensError):
            return f"cannot be verified: {found}"
        if found.intact:
            break
        mend(shop, home, found.damages)
        found = check(home)
    if isinstance(found, CatalensError) or not found.intact:
        return f"is not mended: {found}"
    seen = answers(home)
    return None if seen == expected else f"mended otherwise: {difference(seen, expected)}"


def check(home: Path) -> Verification | CatalensError:
    try:
        return verify_home(home)
    except CatalensError as error:
        return error


def difference(seen: dict[str, Any], expected: dict[str, Any]) -> str:
    names = [name for name in {*seen, *expected} if seen.get(name) != expected.get(name)]
    return json.dumps(
        {name: [seen.get(name), expected.get(name)] for name in names[:3]}, default=str
    )


def test_no_damage_is_silent_wrong_or_for_good(shop: Shop, tmp_path: Path) -> None:
    """Of every file and kind of damage asked for: 0 silent, 0 wrong, 0 that the named command does
    not mend."""
    expected = answers(shop.home)
    assert verify_home(shop.home).intact, verify_home(shop.home).damages
    chance = random.Random(SEED)
    cases = [(name, kind) for name in files(shop.home) for kind in KINDS]
    cases += [(name, flipped) for name in files(shop.home) if name.endswith("3")] * MORE_FLIPS
    if not ALL:
        cases = chance.sample(cases, SAMPLE)
    wrong = {}
    for name, kind in cases:
        home = copy_of(shop, tmp_path / "home")
        kind(home / name, chance)
        if (reason := judge(shop, home, expected)) is not None:
            wrong[f"{name} {kind.__name__}"] = reason
            print(f"{name} {kind.__name__}: {reason}", flush=True)
    print(f"{len(cases)} damages: {len(wrong)} silent, wrong or not mended (goal 0)")
    assert wrong == {}
