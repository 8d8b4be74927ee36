"""The service's settings: one frozen model that file, environment and options fill."""

from service.settings.model import Settings
from service.settings.sources import load_settings
from service.settings.values import is_loopback, read_api_keys

__all__ = ["Settings", "is_loopback", "load_settings", "read_api_keys"]
