"""LPIPS and FID with random weights, from a `.pth` through the converter into JAX, against torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.numpy import load_file

from export.edge.errors import UserError
from export.edge.pictures.files import save_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import load
from jax_impl.evaluate import main
from jax_impl.evaluation.frechet import frechet_distance, kernel_distance, open_inception
from jax_impl.evaluation.perceptual import clip_metric, lpips_metric
from tests.torch_ref.clip_networks import random_clip, write_clip
from tests.torch_ref.perceptual_networks import Inception, random_alexnet, random_vgg16, write_lpips
from torch_ref import perceptual
from torch_ref.clip import clip
from torch_ref.frozen import open_saved, save
from torch_ref.lpips import lpips


def noise(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)[:, :height, :width]


def planes(pictures: np.ndarray) -> torch.Tensor:
    """(batch, 3, height, width) in [0, 1]"""
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2) / 255.0).float()


@pytest.fixture(scope="module")
def lpips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lpips(tmp_path_factory.mktemp("lpips"), random_alexnet())


@pytest.fixture(scope="module")
def inception() -> Inception:
    network = Inception()
    network(torch.zeros(1, 3, 80, 80))  # makes its weights
    return network


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory, inception: Inception) -> Path:
    folder = tmp_path_factory.mktemp("inception")
    torch.save(inception.state, folder / "inception.pth")
    perceptual.main(["fid", str(folder / "inception.pth"), str(folder / "i.safetensors")])
    return folder / "i.safetensors"


@pytest.mark.parametrize("states", [random_alexnet(), random_vgg16()], ids=["AlexNet", "VGG16"])
def test_lpips_is_that_of_torch(states: tuple[dict, dict], tmp_path: Path) -> None:
    metric = lpips_metric(write_lpips(tmp_path, states))
    weights = states[0] | {name.partition(".")[0]: w.reshape(-1) for name, w in states[1].items()}
    assert metric.title == ("LPIPS (VGG16)" if "features.28.weight" in weights else "LPIPS (AlexNet)")
    for height, width in ((64, 64), (45, 70)):
        a, b = noise(1, height, width), noise(1, height, width, seed=1)
        expected = lpips(weights, 2 * planes(a) - 1, 2 * planes(b) - 1)
        assert metric.measure(a[0], b[0]) == pytest.approx(float(expected[0]), rel=1e-4)
        assert metric.measure(a[0], b[0]) > 0.05
    assert metric.measure(a[0], a[0]) == pytest.approx(0.0, abs=1e-9)


def test_inceptions_features_are_those_of_torch(inception_file: Path, inception: Inception) -> None:
    pictures = noise(3, 60, 70)
    with torch.no_grad():
        expected = inception(planes(pictures)).numpy()
    features = open_inception(inception_file)(pictures)
    assert features.shape == expected.shape == (3, 128) and expected.std() > 0.05
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("first", "second"), [(200, 150), (6, 200), (5, 4)])
def test_the_frechet_distance_is_that_of_a_matrix_root(first: int, second: int) -> None:
    random = np.random.default_rng(0)
    a = random.normal(0, 1, (first, 12)) @ random.normal(0, 1, (12, 12))
    b = random.normal(0.5, 1, (second, 12)) @ random.normal(0, 1, (12, 12))
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    # A little on the diagonals keeps the root of singular matrices defined, which few samples make.
    nudged = [c + 1e-10 * np.eye(12) for c in covariances]
    root = np.trace(scipy.linalg.sqrtm(nudged[0] @ nudged[1]).real)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + sum(np.trace(c) for c in covariances) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)


def test_the_kernel_distance_is_its_sums_over_pairs_and_unbiased() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (5, 4)), random.normal(0.5, 1, (7, 4))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(sum(p * q for p, q in zip(x, y, strict=True))) / 4 + 1) ** 3

    pairs_a = [kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    pairs_b = [kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    expected = np.mean(pairs_a) + np.mean(pairs_b) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(expected)
    alike = [kernel_distance(random.normal(0, 1, (20, 4)), random.normal(0, 1, (20, 4))) for _ in range(400)]
    assert abs(np.mean(alike)) < 4 * np.std(alike) / 20 and np.mean(np.less(alike, 0.0)) > 0.3


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"), random_clip())


def test_the_distance_by_clip_is_that_of_torch(clip_file: Path) -> None:
    metric, weights = clip_metric(clip_file), open_saved(clip_file, "clip", "file")
    a, b = noise(1, 45, 70), noise(1, 45, 70, seed=1)
    first, second = (clip(weights, 2 * planes(pictures) - 1)[0] for pictures in (a, b))
    assert metric.measure(a[0], b[0]) == pytest.approx(1.0 - float(first @ second), abs=1e-5)
    assert metric.measure(a[0], b[0]) > 1e-3
    assert metric.measure(a[0], a[0]) == pytest.approx(0.0, abs=1e-12)


def test_all_are_reported_where_weights_are_given(
    lpips_file: Path, clip_file: Path, inception_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = load(DataConfig(size=32, synthetic_val_pairs=3), "val")
    for name, picture in zip(pairs.names, pairs.x0, strict=True):
        save_picture(tmp_path / f"{name}.png", picture)
    data = ["--data.size", "32", "--data.synthetic-pairs", "4", "--data.synthetic-val-pairs", "3"]
    weights = ["--lpips", str(lpips_file), "--clip", str(clip_file), "--fid", str(inception_file)]
    main(["--pictures", str(tmp_path), *data, *weights, "--output-dir", str(tmp_path / "e")])
    report = json.loads((tmp_path / "e/evaluation.json").read_text())
    truth, copy = (report["methods"][name] for name in ("model", "copy_input"))
    assert truth["metrics"]["lpips"]["mean"] == pytest.approx(0.0, abs=1e-9)
    assert copy["metrics"]["lpips"]["mean"] > 0.01
    assert truth["metrics"]["clip"]["mean"] == pytest.approx(0.0, abs=1e-12)
    assert copy["metrics"]["clip"]["mean"] > 1e-4
    assert truth["fid"] == pytest.approx(0.0, abs=1e-6) and copy["fid"] > 1e-3
    assert report["fid_true_pictures"] == 3
    assert truth["kid"] < 0.0 < copy["kid"] - truth["kid"]  # unbiased: a set is nearer to itself than chance would be
    table = capsys.readouterr().out
    assert "| LPIPS (AlexNet) |" in table and "| CLIP distance |" in table
    assert "| FID (drawn / true pictures) |" in table and "(3 / 3) |" in table


def test_weights_that_cannot_be_used(lpips_file: Path, inception_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no dawn2dusk-lpips weights"):
        lpips_metric(inception_file)
    with pytest.raises(UserError, match=r"--clip .* holds no dawn2dusk-clip weights"):
        clip_metric(lpips_file)
    with pytest.raises(UserError, match=r"--clip no\.safetensors does not exist; .*clip-vit-base-patch32.*MIT licence"):
        clip_metric(Path("no.safetensors"))
    path = tmp_path / "w.safetensors"
    weights = load_file(lpips_file)
    for change, part in (
        ({"lin2": None}, "lacks lin2"),
        ({"lin9": np.ones(3, np.float32)}, "holds lin9, which this network lacks"),
        ({"lin1": np.ones(3, np.float32)}, "do not fit together"),
    ):
        save(path, {n: w for n, w in (weights | change).items() if w is not None}, "lpips")
        with pytest.raises(UserError, match=part):
            lpips_metric(path)
    damaged = bytearray(lpips_file.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="does not fit its digest"):
        lpips_metric(path)
    with pytest.raises(UserError, match=r"--lpips .*no\.safetensors does not exist; .*vgg16-397923af.*BSD 3-Clause"):
        lpips_metric(tmp_path / "no.safetensors")
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        open_inception(path)
    with pytest.raises(UserError, match="at least 31 x 31 pixels, got 40 x 30"):
        lpips_metric(lpips_file).measure(noise(1, 30, 40)[0], noise(1, 30, 40)[0])
