"""Make the model that comes with the package, `export/edge/pretrained`, from a run that trained it.

    python -m jax_impl.train quick --data.synthetic-pairs 4096 --data.repeats 1 --data.augment.crop 0 \
        --data.augment.jitter-probability 0.8 --data.augment.brightness 0.2 --data.augment.contrast 0.2 \
        --data.augment.saturation 0.2 --data.augment.hue 0.03 --optim.ema-decay 0.999 --train.epochs 5 \
        --output-dir runs/pretrained
    python -m tests.figures.pretrained runs/pretrained

exports the run as int8, scores that file on the held-out built-in scenes, and writes the file and its model card.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.edge import commands
from export.edge.disk.files import write_text
from export.edge.disk.reading import parse_json
from export.edge.errors import run
from export.edge.model.artifact import open_artifact
from export.edge.model.bundles import Training
from export.edge.model.layout import BUNDLE, FOLDER
from export.edge.pretrained import PRETRAINED
from export.model_card import evaluation_lines
from torch_ref.weights import load_bundle


def main(argv: Sequence[str] | None = None) -> None:
    """Replace the files of the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.figures.pretrained", description="Make the model that comes with the package."
    )
    parser.add_argument("run", type=Path, help="run folder of the training, or its bundle")
    source = parser.parse_args(argv).run
    with tempfile.TemporaryDirectory() as place:
        artifact, scores = Path(place) / "artifact", Path(place) / "scores"
        words = ["--output", str(artifact), "--variants", "int8", "--no-sampler", "--title", "Dawn to dusk"]
        print(commands.run_apart("export", [str(source), *words]), end="")
        file = artifact / FOLDER / PRETRAINED.name
        asked = ["--artifact", str(file), "--data.path", "synthetic", "--output-dir", str(scores)]
        print(commands.run_apart("evaluate", asked), end="")
        report = parse_json((scores / "evaluation.json").read_text(encoding="utf-8"))
        training = load_bundle(artifact / BUNDLE).training
        PRETRAINED.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, PRETRAINED)
    write_text(PRETRAINED.parents[1] / "README.md", card(report, training))


def card(report: Mapping[str, Any], training: Training | None) -> str:
    """The model card."""
    model, size = open_artifact(PRETRAINED), PRETRAINED.stat().st_size / 1e6
    steps = "" if training is None else f" in {training.steps:,} steps"
    return "\n".join(
        [
            "# From sunrise to sunset",
            "",
            f"The model that comes with dawn2dusk: an int8 ONNX file of {size:.1f} MB. It turns a picture of a sunrise "
            f"into its sunset, in {model.steps} call of the network at {model.size} × {model.size} pixels.",
            f"It was trained{steps} on 4,096 drawn scenes, without any photograph. Licence: MIT, as the code.",
            "",
            "```sh",
            "python -m export.edge photo.jpg sunset.jpg",
            "```",
            "",
            "**Use it** to try the whole path, and for pictures like those scenes. On photographs it recolours sky and "
            "land. For photographs of your own place, train on your own pairs.",
            "",
            "On held-out scenes:",
            "",
            *evaluation_lines(report),
            "",
            "`python -m tests.figures.pretrained` makes it, and says how it was trained.",
            "",
        ]
    )


if __name__ == "__main__":
    run(main)
