"""The check of an exported file says what differs, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.edge.artifact import seal
from export.edge.errors import UserError
from export.verify import BAR, compare, main, measure
from torch_ref.weights import load_bundle

Make = Callable[..., Path]


def test_the_table(exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    bundle, path = exported
    rows = list(measure(load_bundle(bundle), path))
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
