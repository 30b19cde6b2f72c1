"""Level a passes at random sizes, and sees faults that converted weights and re-written norms are shipped with."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jax_impl.model import attention as jax_attention
from jax_impl.model import blocks as jax_blocks
from jax_impl.model import seed_unet as jax_seed_unet
from tests.parity.block_cases import BLOCKS
from tests.parity.blocks import DTYPES, block, blocks, embedding
from tests.parity.case import LONGEST, Size
from torch_ref.weights import LEAVES

SIZES = st.builds(
    Size,
    batch=st.integers(1, 3),
    height=st.integers(2, LONGEST),
    width=st.integers(2, LONGEST),
    channels=st.integers(1, 8),
    out=st.integers(1, 8),
    groups=st.integers(1, 8),
    patch=st.sampled_from([2, 4, 8]),
)
SQUARE = Size(batch=2, height=5, width=7, channels=4, out=4, groups=2, patch=2)
"""As many channels in as out, so that swapping the two makes no error of shape; odd sides, for stride 2."""
NORMS = {"BatchNorm, training", "BatchNorm, evaluation", "seed block, training", "seed block, evaluation"} | {
    "seed up block, training",
    "seed up block, evaluation",
}


def verdicts(name: str, dtype: str = "float64") -> dict[str, bool]:
    """Which quantities of a block pass."""
    lines = block(name, [SQUARE], dtype, seed=0)
    return {line.what.removeprefix(f"{name}: ").partition(",")[0]: line.passed for line in lines}


@cache
def healthy(name: str, dtype: str = "float64") -> bool:
    """Whether the block passes without a fault; asked before one is planted."""
    return all(verdicts(name, dtype).values())


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=2)
@given(size=SIZES, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_a_block_at_random_sizes(name: str, size: Size, dtype: str, seed: int) -> None:
    lines = list(block(name, [size], dtype, seed))
    for line in lines:
        assert line.passed, line
    found = {line.what.removeprefix(f"{name}: ").partition(",")[0] for line in lines}
    assert found == {"output", "gradients"} | ({"statistics"} if name in NORMS else set())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_embedding_of_every_timestep(dtype: str) -> None:
    lines = list(embedding(dtype))
    assert len(lines) == 2 and all(line.passed for line in lines), lines


@pytest.mark.slow  # The tests above compare the same blocks, each by itself.
def test_the_level_compares_every_block_in_every_way() -> None:
    lines = list(blocks(examples=1))
    for line in lines:
        assert line.level == "a"
        assert line.passed, line
    found = {(line.what.rpartition(": ")[0], line.what.rpartition(": ")[2].partition(",")[0]) for line in lines}
    expected = {(name, quantity) for name in BLOCKS for quantity in ("output", "gradients")}
    expected |= {(name, "statistics") for name in NORMS} | {("sinusoidal time embedding", "output")}
    assert found == expected
    assert len(lines) == 2 * (len(expected) + 1)  # two kinds of integer for the embedding; two dtypes for all


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [(3, 2, 1, 0), (2, 3, 0, 1)], ids=["height and width", "in and out"])
@pytest.mark.parametrize("name", ["conv 3×3", "conv 3×3, stride 2"])
def test_a_swapped_kernel_axis(name: str, axes: tuple[int, ...], dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert healthy(name, dtype)
    monkeypatch.setitem(LEAVES, (nn.Conv2d, "weight"), ("kernel", axes))
    assert verdicts(name, dtype) == {"output": False, "gradients": False}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", [0.99, 0.01], ids=["0.99 of the new", "0.99 of the old"])
def test_another_momentum(momentum: float, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert healthy("BatchNorm, training", dtype)
    monkeypatch.setattr(jax_blocks, "BATCH_NORM_MOMENTUM", momentum)
    found = verdicts("BatchNorm, training", dtype)
    assert found == {"output": True, "gradients": True, "statistics": False}
    assert all(verdicts("BatchNorm, evaluation", dtype).values())


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("BatchNorm, training", "float32"),
        ("BatchNorm, training", "float64"),
        # Running variances are of unit size: what is left of 1e-5 - 1e-6 is below float32's tolerance.
        ("BatchNorm, evaluation", "float64"),
        ("GroupNorm", "float32"),
        ("GroupNorm", "float64"),
        ("residual block", "float64"),
    ],
)
def test_another_epsilon(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert healthy(name, dtype)
    monkeypatch.setattr(jax_blocks, "NORM_EPSILON", 1e-6)
    found = verdicts(name, dtype)
    assert not found["output"]
    assert not found["gradients"]
    assert found.get("statistics", True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_biased_running_variance(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = jax_blocks.BatchNorm.__call__

    def biased(self: jax_blocks.BatchNorm, x: jax.Array, *, train: bool) -> jax.Array:
        before = self.var[...]
        output = original(self, x, train=train)
        if train:
            self.var[...] = 0.9 * before + 0.1 * jax.lax.stop_gradient(jnp.var(x, axis=(0, 1, 2)))
        return output

    assert healthy("BatchNorm, training", dtype)
    monkeypatch.setattr(jax_blocks.BatchNorm, "__call__", biased)
    assert verdicts("BatchNorm, training", dtype) == {"output": True, "gradients": True, "statistics": False}


@pytest.mark.parametrize("name", ["transposed conv 2×2, stride 2", "seed up block, evaluation"])
def test_a_flipped_transposed_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without transpose_kernel and with the axes put so that the shapes fit, the kernel is mirrored in silence."""

    def flipped(self: jax_seed_unet.UpConv, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].swapaxes(2, 3)
        return jax.lax.conv_transpose(x, kernel, (2, 2), "VALID", transpose_kernel=False) + self.bias[None, None, None]

    assert healthy(name)
    monkeypatch.setattr(jax_seed_unet.UpConv, "__call__", flipped)
    found = verdicts(name)
    assert not found["output"]
    assert not found["gradients"]


@pytest.mark.parametrize("parts", [(1, 0, 2), (0, 2, 1)], ids=["query and key", "key and value"])
@pytest.mark.parametrize("name", ["self-attention", "attention to a context too"])
def test_exchanged_parts_of_attention(name: str, parts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The three have the same shape, so that the wrong one fits in silence."""
    attend = jax_attention.attend

    def exchanged(*qkv: jax.Array) -> jax.Array:
        # Where there is a context, queries are fewer than keys: only what has the same shape can be mistaken.
        q, k, v = (qkv[i] for i in parts)
        return attend(q, k, v) if q.shape == qkv[0].shape else attend(qkv[0], qkv[1], qkv[1])

    assert healthy(name)
    monkeypatch.setattr(jax_attention, "attend", exchanged)
    assert not verdicts(name)["output"]
