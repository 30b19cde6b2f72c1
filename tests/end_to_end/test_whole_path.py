"""From pairs on disk to a picture made by onnxruntime, through the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export import to_onnx, verify
from export.edge import __main__ as edge
from export.edge.model.artifact import open_artifact
from export.edge.pictures.arrays import to_float
from export.edge.pictures.files import open_picture
from export.edge.sampling.loop import generate
from export.edge.sampling.noise import start_noise
from export.edge.translate import Options, translate
from jax_impl import bundle, evaluate, sample, train
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import load
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.diffusion.sampling import make_sampler, resolve
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights


def write_pairs(root: Path, layout: str) -> str:
    """Eight training scenes and two held-out ones; returns what to give as --data.path."""
    rows = ["source,target,split"]
    for split, count in (("train", 8), ("val", 2)):
        for i in range(count):
            cond, x0 = render_pair(scene_seed(split, i), 24)
            if layout == "side-by-side":
                folder = root / split
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.concatenate([x0, cond], axis=1)).save(folder / f"{i}.png")
                continue
            for side, picture in (("A", cond), ("B", x0)):
                folder = root / split / side if layout == "folders" else root / "frames"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(folder / (f"{i}.png" if layout == "folders" else f"{split}{i}{side}.png"))
            rows.append(f"frames/{split}{i}A.png,frames/{split}{i}B.png,{split}")
    if layout == "manifest":
        (root / "pairs.csv").write_text("\n".join(rows))
        return str(root / "pairs.csv")
    return str(root)


SMALL = [
    "--data.size", "16", "--data.repeats", "1", "--model.patch", "4", "--model.width", "8", "--model.groups", "4",
    "--model.multipliers", "1", "--model.blocks", "1", "--train.epochs", "1", "--train.batch-size", "4",
    "--train.sample-steps", "2", "--data.augment.jitter-probability", "0",
]  # fmt: skip
"""Of a training; it has the steps of those that tests/faults breaks, and so they are compiled once."""


def assert_agreement(artifact: Path, run: Path, picture: np.ndarray) -> None:
    """From the same noise sampler.onnx, the loop of export.edge and JAX draw the same, before pixels are rounded."""
    session = onnxruntime.InferenceSession(artifact / "onnx/sampler.onnx", providers=["CPUExecutionProvider"])
    model, trained = open_artifact(artifact / "onnx/model.onnx"), open_run(run)
    cond = to_float(picture[None, :16, :24])
    noise = start_noise(5, cond.shape)

    feeds = {"cond": cond, "noise": noise}
    (in_one_call,) = session.run(
        ["picture"], {name: np.ascontiguousarray(value.transpose(0, 3, 1, 2)) for name, value in feeds.items()}
    )
    *_, last = generate(model, cond, model.plan(), 5)
    draw = make_sampler(trained.problem, resolve(trained.problem))
    in_jax = draw(*final_weights(trained), cond, noise, jax.random.split(jax.random.key(0), 1)).x0

    assert last.x.std() > 0.01
    np.testing.assert_allclose(2.0 * in_one_call.transpose(0, 2, 3, 1) - 1.0, last.x, rtol=0, atol=1e-3)
    np.testing.assert_allclose(in_jax, last.x, rtol=0, atol=1e-3)


def test_all_layouts_hold_the_same_pairs(tmp_path: Path) -> None:
    splits = {}
    for layout in ("folders", "side-by-side", "manifest"):
        path = write_pairs(tmp_path / layout, layout)
        direction = "reverse" if layout == "side-by-side" else "forward"
        config = DataConfig(path=path, size=16, direction=direction)
        splits[layout] = [load(config, split) for split in ("train", "val")]
    for other in ("side-by-side", "manifest"):
        for found, wanted in zip(splits[other], splits["folders"], strict=True):
            assert len(found.names) == len(wanted.names) > 0
            np.testing.assert_array_equal(found.cond, wanted.cond)
            np.testing.assert_array_equal(found.x0, wanted.x0)


def test_from_pairs_to_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data.path", write_pairs(tmp_path / "pairs", "side-by-side"), "--data.direction", "reverse"]
    run, weights, artifact = tmp_path / "run", tmp_path / "model.safetensors", tmp_path / "artifact"

    train.main(["tiny", *data, *SMALL, "--output-dir", str(run)])
    assert "8 training pairs in memory, 2 held out" in capsys.readouterr().out
    bundle.main(["--run", str(run), "--output", str(weights)])
    to_onnx.main([str(weights), "--output", str(artifact), "--variants", "fp16"])
    verify.main([str(artifact)])
    model = artifact / "onnx" / "model.onnx"

    photo = tmp_path / "photo.jpg"
    Image.fromarray(render_pair(scene_seed("test", 0), 64)[0][:40]).save(photo)
    edge.main([str(model), str(photo), str(tmp_path / "edge.png"), "--steps", "4", "--seed", "3"])
    sample.main(
        ["--run", str(run), "--input", str(photo), "--output", str(tmp_path / "jax.png"), "--steps", "4", "--seed", "3"]
    )
    on_edge, in_jax = open_picture(tmp_path / "edge.png"), open_picture(tmp_path / "jax.png")
    assert on_edge.shape == (40, 64, 3)
    # The same seed, photo and weights: the same picture, up to the rounding to bytes.
    assert np.abs(on_edge.astype(int) - in_jax.astype(int)).max() <= 1
    in_python = translate(open_artifact(model), open_picture(photo), Options(steps=4), seed=3)
    np.testing.assert_array_equal(in_python, on_edge)

    assert_agreement(artifact, run, open_picture(photo))

    evaluate.main(["--artifact", str(model), *data, "--output-dir", str(tmp_path / "evaluation"), "--steps", "2"])
    report = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert len(report["pictures"]) == 2
    psnr = report["methods"]["model"]["metrics"]["psnr"]
    assert psnr["low"] <= psnr["mean"] <= psnr["high"]
    assert (tmp_path / "evaluation" / "contact_sheet.png").exists()
