"""The way from noise to a picture, kept while it is made: as a folder of pictures, as a film, or as both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.pictures.film import check_film, frame, most_frames, save_film
from export.edge.pictures.frames import check_frames, kept_steps, save_frames
from export.edge.sampling.loop import Call


class Along:
    """What is kept of the calls of the network; `see` is called with each."""

    def __init__(self, folder: Path | None, film: Path | None, photo: Path) -> None:
        """`folder` and `film`: where the pictures go, None for nowhere. Raises UserError where they cannot."""
        self.folder = None if folder is None else check_frames(folder, photo)
        self.film = None if film is None else check_film(film)
        self._start: list[np.ndarray] = []
        self._states: list[tuple[int, int, np.ndarray]] = []
        self._frames: list[np.ndarray] = []

    def see(self, call: Call, total: int, sides: tuple[int, int], fit: str) -> None:
        """Keep what is needed of one of `total` calls.

        `sides`: height and width of the photo; `fit`: see `export.edge.pictures.arrays.working`.
        """
        height, width = sides
        if call.index == 0:
            self._start.append(call.x_t[0])
        if self.folder is not None and call.index in kept_steps(total):
            self._states.append((call.index, call.t, call.x[0]))
        if self.film is not None:
            if call.index == 0:
                self._frames.append(frame(call.x_t[0], height, width, fit))
            if call.index in kept_steps(total, most_frames(self.film)):
                self._frames.append(frame(call.x[0], height, width, fit))

    def save(self, result: np.ndarray | Image.Image) -> None:
        """Write what was kept, with the result, of the photo's size."""
        if self.folder is not None:
            save_frames(self.folder, self._start[0], self._states, result)
        if self.film is not None:
            save_film(self.film, self._frames, result)
