"""Rows of the ablation: from the original script's network to the design of the presets, one change after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    train: tuple[str, ...]
    """Words after `python -m jax_impl.train`."""
    needs: str = ""
    """Which file of weights the row needs, by the flag of the ablation that names it; it stands in the words for it."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_RECIPE = _words(
    "--optim.learning-rate 1e-3 --optim.schedule cosine --optim.warmup-steps 50 --optim.ema-decay 0.99 "
    "--data.augment.rotation 0 --data.augment.perspective 0 --data.augment.crop 0.1 --data.augment.hue 0.02 "
    "--data.augment.brightness 0.1 --data.augment.contrast 0.1 --data.augment.saturation 0.1"
)
_TWENTY = _words("--diffusion.sampler dpmpp --diffusion.sample-steps 20 --train.sample-steps 20")
_SEED = ("seed", "--model.width", "16", *_TWENTY)
_TINY = (
    "tiny",
    *_TWENTY,
    *_RECIPE,
    *_words("--model.patch 2 --model.width 32 --model.multipliers 1 2 3 --model.groups 8 --model.head plain"),
)
_EPS, _V, _X0 = (("--diffusion.prediction", kind) for kind in ("eps", "v", "x0"))
_AFFINE = ("--model.head", "affine")
_BEST = (*_TINY, *_V, *_AFFINE)
_SMALL = _words("tiny --model.patch 4 --model.width 32")
_FROZEN = {
    term: (*_SMALL, "--losses", "hybrid", f'{{"term": "{term}", "weight": {weight}, "file": "--{term}"}}')
    for term, weight in (("lpips", 0.5), ("clip", 0.5))
}
_ATTENTION = _words("--model.attention-levels 2 --model.head-channels 32")

ROWS = {
    "seed": Row("the original recipe and network, narrow: eps", _SEED),
    "recipe": Row("the same network, trained with EMA, a cosine rate and gentle augmentation", (*_SEED, *_RECIPE)),
    "residual": Row("residual network on 2 × 2 blocks, GroupNorm, time in every block: eps", (*_TINY, *_EPS)),
    "v": Row("the same, predicting v", (*_TINY, *_V)),
    "x0": Row("the same, predicting x0", (*_TINY, *_X0)),
    "min_snr": Row("v, min-SNR weights", (*_TINY, *_V, "--losses", '{"term": "hybrid", "weighting": "min_snr"}')),
    "affine": Row("v, affine head", _BEST),
    "attention": Row("v, affine head, attention at the lowest level", (*_BEST, *_ATTENTION)),
    "cross": Row(
        "v, affine head, attention there, to the input picture too", (*_BEST, *_ATTENTION, "--model.cross-attention")
    ),
    "fixed": Row("v, affine head, fixed resampling", (*_BEST, "--model.resample", "fixed")),
    "added": Row("v, affine head, time added, not scaling and shifting", (*_BEST, "--model.time-modulation", "add")),
    "dropout": Row("v, affine head, dropout 0.1", (*_BEST, "--model.dropout", "0.1")),
    "bfloat16": Row("v, affine head, trained in bfloat16", (*_BEST, "--model.compute-dtype", "bfloat16")),
    "threshold": Row("v, affine head, dynamic threshold 0.995", (*_BEST, "--diffusion.threshold", "0.995")),
    "crops": Row(
        "v, affine head, trained on crops of 32 × 32 with coordinates: a quarter of the pixels at 64 × 64",
        (*_BEST, *_words("--data.crop-size 32 --model.coordinates")),
    ),
    "guided": Row(
        "v, affine head, a tenth of the inputs hidden, guidance 1.5",
        (*_BEST, *_words("--diffusion.cond-dropout 0.1 --diffusion.guidance 1.5")),
    ),
    "few": Row(
        "x0, affine head, drawn in 2 DDIM steps",
        (*_TINY, *_X0, *_AFFINE, *_words("--diffusion.sampler ddim --diffusion.sample-steps 2")),
    ),
    "gaussian": Row("gaussian diffusion, x0, 2 steps; the network of `tiny` in blocks of 4, width 32", _SMALL),
    "one-pass": Row("the same network, one pass", (*_SMALL, *_words("--diffusion.process one-pass"))),
    "bridge": Row("the same network, bridge, 4 steps", (*_SMALL, *_words("--diffusion.process bridge"))),
    "flow": Row("the same network, flow, x0, 4 steps", (*_SMALL, *_words("--diffusion.process flow"))),
    "velocity": Row(
        "the same network, flow, velocity, 4 steps",
        (*_SMALL, *_words("--diffusion.process flow --diffusion.prediction velocity")),
    ),
    "lpips": Row("gaussian diffusion as above, LPIPS in the loss too", _FROZEN["lpips"], "--lpips"),
    "clip": Row("gaussian diffusion as above, CLIP's distance in the loss too", _FROZEN["clip"], "--clip"),
}
"""In the order of the table. Everything that is not named is the preset's own."""
