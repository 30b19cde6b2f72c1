"""What the model card says of the sampler: enough to write it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

X0 = {
    "x0": "out",
    "eps": "(x - sqrt(1 - a[t]) * out) / sqrt(a[t])",
    "v": "sqrt(a[t]) * x - sqrt(1 - a[t]) * out",
}
"""x0_hat from what the network returns, by what it predicts."""


def lines(diffusion: Mapping[str, Any]) -> list[str]:
    """The section of the card for gaussian diffusion with these settings; nothing for other processes."""
    if diffusion["prediction"] not in X0:
        return []
    clamp = diffusion["clamp"]
    bounded = (
        "x0                                # this model has no clamp"
        if clamp is None
        else f"clip(x0, -{clamp}, {clamp})"
    )
    return [
        "## The sampler",
        "`onnx/model.onnx` in a loop of your own, with `ddim`. `a` is `alphas_cumprod` of `sampler_config.json`; "
        "`a[s]` is 1 after the last step:",
        "",
        "```",
        "x = noise                             # standard normal, of cond's shape",
        "for t, s in pairs(timesteps):         # s: the timestep after t",
        "    out = model(x, cond, t)",
        f"    x0  = {X0[diffusion['prediction']]}",
        f"    x0  = {bounded}",
        "    eps = (x - sqrt(a[t]) * x0) / sqrt(1 - a[t])",
        "    x   = sqrt(a[s]) * x0 + sqrt(1 - a[s]) * eps",
        "```",
        "",
        "eps comes from the *clamped* x0. With the network's own eps in its place, pictures were up to 9 of 255 levels "
        "off. In diffusers, give `DDIMScheduler.step` the argument `use_clipped_model_output=True`; for DPM++, clamp "
        "x0 before the step.",
        "",
        "Timesteps of n steps out of T, for i = 0 ... n-1, rounded, halves to even: `trailing` (n - i) T / n - 1; "
        "`linspace` (n - 1 - i) (T - 1) / (n - 1); `leading` (n - 1 - i) floor(T / n); `logsnr` even in "
        "log(a / (1 - a)), see `export/edge/sampling/spacing.py`.",
        "",
    ]
