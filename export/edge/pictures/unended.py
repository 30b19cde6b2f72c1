"""JPEG files that lack their end mark, such as from an interrupted copy, and all of whose pixels are there."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from PIL import Image, ImageChops

START, END = b"\xff\xd8", b"\xff\xd9"
"""SOI and EOI of ITU-T T.81, table B.1."""
_TAILS = (b"", b"\x55" * 64, b"\xaa" * 64)
"""What a decoder would take for pixels that are missing."""
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_SCAN = 0xDA
_COEFFICIENTS = 64


def with_end(data: bytes, read: Callable[[io.BytesIO], Image.Image]) -> Image.Image | None:
    """The picture in the bytes of a JPEG file without an end mark; None where anything else is missing.

    Bits that follow the last block change no pixel, and bits in the place of missing ones do: the picture is whole
    where it is the same whatever follows. A progressive file also has to hold every scan.

    Args:
        data: the whole file.
        read: opens a file, from its start.
    """
    if not data.startswith(START) or data.endswith(END):
        return None
    data = data[:-1] if data.endswith(b"\xff") else data
    if not _has_every_scan(data):
        return None
    found: Image.Image | None = None
    for tail in _TAILS:
        try:
            image = read(io.BytesIO(data + tail + END))
            image.load()
        except Exception:  # As in any damaged file: decoders raise nearly anything.
            return None
        if found is not None and ImageChops.difference(found, image).getbbox() is not None:
            return None
        found = found or image
    return found


def _has_every_scan(data: bytes) -> bool:
    """Whether the scans bring every coefficient of every component to its last bit (T.81, G.1.1.1)."""
    left: dict[int, set[int]] = {}
    at = 2
    while match := _MARKER.search(data, at):
        marker, start = match[1][0], match.end()
        length = int.from_bytes(data[start : start + 2], "big")
        body = data[start + 2 : start + length]
        if marker in _FRAMES and len(body) >= 6:
            left = {body[i]: set(range(_COEFFICIENTS)) for i in range(6, len(body) - 2, 3)}
        elif marker == _SCAN and body and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[-3:]
            if bits & 15 == 0:
                for i in range(body[0]):
                    left.get(body[1 + 2 * i], set()).difference_update(range(first, last + 1))
        at = start + length
    return bool(left) and not any(left.values())
