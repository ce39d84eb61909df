"""A minimal encoder of google.v1.Profile, independent of the product's own."""

from __future__ import annotations

from collections.abc import Mapping

SECOND_NS = 1_000_000_000


def encode_pprof(stacks: Mapping[str, int], time_ns: int) -> bytes:
    """Encode folded stacks as a google.v1.Profile of CPU nanoseconds."""
    strings = [""]

    def text(value: str) -> int:
        if value not in strings:
            strings.append(value)
        return strings.index(value)

    cpu_type = varint_field(1, text("cpu")) + varint_field(2, text("nanoseconds"))
    functions = sorted({name for stack in stacks for name in stack.split(";")})
    ids = {name: index for index, name in enumerate(functions, 1)}
    profile = bytes_field(1, cpu_type)
    for stack, value in stacks.items():
        locations = b"".join(varint(ids[name]) for name in reversed(stack.split(";")))
        profile += bytes_field(2, bytes_field(1, locations) + bytes_field(2, varint(value)))
    for name, identity in ids.items():
        profile += bytes_field(4, varint_field(1, identity) + bytes_field(4, varint_field(1, identity)))
        profile += bytes_field(5, varint_field(1, identity) + varint_field(2, text(name)))
    profile += varint_field(9, time_ns) + varint_field(10, 30 * SECOND_NS)
    profile += bytes_field(11, cpu_type) + varint_field(12, 10_000_000)
    return profile + b"".join(bytes_field(6, string.encode()) for string in strings)


def varint(value: int) -> bytes:
    """Encode an unsigned LEB128."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def varint_field(number: int, value: int) -> bytes:
    """Encode a protobuf field of wire type 0."""
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """Encode a protobuf field of wire type 2."""
    return varint(number << 3 | 2) + varint(len(value)) + value
