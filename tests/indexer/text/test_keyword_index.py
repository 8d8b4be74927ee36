"""Keywords follow the catalog: what is written is found, what is erased leaves no byte, text is
never syntax."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.catalog.records import Delete, NewPhoto, Patch, ProductInput, Put, Tag
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import NewerFormatError, StorageError
from indexer.core.home import Home
from indexer.core.sqlite import connect
from indexer.operations.erasure import erase
from indexer.operations.erasure_audit import ErasureReport, ownerless
from indexer.text.keyword_index import Keywords
from indexer.text.tokenizer import tokens, words

TITLES = {
    "dress": "红色连衣裙 Red dress",
    "skirt": "蓝色裙子",
    "shirt": "<b>Blue</b> 'shirt' \"NEAR\"",
    "plain": "blue",
}


def put(catalog: Catalog, product_id: str, title: str, **more: object) -> None:
    content = product_id.encode().hex().rjust(64, "0")
    photo = NewPhoto(content, "PNG", 10, 4, 4, "reference", "/nowhere")
    tags = tuple(Tag(*pair) for pair in more.pop("tags", ()))  # type: ignore[attr-defined]
    catalog.apply(
        [Put(ProductInput(product_id, title, ("Wear", "Gown"), tags, more, (content,)), [photo])]
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def catalog(home: Home) -> Iterator[Catalog]:
    with open_catalog(home) as opened:
        for product_id, title in TITLES.items():
            put(opened, product_id, title)
        yield opened


@pytest.fixture
def keywords(home: Home, catalog: Catalog) -> Iterator[Keywords]:
    opened = Keywords(home, catalog)
    yield opened
    opened.close()


def found(keywords: Keywords, catalog: Catalog, text: str) -> list[str]:
    hits = keywords.search([token for word in words(text) for token in tokens(word)])
    ids = catalog.ids_of(hits.pids.tolist())
    return [ids[pid] for pid in hits.pids.tolist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("裙子", ["skirt"]),
        ("衣裙", ["dress"]),
        ("连衣裙", ["dress"]),
        ("裙", ["skirt", "dress"]),
        ("BLUE", ["plain", "shirt"]),
        ("dresses", ["dress"]),
        ('"blue" NOT "blue"', ["plain", "shirt"]),
        ("title : red", ["dress"]),
        ("near", ["shirt"]),
        ("green", []),
    ],
)
def test_words_find_products(
    keywords: Keywords, catalog: Catalog, text: str, expected: list[str]
) -> None:
    """Two Chinese characters and one; folded case and plural; FTS5's own words and signs are
    nothing but words."""
    assert found(keywords, catalog, text) == expected


def test_the_best_scores_one_and_what_is_unknown_is_named(keywords: Keywords) -> None:
    hits = keywords.search(["blue", "zebra"])
    assert hits.scores[0] == 1.0
    assert 0 < hits.scores[1] < 1
    assert hits.unknown == ("zebra",)


def test_all_fields_but_a_machines_tags_are_looked_at(keywords: Keywords, catalog: Catalog) -> None:
    put(
        catalog,
        "coat",
        "Coat",
        tags=[("warm", "merchant"), ("guess", "machine")],
        fit="loose",
        sizes=["XS", "XL"],
    )
    assert [found(keywords, catalog, text) for text in ("warm", "loose", "xl")] == [["coat"]] * 3
    assert found(keywords, catalog, "guess") == []
    assert len(found(keywords, catalog, "gown")) == 5  # the category


def test_keywords_follow_puts_patches_and_deletes(keywords: Keywords, catalog: Catalog) -> None:
    """Each next search sees the write; so does the file that another process opened before."""
    assert found(keywords, catalog, "green") == []
    catalog.apply([Patch("plain", {"title": "green"})])
    assert found(keywords, catalog, "green") == ["plain"]
    assert found(keywords, catalog, "blue") == ["shirt"]
    put(catalog, "new", "green leaf")
    assert set(found(keywords, catalog, "green")) == {"plain", "new"}
    catalog.apply([Delete("plain")])
    assert found(keywords, catalog, "green") == ["new"]


def test_a_compacted_log_or_a_catalog_from_a_backup_is_read_anew(
    home: Home, tmp_path: Path
) -> None:
    """The covered state is known by its stamp: another history with the same numbers is not taken
    for it."""
    with open_catalog(home) as catalog:
        put(catalog, "one", "first")
    shutil.copy(home.catalog_file, tmp_path / "backup")
    with open_catalog(home) as catalog:
        put(catalog, "two", "second")
        keywords = Keywords(home, catalog)
        assert found(keywords, catalog, "second") == ["two"]
        keywords.close()
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()
    shutil.copy(tmp_path / "backup", home.catalog_file)
    with open_catalog(home) as catalog:
        put(catalog, "other", "third")
        keywords = Keywords(home, catalog)
        assert found(keywords, catalog, "third") == ["other"]
        assert found(keywords, catalog, "second") == []
        put(catalog, "last", "fourth")
        put(catalog, "end", "fifth")
        catalog.change_log.compact(catalog.last_sequence() - 1)
        assert found(keywords, catalog, "fourth") == ["last"]
        keywords.close()


def test_erasing_leaves_no_word_of_a_product(
    home: Home, keywords: Keywords, catalog: Catalog
) -> None:
    """Deleted rows leave words in FTS5's segments and pages: after an erasure no file of the home
    holds them."""
    for number in range(60):
        put(catalog, f"filler-{number}", f"filler number{number}")
    put(catalog, "secret", "unicorn gown")
    assert found(keywords, catalog, "unicorn") == ["secret"]
    catalog.apply([Delete("secret")])
    traces = ErasureReport("secret")
    ownerless(home, catalog, traces)
    assert {"where": "keywords.sqlite3", "what": "words of 1 deleted products"} in traces.found
    assert found(keywords, catalog, "unicorn") == []
    keywords.close()
    erase(home)
    left = [
        path.name
        for path in home.path.rglob("*")
        if path.is_file() and b"unicorn" in path.read_bytes()
    ]
    assert left == []
    assert found(keywords, catalog, "number7") == ["filler-7"]


def test_a_read_only_home_is_searched_in_memory(
    home: Home, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.core.sqlite.is_read_only", lambda path: path.stem == "keywords")
    keywords = Keywords(home, catalog)
    assert found(keywords, catalog, "裙子") == ["skirt"]
    assert not keywords.path.exists()


def test_a_damaged_or_newer_file_is_named(keywords: Keywords) -> None:
    keywords.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"keywords\.sqlite3 is damaged.*delete it"):
        keywords.search(["blue"])
    keywords.path.write_bytes(b"")
    with connect(keywords.path) as sql:
        sql.execute("PRAGMA user_version = 2")
    with pytest.raises(NewerFormatError, match="format 2"):
        keywords.search(["blue"])


def test_no_product_is_cut_off(keywords: Keywords, catalog: Catalog) -> None:
    """However many hold a word, all are given: filters and pages come after the ranking."""
    photo = NewPhoto("0" * 64, "PNG", 10, 4, 4, "reference", "/nowhere")
    products = [ProductInput(f"z{n}", "zebra", None, (), {}, ("0" * 64,)) for n in range(2301)]
    catalog.apply([Put(product, [photo]) for product in products])
    hits = keywords.search(["zebra"])
    assert len(hits) == 2301
    assert hits.pids.tolist() == sorted(hits.pids.tolist())  # all score the same
    assert hits.scores_of(hits.pids).min() == 1.0


def test_a_question_takes_in_a_few_changes_and_says_what_it_lacks(
    home: Home, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is for ``follow_some``, a portion at a time; until then answers are not complete. What
    is left of a reading that was cut short is read on by the next process."""
    monkeypatch.setattr("indexer.text.keyword_index._PORTION", 2)
    keywords = Keywords(home, catalog)
    hits = keywords.search(["blue"], most_changes=3)
    assert (len(hits), hits.complete) == (0, False)
    assert not keywords.follow_some()
    keywords.close()
    keywords = Keywords(home, catalog)
    catalog.apply([Patch("plain", {"title": "green"})])
    assert len(keywords.pids()) == 2
    while not keywords.follow_some():
        pass
    hits = keywords.search(["green"], most_changes=0)
    assert (len(hits), hits.complete) == (1, True)
    catalog.apply([Patch("plain", {"title": "red"}), Patch("skirt", {"title": "red"})])
    hits = keywords.search(["red"], most_changes=1)
    assert (len(hits), hits.complete) == (1, False)
    hits = keywords.search(["red"], most_changes=2)
    assert (len(hits), hits.complete) == (3, True)
    keywords.close()


def test_an_older_release_reads_a_file_anew_that_was_not_finished(
    home: Home, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows what a file covers by ``sequence`` alone: that is written when all was read."""
    monkeypatch.setattr("indexer.text.keyword_index._PORTION", 2)
    keywords = Keywords(home, catalog)
    keywords.follow_some()
    query = "SELECT count(*) FROM meta WHERE key = 'sequence'"
    with connect(keywords.path) as sql:
        assert sql.execute(query).fetchone() == (0,)
    assert keywords.follow() == catalog.last_sequence()
    with connect(keywords.path) as sql:
        assert sql.execute(query).fetchone() == (1,)
    keywords.close()
