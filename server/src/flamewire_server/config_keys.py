"""Pyroscope's configuration keys that have no meaning here.

A file written for Pyroscope starts this server: these keys are accepted with a warning each. The names were
read in Pyroscope's reference of configuration parameters (2.0).
"""

# ruff: noqa: SIM905 - eighty names are easier to read and to compare as words than as literals
from __future__ import annotations

__all__ = ["MEANINGLESS", "UNSUPPORTED"]

# Whole blocks and single keys, by their path from the top of the file.
MEANINGLESS: frozenset[str] = frozenset(
    """
    target api distributor querier frontend frontend_worker query_scheduler query_backend segment_writer
    metastore compaction_worker adaptive_placement symbolizer ingester store_gateway memberlist pyroscopedb
    tracing overrides_exporter runtime_config.period tenant_settings compactor self_profiling analytics
    show_banner shutdown_delay architecture_storage admin_server embedded_grafana
    server.http_listen_network server.http_listen_conn_limit server.grpc_listen_network
    server.grpc_listen_address server.grpc_listen_port server.grpc_listen_conn_limit
    server.grpc_collect_max_streams_by_conn server.tls_cipher_suites server.tls_min_version
    server.register_instrumentation server.report_grpc_codes_in_instrumentation_label_enabled
    server.http_server_read_timeout server.http_server_read_header_timeout server.http_server_write_timeout
    server.http_server_idle_timeout server.http_log_closed_connections_without_response_enabled
    server.grpc_server_max_recv_msg_size server.grpc_server_max_send_msg_size
    server.grpc_server_max_concurrent_streams server.grpc_server_max_connection_idle
    server.grpc_server_max_connection_age server.grpc_server_max_connection_age_grace
    server.grpc_server_keepalive_time server.grpc_server_keepalive_timeout
    server.grpc_server_min_time_between_pings server.grpc_server_ping_without_stream_allowed
    server.grpc_server_num_workers server.grpc_server_stats_tracking_enabled
    server.grpc_server_recv_buffer_pools_enabled server.grpc_server_read_buffer_size
    server.grpc_server_write_buffer_size server.log_source_ips_enabled server.log_source_ips_full
    server.log_source_ips_header server.log_source_ips_regex server.log_request_headers
    server.log_request_at_info_level_enabled server.log_request_exclude_headers_list
    server.trace_request_headers server.trace_request_exclude_headers_list server.cluster_validation
    server.create_new_traces storage.s3 storage.gcs storage.azure storage.swift storage.cos
    storage.storage_prefix storage.prefix
    limits.keep_stripped_profiles limits.max_sessions_per_series limits.enforce_labels_order
    limits.disable_label_sanitization limits.push_max_concurrency limits.distributor_aggregation_window
    limits.distributor_aggregation_period limits.ingestion_relabeling_rules
    limits.ingestion_relabeling_default_rules_position limits.sample_type_relabeling_rules
    limits.ingestion_tenant_shard_size limits.max_local_series_per_tenant
    limits.max_query_lookback limits.max_query_parallelism limits.query_analysis_enabled
    limits.query_analysis_series_enabled limits.include_stripped_profiles
    limits.store_gateway_tenant_shard_size limits.split_queries_by_interval limits.query_sanitize_on_merge
    limits.max_async_query_concurrency limits.compactor_split_and_merge_shards
    limits.compactor_split_and_merge_stage_size limits.compactor_split_groups
    limits.compactor_tenant_shard_size limits.compactor_partial_block_deletion_delay
    limits.compactor_downsampler_enabled limits.max_recording_rules limits.symbolizer
    limits.adaptive_placement limits.recording_rules
    """.split()
)

# Keys that somebody relies on for safety or for being reached: ignoring them with a warning would do harm.
UNSUPPORTED: dict[str, str] = {
    "server.grpc_tls_config": "gRPC is served on the HTTP port; set server.http_tls_config and remove"
    " the key",
    "server.http_tls_config.client_auth_type": "with client_ca_file a certificate is always required and"
    " verified; remove the key",
    "server.http_path_prefix": "this server answers at / only; let a proxy strip the prefix and"
    " remove the key",
    "server.proxy_protocol_enabled": "this server does not speak the PROXY protocol; remove the key",
}
