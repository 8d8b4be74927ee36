"""Orders: what an import reports, that it can be repeated, and that a deleted product goes from
them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from indexer.catalog.records import NewPhoto, ProductInput, Put
from indexer.catalog.store import Catalog
from indexer.core.errors import BadDataError
from indexer.recommendation import orders as orders_module
from indexer.recommendation.cooccurrence import Pair, complementary
from indexer.recommendation.orders import complements_of, import_orders, salt_orders

KINDS = {"s1": "Shirt", "s2": "Shirt", "t1": "Tie", "h1": "Hat"}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = Catalog.create(tmp_path / "catalog.sqlite3")
    puts = []
    for number, (name, kind) in enumerate(KINDS.items()):
        photo = NewPhoto(f"{number:064x}", "JPEG", 1, 1, 1, "reference", "/nowhere")
        puts.append(
            Put(ProductInput(name, None, ("Apparel", kind), (), {}, (photo.content_hash,)), [photo])
        )
    made.apply(puts)
    return made


def write(tmp_path: Path, *lines: str, header: str = "order_id,product_id,time") -> Path:
    path = tmp_path / "orders.csv"
    path.write_text("\n".join([header, *lines]), encoding="utf-8")
    return path


def orders(*pairs: tuple[str, str]) -> list[str]:
    return [f"{number},{one}" + ",2026-01-01" for number, pair in enumerate(pairs) for one in pair]


def test_complements_are_learned_and_a_second_import_changes_nothing(
    catalog: Catalog, tmp_path: Path
) -> None:
    """3 orders with shirt and tie, 3 with hat: lift 3 * 6 / (3 * 3) = 2; unknown products and bad
    rows are reported."""
    lines = orders(
        ("s1", "t1"), ("s2", "t1"), ("s1", "t1"), ("h1", "h1"), ("h1", "h1"), ("h1", "h1")
    )
    path = write(tmp_path, *lines, "9,nobody,", "10,s1,someday", ",s1,", "8")
    first = import_orders(catalog, path, min_support=3)
    assert (first.rows, first.added, first.unknown_rows, first.unknown_products) == (
        16,
        9,
        1,
        ["nobody"],
    )
    assert [row["where"] for row in first.skipped] == [
        "orders.csv:15",
        "orders.csv:16",
        "orders.csv:17",
    ]
    assert (first.orders, first.pairs) == (6, 1)
    (pair,) = complements_of(catalog, ["Apparel > Tie"])["Apparel > Tie"]
    assert (pair.one, pair.other, pair.together, pair.lift) == (
        "Apparel > Shirt",
        "Apparel > Tie",
        3,
        2.0,
    )
    second = import_orders(catalog, path, min_support=3)
    assert (second.added, second.orders, second.pairs) == (0, 6, 1)


def test_a_deleted_product_goes_from_all_orders(catalog: Catalog, tmp_path: Path) -> None:
    """No row has its number any more, and the order that held nothing else is gone."""
    import_orders(catalog, write(tmp_path, "1,t1,", "1,s1,", "2,t1,"))
    pid = catalog.pid("t1")
    catalog.delete("t1")
    with catalog.database.read() as sql:
        assert sql.execute("SELECT count(*) FROM order_items WHERE pid = ?", (pid,)).fetchone() == (
            0,
        )
        assert sql.execute("SELECT count(*) FROM orders").fetchone() == (1,)


def test_no_order_id_is_stored(catalog: Catalog, tmp_path: Path) -> None:
    """Customers' order numbers are kept as digests only."""
    import_orders(catalog, write(tmp_path, "ORDER-OF-JANE-DOE,s1,"))
    catalog.database.checkpoint()
    assert b"JANE" not in catalog.path.read_bytes()


def test_digests_of_orders_are_salted_those_of_older_releases_too(
    catalog: Catalog, tmp_path: Path
) -> None:
    """An order number is not found by counting; what an older release stored, and what it adds
    after a downgrade, is salted with the next import and stays the same order."""
    path = write(tmp_path, "1,s1,", "2,t1,")
    import_orders(catalog, path)
    plain = {number: hashlib.sha256(number.encode()).digest()[:16] for number in ("1", "2", "3")}
    with catalog.database.transaction() as sql:
        held = {row[0] for row in sql.execute("SELECT digest FROM orders")}
        assert len(held) == 2
        assert held.isdisjoint(plain.values())
        # As an older release writes: a known order with another product, and a new one.
        for number, product in (("1", "t1"), ("3", "h1")):
            sql.execute("INSERT INTO orders (digest) VALUES (?)", (plain[number],))
            query = "SELECT order_no FROM orders WHERE digest = ?"
            (order_no,) = sql.execute(query, (plain[number],)).fetchone()
            row = (order_no, catalog.pid(product), None)
            sql.execute("INSERT INTO order_items VALUES (?, ?, ?)", row)
    assert salt_orders(catalog) == 2
    with catalog.database.read() as sql:
        digests = [row[0] for row in sql.execute("SELECT digest FROM orders")]
        assert len(digests) == 3
        assert set(digests).isdisjoint(plain.values())
        query = "SELECT count(*) FROM order_items GROUP BY order_no ORDER BY order_no"
        assert [row[0] for row in sql.execute(query)] == [2, 1, 1]
    again = import_orders(catalog, write(tmp_path, "1,s1,", "1,t1,", "2,t1,", "3,h1,"))
    assert (again.added, again.known, again.orders) == (0, 4, 3)


@pytest.mark.parametrize(
    ("header", "said"),
    [("order,product_id", "no column 'order_id'"), ("order_id", "no column 'product_id'")],
)
def test_a_file_without_its_columns_is_refused(
    catalog: Catalog, tmp_path: Path, header: str, said: str
) -> None:
    """The missing column is named; so is a file that cannot be read."""
    with pytest.raises(BadDataError, match=said):
        import_orders(catalog, write(tmp_path, header=header))
    with pytest.raises(BadDataError, match="cannot be read"):
        import_orders(catalog, tmp_path / "absent.csv")


def test_without_orders_nothing_is_complementary(catalog: Catalog) -> None:
    """A catalog that never had orders: no tables, no answer, and deleting works."""
    assert complements_of(catalog, ["Apparel > Tie"]) == {}
    catalog.delete("t1")


def test_products_are_written_while_orders_are_learned(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many orders take a minute to read: nobody waits for that to write."""
    written: list[str] = []

    def learn_slowly(baskets: Iterable[Iterable[str]], *, min_support: int) -> list[Pair]:
        with Catalog.open(catalog.path) as other:
            other.database.connection.execute("PRAGMA busy_timeout = 50")
            with other.database.transaction() as sql:
                sql.execute("PRAGMA busy_timeout = 50")
            product = next(catalog.iterate())
            written.append(other.patch(product.product_id, {"title": "meanwhile"}).outcome)
        return complementary(baskets, min_support=min_support)

    monkeypatch.setattr(orders_module, "complementary", learn_slowly)
    import_orders(catalog, write(tmp_path, *orders(("shirt", "jeans"))))
    assert written == ["patched"]
