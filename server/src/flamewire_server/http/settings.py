"""settings.v1.SettingsService, and what a server can do: capabilities.v1.FeatureFlagsService."""

from __future__ import annotations

import time

from google.protobuf.message import Message

from flamewire_server._proto.capabilities.v1 import capabilities_pb2
from flamewire_server._proto.settings.v1 import settings_pb2
from flamewire_server.errors import RequestError
from flamewire_server.http.service import Call, Methods
from flamewire_server.storage.settings import Setting, SettingsTable

__all__ = ["FEATURE_METHODS", "settings_methods"]


def settings_methods(table: SettingsTable) -> Methods:
    """Give the methods of the settings' service."""

    def get(call: Call, request: settings_pb2.GetSettingsRequest) -> Message:
        return settings_pb2.GetSettingsResponse(settings=[_message(one) for one in table.all(call.tenant)])

    def put(call: Call, request: settings_pb2.SetSettingsRequest) -> Message:
        now_ms = time.time_ns() // 1_000_000
        sent = request.setting
        setting = Setting(sent.name, sent.value, sent.modifiedAt or now_ms)
        table.put(call.tenant, setting)
        return settings_pb2.SetSettingsResponse(setting=_message(setting))

    def remove(call: Call, request: settings_pb2.DeleteSettingsRequest) -> Message:
        if not table.remove(call.tenant, request.name):
            raise RequestError(
                "not_found", f"there is no setting {request.name[:100]!r}", reason="no_setting"
            )
        return settings_pb2.DeleteSettingsResponse()

    return {
        "Get": (settings_pb2.GetSettingsRequest, get),
        "Set": (settings_pb2.SetSettingsRequest, put),
        "Delete": (settings_pb2.DeleteSettingsRequest, remove),
    }


def _message(setting: Setting) -> settings_pb2.Setting:
    return settings_pb2.Setting(name=setting.name, value=setting.value, modifiedAt=setting.modified_at_ms)


def _feature_flags(call: Call, request: capabilities_pb2.GetFeatureFlagsRequest) -> Message:
    # The names that clients of the field ask for. Heatmaps and exemplars hang on the first.
    flags = {"v2StorageLayer": True, "utf8LabelNames": True, "pyroscopeRuler": False}
    reply = capabilities_pb2.GetFeatureFlagsResponse()
    for name, enabled in sorted(flags.items()):
        reply.feature_flags.add(name=name, enabled=enabled)
    return reply


FEATURE_METHODS: Methods = {"GetFeatureFlags": (capabilities_pb2.GetFeatureFlagsRequest, _feature_flags)}
