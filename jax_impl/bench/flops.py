"""What a train step has to compute, counted from the network's shapes, and what devices can."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jax_impl.config.tree import Config
from jax_impl.model.codec import CodecConfig
from jax_impl.model.learned_codec import LearnedCodecConfig
from jax_impl.model.network import outline

PEAK: dict[str, dict[str, float]] = {
    # Part of JAX's device_kind: TFLOP/s without sparsity by the makers' data sheets. float32 is what JAX does by
    # default with float32 arrays: TF32 on NVIDIA's, one bfloat16 pass on TPUs.
    "H200": {"bfloat16": 989.4, "float32": 494.7},
    "H100 PCIe": {"bfloat16": 756.0, "float32": 378.0},
    "H100": {"bfloat16": 989.4, "float32": 494.7},
    "A100": {"bfloat16": 312.0, "float32": 156.0},
    "TPU v4": {"bfloat16": 275.0, "float32": 275.0},
    "TPU v5 lite": {"bfloat16": 197.0, "float32": 197.0},
    "TPU v5e": {"bfloat16": 197.0, "float32": 197.0},
    "TPU v5": {"bfloat16": 459.0, "float32": 459.0},
}


def peak_flops(device_kind: str, dtype: str) -> float | None:
    """FLOP/s of a device by its name, or None for one that the table lacks; the first entry that fits counts."""
    for name, peaks in PEAK.items():
        if name in device_kind:
            return peaks[dtype] * 1e12
    return None


def step_flops(config: Config) -> float:
    """FLOPs of one train step by the usual formula: 6 for each multiply-accumulate of the forward pass.

    Two for the forward pass, and twice that for the gradients of inputs and of weights (Kaplan et al. 2020, section
    2.1). Convolutions and matrix products count, all else does not. With a codec that is learned it is a step of the
    stage after: its encoder is added, 2 for each multiply-accumulate, which has no gradients there.
    """
    network, params, stats = outline(config)
    side, rows = config.data.crop_size or config.data.size, config.train.batch_size
    *sides, channels = config.codec.state_shape((rows, side, side))
    picture = jax.ShapeDtypeStruct((*sides, channels), jnp.float32)
    cond = jax.ShapeDtypeStruct((*sides, channels + config.model.cond_channels - 3), jnp.float32)
    t = jax.ShapeDtypeStruct((rows,), jnp.int32)
    program = jax.make_jaxpr(lambda *given: network.apply(*given)[0])(params, stats, picture, cond, t)
    return 6.0 * _all_macs(program) + 2.0 * _encoding(config.codec, (2 * rows, side, side, 3))


def _encoding(codec: CodecConfig, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of encoding pictures of that shape; 0 for a codec without weights."""
    if not isinstance(codec, LearnedCodecConfig):
        return 0
    weights = jax.eval_shape(codec.fresh, jax.random.key(0))
    program = jax.make_jaxpr(lambda weights, pictures: codec.apply(weights).encode(pictures))
    return _all_macs(program(weights, jax.ShapeDtypeStruct(shape, jnp.float32)))


def _all_macs(program: Any) -> int:
    return sum(_macs(equation) for equation in equations(program.jaxpr))


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program, those of the functions it calls included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def _macs(equation: Any) -> int:
    """Multiply-accumulates of a convolution or a matrix product; 0 for anything else."""
    name, (out,) = equation.primitive.name, [v.aval.shape for v in equation.outvars][:1] or [()]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return math.prod(out) * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
        return math.prod(out) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
    return 0
