"""Training, bundling, sampling and scoring on a host that has JAX and little else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

from jax_impl.config.arguments import parse
from jax_impl.config.as_json import to_json
from jax_impl.data.synthetic import render_pair
from tests.end_to_end.test_whole_path import SMALL

ABSENT = ("tyro", "grain", "tensorflow_datasets", "array_record", "tensorboardX", "beartype", "jaxtyping")
COMMANDS = """
train --config run.json --data.synthetic-pairs 8 --data.synthetic-val-pairs 2 --output-dir a_run
bundle --run a_run --output model.safetensors
sample --weights model.safetensors --input photo.png --output sunset.png
evaluate --run a_run --data.synthetic-val-pairs 2 --output-dir scores
"""
REFUSE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""Put where Python runs it first."""
RUN = """
import importlib, sys
import jax_impl.bench.training, jax_impl.doctor, jax_impl.prepare
for line in sys.stdin.read().strip().splitlines():
    name, *words = line.split()
    importlib.import_module(f"jax_impl.{name}").main(words)
    print("done:", name)
"""


def test_every_command_of_a_run_works_without_them(root: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE)
    (tmp_path / "run.json").write_text(to_json(parse(["tiny", *SMALL, "--train.sample-every", "0"]).settings()))
    Image.fromarray(render_pair(3, 24)[0]).save(tmp_path / "photo.png")
    path = os.pathsep.join([str(tmp_path), str(root)])
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path, input=COMMANDS, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("done: ")] == [
        f"done: {line.split()[0]}" for line in COMMANDS.strip().splitlines()
    ]
    assert "8 training pairs in memory, 2 held out, 16 × 16" in done.stdout
    with safe_open(tmp_path / "model.safetensors", "numpy") as bundle:
        assert json.loads(bundle.metadata()["config"])["model"]["width"] == 8
    assert np.asarray(Image.open(tmp_path / "sunset.png")).shape == (24, 24, 3)
    assert json.loads((tmp_path / "scores/evaluation.json").read_text())
