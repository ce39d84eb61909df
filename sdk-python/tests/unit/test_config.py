from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from flamewire.config import SETTINGS, Options, resolve
from flamewire.errors import ConfigurationError, FlamewireError

TABLE = Path(__file__).parents[3] / "protocol" / "spec" / "options.yaml"


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("sample_rate_hz", 0, "between 1 and 1000"),
        ("sample_rate_hz", 100.0, "whole number"),
        ("sample_rate_hz", True, "whole number"),
        ("server_url", "not a url", "http://localhost:4040"),
        ("server_url", "localhost:4040", "http://localhost:4040"),
        ("server_url", "ftp://host", "http://localhost:4040"),
        ("server_url", "http://host:99999", "http://localhost:4040"),
        ("server_url", "http://user:pw@host", "basic_auth_user"),
        ("profile_types", ("cpu", "heap"), "known are: cpu, wall"),
        ("profile_types", "cpu", '("cpu",)'),
        ("profile_types", (), "enabled=False"),
        ("upload_interval_s", 0, "between 0.1 and 3600"),
        ("upload_interval_s", float("nan"), "number of seconds"),
        ("engine", "magic", "auto, native, python"),
        ("tags", {"__name__": "x"}, "reserved"),
        ("tags", {"service_name": "x"}, "reserved"),
        ("tags", ["region"], "mapping"),
        ("service_name", "", "empty"),
        ("service_name", "a\nb", "control character"),
        ("http_headers", {"X Y": "1"}, "header name"),
        ("http_headers", {"X": "a\r\nEvil: 1"}, "control character"),
        ("max_stack_depth", 100_000, "between 1 and 512"),
        ("enabled", "yes", "True nor False"),
    ],
)
def test_an_argument_that_cannot_be_used_raises_and_says_what_to_write(
    name: str, value: object, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        resolve({name: value}, {}, "app.py")
    assert advice in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FlamewireError)


def test_arguments_outweigh_the_environment_and_that_the_defaults() -> None:
    environment = {"FLAMEWIRE_SAMPLE_RATE_HZ": "50", "FLAMEWIRE_UPLOAD_INTERVAL_S": "2.5"}
    resolved = resolve({"sample_rate_hz": 20}, environment, "app.py")
    assert (resolved.options.sample_rate_hz, resolved.options.upload_interval_s) == (20, 2.5)
    assert resolved.options.timeout_s == 10
    assert resolved.sources["sample_rate_hz"] == "argument"
    assert resolved.sources["upload_interval_s"] == "FLAMEWIRE_UPLOAD_INTERVAL_S"
    assert resolved.sources["timeout_s"] == "default"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FLAMEWIRE_SAMPLE_RATE_HZ", "fast"),
        ("FLAMEWIRE_SAMPLE_RATE_HZ", "0"),
        ("FLAMEWIRE_SERVER_URL", "nowhere"),
        ("FLAMEWIRE_ENABLED", "perhaps"),
        ("FLAMEWIRE_TAGS", "region"),
        ("FLAMEWIRE_TAGS", "{region"),
        ("FLAMEWIRE_UPLOAD_INTERVAL_S", "soon"),
        ("PYROSCOPE_UPLOAD_INTERVAL", "10 parsecs"),
    ],
)
def test_a_bad_environment_value_is_reported_and_the_default_counts(name: str, text: str) -> None:
    resolved = resolve({"service_name": "shop"}, {name: text}, "app.py")
    assert resolved.options == Options(service_name="shop")
    (problem,) = resolved.problems
    assert problem.startswith(f"{name}=")


@pytest.mark.parametrize(
    ("environment", "name", "value"),
    [
        ({"OTEL_SERVICE_NAME": "o"}, "service_name", "o"),
        ({"OTEL_SERVICE_NAME": "o", "PYROSCOPE_APPLICATION_NAME": "p"}, "service_name", "p"),
        ({"PYROSCOPE_APPLICATION_NAME": "p", "FLAMEWIRE_SERVICE_NAME": "f"}, "service_name", "f"),
        ({"PYROSCOPE_UPLOAD_INTERVAL": "500ms"}, "upload_interval_s", 0.5),
        ({"PYROSCOPE_LABELS": "region=eu, zone=a"}, "tags", {"region": "eu", "zone": "a"}),
        ({"PYROSCOPE_HTTP_HEADERS": '{"X-Team": "shop"}'}, "http_headers", {"X-Team": "shop"}),
        ({"FLAMEWIRE_PROFILE_TYPES": "cpu"}, "profile_types", ("cpu",)),
        ({"FLAMEWIRE_ENABLED": "off"}, "enabled", False),
        ({"FLAMEWIRE_SERVER_URL": "https://host/base/"}, "server_url", "https://host/base"),
    ],
)
def test_the_environment_is_read(environment: dict[str, str], name: str, value: object) -> None:
    resolved = resolve({}, environment, "app.py")
    assert getattr(resolved.options, name) == value
    assert not resolved.problems


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/srv/app.py", "unknown_service:app.py"),
        ("/srv/shop/__main__.py", "unknown_service:shop"),
        ("-c", "unknown_service:python"),
        ("", "unknown_service:python"),
    ],
)
def test_without_a_service_name_the_program_lends_its_own(argv0: str, name: str) -> None:
    resolved = resolve({}, {}, argv0)
    assert resolved.options.service_name == name
    assert resolved.service_name_missing


def test_tag_values_become_strings_that_utf8_can_carry() -> None:
    options = resolve({"tags": {"build": 7, "odd": "a\ud800"}}, {}, "app.py").options
    assert options.tags == {"build": "7", "odd": "a?"}


def test_half_a_login_raises() -> None:
    with pytest.raises(ConfigurationError, match="only together"):
        resolve({"basic_auth_user": "me"}, {}, "app.py")
    with pytest.raises(ConfigurationError, match="both set"):
        resolve({"basic_auth_user": "me", "basic_auth_password": "x", "auth_token": "t"}, {}, "app.py")


def test_half_a_login_in_the_environment_is_reported_and_left_out() -> None:
    resolved = resolve({}, {"FLAMEWIRE_BASIC_AUTH_USER": "me"}, "app.py")
    assert resolved.options.basic_auth_user is None
    assert "FLAMEWIRE_BASIC_AUTH_USER" in resolved.problems[0]


def test_a_given_token_does_not_mix_with_a_login_from_the_environment() -> None:
    environment = {"FLAMEWIRE_BASIC_AUTH_USER": "me", "FLAMEWIRE_BASIC_AUTH_PASSWORD": "x"}
    resolved = resolve({"auth_token": "t"}, environment, "app.py")
    assert (resolved.options.auth_token, resolved.options.basic_auth_user) == ("t", None)
    assert not resolved.problems


def test_secrets_stand_in_no_message_and_no_repr() -> None:
    options = resolve({"auth_token": "s3cret", "http_headers": {"X-Key": "s3cret"}}, {}, "app.py").options
    assert "s3cret" not in repr(options)
    with pytest.raises(ConfigurationError) as caught:
        resolve({"auth_token": "s3cret\n"}, {}, "app.py")
    assert "s3cret" not in str(caught.value)


def test_the_options_agree_with_the_table_of_all_sdks() -> None:
    if not TABLE.exists():
        pytest.skip("the protocol is not beside the package")
    rows = {row["name"]: row for row in yaml.safe_load(TABLE.read_text())["options"]}
    settings = {setting.name: setting for setting in SETTINGS}
    assert list(rows) == list(settings)
    plain_options = Options(service_name="x")
    for name, row in rows.items():
        setting = settings[name]
        assert row["environment"] == setting.environment_name
        assert tuple(row["aliases"]) == setting.aliases
        default = getattr(plain_options, name)
        if name != "service_name":
            assert row["default"] == _as_yaml(default), name
        for bound in ("minimum", "maximum"):
            if bound in row:
                setting.check(row[bound])
        if "minimum" in row:
            with pytest.raises(ValueError):
                setting.check(row["minimum"] - 1)
            with pytest.raises(ValueError):
                setting.check(row["maximum"] + 1)
        for choice in row.get("choices", ()):
            assert setting.check([choice] if isinstance(default, tuple) else choice)
        if row.get("secret"):
            assert name not in repr(
                Options(service_name="x", **{name: {} if name == "http_headers" else "x"})
            )


def _as_yaml(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def test_the_resource_variable_names_what_nothing_else_names() -> None:
    text = "service.name=shop%2C%20main,deployment.environment=prod,service.version=1,host.name=h,broken"
    resolved = resolve(
        {}, {"OTEL_RESOURCE_ATTRIBUTES": text, "FLAMEWIRE_TAGS": "service_version=2"}, "app.py"
    )
    assert (resolved.options.service_name, resolved.service_name_missing) == ("shop, main", False)
    assert dict(resolved.options.tags) == {"deployment_environment": "prod", "service_version": "2"}
    assert resolved.sources["service_name"] == "OTEL_RESOURCE_ATTRIBUTES"
    assert resolved.problems == ()
    named = resolve({}, {"OTEL_RESOURCE_ATTRIBUTES": text, "OTEL_SERVICE_NAME": "named"}, "app.py")
    assert named.options.service_name == "named"
