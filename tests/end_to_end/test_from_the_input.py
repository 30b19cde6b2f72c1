"""The processes that start from the input picture, from the command line of training to a picture on the device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export import to_onnx, verify
from export.edge import __main__ as edge
from export.edge.errors import run
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import DENOISER
from export.edge.pictures.files import open_picture
from jax_impl import sample, train
from jax_impl.config.arguments import parse
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.runs.bundles import write_bundle
from tests.drawing import drawn
from tests.end_to_end.test_whole_path import SMALL, assert_agreement

PROCESSES = {
    "bridge": ["--diffusion.process", "bridge", "--diffusion.noise", "0.4"],
    "flow": ["--diffusion.process", "flow", "--diffusion.sampler", "heun", "--diffusion.prediction", "velocity"],
    "mean": ["--diffusion.process", "flow", "--diffusion.source", "mean", "--stages", "from-mean"],
}


# The whole path is that of test_whole_path.py, and the parity tests walk by every table, from weights to the ONNX loop.
@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
def test_from_pairs_to_a_picture(process: str, tmp_path: Path) -> None:
    folder, artifact, photo = tmp_path / "run", tmp_path / "artifact", tmp_path / "photo.png"
    small, begun = ["tiny", *SMALL, "--data.synthetic-pairs", "8", "--data.synthetic-val-pairs", "2"], []
    if process == "mean":
        one_pass = ["--diffusion.process", "one-pass", "--train.sample-steps", "1"]
        train.main([*small, *one_pass, "--output-dir", str(tmp_path / "mean")])
        begun = ["--init-from", str(tmp_path / "mean/model.safetensors")]
    train.main([*small, *PROCESSES[process], *begun, "--output-dir", str(folder)])
    to_onnx.main([str(folder), "--output", str(artifact), "--variants", "fp16"])
    verify.main([str(artifact)])
    Image.fromarray(render_pair(scene_seed("test", 0), 64)[0][:40]).save(photo)
    model = open_artifact(artifact / "onnx/model.onnx")
    assert model.plan().source == ("mean" if process == "mean" else "cond")
    assert model.plan().start_from_source == 1.0 and len(model.plan()) == {"bridge": 4, "flow": 7, "mean": 4}[process]

    drawn = {}
    for seed in ("3", "4"):
        edge.main([str(artifact), str(photo), str(tmp_path / "edge.png"), "--seed", seed])
        sample.main(
            ["--run", str(folder), "--input", str(photo), "--output", str(tmp_path / "jax.png"), "--seed", seed]
        )
        drawn[seed], in_jax = open_picture(tmp_path / "edge.png"), open_picture(tmp_path / "jax.png")
        # The same seed, photo and weights: the same picture, up to the rounding to bytes.
        assert np.abs(drawn[seed].astype(int) - in_jax.astype(int)).max() <= 1
    assert np.abs(drawn["3"].astype(int) - drawn["4"].astype(int)).max() > 0
    assert_agreement(artifact, folder, open_picture(photo))

    session = onnxruntime.InferenceSession(artifact / "onnx/sampler.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["timesteps"]) == model.plan().t.tolist()


def test_a_sampler_with_noise_in_every_step_has_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = parse(["tiny", *PROCESSES["bridge"], "--diffusion.sampler", "i2sb", *SMALL]).settings()
    bundle, (_, *weights) = tmp_path / "model.safetensors", drawn(config)
    write_bundle(bundle, {DENOISER: tuple(weights)}, config.diffusion.create().published(), config)
    to_onnx.main([str(bundle), "--output", str(tmp_path / "artifact"), "--variants", "fp32"])
    assert "choose --sampler dbim or dbim2" in "".join(capsys.readouterr())
    assert not (tmp_path / "artifact/onnx/sampler.onnx").exists()
    Image.fromarray(render_pair(0, 32)[0]).save(tmp_path / "photo.png")
    edge.main([str(tmp_path / "artifact"), str(tmp_path / "photo.png"), str(tmp_path / "sunset.png")])
    assert (tmp_path / "sunset.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--diffusion.process", "brige"], "error: --diffusion.process is 'brige': choose one of bridge"),
        (
            [*PROCESSES["flow"], "--diffusion.start-noise", "-1"],
            "error: diffusion.start_noise is -1.0: choose 0 or more",
        ),
        (
            [*PROCESSES["bridge"], "--diffusion.cond-dropout", "0.1"],
            "error: diffusion.cond_dropout is 0.1: the process",
        ),
    ],
)
def test_a_mistake_is_one_line_with_status_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: train.main(["tiny", *words, "--output-dir", str(tmp_path / "run")]))
    said = "".join(capsys.readouterr())
    assert ended.value.code == 2 and said.startswith(message) and said.count("\n") == 1, said
    assert not (tmp_path / "run").exists()
