"""Rows of the made shop as Magento, Akeneo, Shopware, Amazon and Medusa export them."""

from __future__ import annotations

from collections.abc import Iterator

from indexer.core.category_path import format_path
from tools.bench.data.feeds import MadeProduct, MadeVariant

Row = dict[str, str]

MAGENTO = (
    *("sku", "store_view_code", "attribute_set_code", "product_type", "categories"),
    *("product_websites", "name", "description", "short_description", "weight", "product_online"),
    *("tax_class_name", "visibility", "price", "special_price", "url_key", "base_image"),
    *("base_image_label", "small_image", "thumbnail_image", "swatch_image", "created_at"),
    *("additional_attributes", "qty", "out_of_stock_qty", "is_in_stock", "manage_stock"),
    *("additional_images", "configurable_variations", "configurable_variation_labels"),
)


def magento(product: MadeProduct, photos: str) -> Iterator[Row]:
    """One row a variant, then that of the configurable product that lists them."""
    single = len(product.variants) == 1
    for variant in product.variants:
        yield _magento_variant(product, variant, photos, single)
    if single:
        return
    listed = "|".join(
        ",".join(
            [f"sku={one.sku}", f"color={one.colour}", *([f"size={one.size}"] if one.size else [])]
        )
        for one in product.variants
    )
    shared = _magento_shared(product)
    yield shared | {
        "sku": product.handle,
        "product_type": "configurable",
        "name": product.title,
        "visibility": "Catalog, Search",
        "url_key": product.handle,
        "additional_attributes": f"brand={product.brand},material={product.material}",
        "qty": "0",
        "is_in_stock": "1",
        **_magento_photos(list(product.photos), photos),
        "configurable_variations": listed,
        "configurable_variation_labels": "color=Color,size=Size",
    }


def _magento_shared(product: MadeProduct) -> Row:
    path = "/".join(("Default Category", *product.category))
    above = "/".join(("Default Category", *product.category[:-1]))
    return {
        "attribute_set_code": "Default",
        "categories": f"{path},{above}",
        "product_websites": "base",
        "description": product.markup,
        "weight": "1.0000",
        "product_online": "1",
        "tax_class_name": "Taxable Goods",
        "created_at": "1/2/26, 3:04 PM",
        "manage_stock": "1",
        "out_of_stock_qty": "0.0000",
    }


def _magento_variant(product: MadeProduct, variant: MadeVariant, photos: str, single: bool) -> Row:
    size = f",size={variant.size}" if variant.size else ""
    return _magento_shared(product) | {
        "sku": variant.sku,
        "product_type": "simple",
        "name": product.title if single else f"{product.title}-{variant.name}",
        "visibility": "Catalog, Search" if single else "Not Visible Individually",
        "price": f"{variant.price:.6f}",
        "special_price": f"{variant.sale_price:.6f}" if variant.sale_price else "",
        "url_key": f"{product.handle}-{variant.sku.lower()}",
        "additional_attributes": f"brand={product.brand},color={variant.colour},"
        f"ean={variant.gtin},material={product.material}{size}",
        "qty": f"{variant.stock}.0000",
        "is_in_stock": "1" if variant.stock else "0",
        **_magento_photos(list(variant.photos), photos),
    }


def _magento_photos(names: list[str], photos: str) -> Row:
    addresses = [f"{photos}/{name}" for name in names]
    first = addresses[0] if addresses else "no_selection"
    return {
        "base_image": first,
        "small_image": first,
        "thumbnail_image": first,
        "swatch_image": "no_selection",
        "additional_images": ",".join(addresses[1:]),
    }


AKENEO = (
    *("sku", "family", "parent", "categories", "enabled", "groups", "name-en_US", "name-de_DE"),
    *("description-en_US-ecommerce", "brand", "ean", "color", "size", "material", "price-EUR"),
    *("price-CHF", "image", "image_2"),
)


def akeneo(product: MadeProduct, photos: str) -> Iterator[Row]:
    """One row a variant; its parent is a product model, which stands in another export."""
    single = len(product.variants) == 1
    for variant in product.variants:
        addresses = [f"{photos}/{name}" for name in variant.photos]
        yield {
            "sku": variant.sku,
            "family": product.kind,
            "parent": "" if single else product.handle,
            "categories": ",".join(level.lower() for level in product.category),
            "enabled": "1",
            "name-en_US": product.title,
            "name-de_DE": f"{product.title} (de)",
            "description-en_US-ecommerce": product.markup,
            "brand": product.brand,
            "ean": variant.gtin,
            "color": variant.colour,
            "size": variant.size or "",
            "material": product.material,
            "price-EUR": f"{variant.price:.2f}",
            "price-CHF": f"{variant.price + 2:.2f}",
            "image": addresses[0] if addresses else "",
            "image_2": addresses[1] if len(addresses) > 1 else "",
        }


SHOPWARE = (
    *("id", "parent_id", "product_number", "active", "stock", "name", "description", "price_net"),
    *("price_gross", "list_price_gross", "tax_rate", "manufacturer_name", "ean"),
    *("cover_media_url", "media", "categories", "options", "optionIds"),
)


def shopware(product: MadeProduct, photos: str) -> Iterator[Row]:
    """The parent's row, then its variants, whose blank cells are the parent's."""
    first = product.variants[0]
    single = len(product.variants) == 1
    addresses = [f"{photos}/{name}" for name in (first.photos if single else product.photos)]
    parent = _shopware_id(product, 0)
    yield {
        "id": parent,
        "product_number": first.sku if single else product.handle,
        "active": "1",
        "name": product.title,
        "description": product.markup,
        "tax_rate": "19",
        "manufacturer_name": product.brand,
        "cover_media_url": addresses[0] if addresses else "",
        "media": "|".join(addresses[1:]),
        "categories": format_path(product.category),
        **_shopware_offer(first),
        **({} if single else {"stock": "0", "ean": ""}),
    }
    if single:
        return
    for place, variant in enumerate(product.variants, 1):
        options = f"Color: {variant.colour}" + (f"|Size: {variant.size}" if variant.size else "")
        own = [f"{photos}/{name}" for name in variant.photos]
        yield {
            "id": _shopware_id(product, place),
            "parent_id": parent,
            "product_number": variant.sku,
            "active": "1",
            "cover_media_url": own[0] if own else "",
            "media": "|".join(own[1:]),
            "options": options,
            **_shopware_offer(variant),
        }


def _shopware_id(product: MadeProduct, place: int) -> str:
    return f"{product.number:024x}{place:08x}"


def _shopware_offer(variant: MadeVariant) -> Row:
    selling = variant.price if variant.sale_price is None else variant.sale_price
    return {
        "stock": str(variant.stock),
        "price_net": f"{selling / 1.19:.4f}",
        "price_gross": f"{selling:.2f}",
        "list_price_gross": f"{variant.price:.2f}" if variant.sale_price else "",
        "ean": variant.gtin,
    }


AMAZON = (
    *("feed_product_type", "item_sku", "brand_name", "item_name", "external_product_id"),
    *("external_product_id_type", "item_type", "standard_price", "sale_price", "currency"),
    *("quantity", "main_image_url", "other_image_url1", "other_image_url2", "other_image_url3"),
    *("swatch_image_url", "parent_child", "parent_sku", "relationship_type", "variation_theme"),
    *("product_description", "bullet_point1", "bullet_point2", "color_name", "size_name"),
    *("material_type",),
)
# The row of the template's version; that of labels is made of the names.
AMAZON_ROWS = (
    "TemplateType=fptcustom\tVersion=2026.0101\tTemplateSignature=TUFERQ==\tThe top 3 rows are for "
    "Amazon.com use only. Do not modify or delete the top 3 rows.\tOffer\t\t\t\tImages",
    "\t".join(name.replace("_", " ").title() for name in AMAZON),
)


def amazon(product: MadeProduct, photos: str) -> Iterator[Row]:
    """The parent's row, then its children's."""
    single = len(product.variants) == 1
    theme = "SizeColor" if product.variants[0].size else "Color"
    if not single:
        yield {
            "feed_product_type": product.kind,
            "item_sku": product.handle,
            "brand_name": product.brand,
            "item_name": product.title,
            "item_type": product.category[-1],
            "parent_child": "Parent",
            "variation_theme": theme,
            "product_description": product.markup,
        }
    for variant in product.variants:
        addresses = [f"{photos}/{name}" for name in variant.photos]
        row = {
            "feed_product_type": product.kind,
            "item_sku": variant.sku,
            "brand_name": product.brand,
            "item_name": product.title if single else f"{product.title}, {variant.name}",
            "external_product_id": variant.gtin,
            "external_product_id_type": "EAN",
            "item_type": product.category[-1],
            "standard_price": f"{variant.price:.2f}",
            "sale_price": f"{variant.sale_price:.2f}" if variant.sale_price else "",
            "currency": "EUR",
            "quantity": str(variant.stock),
            "main_image_url": addresses[0] if addresses else "",
            "product_description": product.markup,
            "bullet_point1": "Wash cold",
            "color_name": variant.colour,
            "size_name": variant.size or "",
            "material_type": product.material,
        }
        for number, address in enumerate(addresses[1:4], 1):
            row[f"other_image_url{number}"] = address
        if not single:
            row |= {
                "parent_child": "Child",
                "parent_sku": product.handle,
                "relationship_type": "Variation",
                "variation_theme": theme,
            }
        yield row


MEDUSA = (
    *("Product Id", "Product Handle", "Product Title", "Product Subtitle", "Product Description"),
    *("Product Status", "Product Thumbnail", "Product Weight", "Product Material"),
    *("Product Collection Title", "Product Type", "Product Discountable", "Product External Id"),
    *("Product Category 1 Name", "Product Tag 1", "Product Tag 2", "Product Image 1 Url"),
    *("Product Image 2 Url", "Product Image 3 Url", "Variant Id", "Variant Title", "Variant Sku"),
    *("Variant Barcode", "Variant Inventory Quantity", "Variant Allow Backorder"),
    *("Variant Manage Inventory", "Variant Price EUR", "Variant Price USD"),
    *("Variant Option 1 Name", "Variant Option 1 Value", "Variant Option 2 Name"),
    *("Variant Option 2 Value",),
)


def medusa(product: MadeProduct, photos: str) -> Iterator[Row]:
    """One row a variant; each repeats what is the product's."""
    shared = {
        "Product Id": f"prod_{product.number:026d}",
        "Product Handle": product.handle,
        "Product Title": product.title,
        "Product Description": product.text,
        "Product Status": "published",
        "Product Material": product.material,
        "Product Collection Title": product.brand,
        "Product Type": product.category[-1],
        "Product Discountable": "TRUE",
        "Product Category 1 Name": product.category[-1],
    }
    for number, tag in enumerate(product.tags[:2], 1):
        shared[f"Product Tag {number}"] = tag
    for number, name in enumerate(product.photos[:3], 1):
        shared[f"Product Image {number} Url"] = f"{photos}/{name}"
    if product.photos:
        shared["Product Thumbnail"] = f"{photos}/{product.photos[0]}"
    single = len(product.variants) == 1
    for place, variant in enumerate(product.variants):
        row = shared | {
            "Variant Id": f"variant_{product.number:020d}{place:06d}",
            "Variant Title": "Default variant" if single else variant.name,
            "Variant Sku": variant.sku,
            "Variant Barcode": variant.gtin,
            "Variant Inventory Quantity": str(variant.stock),
            "Variant Allow Backorder": "FALSE",
            "Variant Manage Inventory": "TRUE",
            "Variant Price EUR": f"{variant.price:.2f}",
            "Variant Price USD": f"{variant.price + 3:.2f}",
            "Variant Option 1 Name": "Color",
            "Variant Option 1 Value": variant.colour,
        }
        if variant.size:
            row |= {"Variant Option 2 Name": "Size", "Variant Option 2 Value": variant.size}
        yield row
