"""Small videos, written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE, SOUND = 10, 8000
"""Frames and samples a second."""


def write_film(path: Path, pictures: Sequence[np.ndarray], times: Sequence[int] = (), **given: Any) -> Path:
    """A video of pictures, uint8 (height, width, 3), every frame a key frame, and a tone as its sound.

    times: of the frames, in tenths of a second. given: `codec`, `form` of its pixels, `turned`, degrees; `sound`, a
    codec or None.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        film = out.add_stream(given.get("codec", "mpeg4"), rate=RATE, options={"qscale": "2", "g": "1"})
        film.width, film.height, film.pix_fmt = width, height, given.get("form", "yuv420p")
        if "turned" in given:
            film.set_display_rotation(given["turned"])
        tone = None
        if given.get("sound", "aac"):
            tone = out.add_stream(given.get("sound", "aac"), rate=SOUND, layout="mono")
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[place] if times else place, Fraction(1, RATE)
            out.mux(film.encode(frame))
        out.mux(film.encode())
        if tone is not None:
            for start in range(0, SOUND * len(pictures) // RATE, 1024):
                wave = np.sin(0.3 * np.arange(start, start + 1024, dtype=np.float32))[None]
                frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = SOUND, start
                out.mux(tone.encode(frame))
            out.mux(tone.encode())
    return path
