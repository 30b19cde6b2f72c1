"""The check of an exported file says what differs, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.edge.errors import UserError
from export.edge.model.sealed import seal
from export.edge.pictures.files import save_picture
from export.probes import paint_probe
from export.verify import BAR, compare, comparisons, main
from torch_ref.weights import load_bundle

Make = Callable[..., Path]


def test_the_table(exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    bundle, path = exported
    rows = list(comparisons(load_bundle(bundle), path))
    times = [t for row in rows for t in row.timesteps]
    assert (times[0], times[-1]) == (0, 99)
    assert times == sorted(times)
    assert {row.batch for row in rows} == {1, 2, 3}
    assert any(row.height != row.width for row in rows)
    main([str(bundle), str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows) + 2
    assert "24 x 24" in lines[3]
    assert lines[-1].startswith("largest difference")


def test_a_difference_is_measured(exported: tuple[Path, Path]) -> None:
    bundle = load_bundle(exported[0])
    assert compare(bundle, exported[1]) <= BAR
    with torch.no_grad():
        for name, value in bundle.model.named_parameters():
            if name in ("outc.0.bias", "conv_out.bias"):
                value.add_(0.01)
    assert compare(bundle, exported[1]) == pytest.approx(0.01, rel=1e-3)


def test_a_file_over_the_bar_is_an_error_after_the_table(
    exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(exported[1])
    for tensor in model.graph.initializer:
        if tensor.name in ("outc.0.bias", "conv_out.bias"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.5), tensor.name))
    onnx.save(model, tmp_path / "other.onnx")
    seal(tmp_path / "other.onnx")
    with pytest.raises(UserError, match="differs from torch by"):
        main([str(exported[0]), str(tmp_path / "other.onnx")])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_network_that_overflows_is_named(exported: tuple[Path, Path]) -> None:
    bundle = load_bundle(exported[0])
    with torch.no_grad():
        for value in bundle.model.parameters():
            value.fill_(float("nan"))
    with pytest.raises(UserError, match="is not finite"):
        compare(bundle, exported[1])


def test_a_file_of_other_weights_is_refused(exported: tuple[Path, Path], make_bundle: Make, tmp_path: Path) -> None:
    kind = load_bundle(exported[0]).config["model"]["architecture"]
    other = make_bundle(tmp_path / "other.safetensors", kind, gain=1.5)
    with pytest.raises(UserError, match="made from other weights"):
        main([str(other), str(exported[1])])


def test_a_whole_artifact(exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = exported[1].parents[1]
    for i in range(2):
        save_picture(tmp_path / f"{i}.png", paint_probe(i, 24))
    words = ["--pictures", str(tmp_path), "--targets", str(tmp_path), "--steps", "2", "--threads", "1"]
    main([str(folder), *words])
    out = capsys.readouterr().out
    assert "files are as they were written" in out
    assert "golden picture: largest difference 0 of 255" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("model")]
    files = sorted(path.name for path in folder.glob("onnx/model*.onnx"))
    # Once for what they cost and differ, once for the targets.
    assert [row[0] for row in rows] == 2 * files
    assert all(float(row[2]) > 0 for row in rows[: len(files)])
    assert all(float(row[1]) > 0 and float(row[-1]) > 0 and len(row) == 6 for row in rows[len(files) :])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{folder}/config.json"], "is no artifact's folder"),
        (["{folder}/onnx"], "SHA256SUMS does not exist"),
        (["{folder}", "--expect-sha256", 64 * "0"], "not the expected 0000"),
        (["{folder}", "--threads", "0"], "--threads 0 is less than 1"),
        (["{folder}", "--steps", "0"], r"steps 0 is outside 1 \.\.\. 100"),
        (["{folder}", "--targets", "{folder}"], "needs --pictures"),
        (["{folder}", "--pictures", "{folder}/onnx"], "holds no pictures"),
        (["{folder}", "--pictures", "{folder}/golden", "--targets", "{tmp}"], "has no picture called input"),
    ],
)
@pytest.mark.parametrize("exported", ["seed"], indirect=True)
def test_what_cannot_be_verified(words: list[str], message: str, exported: tuple[Path, Path], tmp_path: Path) -> None:
    save_picture(tmp_path / "other.png", paint_probe(0, 24))
    with pytest.raises(UserError, match=message):
        main([word.format(folder=exported[1].parents[1], tmp=tmp_path) for word in words])
