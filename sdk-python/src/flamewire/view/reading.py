"""Reads pprof, gzipped or not, and folded stacks. A file may come from anywhere, so nothing is believed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from flamewire.errors import ProfileFileError
from flamewire.view.tree import Capture, merge

__all__ = ["read"]

_MOST_BYTES = 1 << 30
_Fields = dict[int, list[int | bytes]]


def read(content: bytes, sample_type: str | None = None) -> Capture:
    """Return what a file holds.

    Args:
        content: the file: pprof, gzipped or not, or folded stacks (``a;b;c 12`` a line, root first).
        sample_type: which of a pprof's; default the file's own default, else its last.

    Raises:
        ProfileFileError: it is neither, it is broken, or it does not have the sample type.
    """
    plain = _unpacked(content)
    if not plain.strip():
        raise ProfileFileError("it is empty")
    if (folded := _read_folded(plain)) is not None:
        if sample_type is not None:
            raise ProfileFileError("folded stacks have no sample types; leave out --type")
        return Capture("", "", merge(folded), folded)
    try:
        return _read_pprof(plain, sample_type)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ProfileFileError("it is neither a pprof file nor folded stacks (a;b;c 12 a line)") from error


def _unpacked(content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise ProfileFileError(f"its gzip is broken: {error}") from error
    if unpacker.unconsumed_tail:
        raise ProfileFileError(f"it is larger than {_MOST_BYTES >> 20} MiB unpacked")
    if not unpacker.eof:
        raise ProfileFileError("its gzip ends too early; was it written to the end?")
    return plain


def _read_folded(plain: bytes) -> list[tuple[tuple[str, ...], int]] | None:
    """Return the stacks, None where a line is no stack."""
    try:
        lines = plain.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
    stacks = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        stack, _, value = line.rstrip().rpartition(" ")
        if not stack or not value.isascii() or not value.isdigit():
            return None
        stacks.append((tuple(stack.split(";")), int(value)))
    return stacks


def _read_pprof(data: bytes, wanted: str | None) -> Capture:
    top = _fields(data)
    strings = [_bytes(value).decode("utf-8", "replace") for value in top.get(6, [])]
    kinds = [_value_type(value, strings) for value in top.get(1, [])]
    if not kinds:
        raise ValueError("no sample type")
    names = tuple(kind for kind, _ in kinds)
    column = _column(names, wanted, strings[_one(top, 14)])
    locations = _locations(top, strings)
    stacks = []
    for raw in top.get(2, []):
        sample = _fields(_bytes(raw))
        values = [*_integers(sample.get(2, []))]
        ids = [*_integers(sample.get(1, []))]
        # Locations stand leaf first, and within one the innermost inlined function does.
        stack = tuple([name for place in reversed(ids) for name in reversed(locations[place])])
        stacks.append((stack, _signed(values[column])))
    return Capture(*kinds[column], merge(stacks), stacks, names)


def _column(names: tuple[str, ...], wanted: str | None, default: str) -> int:
    if wanted is not None:
        if wanted not in names:
            raise ProfileFileError(f"it has no sample type {wanted!r}; it has {', '.join(names)}")
        return names.index(wanted)
    return names.index(default) if default in names else len(names) - 1


def _locations(top: _Fields, strings: list[str]) -> Mapping[int, tuple[str, ...]]:
    functions = {}
    for raw in top.get(5, []):
        function = _fields(_bytes(raw))
        functions[_one(function, 1)] = strings[_one(function, 2)] or strings[_one(function, 3)]
    locations = {}
    for raw in top.get(4, []):
        location = _fields(_bytes(raw))
        lines = [_fields(_bytes(line)) for line in location.get(4, [])]
        named = tuple(functions[_one(line, 1)] or "(unknown)" for line in lines)
        locations[_one(location, 1)] = named or (f"0x{_one(location, 3):x}",)
    return locations


def _value_type(raw: int | bytes, strings: list[str]) -> tuple[str, str]:
    found = _fields(_bytes(raw))
    return strings[_one(found, 1)], strings[_one(found, 2)]


def _fields(data: bytes) -> _Fields:
    """Return field number -> values in order: int for numbers, bytes for what has a length."""
    found: _Fields = {}
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        value: int | bytes
        match key & 7:
            case 0:
                value, position = _varint(data, position)
            case 2:
                length, position = _varint(data, position)
                value, position = data[position : position + length], position + length
            case 1 | 5 as fixed:
                length = 8 if fixed == 1 else 4
                value = int.from_bytes(data[position : position + length], "little")
                position += length
            case _:
                raise ValueError("a wire type that protobuf does not have")
        if position > len(data):
            raise ValueError("a field is longer than its message")
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise ValueError("a varint of more than ten bytes")


def _integers(values: list[int | bytes]) -> Iterator[int]:
    """Yield a repeated integer field, packed or not."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        position = 0
        while position < len(value):
            number, position = _varint(value, position)
            yield number


def _one(found: _Fields, number: int) -> int:
    value = found.get(number, [0])[-1]
    if not isinstance(value, int):
        raise TypeError("a number is needed")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("bytes are needed")
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
