"""Routes of the API: one blueprint ``api`` in each module, documented in this order."""

__all__ = [  # noqa: RUF022 - what shoppers and merchants ask comes first in the document
    "queries",
    "objects",
    "reviews",
    "recommendations",
    "search_batch",
    "products",
    "products_batch",
    "schema",
    "classes",
    "images",
    "indexes",
    "actions",
    "map",
    "jobs",
    "access",
]
