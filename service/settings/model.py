"""The service's settings: one frozen model for file, environment and command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from indexer.core.errors import BadSettingsError
from indexer.core.home import KEYS_FILE
from indexer.duplicates.print_limit import PRINTS_DIFFER
from indexer.operations.retention_terms import UNDO_DAYS, RetentionTerms
from indexer.quality.profiles import profile
from indexer.reviews.store import KEPT_DAYS, WAITING_DAYS
from service.settings.alerts import AlertSettings
from service.settings.description import (
    SettingNames,
    SettingOrigin,
    fault_message,
    place_of,
    shorten,
)
from service.settings.public_address import PublicAddress, read_origins, read_public_url
from service.settings.values import (
    LOOPBACK_NAMES,
    Conditions,
    PathSetting,
    ProfileChanges,
    TextsSetting,
    encoder_name,
    endpoints,
    existing_folder,
    header_name,
    host_patterns,
    is_loopback,
    networks,
    public_url_text,
    read_api_keys,
    sound_keys,
    to_path,
)

# The settings that ``Settings.retention_terms`` reads.
RETENTION_SETTINGS = (
    "review_photos_days",
    "open_review_photos_days",
    "review_texts_days",
    "job_days",
    "undo_days",
)


class Settings(BaseModel):
    """Every setting of the service, checked when made.

    Raises ``BadSettingsError`` naming the setting and, where known, the place that gave it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    home: PathSetting = Field(
        default=Path("catalens-home"),
        description="Folder of models, catalog, photos and index versions.",
    )
    host: str = Field(
        default="127.0.0.1", description="Address to listen on; beyond loopback it needs keys."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port; 0: any free one.")
    api_key_file: PathSetting | None = Field(
        default=None,
        description="Keys, one per line; clients send them as `Authorization: Bearer`.",
    )
    api_keys: Annotated[
        TextsSetting, AfterValidator(sound_keys), SettingNames(has_option=False)
    ] = Field(
        default=(),
        repr=False,
        description="Keys beside those of `api_key_file`. No option: other users of the machine "
        "can read a command line.",
    )
    allowed_hosts: Annotated[TextsSetting, SettingNames(option="--allow-host")] = Field(
        default=(), description="Names accepted in `Host` beside loopback's and `host`."
    )
    public_url: Annotated[str, AfterValidator(public_url_text)] = Field(
        default="",
        description="Address that browsers use, where a reverse proxy stands before the service: "
        "its host, port and path prefix.",
    )
    trusted_proxies: Annotated[
        TextsSetting, AfterValidator(networks), SettingNames(option="--trusted-proxy")
    ] = Field(
        default=(),
        description="Addresses or networks of the reverse proxies before the service: their "
        "`X-Forwarded-For` names the client.",
    )
    user_header: Annotated[str, AfterValidator(header_name)] = Field(
        default="",
        description="Header in which a trusted proxy names the person who asks, such as "
        "`X-Forwarded-Email`.",
    )
    allowed_origins: Annotated[
        TextsSetting, AfterValidator(read_origins), SettingNames(option="--allow-origin")
    ] = Field(
        default=(),
        description="Sites whose pages may search, such as `https://shop.example`; with keys of "
        "the role `search` alone.",
    )
    key_rate: float = Field(
        default=100.0,
        ge=0,
        le=1e6,
        description="Requests a second of one key that is not `admin`, ten seconds' worth at once; "
        "the next get 429. 0: no limit.",
    )
    address_rate: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="The same of one address with a `search` key or none. 0: no limit.",
    )
    decoded_slashes: bool = Field(
        default=False,
        description="The reverse proxy decodes `%2F` in paths: join them to product ids again.",
    )
    text_encoder: Annotated[str, AfterValidator(encoder_name)] = Field(
        default="",
        description="`package.module:function`: a text model instead of the version's own tower.",
    )
    text_pair_share: float = Field(
        default=-1.0,
        ge=-1,
        le=1,
        description="How much the text tower of an image and text pair counts beside the catalog's "
        "own words, from 0 (not asked) to 1; -1: as the catalog's titles say "
        "(docs/guides/text-search.md).",
    )
    allow_urls: bool = Field(
        default=False,
        description="Fetch photos from the URLs in requests (docs/guides/photo-urls.md).",
    )
    fetch_private: Annotated[TextsSetting, AfterValidator(endpoints)] = Field(
        default=(),
        description="`host:port` of photo servers in a private network; all others are refused.",
    )
    fetch_hosts: Annotated[
        TextsSetting, AfterValidator(host_patterns), SettingNames(option="--fetch-host")
    ] = Field(
        default=(),
        description="The only hosts that photos are fetched from; `*.example.com`: all below.",
    )
    fetch_connections: int = Field(
        default=4, ge=1, le=32, description="Connections to one host that photos are fetched from."
    )
    fetch_recheck_s: float = Field(
        default=7 * 86_400.0,
        ge=0,
        le=365 * 86_400,
        description="How old a photo's last answer may be before its URL is asked again.",
    )
    fetch_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600,
        description="How long the URLs of one request may take together.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the network runs."
    )
    engine: Literal["auto", "torch", "compiled", "openvino"] = Field(
        default="auto", description="Inference backend of the network."
    )
    max_image_bytes: int = Field(
        default=32 * 2**20, ge=1, le=2**31, description="Bytes of one uploaded photo."
    )
    max_image_pixels: int = Field(
        default=64_000_000, ge=1, le=2**31, description="Pixels of one uploaded photo."
    )
    max_decoded_bytes: int = Field(
        default=0,
        ge=0,
        le=2**40,
        description="Bytes that decoded photos take at once; 0: 1 GiB or more by cores, at most a "
        "quarter of the memory.",
    )
    max_body_bytes: int = Field(
        default=64 * 2**20,
        ge=1,
        le=2**31,
        description="Bytes of a whole request; base64 needs a third more than the photo.",
    )
    max_bodies_bytes: int = Field(
        default=256 * 2**20,
        ge=1,
        le=2**40,
        description="Bytes that the bodies of all requests hold at once, in memory, at least twice "
        "`max_body_bytes`; of one address or key at most what is left. The next gets 503.",
    )
    min_body_rate: float = Field(
        default=20_000.0,
        ge=0,
        le=1e9,
        description="Bytes a second at which a whole body arrives after its first 10 s; what is "
        "slower gets 408. 0: no deadline.",
    )
    max_connections: int = Field(
        default=1000, ge=16, le=65_536, description="Connections open at once."
    )
    drain_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="How long requests that were begun may take after SIGTERM.",
    )
    threads: Annotated[
        int, SettingNames(option="--server-threads", variable="CATALENS_SERVER_THREADS")
    ] = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of the web server; 0: as many as those need who work and wait. Fewer "
        "let fewer wait. One more runs the network.",
    )
    working: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Requests worked on at once, the others wait; 0: one more than cores.",
    )
    max_batch: int = Field(
        default=8, ge=1, le=256, description="Photos in one pass of the network."
    )
    max_waiting: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Requests that may wait, for their turn or for the network; the next gets 503.",
    )
    max_delay_ms: float = Field(
        default=2.0,
        ge=0,
        le=1000,
        description="How long a pass of the network waits for photos that are being decoded.",
    )
    deadline_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600,
        description="What is not answered by then gets 503 and is not computed further.",
    )
    max_depth: int = Field(
        default=50_000,
        ge=1000,
        le=10**9,
        description="Products that may be ranked for one page of results; deeper pages get 422.",
    )
    other_versions: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Index versions kept open beside the serving one, for requests naming them.",
    )
    erase_within_s: float = Field(
        default=86_400.0,
        ge=1,
        le=365 * 86_400,
        description="How long a deleted product may stay in files before they are rewritten.",
    )
    review_photos_days: float = Field(
        default=KEPT_DAYS,
        ge=0,
        le=36_500,
        description="How long the photos of a decided review can be looked at; 0: no end.",
    )
    open_review_photos_days: float = Field(
        default=WAITING_DAYS,
        ge=0,
        le=36_500,
        description="How long those of a review that nobody decides can; 0: no end.",
    )
    review_texts_days: float = Field(
        default=0.0,
        ge=0,
        le=36_500,
        description="After how long free text (reasons, tags, texts on photos) is taken out of "
        "decided reviews and feedback; 0: never.",
    )
    job_memory: int = Field(
        default=0,
        ge=0,
        le=2**50,
        description="Bytes that an import, a build, a compaction or an erasure may take; 0: three "
        "quarters of the memory, and twice what a build was estimated to.",
    )
    job_days: float = Field(
        default=30.0,
        ge=0,
        le=36_500,
        description="How long what an ended job reported is kept; 0: no end.",
    )
    undo_days: float = Field(
        default=UNDO_DAYS,
        ge=0,
        le=36_500,
        description="How long what was done to products can be undone; 0: no end.",
    )
    max_batch_items: int = Field(
        default=1000, ge=1, le=100_000, description="Writes in one `products:batch`."
    )
    max_delta: int = Field(
        default=5000,
        ge=0,
        le=10**9,
        description="Photos beside the version above which they are compacted into a new one; "
        "0: never.",
    )
    policy_file: Annotated[PathSetting | None, SettingNames(option="--policy")] = Field(
        default=None, description="YAML file of what is prohibited (docs/guides/policies.md)."
    )
    quality_profile: Literal["studio", "marketplace"] = Field(
        default="studio", description="How strictly photos are judged."
    )
    quality_floors: ProfileChanges = Field(
        default={}, description='Changes to the profile, e.g. `{"blurred": {"fail": 0.9}}`.'
    )
    # On attributes that no product has, a condition is ignored.
    print_difference: float = Field(
        default=PRINTS_DIFFER,
        gt=0,
        le=255,
        description="How much the prints on two photos of one mock-up differ from which they are "
        "two products, and no duplicates; 255: never.",
    )
    out_of_stock: Conditions = Field(
        default=(
            {"field": "availability", "eq": "out_of_stock"},
            {"field": "in_stock", "eq": False},
            {"field": "stock", "lte": 0},
        ),
        description="Conditions, as in filters; what meets any of them is out of stock.",
    )
    out_of_stock_results: Literal["auto", "show", "last", "hide"] = Field(
        default="auto",
        description="What is out of stock in results: shown like all else, last, or hidden; auto: "
        "shown by searches, hidden by recommendations. A request may ask otherwise.",
    )
    import_root: Annotated[PathSetting | None, AfterValidator(existing_folder)] = Field(
        default=None,
        description="Folder that `POST /v1/imports` may read from; without it, uploads only.",
    )
    max_upload_bytes: int = Field(
        default=2 * 2**30,
        ge=1,
        le=2**50,
        description="Bytes that one uploaded archive may unpack to.",
    )
    allow_old_sqlite: bool = Field(
        default=False,
        description="Write homes with a version of SQLite that can corrupt them "
        "(docs/guides/serving.md#sqlite); else they open read-only there.",
    )
    poll_s: float = Field(
        default=0.2,
        ge=0.01,
        le=60,
        description="How often other processes' writes and activations are looked up.",
    )

    alerts: Annotated[AlertSettings, SettingNames(has_option=False)] = Field(
        default=AlertSettings(),
        description="Who is told by mail and webhook of what failed, was held or fell silent "
        "(docs/guides/alerts.md).",
    )

    @field_validator("quality_floors", mode="before")
    @classmethod
    def _check_floors(cls, floors: object, info: ValidationInfo) -> object:
        name = info.data.get("quality_profile")
        if name is not None and isinstance(floors, Mapping):
            try:
                profile(name, floors)
            except BadSettingsError as error:
                raise ValueError(f"do not fit: {error}") from error
        return floors

    @model_validator(mode="wrap")
    @classmethod
    def _explain(
        cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        origins: Mapping[str, SettingOrigin] = info.context or {}
        try:
            _check_key_file(values, origins)
            made = handler(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise BadSettingsError(fault_message(cls, first, origins)) from None
        if not is_loopback(made.host) and not made.has_keys:
            raise BadSettingsError(
                f"{place_of(origins, ('host',))}host {shorten(repr(made.host))} is reachable "
                "from other machines: make a key (catalens keys create NAME --role admin), give "
                "--api-key-file, or listen on 127.0.0.1"
            )
        return made

    @classmethod
    def make(cls, **values: Any) -> Settings:
        """Settings by name; an unknown name is ``BadSettingsError``."""
        return cls.model_validate(values)

    def replace(self, **changes: Any) -> Settings:
        """These settings with ``changes``, checked anew."""
        return type(self).make(**{**dict(self), **changes})

    @property
    def has_keys(self) -> bool:
        """Whether keys are given here, in a file, or by the home."""
        named = bool(self.api_keys) or self.api_key_file is not None
        return named or (self.home / KEYS_FILE).exists()

    @property
    def out_of_stock_handling(self) -> Literal["show", "last", "hide"] | None:
        """What is set for all kinds of answers; None: each has its own default."""
        return None if self.out_of_stock_results == "auto" else self.out_of_stock_results

    @property
    def retention_terms(self) -> RetentionTerms:
        """How long what is kept of people's work stays."""
        return RetentionTerms(
            self.review_photos_days,
            self.open_review_photos_days,
            self.review_texts_days,
            self.job_days,
            self.undo_days,
        )

    @property
    def hosts(self) -> frozenset[str]:
        """Names (without port, lower case) under which this server answers; empty: any, the key
        alone decides."""
        if not is_loopback(self.host) and not self.allowed_hosts:
            return frozenset()
        public = filter(None, [self.public_address.host])
        return frozenset(
            name.lower() for name in (*LOOPBACK_NAMES, self.host, *self.allowed_hosts, *public)
        )

    @property
    def public_address(self) -> PublicAddress:
        """What ``public_url`` says."""
        return read_public_url(self.public_url)


def _check_key_file(values: Any, origins: Mapping[str, SettingOrigin]) -> None:
    """Raise ``BadSettingsError`` where ``api_key_file`` holds no keys that can be used."""
    file = values.get("api_key_file")
    if not isinstance(file, str | Path):
        return
    try:
        to_path(file)
    except ValueError:
        # The field itself refuses it.
        return
    try:
        read_api_keys(Path(file))
    except BadSettingsError as error:
        raise BadSettingsError(f"{place_of(origins, ('api_key_file',))}{error}") from error
