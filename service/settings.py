"""The service's settings, frozen; an unknown or bad value is an error that names it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from indexer.core.errors import BadSettingsError
from indexer.quality.profiles import profile

_SHORTEST_KEY = 16
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and the loopback addresses; any other name may resolve anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Settings:
    """Everything the service can be told. Checked when made; raises ``BadSettingsError`` naming the
    setting."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    api_keys: tuple[str, ...] = field(
        default=(), repr=False
    )  # needed beyond loopback; sent as Authorization: Bearer
    allowed_hosts: tuple[str, ...] = ()  # names in Host accepted beside loopback's and `host`
    text_encoder: str = (
        ""  # "package.module:function": a model for text in the place of the version's own tower
    )
    allow_urls: bool = False  # fetching photos from URLs; not offered yet
    device: str = "auto"  # "auto", "cpu" or "cuda"
    # what runs the network: "torch", "compiled", "openvino" (exported models), or "auto"
    engine: str = "auto"
    max_image_bytes: int = 32 * 2**20
    max_image_pixels: int = 64_000_000
    max_body_bytes: int = 64 * 2**20  # a whole request; base64 needs a third more than the photo
    threads: int = 40  # of the web server; one more owns the network
    working: int = (
        0  # questions worked on at once, the others wait their turn; 0: one more than cores
    )
    max_batch: int = 8  # photos in one pass of the network
    max_waiting: int = (
        32  # requests that may wait for their turn, or for the network; the next one gets 503
    )
    max_delay_ms: float = (
        2.0  # how long a pass of the network may wait for photos that are being decoded
    )
    deadline_s: float = (
        10.0  # a photo without its embedding by then gets 503, and is not computed any more
    )
    other_versions: int = (
        2  # index versions kept open beside the serving one, for requests that name them
    )
    erase_within_s: float = (
        86_400.0  # how long a deleted product may still lie in files before they are rewritten
    )
    max_batch_items: int = 1000  # writes in one call of products:batch
    max_delta: int = (
        5000  # photos searched beside the version before they are folded into a new one; 0: never
    )
    policy_file: Path | None = None  # YAML: what is prohibited, see docs/listing.md
    quality_profile: str = "studio"  # or "marketplace"
    quality_floors: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # changes to it, by finding
    # Conditions as in filters, any of which means that a product is not recommended; on attributes
    # nobody has: ignored.
    out_of_stock: tuple[Mapping[str, Any], ...] = (
        {"field": "in_stock", "eq": False},
        {"field": "stock", "lte": 0},
    )
    import_root: Path | None = (
        None  # the folder that imports may read from on this machine; None: uploads only
    )
    max_upload_bytes: int = (
        2 * 2**30
    )  # what the photos and the manifest of one uploaded archive may unpack to
    poll_s: float = 0.2  # how often other processes' writes and activations are looked for

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", Path(self.home))
        if self.policy_file is not None:
            object.__setattr__(self, "policy_file", Path(self.policy_file))
        profile(self.quality_profile, self.quality_floors)
        for name in ("api_keys", "allowed_hosts"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(item, str) and item for item in value):
                raise BadSettingsError(f"{name} must be a list of non-empty texts")
            object.__setattr__(self, name, tuple(value))
        conditions = (
            tuple(self.out_of_stock) if isinstance(self.out_of_stock, tuple | list) else (None,)
        )
        if not all(
            isinstance(one, Mapping) and isinstance(one.get("field"), str) for one in conditions
        ):
            raise BadSettingsError(
                "out_of_stock must be a list of conditions on fields, as filters have them"
            )
        object.__setattr__(self, "out_of_stock", conditions)
        if self.import_root is not None:
            object.__setattr__(self, "import_root", Path(self.import_root).resolve())
            if not Path(self.import_root).is_dir():
                raise BadSettingsError(f"import_root {self.import_root} is no folder")
        for name, low, high in (
            ("port", 0, 65535),
            ("max_image_bytes", 1, 2**31),
            ("max_image_pixels", 1, 2**31),
            ("max_body_bytes", 1, 2**31),
            ("threads", 1, 256),
            ("working", 0, 256),
            ("max_batch", 1, 256),
            ("max_waiting", 1, 4096),
            ("other_versions", 1, 64),
            ("max_batch_items", 1, 100_000),
            ("max_delta", 0, 10**9),
            ("max_upload_bytes", 1, 2**50),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise BadSettingsError(
                    f"{name} must be a whole number from {low} to {high}, not {value!r}"
                )
        for name, least, most, what in (
            ("poll_s", 0.01, 60, "from 0.01 to 60 seconds"),
            ("erase_within_s", 1, 365 * 86_400, "from 1 second to a year"),
            ("max_delay_ms", 0, 1000, "from 0 to 1000 milliseconds"),
            ("deadline_s", 0.1, 600, "from 0.1 to 600 seconds"),
        ):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not least <= value <= most
            ):
                raise BadSettingsError(f"{name} must be {what}, not {value!r}")
        if self.engine not in ("auto", "torch", "compiled", "openvino"):
            raise BadSettingsError(
                f"engine must be auto, torch, compiled or openvino, not {self.engine!r}"
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise BadSettingsError(f"device must be auto, cpu or cuda, not {self.device!r}")
        if not isinstance(self.text_encoder, str) or (
            self.text_encoder and ":" not in self.text_encoder
        ):
            raise BadSettingsError(
                f"text_encoder must be package.module:function, not {self.text_encoder!r}"
            )
        if self.allow_urls:
            raise BadSettingsError(
                "allow_urls: fetching photos from URLs is not offered by this version"
            )
        for key in self.api_keys:
            if len(key) < _SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
                raise BadSettingsError(
                    f"api_keys: a key needs at least {_SHORTEST_KEY} printable ASCII characters, "
                    "no spaces"
                )
        if not is_loopback(self.host) and not self.api_keys:
            raise BadSettingsError(
                f"host {self.host} is reachable from other machines: give --api-key-file, or "
                "listen on 127.0.0.1"
            )

    @classmethod
    def make(cls, **values: Any) -> Settings:
        """Settings by name; an unknown name is ``BadSettingsError``."""
        known = {entry.name for entry in fields(cls)}
        for name in values:
            if name not in known:
                raise BadSettingsError(
                    f"unknown setting {name!r} (known: {', '.join(sorted(known))})"
                )
        return cls(**values)

    @property
    def hosts(self) -> frozenset[str]:
        """Names (without port, lower case) under which this server answers; empty: any, the key
        alone decides."""
        if not is_loopback(self.host) and not self.allowed_hosts:
            return frozenset()
        return frozenset(
            name.lower() for name in (*_LOOPBACK_NAMES, self.host, *self.allowed_hosts)
        )


def read_api_keys(path: Path) -> tuple[str, ...]:
    """Keys of a file, one per line; empty lines and lines from ``#`` on are skipped. Raises
    ``BadSettingsError``."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingsError(f"api key file {path} cannot be read: {error}") from error
    keys = tuple(
        line.strip() for line in lines if line.strip() and not line.strip().startswith("#")
    )
    if not keys:
        raise BadSettingsError(f"api key file {path} holds no key")
    return keys
