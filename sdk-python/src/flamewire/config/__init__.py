"""The options: what can be told, how it is read and checked, and what is in force (SDK-001 to SDK-007)."""

from flamewire.config.options import PROFILE_TYPES, Options
from flamewire.config.resolving import Resolved, changed, resolve
from flamewire.config.resource import RESOURCE_TAGS, RESOURCE_VARIABLE
from flamewire.config.settings import SETTINGS, Setting

__all__ = [
    "PROFILE_TYPES",
    "RESOURCE_TAGS",
    "RESOURCE_VARIABLE",
    "SETTINGS",
    "Options",
    "Resolved",
    "Setting",
    "changed",
    "resolve",
]
