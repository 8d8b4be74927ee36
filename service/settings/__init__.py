"""The service's settings: one frozen model that file, environment and options fill."""

from service.settings.model import Settings, is_loopback, read_api_keys
from service.settings.sources import load_settings

__all__ = ["Settings", "is_loopback", "load_settings", "read_api_keys"]
