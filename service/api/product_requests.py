"""Request models of products: what a put, a patch and a deletion take."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.functional_validators import AfterValidator

from indexer.catalog.product_fields import Availability
from service.api.requests import CategoryField, Hash, Label, RequestModel
from service.products.catalog import StoredProduct
from service.query.query import FIELDS_HELP, FieldNames, ShownFields, Whole
from service.query.shown_product import known_names


def _tag(raw: object) -> object:
    return {"tag": raw} if isinstance(raw, str) else raw


WebAddress = Annotated[str, Field(min_length=1, max_length=4096)]
FieldText = Annotated[str, Field(max_length=1000)]
Amount = Annotated[float, Field(ge=0, strict=True)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class ProductQuery(ShownFields):
    """How a stored product is shown."""

    fields: Annotated[FieldNames, AfterValidator(partial(known_names, StoredProduct))] = Field(
        default=[], description=FIELDS_HELP
    )


class PriceOfMarket(RequestModel):
    """Prices of one market."""

    price: Amount | None = None
    sale_price: Amount | None = None
    currency: Currency | None = None


class FieldsRequest(RequestModel):
    """What a shop's page shows of a product, beside title, category and photos."""

    url: WebAddress | None = Field(default=None, description="The product's page.")
    price: Amount | None = None
    sale_price: Amount | None = None
    currency: Currency | None = Field(default=None, description="Of the prices, e.g. `EUR`.")
    availability: Availability | None = None
    brand: FieldText | None = None
    gtin: FieldText | None = Field(default=None, description="EAN, UPC or ISBN, as text.")
    sku: FieldText | None = None
    parent: FieldText | None = Field(
        default=None, description="The same for all variants of one product."
    )
    variant: FieldText | None = Field(
        default=None, description="Which one this is, e.g. `Red / M`."
    )
    titles: dict[Label, FieldText] | None = Field(
        default=None, max_length=200, description="By language, e.g. `de`."
    )
    categories: dict[Label, CategoryField] | None = Field(
        default=None, max_length=200, description="By language, e.g. `de`."
    )
    prices: dict[Label, PriceOfMarket] | None = Field(
        default=None, max_length=200, description="By market, e.g. `CH`."
    )


class TagModel(RequestModel):
    """A tag and who gave it; a plain text counts as the merchant's."""

    tag: Label
    source: Literal["merchant", "curated", "machine"] = "merchant"


class PhotoRef(RequestModel):
    """A product's photo: new bytes, a URL where `allow_urls` is on, or the hash of one that is
    stored already."""

    base64: str | None = None
    url: str | None = None
    hash: Hash | None = None
    image_src: WebAddress | None = Field(
        default=None, description="The shop's own address of it, for pages to show."
    )


# As many as a feed has columns.
GivenAttributes = Annotated[dict[Label, Any], Field(max_length=5000)]
Tags = Annotated[list[Annotated[TagModel, BeforeValidator(_tag)]], Field(max_length=1000)]


class ProductPutRequest(FieldsRequest):
    """A whole product: replaces what was stored under its id."""

    title: Annotated[str, Field(max_length=2000)] | None = None
    category: CategoryField | None = Field(
        default=None, description='A path: "A > B > C" or ["A", "B", "C"].'
    )
    tags: Tags = Field(default=[])
    attributes: GivenAttributes = Field(default={})
    images: Annotated[list[PhotoRef], Field(max_length=64)] = Field(default=[])
    external_version: Annotated[Whole, Field(ge=0, lt=2**63)] | None = None


class ProductPatchRequest(FieldsRequest):
    """Fields to change; what is not named stays, a field or an attribute that is null goes. Photos
    are never touched."""

    title: Annotated[str, Field(max_length=2000)] | None = None
    category: CategoryField | None = None
    tags: Annotated[list[Label], Field(max_length=1000)] | None = Field(
        default=None, description="Replaces the merchant's tags."
    )
    attributes: GivenAttributes | None = None
    external_version: Annotated[Whole, Field(ge=0, lt=2**63)] | None = None


class DeleteQuery(RequestModel):
    external_version: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    ticket: bool = Field(
        default=False, description="Answer with what `catalens index verify --erased` can look for."
    )
