"""The shape of answers: stored products and results as plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from indexer.catalog.records import PhotoRow, Product
from indexer.core.category_path import format_path


def image_url(content_hash: str) -> str:
    """Where the service shows a photo."""
    return f"/v1/images/{content_hash}?w=320"


def result(
    product: Product, content_hash: str, score: float, signals: Mapping[str, float]
) -> dict[str, Any]:
    """One search result: the product with its best photo."""
    return {
        "product_id": product.product_id,
        "score": round(score, 6),
        "signals": {name: round(value, 6) for name, value in signals.items()},
        "title": product.title,
        **_category(product),
        "attributes": product.attributes,
        "photo": content_hash,
        "image_url": image_url(content_hash),
    }


def stored(product: Product, photos: Mapping[int, PhotoRow]) -> dict[str, Any]:
    """A product as stored; ``photos`` by photo id."""
    return {
        "product_id": product.product_id,
        "title": product.title,
        **_category(product),
        "tags": [asdict(tag) for tag in product.tags],
        "attributes": product.attributes,
        "images": [
            {
                "hash": row.content_hash,
                "format": row.format,
                "width": row.width,
                "height": row.height,
                "image_url": image_url(row.content_hash),
            }
            for photo_id in product.photo_ids
            if (row := photos.get(photo_id)) is not None
        ],
        "sequence": product.sequence,
        "external_version": product.external_version,
    }


def _category(product: Product) -> dict[str, Any]:
    """The category as manifests write it, which a PUT takes back, and as its levels."""
    path = product.category
    return {
        "category": format_path(path) if path else None,
        "category_path": list(path) if path else None,
    }
