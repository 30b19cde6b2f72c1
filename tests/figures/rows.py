"""Rows of the ablation: from the original script's network to the design of the presets, one change after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    train: tuple[str, ...]
    """Words after `python -m jax_impl.train`."""
    draw: tuple[str, ...] = ()
    """Words after `python -m jax_impl.evaluate`; without any, pictures are drawn as the weights recommend."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SEED = _words("seed --model.width 24 --diffusion.sample-steps 20")
_RECIPE = _words(
    "--optim.learning-rate 1e-3 --optim.schedule cosine --optim.warmup-steps 50 --optim.ema-decay 0.99 "
    "--data.augment.rotation 0 --data.augment.perspective 0 --data.augment.crop 0.1 --data.augment.hue 0 "
    "--data.augment.jitter-probability 0"
)
