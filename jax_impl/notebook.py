"""Progress and sample pictures in a notebook, where there is one; nothing here needs IPython."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from PIL import Image

from jax_impl.training.interfaces import Callback, SamplePictures
from jax_impl.training.lines import spoken
from jax_impl.training.reports import sheet

SECONDS = 1.0
"""Between two updates of the line."""


def notebook_callbacks() -> list[Callback]:
    """A callback that shows training, where this process is the kernel of a notebook; else none."""
    # A kernel has imported IPython before anything of ours runs.
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return []
    return [Notebook(ipython.display.display)]


class Notebook(Callback):
    """One line of progress and one sheet of sample pictures, both replaced as training goes on."""

    def __init__(self, display: Any) -> None:
        """`display`: IPython's function, which returns a handle with `update` for `display_id=True`."""
        self.display = display
        self.line: Any = None
        self.pictures: Any = None
        self.first = self.steps = 0
        self.began = self.shown = 0.0
        self.losses = ""

    def on_start(self, step: int, steps: int) -> None:
        """Begin a line."""
        self.first, self.steps, self.began, self.shown = step, steps, time.monotonic(), 0.0
        self.line, self.losses = self.display(Line(f"step {step} of {steps}, compiling"), display_id=True), ""

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the loss, and how long the rest will take."""
        now = time.monotonic()
        if now - self.shown < SECONDS and step < self.steps:
            return
        self.shown = now
        left = (self.steps - step) * (now - self.began) / max(step - self.first, 1)
        loss = f", loss {metrics['loss']:.4f}" if "loss" in metrics else ""
        self._show(f"step {step} of {self.steps}{loss}{self.losses}, {spoken(left)} left")

    def on_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the losses of the epoch on the line."""
        self.losses = "".join(f", {name} {metrics[name]:.4f}" for name in ("train_loss", "val_loss") if name in metrics)

    def on_pictures(self, step: int, pictures: SamplePictures) -> None:
        """Show input, generated and target pictures."""
        image = Image.fromarray(sheet(pictures))
        if self.pictures is None:
            self.pictures = self.display(image, display_id=True)
        else:
            self.pictures.update(image)

    def _show(self, text: str) -> None:
        if self.line is not None:
            self.line.update(Line(text))


class Line:
    """A line of text as a notebook shows it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text
