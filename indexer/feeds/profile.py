"""Profiles of feeds: which columns mean what, as data (one YAML file each)."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from indexer.catalog.attributes import RESERVED, AttributeType
from indexer.catalog.product_fields import Availability
from indexer.core.errors import BadDataError
from indexer.core.regular_files import read_small
from indexer.feeds.column_roles import ColumnRole
from indexer.feeds.columns import EXACT

MAX_BYTES = 1_000_000
_LONGEST_NUMBER = 100
# Of placeholders in one name that may stand for anything: with each more, the time in
# which a column's name is compared grows by a power.
_MOST_WILD = 2
_PLACEHOLDER = re.compile(r"\{(?:n|name|locale|currency|any|market)\}")
_WILD = re.compile(r"\{(?:name|any|market)\}")


def _tuple(value: Any) -> Any:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _bounded(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not name.startswith(EXACT) and len(_WILD.findall(name)) > _MOST_WILD:
            raise ValueError(
                f"{name[:60]!r} has more than {_MOST_WILD} placeholders that stand for anything"
            )
    return names


def _holding(placeholder: str, names: tuple[str, ...]) -> None:
    for name in names:
        if placeholder not in name:
            raise ValueError(f"{name[:60]!r} must hold {placeholder}")


class _Loader(yaml.SafeLoader):
    """YAML without objects, and without long numbers: 59:59:59 is one, read in a time that grows
    with its square."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        number = str(node.tag).endswith((":int", ":float"))
        if number and len(str(node.value)) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", None)
        return super().construct_scalar(node)


# Columns in order of preference. Names are compared without case, blanks and underscores; a
# template holds {n}, {name}, {locale}, {currency}, {market} or {any}, a pattern holds a star.
Columns = Annotated[tuple[str, ...], BeforeValidator(_tuple), AfterValidator(_bounded)]
Words = Annotated[tuple[str, ...], BeforeValidator(_tuple)]


class ProfilePart(BaseModel):
    """Part of a profile; a key that is none of its own is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Signature(ProfilePart):
    """Columns by which a feed is recognised. A feed fits where one signature does."""

    # Each must be there, or one of each list.
    all: tuple[Columns, ...] = ()
    # At least so many of these must be there.
    some: Columns = ()
    least: int = Field(default=0, ge=0)
    # None of these may be there: columns that stand for another profile,
    none: Columns = ()
    # and columns that would make this another signature.
    without: Columns = ()
    # Of the feed's columns, the share that the profile must know.
    share: float = Field(default=0, ge=0, le=1)


class KindRule(ProfilePart):
    """Column that says what a row is. Words are compared without case; one of several is enough."""

    column: Columns
    # What holds a family together, and is itself not for sale.
    parent: Words = ()
    variant: Words = ()


class ChildrenRule(ProfilePart):
    """Column of a parent's row that lists its variants: ``sku=a,color=Red|sku=b,color=Blue``."""

    columns: Columns
    separator: str = "|"
    pairs: str = ","
    key: str = "sku"


class FamilyRule(ProfilePart):
    """How rows name their parent's row."""

    # Columns of a parent's row by which others name it; the first that is present is its key.
    keys: Columns
    # Text before a reference to the column it is a value of: {"id:": ID}.
    references: dict[str, str] = {}
    kind: KindRule | None = None
    children: ChildrenRule | None = None
    # Whether parents stand in the feed, so that one that does not is worth a notice.
    inside: bool = True
    # Rows with a value here only say what the product is called and costs there (a store view).
    view: Columns = ()


class NestedRule(ProfilePart):
    """Lists of objects within a record. The names of those of ``rows`` follow ``prefix`` and a
    point."""

    # The list that holds a row each.
    rows: str
    prefix: str
    # Lists whose objects are told apart by number: options.1.name
    numbered: Words = ()


class CategoryRule(ProfilePart):
    """Columns of categories. ``separator`` parts levels, ``several`` categories in one cell."""

    columns: Columns
    separator: str | None = ">"
    several: str | None = None
    # Whose numbers stand in it instead of names.
    vendor: Literal["google"] | None = None
    # Such a number to its name: {"188": Apparel & Accessories > Jewelry}.
    numbers: dict[str, str] = {}
    # First levels that say nothing and are left out.
    root: Words = ()
    # Names that mean none.
    none: Words = ()


class ListRule(ProfilePart):
    """Columns with several values, parted in one cell by any of ``separators``."""

    columns: Columns
    separators: Words = (",",)


class PhotoRule(ProfilePart):
    """Columns of photos, in the order in which the shop shows them."""

    columns: Columns
    # What parts several in one cell; commas within a URL part nothing.
    separators: Words = ()
    # Of a row: its place among the product's photos.
    position: Columns = ()
    # The variant's own photo.
    own: Columns = ()
    # Values that mean none.
    none: Words = ()
    # Host of a CDN to the parameters by which it is asked for a size: {cdn: {width: "1200"}}.
    ask: dict[str, dict[str, str]] = {}


class PriceRule(ProfilePart):
    """Columns of prices. ``before``: a price that is struck out, so that ``price`` is a sale's."""

    price: Columns = ()
    sale_price: Columns = ()
    before: Columns = ()
    # When the sale price holds: a column for each end, or one of both with a slash between them.
    sale_from: Columns = ()
    sale_until: Columns = ()
    sale_period: Columns = ()
    currency: Columns = ()
    # Of amounts without one; None where the feed cannot know it.
    default_currency: str | None = None
    # Templates with {market}.
    market_price: Columns = ()
    market_sale_price: Columns = ()
    market_before: Columns = ()


class StockRule(ProfilePart):
    """Columns of availability, in words or as a count."""

    availability: Columns = ()
    # Words of this shop to ours, before those that are known in eight languages.
    words: dict[str, Availability] = {}
    stock: Columns = ()
    # Values of the stock that are no count and mean that another row has it.
    none: Words = ()
    # Present where stock is counted at all; what it says where it is not.
    tracked: Columns = ()
    untracked: Words = ()
    # Whether what is gone can still be ordered.
    policy: Columns = ()


class OptionRule(ProfilePart):
    """Pairs of columns, by templates with {n}: an option's name and its value."""

    name: str
    value: str
    # What parts several values in one cell, of a row that is no variant.
    separator: str | None = None
    # Values that mean none.
    none: Words = ()
    # Only of variants: the options they differ in.
    variants_only: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> OptionRule:
        _bounded((self.name, self.value))
        _holding("{n}", (self.name, self.value))
        return self


class AttributeRule(ProfilePart):
    """Columns of one attribute, the first present one counts."""

    columns: Columns
    type: AttributeType | None = None
    # A cell of HTML becomes its text.
    html: bool = False
    # What stands for a line break; behind a backslash, for itself.
    line_break: str | None = None
    # A cell is an id, kept as written but for a spreadsheet's own signs.
    code: bool = False
    separator: str | None = None
    # As written to what is stored; without case.
    values: dict[str, str | bool | float] = {}

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"columns": value} if isinstance(value, str | list) else value


class PatternRule(ProfilePart):
    """Columns whose name holds the attribute's name: a template with {name}."""

    columns: Columns
    separator: str | None = None
    html: bool = False


class PackedRule(ProfilePart):
    """Columns that hold several attributes in a cell: ``color=Red,size=M``."""

    columns: Columns
    separator: str = ","
    assign: str = "="
    # What parts several values of one attribute.
    several: str | None = None
    # Names of attributes that fill a field instead: {ean: gtin}.
    fields: dict[str, Literal["brand", "gtin", "sku"]] = {}
    # They are the options that variants differ in.
    options: bool = False


class SkipRule(ProfilePart):
    """Rows that are no products a shopper may see: where a column has one of ``words``."""

    columns: Columns
    words: Words = ()
    # Instead of ``words``: everything but these (and blank cells).
    others_than: Words = ()
    reason: str
    code: str = "not-for-sale"


class FeedProfile(ProfilePart):
    """What a feed's columns mean.

    ``rows``: ``photos`` (rows of one id are photos of one product), ``products`` (each row is a
    product), ``variants`` (rows of one ``parent`` are its variants, and further photos), ``family``
    (rows name their parent's row).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    label: str
    # The profile that comes with Catalens whose rules hold where this one says nothing.
    base: str | None = None
    # Columns, as they are written, that mean something else than the rules say.
    columns: dict[str, ColumnRole] = {}
    # Loses to every other profile that fits.
    fallback: bool = False
    recognise: tuple[Signature, ...] = ()
    # Column to what it is called in other languages.
    aliases: dict[str, Columns] = {}
    rows: Literal["photos", "products", "variants", "family"] = "products"
    # In order of preference. Without one: the photo's path (``photos``), else parent and options.
    id: Columns = ()
    parent: Columns = ()
    family: FamilyRule | None = None
    # Of JSON, where a record holds its rows as a list.
    nested: NestedRule | None = None
    # Columns by which a row is a variant, of ``variants``.
    marks: Columns = ()
    # Columns that belong to one variant and are never taken from another row of its product.
    own: Columns = ()
    # Columns whose values together name a variant where there are no options.
    variant: Columns = ()
    split: Columns = ()
    title: Columns = ()
    titles: Columns = ()
    url: Columns = ()
    brand: Columns = ()
    gtin: Columns = ()
    sku: Columns = ()
    category: tuple[CategoryRule, ...] = ()
    categories: tuple[CategoryRule, ...] = ()
    tags: tuple[ListRule, ...] = ()
    photos: PhotoRule
    # Of a photo's row: its alternative text, which an export proposes.
    alt_text: Columns = ()
    price: PriceRule = PriceRule()
    stock: StockRule = StockRule()
    options: tuple[OptionRule, ...] = ()
    attributes: dict[str, AttributeRule] = {}
    patterns: tuple[PatternRule, ...] = ()
    packed: tuple[PackedRule, ...] = ()
    skip: tuple[SkipRule, ...] = ()
    # Columns that are attributes of their own name, and known to belong to such a feed.
    keep: Columns = ()
    drop: Columns = ()
    # What becomes of columns that the profile does not name.
    others: Literal["attributes", "drop"] = "attributes"
    # Columns keep their own name as an attribute, also where they fill a field.
    verbatim: bool = False
    # Of a verbatim profile: columns that fill a field are attributes as well.
    mirror: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> FeedProfile:
        if self.rows in ("variants", "family") and not self.parent:
            raise ValueError(f"rows: {self.rows} needs parent")
        if self.rows == "family" and self.family is None:
            raise ValueError("rows: family needs family")
        _holding("{locale}", self.titles)
        for rule in self.categories:
            _holding("{locale}", rule.columns)
        for pattern in self.patterns:
            _holding("{name}", pattern.columns)
        price = self.price
        for names in (price.market_price, price.market_sale_price, price.market_before):
            _holding("{market}", names)
        for name, others in self.aliases.items():
            for placeholder in _PLACEHOLDER.findall(name):
                _holding(placeholder, others)
        wrong = sorted(RESERVED.intersection(self.attributes))
        if wrong:
            raise ValueError(f"{wrong[0]!r} cannot be an attribute's name")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def photo_columns(self) -> tuple[str, ...]:
        """All columns that may name a photo."""
        return (*self.photos.columns, *self.photos.own)


def profile_names() -> tuple[str, ...]:
    """The profiles that come with Catalens, sorted."""
    folder = files("indexer.feeds") / "profiles"
    return tuple(
        sorted(
            entry.name.removesuffix(".yaml")
            for entry in folder.iterdir()
            if entry.name.endswith(".yaml")
        )
    )


def load_profile(name_or_path: str | Path) -> FeedProfile:
    """A profile by name, or of a YAML file. Raises ``BadDataError`` where there is none such, or
    the file says what no profile can."""
    name = str(name_or_path)
    if name in profile_names():
        return _shipped(name)
    path = Path(name_or_path)
    return parse_profile(profile_text(path), str(path), default_name=path.stem)


def profile_text(name_or_path: str | Path) -> str:
    """The YAML of a profile by name, or of a file. Raises ``BadDataError`` where there is none
    such, or it cannot be read."""
    name = str(name_or_path)
    if name in profile_names():
        return (files("indexer.feeds") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise BadDataError(
            f"there is no profile {name!r}: use auto, {', '.join(profile_names())}, or a file "
            "that ends in .yaml"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadDataError(f"{path} is larger than a profile can be")
        return read_small(path, MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadDataError(f"{path} cannot be read: {reason}") from error


def parse_profile(text: str, where: str, *, default_name: str | None = None) -> FeedProfile:
    """The profile that YAML text describes. Raises ``BadDataError`` that names ``where`` and what
    is wrong."""
    try:
        found = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadDataError(f"{where} is no readable YAML: {_one_line(error)}") from error
    if not isinstance(found, dict):
        raise BadDataError(f"{where} is no profile: it must name keys such as id, title, photos")
    if default_name is not None:
        found.setdefault("name", default_name.casefold().replace(" ", "-"))
    found.setdefault("label", str(found.get("name", where)))
    base = found.get("base")
    if base is not None:
        if base not in profile_names():
            raise BadDataError(f"{where}: base: {base!r} is no profile that comes with Catalens")
        found = {**_shipped(str(base)).model_dump(mode="json"), "fallback": False, **found}
    from indexer.feeds.correction import apply_corrections

    try:
        return apply_corrections(FeedProfile.model_validate(found))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "profile"
        raise BadDataError(f"{where}: {place}: {_one_line(first['msg'])}") from error


def shipped_profiles() -> tuple[FeedProfile, ...]:
    """All profiles that come with Catalens, sorted by name."""
    return tuple(map(_shipped, profile_names()))


@lru_cache(maxsize=64)
def _shipped(name: str) -> FeedProfile:
    return parse_profile(profile_text(name), f"profile {name}")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
