"""The exported file of a network with coordinates: what it takes, and that the check sees where its pixels lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.denoiser_graph import metadata
from export.edge.model.artifact import open_artifact
from export.edge.sampling import coordinates
from export.verify import BAR, compare, comparisons
from torch_ref.weights import Bundle, load_bundle

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(make_artifact: Make) -> tuple[Bundle, Path]:
    folder = make_artifact("coordinates")
    return load_bundle(folder / "model.safetensors"), folder / "artifact" / "onnx" / "model.onnx"


def test_cond_has_five_channels_and_every_size_is_free(exported: tuple[Bundle, Path]) -> None:
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in onnx.load(exported[1]).graph.input
    }
    assert shapes == {"x_t": ["batch", 3, "height", "width"], "cond": ["batch", 5, "height", "width"], "t": ["batch"]}
    assert metadata(exported[0])["coordinates"] == "true"
    assert open_artifact(exported[1]).coordinates


def test_files_of_other_networks_say_that_they_have_none(make_bundle: Make, tmp_path: Path) -> None:
    for kind in ("seed", "unet"):
        assert metadata(load_bundle(make_bundle(tmp_path / kind, kind)))["coordinates"] == "false"


def test_the_check_tries_whole_pictures_and_parts(
    exported: tuple[Bundle, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare(*exported) <= BAR
    # The edge now measures places from the corners of pixels: only whole pictures, to which it adds them, suffer.
    monkeypatch.setattr(coordinates, "centres", lambda count: np.linspace(-1.0, 1.0, count))
    wrong = {row.batch for row in comparisons(*exported) if row.difference > 10 * BAR}
    right = {row.batch for row in comparisons(*exported) if row.difference <= BAR}
    assert (wrong, right) == ({1}, {2, 3})
