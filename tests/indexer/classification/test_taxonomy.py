"""Taxonomy maps: ids stay, probabilities add up, products follow, and a map that could not be
repeated is refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import ProductInput, Write
from indexer.catalog.store import Catalog, open_catalog
from indexer.classification.ranking import category_logits, rank_categories
from indexer.classification.taxonomy import (
    TaxonomyMap,
    apply_taxonomy,
    known_paths,
    read_map,
    relabel,
)
from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.imaging.decode import decode_photo
from indexer.model.decision_layer import Category, Decision, FewShot
from indexer.model.few_shot import CATEGORY_SHARES, background, fit_category, fit_tag
from indexer.model.spec import Block
from tests.service.conftest import encode

TREE = Decision(
    categories=(
        Category(0, ("Top", "Shirt")),
        Category(1, ("Top", "Tee")),
        Category(2, ("Shoe",)),
        Category(3, ("Hat",)),
    ),
    temperature=0.5,
)


def chances(
    decision: Decision, logits: np.ndarray, vectors: np.ndarray | None = None
) -> dict[str, float]:
    found = category_logits(logits, np.zeros((1, 2)) if vectors is None else vectors, decision)[0]
    return {
        format_path(category.path): p for category, p in rank_categories(found, decision, top=9)
    }


def test_a_merge_adds_probabilities_up_and_leaves_the_others() -> None:
    """Two classes renamed to one: its probability is their sum to six digits; the third class keeps
    its own."""
    logits = np.array([[1.0, 2.0, 1.5, 0.1]])
    before = chances(TREE, logits)
    after, renamed = relabel(TREE, TaxonomyMap({("Top", "Tee"): ("Top", "Shirt")}))
    found = chances(after, logits)
    assert found["Top > Shirt"] == pytest.approx(
        before["Top > Shirt"] + before["Top > Tee"], abs=1e-6
    )
    assert found["Shoe"] == pytest.approx(before["Shoe"], abs=1e-6)
    assert sum(found.values()) == pytest.approx(1)
    assert [(row.id, row.after, row.into) for row in renamed] == [(1, ("Top", "Shirt"), 0)]
    assert [(c.id, c.path, c.labels) for c in after.categories[:1]] == [
        (0, ("Top", "Shirt"), (0, 1))
    ]


def test_the_category_that_stands_at_the_place_keeps_its_id() -> None:
    """Merged into an existing one, its id stays; into a new path, the lowest stays. A lost id is
    not given again."""
    after, _ = relabel(TREE, TaxonomyMap({("Top", "Shirt"): ("Hat",)}))
    assert {c.id: c.path for c in after.categories} == {
        3: ("Hat",),
        1: ("Top", "Tee"),
        2: ("Shoe",),
    }
    after, _ = relabel(TREE, TaxonomyMap({("Shoe",): ("All",), ("Hat",): ("All",)}))
    assert {c.id: c.labels for c in after.categories} == {0: (0,), 1: (1,), 2: (2, 3)}
    assert after.next_id == 4


def test_what_lies_below_moves_with_its_parent_and_the_longest_path_decides() -> None:
    moves = TaxonomyMap({("Top",): ("Wear", "Upper"), ("Top", "Tee"): ("Tees",)})
    after, _ = relabel(TREE, moves)
    assert [c.path for c in after.categories] == [
        ("Wear", "Upper", "Shirt"),
        ("Tees",),
        ("Shoe",),
        ("Hat",),
    ]


def few_shot(
    number: int, category: int | None, weight: list[float], threshold: float = 0.0
) -> FewShot:
    kind = "tag" if category is None else "category"
    vector = np.array(weight, np.float32)
    return FewShot(
        number,
        kind,
        category,
        "t" if category is None else None,
        ("h",),
        0.0,
        threshold,
        vector,
        vector,
    )  # type: ignore[arg-type]


def test_few_shot_rows_share_one_threshold_and_merge_with_trained_classes() -> None:
    """Scores less the mean threshold stand beside the head's logits; merged, their probabilities
    add up."""
    decision = Decision(
        categories=(Category(0, ("A",)), Category(1, ("B",), ()), Category(2, ("C",), ())),
        few_shot=(few_shot(1, 1, [3, 0], 1.0), few_shot(2, 2, [0, 3], 2.0)),
    )
    vectors, logits = np.array([[1.0, 0.0]]), np.array([[0.7]])
    np.testing.assert_allclose(
        category_logits(logits, vectors, decision), [[0.7, 3 - 1.5, -1.5]], atol=1e-6
    )
    np.testing.assert_allclose(category_logits(None, vectors, decision), [[-1e9, 3, 0]], atol=1e-6)
    before = chances(decision, logits, vectors)
    after, _ = relabel(decision, TaxonomyMap({("B",): ("A",)}))
    assert chances(after, logits, vectors)["A"] == pytest.approx(
        before["A"] + before["B"], abs=1e-6
    )


def rows(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "map.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("old,new\na,b\n", "columns from,to"),
        ("from,to\na,\n", "line 2: to is empty"),
        ("from,to\n > ,b\n", "line 2: from.*empty level"),
        ("from,to\na,b\na,c\n", "line 3.*another to in line 2"),
        ("from,to\na,b\nb,a\n", "cycle"),
        ("from,to\na,a > b\n", "cycle"),
        ("from,to\na,b\nb,c\n", "line 2.*line 3 moves on: a chain"),
    ],
)
def test_bad_maps_are_refused_by_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadDataError, match=said):
        read_map(rows(tmp_path, text))


def test_a_map_names_every_category_as_it_is_written(tmp_path: Path) -> None:
    """Spaces around and a bare ">" are part of a name; a place to move to that is new loses stray
    spaces."""
    text = 'from,to\n"Tshirts ",Tshirts\nSize >40,Large\nTop > Tee, Wear >  Tees \n"Hats","Caps "\n'
    expected = {
        ("Tshirts ",): ("Tshirts",),
        ("Size >40",): ("Large",),
        ("Top", "Tee"): ("Wear", "Tees"),
        ("Hats",): ("Caps",),
    }
    assert read_map(rows(tmp_path, text)).moves == expected
    known = {("Tshirts ",), ("Tshirts",), ("Caps ",)}
    assert read_map(rows(tmp_path, text), known).moves == {**expected, ("Hats",): ("Caps ",)}


def test_applied_again_a_map_with_spaces_moves_no_other_category(
    home: Home, tmp_path: Path
) -> None:
    """Once "Shoe " is moved away, the same map does not take "Shoe" for it."""
    with open_catalog(home) as catalog:
        catalog.patch("p0", {"category": ("Shoe ",)})
        catalog.patch("p1", {"category": ("Size >40", "Shirt")})
        known = known_paths(home, catalog)
        assert known == {("Shoe ",), ("Shoe",), ("Size >40",), ("Size >40", "Shirt")}
        file = rows(tmp_path, 'from,to\n"Shoe ",Boot\nSize >40,Large\n')
        for expected in (2, 0):
            assert (
                apply_taxonomy(home, catalog, read_map(file, known_paths(home, catalog))).products
                == expected
            )
            assert stored(catalog) == [("Boot",), ("Large", "Shirt"), None, ("Shoe",)]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.sampled_from(["a", "b", "x", "x > a", "a > x", "c > d"]),
        max_size=4,
    )
)
def test_an_accepted_map_applied_twice_is_applied_once(
    tmp_path_factory: pytest.TempPathFactory, moves: dict
) -> None:
    """What is not refused can be repeated after a crash: nothing moves a second time."""
    text = "from,to\n" + "".join(f"{before},{after}\n" for before, after in moves.items())
    try:
        found = read_map(rows(tmp_path_factory.mktemp("map"), text))
    except BadDataError:
        return
    for path in [("a",), ("b",), ("c", "d"), ("x", "a"), ("a", "x", "y"), ("d",)]:
        assert found(found(path)) == found(path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.create(tmp_path / "home")
    from PIL import Image

    data = encode(Image.new("RGB", (40, 40), "red"))
    with open_catalog(home) as catalog:
        new = PhotoStore(home).add(data, decode_photo(data))
        for number, category in enumerate([("Top", "Tee"), ("Top", "Shirt"), None, ("Shoe",)]):
            catalog.put(
                ProductInput(f"p{number}", None, category, (), {}, (new.content_hash,)),
                photos=[new],
            )
    return home


def stored(catalog: Catalog) -> list[tuple[str, ...] | None]:
    return [product.category for product in catalog.iterate()]


def test_what_somebody_writes_while_a_map_is_applied_stays(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product that was moved elsewhere between the look and the write is looked at again; an
    erased one is left out."""
    moves = TaxonomyMap({("Top",): ("Wear",)})
    apply = Catalog.apply
    done: list[str] = []

    def meanwhile(catalog: Catalog, writes: Iterable[Write], **options: Any) -> Any:
        if not done:
            done.append("once")
            catalog.patch("p0", {"category": "Shoe"})
            catalog.patch("p1", {"category": "Top > Hood"})
        return apply(catalog, writes, **options)

    monkeypatch.setattr(Catalog, "apply", meanwhile)
    with open_catalog(home) as catalog:
        assert apply_taxonomy(home, catalog, moves).products == 1
        assert stored(catalog)[:2] == [("Shoe",), ("Wear", "Hood")]


def test_products_follow_without_touching_a_vector(home: Home) -> None:
    """Log entries are patches whose photos are as they were; a dry run writes none; a repeat
    changes nothing."""
    moves = TaxonomyMap({("Top",): ("Wear",), ("Gone",): ("Wear",)})
    with open_catalog(home) as catalog:
        start = catalog.last_sequence()
        planned = apply_taxonomy(home, catalog, moves, dry_run=True)
        assert (planned.products, planned.unknown, catalog.last_sequence()) == (
            2,
            [("Gone",)],
            start,
        )
        done = apply_taxonomy(home, catalog, moves)
        assert done.products == 2
        assert stored(catalog) == [("Wear", "Tee"), ("Wear", "Shirt"), None, ("Shoe",)]
        assert [(change.kind, change.photos_changed) for change in catalog.changes(start)] == [
            ("patch", False)
        ] * 2
        again = apply_taxonomy(home, catalog, moves)
        assert (again.products, catalog.last_sequence()) == (0, start + 2)


BLOCKS = (Block("a", 8, 0.5), Block("g", 24, 0.5))


def cloud(rng: np.random.Generator, centre: np.ndarray, count: int) -> np.ndarray:
    parts = centre + 0.15 * rng.normal(size=(count, 32))
    for block in (slice(0, 8), slice(8, 32)):
        parts[:, block] *= np.sqrt(0.5) / np.linalg.norm(parts[:, block], axis=1, keepdims=True)
    return parts


def test_a_row_scores_its_own_kind_above_the_catalog_and_rarely_the_others() -> None:
    """Against a catalog of four kinds: at most 1% of it beats the head; nearly all of the new kind
    do."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(5, 32)) / np.sqrt(32)
    catalog = np.concatenate([cloud(rng, centre, 100) for centre in centres[:4]])
    groups = np.repeat(np.arange(4), 100)
    logits = 8 * catalog @ centres[:4].T
    behind = background(catalog, groups, BLOCKS, CATEGORY_SHARES)
    row = fit_category(cloud(rng, centres[4], 5), behind, catalog, logits=logits, temperature=1.0)
    beats = catalog @ row.weight + row.bias - row.threshold - np.log(np.exp(logits).sum(1))
    assert (beats > 0).mean() <= 0.011
    fresh = cloud(rng, centres[4], 200)
    own = (
        fresh @ row.weight
        + row.bias
        - row.threshold
        - np.log(np.exp(8 * fresh @ centres[:4].T).sum(1))
    )
    assert (own > 0).mean() > 0.95
    tag = fit_tag(cloud(rng, centres[4], 5), background(catalog, groups, BLOCKS), catalog)
    assert (catalog @ tag.weight + tag.bias > 0).mean() <= 0.011
    assert (fresh @ tag.weight + tag.bias > 0).mean() > 0.95


def test_without_a_catalog_the_nearest_prototype_wins() -> None:
    """An empty shop: two rows, each fitted alone, tell their kinds apart, with probabilities and
    not certainties."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(2, 32)) / np.sqrt(32)
    none, groups = np.empty((0, 32)), np.empty(0, np.int64)
    behind = background(none, groups, BLOCKS, CATEGORY_SHARES)
    fitted = [fit_category(cloud(rng, centre, 1), behind, none) for centre in centres]
    for number, centre in enumerate(centres):
        scores = np.array([cloud(rng, centre, 50) @ row.weight + row.bias for row in fitted])
        assert (scores.argmax(0) == number).mean() > 0.95
        assert 0.5 < np.exp(scores - scores.max(0)).max(0).mean() <= 1
        assert np.abs(scores[0] - scores[1]).mean() < 30


def test_what_block_g_presses_still_tells_kinds_apart() -> None:
    """A row fitted on pressed features scores as the features themselves would, but
    for one factor."""
    rng = np.random.default_rng(5)
    press = np.diag(np.linspace(0.05, 1, 24)) @ np.linalg.qr(rng.normal(size=(24, 24)))[0]
    features, example = rng.normal(size=(40, 24)), rng.normal(size=(1, 24))
    blocks, none, groups = (Block("g", 24, 1.0),), np.empty((0, 24)), np.empty(0, np.int64)
    alike = {}
    for name, general in (("told", press @ press.T), ("not told", None)):
        row = fit_category(
            example @ press.T, background(none, groups, blocks, general=general), none
        )
        scores = features @ press.T @ row.weight
        alike[name] = float(np.corrcoef(scores, features @ example[0])[0, 1])
    assert alike["told"] > 0.9999
    assert alike["not told"] < 0.95
