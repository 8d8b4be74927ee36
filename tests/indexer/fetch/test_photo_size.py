"""Promise: one photo is one URL whatever size the shop wrote, and signed URLs stay as they are."""

from __future__ import annotations

import pytest

from indexer.fetch.photo_size import SizeRule, sized

SHOPIFY = "https://cdn.shopify.com/s/files/1/0001/products/shirt"
CLOUD = "https://res.cloudinary.com/shop/image/upload"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (f"{SHOPIFY}.jpg?v=17", f"{SHOPIFY}.jpg?v=17&width=800"),
        (f"{SHOPIFY}_400x.jpg?v=17", f"{SHOPIFY}.jpg?v=17&width=800"),
        (f"{SHOPIFY}_100x100_crop_center@2x.jpg?v=17", f"{SHOPIFY}.jpg?v=17&width=800"),
        (f"{SHOPIFY}_grande.jpg?width=50&v=17", f"{SHOPIFY}.jpg?v=17&width=800"),
        (f"{SHOPIFY}_2x4_wood.jpg", f"{SHOPIFY}_2x4_wood.jpg?width=800"),
        ("https://shop.example/cdn/shop/a.jpg", "https://shop.example/cdn/shop/a.jpg?width=800"),
        (f"{CLOUD}/v12/a.jpg", f"{CLOUD}/c_limit,w_800/v12/a.jpg"),
        (f"{CLOUD}/w_300,h_200,c_fill/v12/a.jpg", f"{CLOUD}/c_limit,w_800/v12/a.jpg"),
        (f"{CLOUD}/s--AbC1--/v12/a.jpg", f"{CLOUD}/s--AbC1--/v12/a.jpg"),
        (
            "https://a.imgix.net/b.jpg?h=20&w=20&auto=format",
            "https://a.imgix.net/b.jpg?auto=format&w=800&fit=max",
        ),
        ("https://shop.example/a_400x.jpg", "https://shop.example/a_400x.jpg"),
        ("http://[", "http://["),
    ],
)
def test_the_width_is_written_where_the_server_reads_it(url: str, wanted: str) -> None:
    """Each kind of photo server gets its own form, once, in place of any other size."""
    assert sized(url, 800) == wanted
    assert sized(wanted, 800) == wanted


def test_a_profile_may_bring_a_rule_of_its_own() -> None:
    """A rule is data: a server that Catalens does not know takes one from a profile."""
    rule = SizeRule(hosts="ignored", query={"sw": "{width}"}, drop=("sh",))
    assert sized("https://x.example/a.jpg?sh=3", 90, rule) == "https://x.example/a.jpg?sw=90"
    assert sized("https://x.example/a.jpg", 90, "imgix").endswith("?w=90&fit=max")
