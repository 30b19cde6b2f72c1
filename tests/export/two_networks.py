"""A bundle of two networks, from one of which its only sampler starts."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import save_file

from export.edge.model.bundles import bundle_metadata, bundle_tensors
from export.edge.model.layout import DENOISER
from export.edge.sampling.table import Plan
from torch_ref.weights import load_bundle


def write_two(path: Path, one: Path, other: str, source: str = "mean") -> Path:
    """The bundle `one`, with its weights halved as a network `other`; the only sampler starts from the one `source`."""
    bundle = load_bundle(one)
    bundle.config["diffusion"] |= {"sampler": "direct", "sample_steps": 2}
    weights = bundle.networks[DENOISER]
    held = {DENOISER: weights, other: {name: value / 2 for name, value in weights.items()}}
    columns = {"x0_from_output": [1.0, 1.0], "next_from_x0": [1.0, 1.0], "start_from_noise": 0.5}
    plan = Plan.from_columns({"t": [99, 49], **columns, "start_from_source": 1.0, "source": source})
    tensors = bundle_tensors(held, None)
    save_file(tensors, path, bundle_metadata(tensors, json.dumps(bundle.config), (), held, {"direct": {2: plan}}))
    return path
