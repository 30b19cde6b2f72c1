"""A network that saw nothing but crops, told where they lay, draws whole pictures at a size of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import to_onnx
from export.edge import __main__ as edge
from export.edge.model.artifact import open_artifact
from export.edge.pictures.files import open_picture
from jax_impl import bundle, sample, train

SMALL = [
    "--data.size", "32", "--data.crop-size", "16", "--data.repeats", "100", "--model.coordinates",
    "--model.patch", "4", "--model.width", "16", "--model.groups", "4", "--model.blocks", "1",
    "--model.multipliers", "1", "--diffusion.cond-dropout", "0.1", "--diffusion.guidance", "1.2",
    "--optim.learning-rate", "1e-2", "--train.epochs", "4", "--train.batch-size", "8", "--train.sample-every", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained to turn speckle into a sky that brightens from top to bottom: only the place in the picture tells how."""
    folder, random = tmp_path_factory.mktemp("crops"), np.random.default_rng(0)
    ramp = np.tile(np.linspace(30, 225, 32)[:, None, None], (1, 32, 3)).astype(np.uint8)
    for split, count in (("train", 4), ("val", 1)):
        for side in ("A", "B"):
            (folder / "pairs" / split / side).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(speckle(random, 32, 32)).save(folder / "pairs" / split / "A" / f"{i}.png")
            Image.fromarray(ramp).save(folder / "pairs" / split / "B" / f"{i}.png")
    train.main(["tiny", "--data.path", str(folder / "pairs"), *SMALL, "--output-dir", str(folder / "run")])
    return folder / "run"


def speckle(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return random.integers(100, 156, (height, width, 3), np.uint8)


WORDS = ["--size", "64", "--steps", "3", "--seed", "5"]
"""At twice as many rows of sky as a picture of the training set has, and four times as many as a crop."""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(speckle(np.random.default_rng(1), 64, 96)).save(path)
    return path


@pytest.fixture(scope="module")
def in_jax(run: Path, photo: Path) -> np.ndarray:
    """The picture that the network makes of the photo, float64 (64, 96, 3)."""
    path = photo.with_name("jax.png")
    sample.main(["--run", str(run), "--input", str(photo), "--output", str(path), *WORDS])
    return open_picture(path).astype(float)


def test_it_knows_where_it_is_at_another_size(in_jax: np.ndarray) -> None:
    assert in_jax.shape == (64, 96, 3)
    rows, wanted = in_jax.mean(axis=(1, 2)), np.linspace(30, 225, 64)
    assert np.corrcoef(rows, wanted)[0, 1] > 0.97
    assert np.sqrt(np.mean((in_jax - wanted[:, None, None]) ** 2)) < 0.5 * wanted.std()


@pytest.mark.slow  # Exported networks with coordinates are compared in tests/export and tests/parity.
def test_onnxruntime_draws_what_jax_draws(run: Path, photo: Path, in_jax: np.ndarray, tmp_path: Path) -> None:
    weights, artifact = tmp_path / "model.safetensors", tmp_path / "artifact"
    bundle.main(["--run", str(run), "--output", str(weights)])
    to_onnx.main([str(weights), "--output", str(artifact), "--variants", "fp32", "--no-sampler"])
    model = artifact / "onnx" / "model.onnx"
    assert open_artifact(model).coordinates
    edge.main([str(model), str(photo), str(tmp_path / "edge.png"), *WORDS])
    assert np.abs(open_picture(tmp_path / "edge.png").astype(float) - in_jax).max() <= 1
