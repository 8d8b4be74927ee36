"""Schema of the catalog: names, types and owners of attributes and fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from indexer.catalog.store import Catalog
from service.inference.deadline import Deadline

SchemaKind = Literal["string", "number", "bool", "datetime", "list"]


@dataclass(frozen=True)
class CatalogSchema:
    """What filters and facets know, by name."""

    attributes: dict[str, SchemaKind]
    fields: Annotated[
        dict[str, SchemaKind], Field(description="Those of the fields that some product has.")
    ]
    fixed: Annotated[
        list[str], Field(description="Attributes whose type was given, so that no value widens it.")
    ]
    owners: Annotated[
        dict[str, str], Field(description="Which feed owns an attribute, a field, title or photos.")
    ]


def read_schema(catalog: Catalog, deadline: Deadline) -> CatalogSchema:
    """The schema as it is now. Raises ``DeadlineExceededError``."""
    with catalog.database.read():
        types = catalog.types()
        deadline.check()
        every = catalog.filter_types()
        used = catalog.used_fields()
        deadline.check()
        fields = {name: kind for name, kind in every.items() if name in used}
        return CatalogSchema(types, fields, sorted(catalog.given_types()), catalog.owners())
