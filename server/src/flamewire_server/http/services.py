"""The Connect services that questions are asked of, in one list: HTTP and gRPC serve the same."""

from __future__ import annotations

from flamewire_server._native import Limits
from flamewire_server.config import Config
from flamewire_server.http.adhoc import AdHocMethods
from flamewire_server.http.querier import QUERIER, querier_methods
from flamewire_server.http.query_runner import QueryRunner
from flamewire_server.http.service import ConnectService
from flamewire_server.http.settings import FEATURE_METHODS, settings_methods
from flamewire_server.metrics import Metrics
from flamewire_server.query.queries import Queries
from flamewire_server.storage.adhoc_profiles import AdHocProfileTable
from flamewire_server.storage.database import Database
from flamewire_server.storage.settings import SettingsTable

__all__ = ["make_services"]

# Clients of the field ask them and take `unimplemented` for an answer: source code hosts, metrics out of
# profiles, symbols of native programs.
_ABSENT = ("vcs.v1.VCSService", "settings.v1.RecordingRulesService", "debuginfo.v1alpha1.DebuginfoService")


def make_services(
    config: Config,
    queries: Queries,
    database: Database,
    limits: Limits,
    runner: QueryRunner,
    metrics: Metrics,
) -> list[ConnectService]:
    """Make every service, those that have no method here too."""
    uploads = AdHocMethods(config, AdHocProfileTable(database), limits).methods()
    # In base64, and in JSON.
    upload_bytes = 2 * config.max_profile_bytes + (1 << 16)
    return [
        ConnectService(QUERIER, querier_methods(config, queries), config, runner, metrics),
        ConnectService(
            "settings.v1.SettingsService",
            settings_methods(SettingsTable(database)),
            config,
            runner,
            metrics,
            writing=("Set", "Delete"),
        ),
        ConnectService(
            "adhocprofiles.v1.AdHocProfileService",
            uploads,
            config,
            runner,
            metrics,
            writing=("Upload",),
            max_body_bytes=upload_bytes,
        ),
        ConnectService("capabilities.v1.FeatureFlagsService", FEATURE_METHODS, config, runner, metrics),
        *(ConnectService(name, {}, config, runner, metrics) for name in _ABSENT),
    ]
