"""What older programs wrote, as today's tree of settings: functions from tree to tree, applied in order.

A setting that is merely new needs none: a missing key takes its default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _losses(tree: dict[str, Any]) -> dict[str, Any]:
    """Before there were `losses`, `diffusion` held the settings of the one that there was."""
    names = {"mae_weight": "mae_weight", "loss_weight": "weighting", "snr_gamma": "snr_gamma"}
    diffusion = tree.get("diffusion")
    if not isinstance(diffusion, dict) or "losses" in tree or not names.keys() & diffusion.keys():
        return tree
    term = {new: diffusion[old] for old, new in names.items() if old in diffusion}
    left = {name: value for name, value in diffusion.items() if name not in names}
    return {**tree, "diffusion": left, "losses": [{"term": "hybrid", **term}]}


def _process(tree: dict[str, Any]) -> dict[str, Any]:
    """Before `diffusion` named its process there was one."""
    diffusion = tree.get("diffusion")
    return {**tree, "diffusion": {"process": "gaussian", **diffusion}} if isinstance(diffusion, dict) else tree


MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_losses, _process)


def migrated(tree: object) -> object:
    """The tree as today's programs would have written it."""
    if isinstance(tree, dict):
        for migration in MIGRATIONS:
            tree = migration(tree)
    return tree
