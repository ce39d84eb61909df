"""Label selectors, as PromQL writes them: `{service_name="shop", route=~"/cart.*", "k8s.pod"!=""}`.

A matcher is `name op "value"` with op one of = != =~ !~. A regular expression must match the whole value; its
syntax is RE2's, whose matching time is linear in the text, so that no selector can stall the server. A
label that is absent has the empty value. A name outside [a-zA-Z_][a-zA-Z0-9_.]* is written in quotes. In
front of the braces may stand a profile type, or a bare `__name__`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from flamewire_server.errors import SelectorError
from flamewire_server.model.labels import PROFILE_TYPE, SERVICE_NAME, Labels

__all__ = ["Matcher", "Selector", "compile_search", "parse_selector"]

_MAX_SELECTOR_CHARS = 64 * 1024
# Bytes that one compiled expression may take: bounds what `(((a{99}){99}){99})` can ask for.
_MAX_REGEX_BYTES = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
# With dots, as OpenTelemetry names things; QRY-012.
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.]*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_ESCAPE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})")
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label."""

    name: str
    operator: str
    value: str
    test: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of matchers; without any it takes every series."""

    matchers: tuple[Matcher, ...]

    def takes(self, labels: Labels) -> bool:
        """Say whether a series with these labels is selected."""
        return all(matcher.test(labels.get(matcher.name)) for matcher in self.matchers)

    def exact(self, name: str) -> str | None:
        """Give the one value that the label must have, None where more are possible."""
        for matcher in self.matchers:
            if matcher.name == name and matcher.operator == "=" and matcher.value:
                return matcher.value
        return None

    @property
    def service(self) -> str | None:
        """The one service that can be selected, None where there may be more."""
        return self.exact(SERVICE_NAME)

    @property
    def profile_type(self) -> str | None:
        """The one profile type that can be selected, None where there may be more."""
        return self.exact(PROFILE_TYPE)


def parse_selector(text: str) -> Selector:
    """Read a selector; the empty text selects everything.

    Raises:
        SelectorError: it does not parse; the message points at the character.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > _MAX_SELECTOR_CHARS:
            raise SelectorError(
                f"the selector has {len(text)} characters; at most {_MAX_SELECTOR_CHARS} are read"
            )
        self._text = text
        self._at = 0

    def parse(self) -> Selector:
        matchers: list[Matcher] = []
        self._skip_space()
        prefix = self._text[self._at :].partition("{")[0].strip()
        if prefix:
            matchers.append(self._prefix(prefix))
        if self._at < len(self._text):
            self._expect("{")
            matchers += self._matchers()
            if self._at < len(self._text):
                self._fail("nothing may follow the closing brace")
        return Selector(tuple(matchers))

    def _prefix(self, prefix: str) -> Matcher:
        start = self._at
        self._at += len(prefix)
        self._skip_space()
        if prefix.count(":") == 4 and '"' not in prefix:
            return _matcher(PROFILE_TYPE, "=", prefix)
        if not _NAME.fullmatch(prefix):
            self._at = start
            self._fail("expected `{`, a profile type (name:type:unit:period type:period unit), or a name")
        return _matcher("__name__", "=", prefix)

    def _matchers(self) -> Sequence[Matcher]:
        matchers: list[Matcher] = []
        while not self._accept("}"):
            matchers.append(self._one())
            if not self._accept(","):
                self._expect("}", "`,` or `}`")
                break
        return matchers

    def _one(self) -> Matcher:
        if self._peek() in "\"'`":
            name = self._string()
            # PromQL's form {"metric name", ...}: a quoted text alone is the value of __name__.
            if self._peek() in ",}":
                return _matcher("__name__", "=", name)
        else:
            name = self._token(_NAME, "a label name")
        operator = self._token(_OPERATOR, "one of = != =~ !~")
        start = self._at
        if self._peek() not in "\"'`":
            self._fail("expected a value in quotes")
        value = self._string()
        try:
            return _matcher(name, operator, value)
        except ValueError as error:
            self._at = start
            self._fail(f"{value!r} is no regular expression that can be used ({error}); the syntax is RE2's")

    def _string(self) -> str:
        start = self._at
        quote = self._text[start]
        self._at += 1
        parts: list[str] = []
        while True:
            if self._at >= len(self._text):
                self._at = start
                self._fail("this quote is not closed")
            character = self._text[self._at]
            if character == quote:
                self._at += 1
                self._skip_space()
                return "".join(parts)
            if character == "\\" and quote != "`":
                parts.append(self._escape())
            elif character == "\n" and quote != "`":
                self._fail("a line break in a value is written \\n")
            else:
                parts.append(character)
                self._at += 1

    def _escape(self) -> str:
        following = self._text[self._at + 1 : self._at + 2]
        if following and following in "\\\"'":
            self._at += 2
            return following
        if following in _SIMPLE_ESCAPES:
            self._at += 2
            return _SIMPLE_ESCAPES[following]
        match = _ESCAPE.match(self._text, self._at + 1)
        if match is None:
            self._fail("this escape is not known; a backslash in a value is written \\\\")
        code = int(match[4], 8) if match[4] else int(match[1] or match[2] or match[3], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            self._fail("this escape is no character")
        self._at = match.end()
        return chr(code)

    def _token(self, pattern: re.Pattern[str], wanted: str) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            self._fail(f"expected {wanted}")
        self._at = match.end()
        self._skip_space()
        return match[0]

    def _peek(self) -> str:
        if self._at >= len(self._text):
            self._fail("the selector ends here; expected `}`")
        return self._text[self._at]

    def _accept(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        self._skip_space()
        return True

    def _expect(self, character: str, wanted: str = "") -> None:
        if not self._accept(character):
            self._fail(f"expected {wanted or f'`{character}`'}")

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _fail(self, what: str) -> NoReturn:
        around = self._text[max(0, self._at - 30) : self._at + 30]
        raise SelectorError(
            f"the label selector does not parse at character {self._at + 1}: {what}; near {around!r}."
            ' Write {name="value", other=~"regex"}'
        )


def _matcher(name: str, operator: str, value: str) -> Matcher:
    return Matcher(name, operator, value, _test(operator, value))


def _test(operator: str, value: str) -> Callable[[str], bool]:
    if operator == "=":
        return value.__eq__
    if operator == "!=":
        return value.__ne__
    matches = _compile(value)
    if operator == "=~":
        return matches
    return lambda text: not matches(text)


def compile_search(pattern: str) -> Callable[[str], bool]:
    """Compile an expression that is found anywhere in a text.

    Raises:
        ValueError: what is wrong with it.
    """
    compiled = _regex(pattern)
    return lambda text: compiled.search(text) is not None


def _compile(pattern: str) -> Callable[[str], bool]:
    """Compile a fully anchored expression; ValueError says what is wrong with it."""
    compiled = _regex(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _regex(pattern: str) -> Any:
    # Imported here: a server that is never asked a regular expression does not pay for it.
    import re2  # type: ignore[import-untyped]  # google-re2 carries no types

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_REGEX_BYTES
    # PromQL: a dot takes a line break too.
    options.dot_nl = True
    try:
        compiled = re2.compile(pattern, options=options)
    except re2.error as error:
        raise ValueError(str(error)) from error
    return compiled
