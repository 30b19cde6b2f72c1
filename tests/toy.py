"""The documented commands at toy size.

The words on the pages stay as they are, with four exceptions: the presets that they name are small (`narrowed`),
numbers that make a command long are at most those of LARGEST, CURVES keep their ends, and the commands of MORE get
further flags.
`python -m tests.toy MODULE [WORD …]` runs one command by these rules, for tests that need a process of its own.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from jax_impl.config.data import AugmentConfig
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from tests.pages import module_of

LARGEST = {
    "--data.size": 16,
    "--data.synthetic-pairs": 18,
    "--train.batch-size": 2,
    "--train.epochs": 1,
    "--train.fsdp-devices": 2,
    "--train.minutes": 0,  # None: a plan, and with it the weights, would depend on the time of day.
    "--rounds": 1,
    "--seeds": 2,
}
"""Flags that say how long a command takes, with the largest values here; the same for settings in Python."""
CURVES = ("--steps-curve", "--realism-curve")
"""Flags with several values, for each of which a sampler is compiled."""
MORE = {
    "export.bench": ["--threads", "1", "--steps", "1", "--pictures", "1", "--no-original"],
    "export.web": ["--port", "0"],
    "jax_impl.evaluate": ["--data.size", "16"],
    "jax_impl.bench.loader": [
        *("--size", "16", "--file-size", "32", "--batch-size", "2", "--pairs", "4", "--seconds", "0.01"),
    ],
}
"""Flags that follow the words of a command: fewer measurements, and a free port."""


def narrowed(preset: Callable[[], Config]) -> Callable[[], Config]:
    """A preset with a network of a few thousand weights, for one short epoch at 16 × 16; all else as it is."""

    def make() -> Config:
        config = preset()
        codec, learned = config.codec, isinstance(config.codec, LatentCodecConfig)
        model, plain = config.model, AugmentConfig(rotation=0.0, perspective=0.0, jitter_probability=0.0)
        if isinstance(model, UNetModelConfig):
            model = replace(
                model,
                patch=2,
                width=8,
                groups=4,
                multipliers=(1,),
                blocks=1,
                attention_levels=(),
                head_channels=4,
                refine=0,
                unfold=UNetModelConfig.unfold,
            )
        else:
            model = SeedModelConfig(width=4)
        return replace(
            config,
            model=model,
            codec=replace(codec, channels=3, mean=(), std=(), width=4, blocks=1) if learned else codec,
            data=replace(config.data, size=16, repeats=1, synthetic_pairs=18, synthetic_val_pairs=2, augment=plain),
            train=replace(config.train, epochs=1, batch_size=2, sample_steps=1, sample_minutes=0.0),
            diffusion=replace(config.diffusion, sample_steps=min(2, config.diffusion.sample_steps)),
            stages=tuple(replace(stage, epochs=1) for stage in config.stages),
        )

    return make


def narrow_presets(put: Callable[[str, Callable[[], Config]], object]) -> None:
    """Give every preset, made small, to `put(name, preset)`."""
    for name, preset in list(PRESETS.items()):
        put(name, narrowed(preset))


def shortened(words: Sequence[str]) -> list[str]:
    """The words of a command, its module first, by the rules above."""
    short = list(words)
    for flag in CURVES:
        if flag in short:
            first = short.index(flag) + 1
            last = next((i for i in range(first, len(short)) if short[i].startswith("--")), len(short)) - 1
            del short[first + 1 : last]
    for flag, largest in LARGEST.items():
        for i in (i for i, word in enumerate(short[:-1]) if word == flag):
            short[i + 1] = f"{min(float(short[i + 1]), largest):g}"
    for i, word in enumerate(short):
        if word.startswith("{"):  # An entry of a registry, such as a stage.
            entry = json.loads(word)
            for loss in entry.get("losses", ()):
                if isinstance(loss, dict) and loss["term"] == "adversarial":
                    loss["width"] = 4
            short[i] = json.dumps({**entry, "epochs": 1}) if "epochs" in entry else word
    return short + MORE.get(words[0], [])


def shortened_code(code: str) -> str:
    """An example in Python, by the same rules."""
    for flag, largest in LARGEST.items():
        code = re.sub(
            rf'("{flag[2:].replace("-", "_")}": )([\d.]+)',
            lambda found, most=largest: f"{found[1]}{min(float(found[2]), most):g}",
            code,
        )
    return code


def run(words: Sequence[str]) -> None:
    """Run a command, its module first, in this process."""
    module, *rest = shortened(words)
    importlib.import_module(module_of(module)).main(rest)


if __name__ == "__main__":
    narrow_presets(PRESETS._entries.__setitem__)
    run(sys.argv[1:])
