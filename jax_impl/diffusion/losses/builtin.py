"""Our own loss terms, in LOSSES by importing this."""

from __future__ import annotations

from jax_impl.diffusion.losses import adversarial, anchor, clip, colour, hybrid, laplacian, lpips, texture

__all__ = ["adversarial", "anchor", "clip", "colour", "hybrid", "laplacian", "lpips", "texture"]
