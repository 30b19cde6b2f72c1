"""Write the network of a bundle as an ONNX file with jax2onnx; direct_export.py runs this in an environment of its own.

`python -m tests.parity.direct_convert model.safetensors SIZE direct.onnx`. The bundle is
opened here once more, so that nothing but the network is shared with what is checked.
"""

from __future__ import annotations

import sys
from unittest import mock

import jax
import jax.numpy as jnp
from jax2onnx import to_onnx
from safetensors import safe_open

from jax_impl.config.as_json import from_json
from jax_impl.model.network import build

RESIZE = jax.image.resize


def convert(bundle: str, size: int, output: str) -> None:
    """Inputs x_t, cond float32 (B, size, size, 3, or 5 of cond) and t int32 (B,), any batch B; one output like x_t."""
    with safe_open(bundle, framework="numpy") as file:
        config = from_json(file.metadata()["config"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    network, params, stats = build(config, jax.random.key(0))

    def fill(path: tuple, leaf: jax.Array) -> jax.Array:
        return jnp.asarray(weights[".".join(str(part.key) for part in path)].reshape(leaf.shape), leaf.dtype)

    params, stats = (jax.tree_util.tree_map_with_path(fill, tree) for tree in (params, stats))

    def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        # jax2onnx traces with an operator of its own in place of `resize`, which takes neither a free batch nor
        # antialias=True (JAX's default, without effect where a picture is enlarged). JAX's own resize is made of
        # operators that it does take.
        with mock.patch.object(jax.image, "resize", RESIZE):
            return network.apply(params, stats, x_t, cond, t)[0]

    x_t, cond = (jax.ShapeDtypeStruct(("B", size, size, c), jnp.float32) for c in (3, config.model.cond_channels))
    inputs = [x_t, cond, jax.ShapeDtypeStruct(("B",), jnp.int32)]
    names = {"input_names": ["x_t", "cond", "t"], "output_names": ["output"]}
    to_onnx(denoise, inputs, return_mode="file", output_path=output, **names)


if __name__ == "__main__":
    convert(sys.argv[1], int(sys.argv[2]), sys.argv[3])
