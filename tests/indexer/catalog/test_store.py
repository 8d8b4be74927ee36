"""The catalog keeps what it acknowledged, orders by sequence, forgets what was erased."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from indexer.catalog.records import Delete, NewPhoto, Patch, ProductInput, Put, Tag, Written
from indexer.catalog.store import Catalog
from indexer.core.errors import (
    BadHomeError,
    BadProductError,
    CatalensError,
    NewerFormatError,
    StaleVersionError,
    StorageError,
    UnknownPhotoError,
    UnknownProductError,
)
from indexer.core.sqlite import connect

MERCHANT = (Tag("red", "merchant"), Tag("new", "merchant"))


def photo(number: int, **changes: Any) -> NewPhoto:
    fields = {
        "format": "JPEG",
        "bytes": 10,
        "width": 3,
        "height": 4,
        "storage": "copy",
        "path": None,
        **changes,
    }
    return NewPhoto(f"{number:064x}", **fields)


def product(product_id: str = "p", photos: tuple[int, ...] = (1,), **changes: Any) -> ProductInput:
    fields = {
        "title": "Shirt",
        "category": ("A", "B"),
        "tags": MERCHANT,
        "attributes": {"price": 5},
        **changes,
    }
    return ProductInput(
        product_id, photos=tuple(photo(number).content_hash for number in photos), **fields
    )


def put(catalog: Catalog, wanted: ProductInput, **options: Any) -> Written:
    return catalog.put(wanted, photos=[photo(int(found, 16)) for found in wanted.photos], **options)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        yield catalog


ODD_TEXTS = (
    "quote \" and \\ and '",
    "line\nand\ttab",
    "\u2028 \x7f \ud7ff 😀 连衣裙",
    "</script>",
    "[1, null]",
)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_texts_come_back_to_the_letter(catalog: Catalog, text: str) -> None:
    """Rows leave SQLite as one text of JSON; what looks like its syntax, or is no ASCII, stays what
    it was."""
    wanted = product(
        "p",
        tags=(Tag(text, "merchant"), Tag(text, "machine")),
        title=text,
        attributes={"note": text},
    )
    pid = put(catalog, wanted).pid
    (found,) = catalog.by_pids([pid]).values()
    assert (found.title, found.tags, found.attributes) == (text, wanted.tags, {"note": text})
    assert catalog.voting_tags([pid, pid + 1]) == {pid: [text]}


def test_many_ids_are_looked_up_in_few_statements(catalog: Catalog) -> None:
    """Numbers come in the order asked for, without those that nothing has; a thousand ids take two
    statements."""
    pids = {name: put(catalog, product(name)).pid for name in ("a", "b/1", "杯子")}
    assert list(catalog.pids(["杯子", "\ud800", "none", "a", "杯子"]).items()) == [
        ("杯子", pids["杯子"]),
        ("a", pids["a"]),
    ]
    assert [catalog.pid(name) for name in ("b/1", "none", "\ud800")] == [pids["b/1"], None, None]
    statements: list[str] = []
    catalog.database.connection.set_trace_callback(statements.append)
    assert catalog.pids([f"x{number}" for number in range(1000)]) == {}
    catalog.database.connection.set_trace_callback(None)
    assert len(statements) == 2


def test_a_product_comes_back_as_it_was_put(catalog: Catalog) -> None:
    """Every field survives, in order, also through a new process's eyes."""
    wanted = product(
        "a/b:产品 1", (2, 1, 2), attributes={"n": 1.5, "ok": False, "l": ["x", 1], "gone": None}
    )
    written = put(catalog, wanted, external_version=7)
    assert (written.sequence, written.pid, written.outcome) == (1, 1, "added")
    with Catalog.open(catalog.path) as other:
        stored = other.get("a/b:产品 1")
    assert (stored.title, stored.category, stored.tags) == ("Shirt", ("A", "B"), MERCHANT)
    assert stored.attributes == {"n": 1.5, "ok": False, "l": ["x", 1]}
    assert stored.photos == wanted.photos[:2]
    assert (stored.pid, stored.sequence, stored.external_version, len(stored.photo_ids)) == (
        1,
        1,
        7,
        2,
    )
    assert catalog.types() == {"l": "list", "n": "number", "ok": "bool"}
    assert (
        catalog.photo(wanted.photos[0])
        == catalog.photos_by_id(stored.photo_ids)[stored.photo_ids[0]]
    )


def test_the_same_put_again_changes_nothing(catalog: Catalog) -> None:
    """Identical content is unchanged and takes no sequence number."""
    put(catalog, product())
    again = put(catalog, product())
    assert (again.outcome, again.sequence) == ("unchanged", 1)
    assert catalog.last_sequence() == 1
    assert put(catalog, product(title="Other")).outcome == "replaced"
    assert [(c.sequence, c.pid, c.kind, c.photos_changed) for c in catalog.changes(0)] == [
        (1, 1, "put", True),
        (2, 1, "put", False),
    ]


def test_a_put_with_other_photos_says_so_in_the_log(catalog: Catalog) -> None:
    """New photos or a new order change vectors; the photo nobody uses is handed out for removal."""
    put(catalog, product(photos=(1, 2)))
    assert put(catalog, product(photos=(2, 1))).orphaned == ()
    assert put(catalog, product(photos=(2, 3))).orphaned == (photo(1).content_hash,)
    assert [change.photos_changed for change in catalog.changes(1)] == [True, True]
    assert catalog.photo(photo(1).content_hash) is None
    assert catalog.entries()[1].tolist() == [[1, 2], [1, 3]]


def test_two_products_share_a_photo(catalog: Catalog) -> None:
    """One photo row, two entries; the photo stays until the last of them goes."""
    put(catalog, product("a"))
    put(catalog, product("b"))
    assert catalog.photo_count() == 1
    assert catalog.entries()[1].tolist() == [[1, 1], [2, 1]]
    assert catalog.delete("a").orphaned == ()
    assert catalog.delete("b").orphaned == (photo(1).content_hash,)
    assert catalog.photo_count() == 0


def test_numbers_are_never_reused(catalog: Catalog) -> None:
    """A deleted product's pid, photo id and sequence stay taken, also for the same id and photo."""
    put(catalog, product("a"))
    deleted = catalog.delete("a")
    assert (deleted.sequence, deleted.pid, deleted.outcome) == (2, 1, "deleted")
    written = put(catalog, product("a"))
    assert (written.sequence, written.pid, written.outcome) == (3, 2, "added")
    assert catalog.get("a").photo_ids == (2,)


def test_a_patch_merges_and_leaves_photos_alone(catalog: Catalog) -> None:
    """Attributes merge, None removes; tags are replaced; category None clears; the log says no
    photo changed."""
    put(catalog, product(attributes={"price": 5, "stock": 3}))
    patched = catalog.patch("p", {"attributes": {"price": 6.5, "stock": None, "sale": True}})
    assert (patched.outcome, patched.sequence) == ("patched", 2)
    assert catalog.get("p").attributes == {"price": 6.5, "sale": True}
    catalog.patch("p", {"tags": ["x", "y", "x"], "category": None, "title": None})
    stored = catalog.get("p")
    assert stored.tags == (Tag("x", "merchant"), Tag("y", "merchant"))
    assert (stored.category, stored.title, stored.sequence) == (None, None, 3)
    assert (
        catalog.patch("p", {"tags": ["x", "y"], "attributes": {"sale": True}}).outcome
        == "unchanged"
    )
    assert [change.photos_changed for change in catalog.changes(1)] == [False, False]
    assert catalog.patch("p", {"category": "A > C"}).sequence == 4
    assert catalog.get("p").category == ("A", "C")


def test_tags_of_other_sources_survive_the_feed(catalog: Catalog) -> None:
    """What a person curated is not the merchant's to overwrite; the feed replaces its own tags
    only."""
    put(catalog, product(tags=(Tag("red", "merchant"), Tag("best", "curated"))))
    put(catalog, product(tags=(Tag("blue", "merchant"),)))
    assert catalog.get("p").tags == (Tag("blue", "merchant"), Tag("best", "curated"))
    catalog.patch("p", {"tags": []})
    assert catalog.get("p").tags == (Tag("best", "curated"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"product_id": ".."}, r"'\.\.'"),
        ({"product_id": "x\n"}, "not printable"),
        ({"photos": ()}, "no photo"),
        ({"attributes": {"price": ["cheap"]}}, r"'price': expected number, got \['cheap'\]"),
        ({"attributes": {"other": {"a": 1}}}, "'other': expected string"),
        ({"attributes": {"split": "x"}}, "'split' cannot be"),
        ({"attributes": {"n": float("nan")}}, "'n': expected"),
        ({"category": ("A", " ")}, "empty level"),
        ({"tags": (Tag("x", "nobody"),)}, "'nobody'"),
        ({"title": "\ud800"}, "Unicode"),
    ],
)
def test_a_bad_product_is_refused_whole(
    catalog: Catalog, changes: dict[str, Any], message: str
) -> None:
    """The message names the field and the value; nothing of it is stored."""
    put(catalog, product())
    with pytest.raises(BadProductError, match=message):
        put(catalog, product(**{"product_id": "q", "photos": (9,), **changes}))
    assert (len(catalog), catalog.photo_count(), catalog.last_sequence()) == (1, 1, 1)
    assert catalog.types() == {"price": "number"}


def test_the_same_tags_of_the_merchant_change_nothing(catalog: Catalog) -> None:
    """Nor the order of all, which a feed does not know."""
    put(catalog, product(tags=(Tag("best", "curated"), Tag("red", "merchant"))))
    put(catalog, product(tags=(Tag("red", "merchant"),)))
    assert catalog.get("p").tags == (Tag("best", "curated"), Tag("red", "merchant"))
    assert catalog.get("p").sequence == 1


def test_an_id_that_is_refused_now_is_read_and_deleted(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release took no-break spaces at its ends."""
    with monkeypatch.context() as patched:
        patched.setattr("indexer.catalog.product_checks.bad_product_id", lambda _: None)
        put(catalog, product(product_id="x\u00a0"))
    with pytest.raises(BadProductError, match="no-break space"):
        put(catalog, product(product_id="y\u00a0"))
    catalog.patch("x\u00a0", {"title": "Changed"})
    assert catalog.get("x\u00a0").title == "Changed"
    assert catalog.delete("x\u00a0").outcome == "deleted"


def test_unknown_things_are_named(catalog: Catalog) -> None:
    """Unknown ids, photos and fields are errors of their own kind."""
    put(catalog, product())
    with pytest.raises(UnknownPhotoError, match=photo(9).content_hash):
        catalog.put(product("q", (9,)))
    for call in (
        lambda: catalog.get("q"),
        lambda: catalog.patch("q", {}),
        lambda: catalog.delete("q"),
    ):
        with pytest.raises(UnknownProductError, match="'q'"):
            call()
    with pytest.raises(BadProductError, match="'photos' cannot be patched"):
        catalog.patch("p", {"photos": []})
    assert catalog.pid("q") is None
    assert catalog.pid("\ud800") is None
    assert catalog.by_pids([1, 99]).keys() == {1}


def test_a_copy_whose_file_is_gone_is_not_referred_to(tmp_path: Path) -> None:
    """A row never outlives its file: a put whose photo was removed meanwhile is refused and can be
    sent again."""
    with Catalog.create(tmp_path / "c.sqlite3", photos=tmp_path / "photos") as catalog:
        with pytest.raises(UnknownPhotoError, match="send it again"):
            put(catalog, product())
        assert catalog.photo_count() == 0


def test_an_older_external_version_is_stale(catalog: Catalog) -> None:
    """Writes that overtook each other are settled by the sender's version; an equal one is a
    repetition."""
    put(catalog, product(), external_version=5)
    with pytest.raises(StaleVersionError, match=r"'p' has external_version 5, 4 is older"):
        put(catalog, product(title="old"), external_version=4)
    with pytest.raises(StaleVersionError):
        catalog.patch("p", {"title": "old"}, external_version=4)
    with pytest.raises(StaleVersionError):
        catalog.delete("p", external_version=4)
    assert put(catalog, product(), external_version=5).outcome == "unchanged"
    assert put(catalog, product(), external_version=6).outcome == "unchanged"
    assert catalog.patch("p", {"title": "Shirt"}).outcome == "unchanged"
    assert (catalog.get("p").external_version, catalog.last_sequence()) == (6, 1)
    with pytest.raises(BadProductError, match="64 bits"):
        put(catalog, product(), external_version=2**63)


def test_one_bad_write_never_fails_the_rest(catalog: Catalog) -> None:
    """A batch answers item by item, in order; later items see earlier ones."""
    results = catalog.apply(
        [
            Put(product("a"), [photo(1)]),
            Put(product("b", (9,))),
            Patch("a", {"title": "New"}),
            Patch("a", {"attributes": {"price": ["x"]}}),
            Delete("missing"),
            Put(product("c"), [photo(1)]),
            Delete("c"),
        ]
    )
    kinds = [
        result.outcome if isinstance(result, Written) else type(result).__name__
        for result in results
    ]
    assert kinds == [
        "added",
        "UnknownPhotoError",
        "patched",
        "BadProductError",
        "UnknownProductError",
        "added",
        "deleted",
    ]
    assert catalog.get("a").title == "New"
    assert catalog.product_ids() == {"a"}


def test_a_dry_run_answers_and_writes_nothing(catalog: Catalog) -> None:
    """The same outcomes, then nothing of it is there."""
    put(catalog, product("a"))
    writes = [Put(product("a", title="x")), Put(product("b"), [photo(1)]), Delete("a")]
    outcomes = [
        result.outcome
        for result in catalog.apply(writes, dry_run=True)
        if isinstance(result, Written)
    ]
    assert outcomes == ["replaced", "added", "deleted"]
    assert (catalog.product_ids(), catalog.last_sequence(), catalog.get("a").title) == (
        {"a"},
        1,
        "Shirt",
    )


def test_types_are_fixed_at_first_sight_and_can_be_converted(catalog: Catalog) -> None:
    """Changing a type converts what is stored, through the log, or is refused and names the
    product."""
    put(catalog, product("a", attributes={"size": "42", "year": 2011}))
    put(catalog, product("b", attributes={"size": "XL"}))
    with pytest.raises(
        BadProductError, match="product 'b', attribute 'size': expected number, got 'XL'"
    ):
        catalog.set_types({"year": "string", "size": "number"})
    assert catalog.types() == {"size": "string", "year": "number"}
    catalog.set_types({"year": "string", "later": "bool"})
    assert catalog.get("a").attributes == {"size": "42", "year": "2011"}
    assert catalog.types() == {"later": "bool", "size": "string", "year": "string"}
    assert [(change.pid, change.kind) for change in catalog.changes(2)] == [(1, "patch")]


def test_erased_text_leaves_the_file(catalog: Catalog) -> None:
    """After a delete and a checkpoint neither the file nor the log holds the id, the title or a
    tag."""
    secret = [f"secret-{part}-{'x' * 40}" for part in ("id", "title", "tag", "value")]
    for number in range(50):
        put(catalog, product(f"p{number}"))
    wanted = product(secret[0], (2,), title=secret[1] * 200, tags=(Tag(secret[2], "merchant"),))
    put(catalog, ProductInput(**{**vars(wanted), "attributes": {"note": secret[3]}}))
    catalog.database.checkpoint()
    assert [text for text in secret if text.encode() in catalog.path.read_bytes()] == secret
    catalog.delete(secret[0])
    catalog.database.checkpoint()
    files = b"".join(path.read_bytes() for path in catalog.path.parent.iterdir())
    assert [text for text in secret if text.encode() in files] == []
    assert catalog.product_ids() == {f"p{number}" for number in range(50)}


def test_references_follow_their_file_and_copies_win(catalog: Catalog) -> None:
    """A moved reference is followed; once copied, a photo stays a copy."""
    for new, expected in (
        (photo(1, storage="reference", path="/old.jpg"), ("reference", "/old.jpg")),
        (photo(1, storage="reference", path="/new.jpg"), ("reference", "/new.jpg")),
        (photo(1), ("copy", None)),
        (photo(1, storage="reference", path="/new.jpg"), ("copy", None)),
    ):
        catalog.put(product(), photos=[new])
        row = catalog.photo(new.content_hash)
        assert row is not None
        assert (row.storage, row.path, row.photo_id) == (*expected, 1)
    assert catalog.last_sequence() == 1


def test_a_forgotten_photo_becomes_what_is_kept_better(catalog: Catalog) -> None:
    """Bytes that come again are kept; one that is kept is never forgotten by a row."""
    number = photo(1).content_hash
    catalog.put(product("a"), photos=[photo(1, storage="forget")])
    catalog.put(product("b"), photos=[photo(1, storage="reference", path="/a.jpg")])
    held = catalog.photo(number)
    assert held is not None
    assert (held.storage, held.path) == ("reference", "/a.jpg")
    for storage in ("forget", "copy", "forget"):
        catalog.put(product(storage), photos=[photo(1, storage=storage)])
    held = catalog.photo(number)
    assert held is not None
    assert (held.storage, held.path) == ("copy", None)


def test_threads_and_connections_write_at_once(tmp_path: Path) -> None:
    """Two catalogs on one file, four threads: every acknowledged write is there, sequences are
    gapless and ordered."""
    path = tmp_path / "catalog.sqlite3"
    Catalog.create(path).close()
    catalogs = [Catalog.open(path), Catalog.open(path)]
    seen: list[list[int]] = [[] for _ in range(4)]

    def work(worker: int) -> None:
        for number in range(25):
            written = put(
                catalogs[worker % 2], product(f"{worker}-{number}", (worker * 100 + number,))
            )
            seen[worker].append(written.sequence)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for sequences in seen for number in sequences) == list(range(1, 101))
    assert all(sequences == sorted(sequences) for sequences in seen)
    assert catalogs[0].product_ids() == {
        f"{worker}-{number}" for worker in range(4) for number in range(25)
    }
    for catalog in catalogs:
        catalog.close()


def test_formats_and_damage_are_told_apart(tmp_path: Path) -> None:
    """Absent, foreign, damaged, newer: each its own error; an unfinished creation is finished."""
    path = tmp_path / "catalog.sqlite3"
    with pytest.raises(BadHomeError, match="there is no catalog"):
        Catalog.open(path)
    path.write_bytes(b"")  # killed while it was made
    Catalog.create(path).close()
    with connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(NewerFormatError, match=r"catalog\.sqlite3 has format 99"):
        Catalog.open(path)
    path.write_bytes(b"no database " * 500)
    with pytest.raises(BadHomeError, match="damaged or no catalog"):
        Catalog.open(path)
    (tmp_path / "foreign.sqlite3").touch()
    with connect(tmp_path / "foreign.sqlite3") as raw:
        raw.execute("CREATE TABLE t (a)")
    raw.close()
    with pytest.raises(BadHomeError, match="is no catalog"):
        Catalog.create(tmp_path / "foreign.sqlite3")


def test_a_full_disk_loses_nothing(catalog: Catalog) -> None:
    """The write that does not fit fails as a whole; what was there stays and later writes work."""
    put(catalog, product("a"))
    with catalog.database.transaction():
        connection = catalog.database.connection  # the one that writes
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full"):
        put(catalog, product("b", attributes=dict.fromkeys("abcdefghi", "x" * 100_000)))
    connection.execute("PRAGMA max_page_count = 1000000")
    assert catalog.product_ids() == {"a"}
    assert put(catalog, product("b")).sequence == 2


def test_a_batch_of_patches_is_applied_in_order(catalog: Catalog) -> None:
    """Prices and stock change often: each patch of a batch is written, in one transaction, with a
    sequence number of its own."""
    count = 200
    catalog.apply([Put(product(f"p{number}"), [photo(1)]) for number in range(count)])
    with catalog.database.transaction():
        connection = catalog.database.connection
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    patches = [Patch(f"p{n}", {"attributes": {"price": n + 0.5}}) for n in range(count)]
    results = catalog.apply(patches)
    connection.set_trace_callback(None)
    assert [(done.outcome, done.sequence) for done in results if isinstance(done, Written)] == [
        ("patched", count + 1 + number) for number in range(count)
    ]
    assert sum(statement.startswith("COMMIT") for statement in statements) == 1
    assert catalog.get("p7").attributes == {"price": 7.5}


class AgainstPlainPython(RuleBasedStateMachine):
    """Random writes on a catalog and on a dict answer alike, also after the file
    is opened again."""

    ids = st.sampled_from(["a", "b/c", "产品"])
    photos = st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True).map(tuple)
    prices = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.catalog = Catalog.create(Path(self.folder.name) / "c.sqlite3")
        self.model: dict[
            str, tuple[int, tuple[int, ...], dict[str, Any]]
        ] = {}  # pid, photos, attributes
        self.log: list[tuple[int, str, bool]] = []

    @rule(product_id=ids, photos=photos, price=prices)
    def put(self, product_id: str, photos: tuple[int, ...], price: int) -> None:
        old = self.model.get(product_id)
        written = put(self.catalog, product(product_id, photos, attributes={"price": price}))
        if old is not None and old[1:] == (photos, {"price": price}):
            assert written.outcome == "unchanged"
            return
        pid = old[0] if old else written.pid
        assert written.pid == pid
        assert old is not None or pid not in {entry[0] for entry in self.log}
        self.model[product_id] = (pid, photos, {"price": price})
        self.log.append((pid, "put", old is None or old[1] != photos))
        assert (written.outcome, written.sequence) == (
            "replaced" if old else "added",
            len(self.log),
        )

    @rule(product_id=ids, stock=st.one_of(st.none(), prices))
    def patch(self, product_id: str, stock: int | None) -> None:
        if product_id not in self.model:
            with pytest.raises(UnknownProductError):
                self.catalog.patch(product_id, {"attributes": {"stock": stock}})
            return
        pid, photos, attributes = self.model[product_id]
        wanted = {
            name: value
            for name, value in {**attributes, "stock": stock}.items()
            if value is not None
        }
        written = self.catalog.patch(product_id, {"attributes": {"stock": stock}})
        self.model[product_id] = (pid, photos, wanted)
        if wanted != attributes:
            self.log.append((pid, "patch", False))
        assert written.outcome == ("patched" if wanted != attributes else "unchanged")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        product_id = data.draw(st.sampled_from(sorted(self.model)))
        pid, photos, _ = self.model.pop(product_id)
        kept = {number for _, numbers, _ in self.model.values() for number in numbers}
        assert self.catalog.delete(product_id).orphaned == tuple(
            photo(number).content_hash for number in sorted(set(photos) - kept)
        )
        self.log.append((pid, "delete", True))

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = Catalog.open(self.catalog.path)

    @invariant()
    def alike(self) -> None:
        stored = {item.product_id: item for item in self.catalog.iterate()}
        assert {key: (item.pid, item.photos, item.attributes) for key, item in stored.items()} == {
            key: (pid, tuple(photo(number).content_hash for number in photos), attributes)
            for key, (pid, photos, attributes) in self.model.items()
        }
        assert [(c.pid, c.kind, c.photos_changed) for c in self.catalog.changes(0)] == self.log
        sequence, entries = self.catalog.entries()
        assert sequence == self.catalog.last_sequence() == len(self.log)
        by_pid = sorted(stored.values(), key=lambda item: item.pid)
        assert entries.tolist() == [
            [item.pid, photo_id] for item in by_pid for photo_id in item.photo_ids
        ]
        assert self.catalog.photo_count() == len(
            {number for _, photos, _ in self.model.values() for number in photos}
        )

    def teardown(self) -> None:
        self.catalog.close()
        self.folder.cleanup()


TestAgainstPlainPython = AgainstPlainPython.TestCase
TestAgainstPlainPython.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_errors_of_a_batch_are_expected_failures(catalog: Catalog) -> None:
    """Each item's error carries a stable code for the service."""
    (error,) = catalog.apply([Delete("x")])
    assert isinstance(error, CatalensError)
    assert error.code == "unknown-product"


def test_a_catalog_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    """An empty file, or one with nothing but its first page, is what a kill leaves; neither blocks
    the home."""

    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home

    for number, begin in enumerate(("", "PRAGMA journal_mode = WAL")):
        home = Home.create(tmp_path / f"home{number}")
        home.catalog_file.touch()
        with connect(home.catalog_file) as connection:
            connection.execute(begin)
        connection.close()
        with open_catalog(home) as catalog:
            assert len(catalog) == 0


def test_rows_read_ahead_follow_the_writes_between(catalog: Catalog) -> None:
    """A batch reads the rows of its patches at once; each patch still builds on what the batch did
    before it."""
    put(catalog, product("a", attributes={"n": 1}))
    put(catalog, product("b", attributes={"n": 1}))
    results = catalog.apply(
        [
            Patch("a", {"attributes": {"n": 2}}, 5),
            Patch("a", {"attributes": {"m": 3}}, 4),
            Patch("a", {"attributes": {"k": 4}}),
            Patch("a", {"title": "t"}, 4),
            Patch("a", {"attributes": {"k": 4}}, 6),
            Patch("a", {"title": "t"}, 5),
            Delete("b"),
            Patch("b", {"title": "gone"}),
            Put(product("b", attributes={"n": 9})),
            Patch("b", {"attributes": {"m": 8}}),
        ]
    )
    said = [found.outcome if isinstance(found, Written) else found.code for found in results]
    stale, unknown = "stale-version", "unknown-product"
    expected = [
        "patched",
        stale,
        "patched",
        stale,
        "unchanged",
        stale,
        "deleted",
        unknown,
        "added",
        "patched",
    ]
    assert said == expected
    first, second = catalog.get("a"), catalog.get("b")
    assert (first.attributes, first.external_version, first.title) == ({"n": 2, "k": 4}, 6, "Shirt")
    assert second.attributes == {"n": 9, "m": 8}
    assert [found.sequence for found in results if isinstance(found, Written)] == [3, 4, 4, 5, 6, 7]
