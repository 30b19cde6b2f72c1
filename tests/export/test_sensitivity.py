"""The trial of single layers ranks them as onnxruntime's own 8 bits do, and leaves the network as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import precision, sensitivity
from export.edge.model.artifact import open_artifact
from export.probes import paint_probe
from export.scoring import visited
from export.sensitivity import Layer
from torch_ref.weights import load_bundle


@pytest.mark.parametrize("exported", ["seed", pytest.param("unet", marks=pytest.mark.slow)], indirect=True)
def test_what_it_finds_holds_in_onnxruntime(exported: tuple[Path, Path]) -> None:
    """There too the worst layers, each alone in 8 bits, spoil the output more than the best; it is left as it was."""
    bundle, model = load_bundle(exported[0]), onnx.load(exported[1])
    feeds = list(visited(open_artifact(exported[1]), [paint_probe(0, 24)]))
    before = {name: value.clone() for name, value in bundle.model.state_dict().items()}
    layers = sensitivity.by_error(bundle.model, feeds)
    assert all(torch.equal(before[name], value) for name, value in bundle.model.state_dict().items())
    names = [layer.name for layer in layers]
    assert set(names) == {precision.layer_name(node) for node in model.graph.node if node.op_type in precision.LAYERS}
    np.testing.assert_allclose(sum(layer.error for layer in layers), 1.0, rtol=1e-6)
    assert [layer.error for layer in layers] == sorted((layer.error for layer in layers), reverse=True)

    def error(name: str) -> float:
        made = precision.int8(model, feeds, [other for other in names if other != name])
        pairs = [(run(made, feed), run(model, feed)) for feed in feeds]
        return float(np.mean([np.square(found - wanted).mean() for found, wanted in pairs]))

    worst, best = (sorted(error(name) for name in part) for part in (names[:3], names[-3:]))
    assert worst[0] > 3.0 * best[-1]


def run(model: onnx.ModelProto, feeds: precision.Feeds) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["prediction"], dict(feeds))[0])


def test_what_is_kept() -> None:
    layers = [Layer("a", 0.5, 0.05), Layer("b", 0.3, 0.1), Layer("c", 0.15, 0.02), Layer("d", 0.05, 0.01)]
    assert sensitivity.kept(layers, 0.1, 1.0) == ["a", "b", "c"]
    assert sensitivity.kept(layers, 0.01, 0.1) == ["a", "c", "d"]
    assert sensitivity.kept(layers, 0.9, 1.0) == []
