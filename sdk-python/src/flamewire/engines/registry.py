"""Choose an engine and start it: ``auto`` takes the first that runs here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

from flamewire.errors import EngineError
from flamewire.log import LOGGER

if TYPE_CHECKING:
    from flamewire.config import Options
    from flamewire.engines.base import Engine

__all__ = ["start_engine", "start_named"]

# A new engine is one file and one line here; the order is the order of preference.
_ENGINES: Final = {
    "native": "flamewire.engines.native:NativeEngine",
    "python": "flamewire.engines.python:PythonEngine",
}
_ON_REQUEST: Final = {"yappi": "flamewire.engines.yappi:YappiEngine"}
"""Too dear for all the time: never chosen by themselves."""


def start_engine(options: Options) -> tuple[Engine, str]:
    """Start the engine that the options ask for.

    Returns:
        The running engine and why it is this one, in words for the status.

    Raises:
        EngineError: no engine runs here, or the one that was asked for by name does not.
    """
    if options.engine != "auto":
        return start_named(options.engine, options), f"engine={options.engine!r} was asked for"
    refusals: list[str] = []
    for name in _ENGINES:
        try:
            engine = start_named(name, options)
        except EngineError as error:
            refusals.append(f"{name}: {error}")
            continue
        if not refusals:
            return engine, "the best engine for this interpreter"
        why = f"fallback, because {'; '.join(refusals)}"
        LOGGER.warning("engine %s is used: %s", name, why)
        return engine, why
    raise EngineError("no engine runs here: " + "; ".join(refusals))


def start_named(name: str, options: Options) -> Engine:
    """Start an engine by its name, which may be one that is never chosen by itself.

    Raises:
        EngineError: there is no such engine, or it does not run here.
    """
    place = (_ENGINES | _ON_REQUEST).get(name)
    if place is None:
        known = ", ".join([*_ENGINES, *_ON_REQUEST])
        raise EngineError(f"there is no engine {name!r}; there are {known}")
    module_name, _, class_name = place.partition(":")
    try:
        engine_class: Callable[[], Engine] = getattr(import_module(module_name), class_name)
    except ImportError as error:
        raise EngineError(f"its module does not load: {error}") from error
    engine = engine_class()
    engine.start(options)
    return engine
