"""Configuration: defaults < file < environment < flags, and words for whatever cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from flamewire_server.config import SETTINGS, Config, is_loopback, load_config, parse_duration_s, split_listen
from flamewire_server.errors import ConfigError


def load(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Config:
    return load_with_warnings(tmp_path, text, environ, **flags)[0]


def load_with_warnings(
    tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object
) -> tuple[Config, list[str]]:
    path = tmp_path / "flamewire.yaml"
    path.write_text(text)
    return load_config(path=path, environ=environ or {}, flags=flags)


def test_needs_no_configuration() -> None:
    config, warnings = load_config(path=None, environ={}, flags={})
    assert (config.listen_address, config.listen_port) == ("127.0.0.1", 4040)
    assert config.data_dir == Path("flamewire-data")
    assert config.retention_s == 14 * 86400
    assert warnings == []


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    text = (
        "server: {http_listen_port: 1, log_level: warn, log_format: logfmt}\nlimits: {reject_older_than: 2h}"
    )
    environ = {"FLAMEWIRE_SERVER_LISTEN_PORT": "2", "FLAMEWIRE_SERVER_LOG_LEVEL": "error"}
    config = load(tmp_path, text, environ, listen_port=3)
    assert (config.listen_port, config.log_level, config.log_format) == (3, "error", "text")
    assert config.reject_older_than_s == 7200
    assert config.reject_newer_than_s == 600


def test_a_file_in_the_shape_of_pyroscope_works_and_its_meaningless_keys_warn(tmp_path: Path) -> None:
    text = """
target: all
multitenancy_enabled: true
server: {http_listen_address: 127.0.0.1, http_listen_port: 4041, grpc_listen_port: 9095}
storage: {backend: filesystem, filesystem: {dir: /srv/profiles}}
limits: {max_profile_size_bytes: 1000, keep_stripped_profiles: true, compactor_blocks_retention_period: 7d}
memberlist: {join_members: [a, b]}
"""
    config, warnings = load_with_warnings(tmp_path, text)
    assert config.multitenancy_enabled
    assert config.data_dir == Path("/srv/profiles")
    assert config.max_profile_bytes == 1000
    assert config.retention_s == 7 * 86400
    ignored = {"target", "server.grpc_listen_port", "limits.keep_stripped_profiles", "memberlist"}
    assert {warning.split(": ")[1].split(" ")[0] for warning in warnings} == ignored


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limts: {}", "unknown key limts"),
        ("limits: {retention_perod: 7d}", "did you mean limits.retention_period?"),
        ("server: 4040", "server must be a block"),
        ("[1, 2]", "the top must be a block"),
        ("server: {http_listen_port: 70000}", "a whole number from 0 to 65535"),
        ("server: {http_listen_port: yes}", "a whole number from 0 to 65535"),
        ("server: {log_level: loud}", "one of debug, info, warn, error"),
        ("limits: {retention_period: 14}", "a duration such as"),
        ("multitenancy_enabled: perhaps", "true or false"),
        ("storage: {backend: s3}", "filesystem, the only backend"),
        ("server: {http_tls_config: {cert_file: a}}", "both cert_file and key_file"),
        ("limits: {max_flamegraph_nodes_default: 10, max_flamegraph_nodes_max: 9}", "is larger than"),
        ("server: {", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file"):
        load_config(path=tmp_path / "nowhere.yaml", environ={}, flags={})


def test_a_wrong_variable_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FLAMEWIRE_SERVER_LISTEN_PORT: 'x'"):
        load(tmp_path, environ={"FLAMEWIRE_SERVER_LISTEN_PORT": "x"})


def test_an_unknown_variable_warns_but_the_option_of_the_sdk_does_not(tmp_path: Path) -> None:
    environ = {"FLAMEWIRE_SERVER_LISTN": "x", "FLAMEWIRE_SERVER_URL": "http://localhost:4040"}
    _, warnings = load_with_warnings(tmp_path, environ=environ)
    assert len(warnings) == 1
    assert "FLAMEWIRE_SERVER_LISTN " in warnings[0]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_an_address_that_others_reach_is_refused_unless_insecure(tmp_path: Path, address: str) -> None:
    text = f"server: {{http_listen_address: '{address}'}}"
    with pytest.raises(ConfigError, match="--insecure"):
        load(tmp_path, text)
    assert load(tmp_path, text, insecure=True).insecure


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_permission(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:4040", "::1", 4040),
        (":4040", "0.0.0.0", 4040),
        ("localhost:80", "localhost", 80),
    ],
)
def test_reads_where_to_listen(text: str, address: str, port: int) -> None:
    assert split_listen(text, "--listen") == {"listen_address": address, "listen_port": port}


@pytest.mark.parametrize("text", ["4040", "localhost", "localhost:http", "localhost:99999", ""])
def test_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="ADDRESS:PORT"):
        split_listen(text, "--listen")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("1h30m", 5400), ("14d", 1209600), ("500ms", 0.5), ("1.5h", 5400)],
)
def test_reads_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "1h 30m", "h", "-1h", "1x"])
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_s(text)


def test_every_setting_has_a_variable_and_a_key_of_its_own() -> None:
    assert len({setting.env for setting in SETTINGS}) == len(SETTINGS)
    assert len({setting.key for setting in SETTINGS}) == len(SETTINGS)


def test_the_reference_page_lists_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/configuration.md").read_text()
    for setting in SETTINGS:
        assert f"`{setting.key}`" in page
        assert f"`FLAMEWIRE_SERVER_{setting.env}`" in page
