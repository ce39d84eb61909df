"""Pictures: drawn pixel by pixel and written as PNG."""

from __future__ import annotations

import math
import struct
import zlib


def thumbnail_png(seed: int, size: int) -> bytes:
    """Return a PNG of `size` x `size` pixels; the same seed gives the same picture."""
    rows = b"".join(b"\0" + pixel_row(seed, size, y) for y in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", compress(rows)), chunk(b"IEND", b""))
    )


def pixel_row(seed: int, size: int, y: int) -> bytes:
    """Return one row of RGB pixels: rings around a centre that the seed chooses."""
    centre_x, centre_y = size * (seed % 7) / 7, size * (seed % 5) / 5
    row = bytearray()
    for x in range(size):
        ring = math.sin(math.hypot(x - centre_x, y - centre_y) / 5)
        row += bytes((int(127 + 127 * ring), (x * 255) // size, (y * 255 + seed) % 256))
    return bytes(row)


def compress(rows: bytes) -> bytes:
    """Compress as small as it gets; zlib lets other threads run meanwhile."""
    return zlib.compress(rows, 9)


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
