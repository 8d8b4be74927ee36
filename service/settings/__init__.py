"""The service's settings: one frozen model that file, environment and options fill."""

from service.settings.advice import reword, without_options
from service.settings.capacity import Capacity, own_share
from service.settings.model import RETENTION_SETTINGS, Settings
from service.settings.sources import load_settings
from service.settings.values import is_loopback, read_api_keys

__all__ = [
    "RETENTION_SETTINGS",
    "Capacity",
    "Settings",
    "is_loopback",
    "load_settings",
    "own_share",
    "read_api_keys",
    "reword",
    "without_options",
]
