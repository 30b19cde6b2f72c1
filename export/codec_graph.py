"""A codec as two ONNX graphs, which devices, the page and sampler.onnx run (`export.edge.model.codec`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.denoiser_graph import completed, trace
from export.edge.errors import UserError
from export.edge.model import artifact, sealed
from export.edge.model.codec import DECODE, ENCODE, FORMAT, IDENTITY, SIDES, of_settings
from export.edge.model.layout import model_file
from export.edge.model.variants import REFERENCE, Variant
from torch_ref.codec import Side
from torch_ref.codec_weights import codec_in, transform_in
from torch_ref.weights import Bundle

FORMAT_VERSION = "1"
FILES = {name: {REFERENCE: Variant(f"{name}.onnx", None, "float32")} for name in SIDES}
"""What `networks.json` says of a codec that is not the identity."""


def build(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """ENCODE and DECODE as checked graphs with metadata, their digests still to be filled in; empty for the identity.

    Raises UserError for a codec without an entry in `torch_ref.codec.CODECS`.
    """
    codec = of_settings(bundle.config.get("codec", {}))
    if codec.name == IDENTITY:
        return {}
    found, factor = transform_in(bundle), codec.factor
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "codec": codec.to_json(),
        "weights_digest": bundle.weights_digest,
        "plugins": json.dumps(bundle.plugins),
        "file_digest": sealed.UNSEALED,
    }
    picture = torch.zeros(2, 3, 2 * factor, 3 * factor)
    graphs = {}
    for name, side, example, multiple in (
        (ENCODE, found.encode, picture, factor),
        (DECODE, found.decode, torch.zeros(2, codec.channels, 2, 3), 1),
    ):
        given, made = SIDES[name]
        described = (
            f"One side of the codec {codec.name}: from {given} to {made}. A picture is float32 (batch, 3, height, "
            f"width) in [-1, 1]; a state, before mean and std are applied, float32 (batch, {codec.channels}, "
            f"height / {factor}, width / {factor})."
        )
        graphs[name] = completed(trace(_Called(side).eval(), {given: example}, made, multiple), facts, described)
    return graphs


class _Called(nn.Module):
    """A function as a module; one that is a module becomes a part of it, with its weights."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        self.side = side

    def forward(self, values: Tensor) -> Tensor:
        return self.side(values)


def difference(bundle: Bundle, folder: Path) -> float:
    """How far an artifact's codec is from torch's: the largest difference of a state, and of what is made of it.

    Raises UserError for files of other weights, and for values that are not finite.
    """
    files = {name: model_file(folder, network=name) for name in SIDES}
    codec = artifact.open_codec(of_settings(bundle.config["codec"]), files, bundle.weights_digest)
    wanted = codec_in(bundle)
    shape = (3, 2 * codec.factor, 5 * codec.factor, 3)
    picture = np.random.default_rng(0).uniform(-1.0, 1.0, shape).astype(np.float32)
    with torch.inference_mode():
        state = wanted.encode(torch.from_numpy(picture).permute(0, 3, 1, 2))
        back = wanted.decode(state)
    found = codec.encode(picture)
    pairs = ((found, state), (codec.decode(found), back))
    differences = [np.abs(ours - theirs.permute(0, 2, 3, 1).numpy()).max() for ours, theirs in pairs]
    if not np.isfinite(differences).all():
        raise UserError(f"the codec {codec.name} gives values that are not finite; choose other weights of it")
    return float(max(differences))
