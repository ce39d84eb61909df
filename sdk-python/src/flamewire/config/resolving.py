"""Which value each option has: the argument's, else the environment's, else its default.

A bad argument raises. A bad environment value never stops the host: it is reported (``Resolved.problems``)
and the next source counts.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flamewire.config.checks import without_surrogates
from flamewire.config.options import Options
from flamewire.config.resource import RESOURCE_VARIABLE, take_from_resource
from flamewire.config.settings import CHANGEABLE, CREDENTIALS, SECRETS, SETTINGS, Setting
from flamewire.errors import ConfigurationError

__all__ = ["Resolved", "changed", "resolve"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The options in force and how they came about.

    Attributes:
        options: the options.
        sources: option name -> "argument", "default" or the environment variable's name.
        problems: one sentence for each environment value that was not used.
        service_name_missing: nobody named the service, so the name was made up.
    """

    options: Options
    sources: Mapping[str, str]
    problems: tuple[str, ...]
    service_name_missing: bool


def resolve(arguments: Mapping[str, object], environment: Mapping[str, str], argv0: str) -> Resolved:
    """Return the options in force.

    Args:
        arguments: what ``start()`` was given; None stands for "not given".
        environment: usually ``os.environ``.
        argv0: usually ``sys.argv[0]``; names the service where nobody else does.

    Raises:
        ConfigurationError: an argument cannot be used.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    # Credentials belong together: where the program gives some, those of the environment do not mix in.
    credentials_given = any(arguments.get(name) is not None for name in CREDENTIALS)
    for setting in SETTINGS:
        given = arguments.get(setting.name)
        if given is not None:
            values[setting.name] = _checked(setting, given)
            sources[setting.name] = "argument"
            continue
        sources[setting.name] = "default"
        if credentials_given and setting.name in CREDENTIALS:
            continue
        for name in (setting.environment_name, *setting.aliases):
            text = environment.get(name)
            if not text:
                continue
            try:
                values[setting.name] = setting.check(setting.read(text))
            except ValueError as error:
                problems.append(f"{name}={_shown(setting.name, text)} {error}; it is not used")
                continue
            sources[setting.name] = name
            break
    _settle_credentials(values, sources, problems)
    _settle_client_certificate(values, sources, problems)
    take_from_resource(values, sources, environment.get(RESOURCE_VARIABLE, ""))
    service_name_missing = "service_name" not in values
    if service_name_missing:
        values["service_name"] = f"unknown_service:{_program_name(argv0)}"
    return Resolved(Options(**values), sources, tuple(problems), service_name_missing)


def changed(options: Options, changes: Mapping[str, object]) -> Options:
    """Return the options with some that may change while a session runs (SDK-015).

    Args:
        options: those in force.
        changes: new values; None stands for "as it is".

    Raises:
        ConfigurationError: a value cannot be used, or its option cannot change.
    """
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in CHANGEABLE:
            known = ", ".join(CHANGEABLE)
            raise ConfigurationError(
                f"{name} cannot change while a session runs; {known} can, others need stop() and start()"
            )
        if value is not None:
            values[name] = _checked(next(each for each in SETTINGS if each.name == name), value)
    return replace(options, **values)


def _checked(setting: Setting, value: object) -> Any:
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{setting.name}={_shown(setting.name, value)} {error}") from None


def _shown(name: str, value: object) -> str:
    return "(secret)" if name in SECRETS else repr(value)


def _settle_credentials(values: dict[str, Any], sources: dict[str, str], problems: list[str]) -> None:
    """Leave either a token, or a user with a password, or nothing."""
    token, user, password = (name in values for name in CREDENTIALS)
    if user == password and not (token and user):
        return
    complaint = (
        "auth_token and basic_auth_user are both set; give one of them"
        if token
        else "basic_auth_user and basic_auth_password work only together; give both"
    )
    present = [name for name in CREDENTIALS if name in values]
    if sources[present[0]] == "argument":
        raise ConfigurationError(complaint)
    problems.append(f"{complaint} (set by {', '.join(sources[name] for name in present)})")
    for name in present:
        if name != "auth_token":
            del values[name]
            sources[name] = "default"


def _settle_client_certificate(values: dict[str, Any], sources: dict[str, str], problems: list[str]) -> None:
    """Leave no key without a certificate; a certificate's file may hold the key itself."""
    if "client_key_file" not in values or "client_cert_file" in values:
        return
    complaint = "client_key_file works only together with client_cert_file; give both"
    if sources["client_key_file"] == "argument":
        raise ConfigurationError(complaint)
    problems.append(f"{complaint} (set by {sources['client_key_file']})")
    del values["client_key_file"]
    sources["client_key_file"] = "default"


def _program_name(argv0: str) -> str:
    name = os.path.basename(argv0)
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(argv0))
    return without_surrogates(name) if name and not name.startswith("-") else "python"
