"""The realism stage's loss terms and its discriminator, value and gradient, beside torch in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor

from jax_impl.diffusion.losses import adversarial as ours
from jax_impl.diffusion.losses import texture
from jax_impl.diffusion.losses.anchor import AnchorConfig
from jax_impl.diffusion.losses.colour import ColourConfig
from jax_impl.diffusion.losses.laplacian import LaplacianConfig
from jax_impl.diffusion.losses.registry import LossSample
from jax_impl.diffusion.process import Levels
from jax_impl.model import discriminator
from jax_impl.model.network import flatten
from torch_ref import discriminator as theirs
from torch_ref import losses as torch_losses
from torch_ref import texture as torch_texture

BATCH, CLOSE = 4, 1e-10


def pictures(seed: int, height: int = 32, width: int = 24) -> np.ndarray:
    """Smooth pictures with grain, float64 (BATCH, height, width, 3)."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(-1, 1, height)[None, :, None, None] * rng.normal(size=(BATCH, 1, 1, 3))
    return slope + 0.3 * rng.normal(size=(BATCH, height, width, 3))


OUTPUT, X0, COND = (pictures(seed) for seed in range(3))


def to_torch(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array).transpose(0, 3, 1, 2).copy())


def nhwc(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def sample_of(output: jax.Array) -> LossSample:
    """What a network that says x0 leads to."""
    x0, cond, one = jnp.asarray(X0), jnp.asarray(COND), jnp.ones((BATCH, 1, 1, 1))
    t = jnp.zeros(BATCH, jnp.int32)
    return LossSample(cond, x0, 0 * x0, t, 0 * x0, output, x0, output, Levels(0 * one, one, one))


def torch_sample_of(output: Tensor) -> torch_losses.LossSample:
    x0, cond, one = to_torch(X0), to_torch(COND), torch.ones(BATCH, 1, 1, 1, dtype=torch.float64)
    t = torch.zeros(BATCH, dtype=torch.int64)
    return torch_losses.LossSample(cond, x0, 0 * x0, t, 0 * x0, output, x0, 0 * one, one, "x0")


def in_jax(loss: Callable[[jax.Array], jax.Array]) -> tuple[float, np.ndarray]:
    """Value and gradient with respect to the output."""
    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(OUTPUT))
    assert value.dtype == gradient.dtype == np.float64
    return float(value), np.asarray(gradient)


def in_torch(loss: Callable[[Tensor], Tensor]) -> tuple[float, np.ndarray]:
    output = to_torch(OUTPUT).requires_grad_()
    value = loss(output)
    value.backward()
    return float(value.detach()), nhwc(output.grad)


def assert_same(found: tuple[float, np.ndarray], wanted: tuple[float, np.ndarray]) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=CLOSE)
    assert np.abs(wanted[1]).max() > 1e-6
    np.testing.assert_allclose(found[1], wanted[1], rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("patches", [1 << 20, 500])
def test_texture(patches: int) -> None:
    """The same directions and grids of patches go to both sides."""
    levels, count = 3, 8
    rng = np.random.default_rng(9)
    with jax.enable_x64(True):
        bands = [texture.pyramid(jnp.asarray(p), levels) for p in (OUTPUT, X0, COND)]
        shapes = [band.shape for band in bands[0]]
    assert [shape[1:3] for shape in shapes] == [(32, 24), (16, 12)]  # 12 has room for no further level
    strides = [texture.grid_stride(shape, patches) for shape in shapes]
    assert (max(strides) > 1) == (patches == 500)
    kernels = [rng.normal(size=(7, 7, 6, count)) for _ in shapes]
    corners = [rng.integers(0, stride, 2) for stride in strides]

    def jax_loss(output: jax.Array) -> jax.Array:
        found = zip(*(texture.pyramid(p, levels) for p in (output, jnp.asarray(X0), jnp.asarray(COND))), strict=True)
        draws = zip(found, kernels, corners, strides, strict=True)
        return sum(
            (texture.band_distance(b, jnp.asarray(k), jnp.asarray(c, jnp.int32), s) for b, k, c, s in draws),
            jnp.zeros(()),
        )

    def torch_loss(output: Tensor) -> Tensor:
        found = zip(*(torch_texture.pyramid(p, levels) for p in (output, to_torch(X0), to_torch(COND))), strict=True)
        total = torch.zeros((), dtype=torch.float64)
        for b, k, (row, column), s in zip(found, kernels, corners, strides, strict=True):
            assert torch_texture.grid_stride(b[0].shape, patches) == s
            kernel = torch.from_numpy(k.transpose(3, 2, 0, 1).copy())
            total = total + torch_texture.band_distance(b, kernel, (int(row), int(column)), s)
        return total

    assert_same(in_jax(jax_loss), in_torch(torch_loss))


@pytest.mark.parametrize(
    "settings",
    [*(ColourConfig(side=side) for side in (8, 5, 64)), *(LaplacianConfig(levels=n) for n in (2, 4))],
    ids=str,
)
def test_a_term_of_pictures_alone(settings: ColourConfig | LaplacianConfig) -> None:
    own = {name: value for name, value in asdict(settings).items() if name not in ("term", "weight")}
    term, wanted, key = settings.create(), torch_losses.LOSSES[settings.term](own), jax.random.key(0)
    assert_same(
        in_jax(lambda output: jnp.mean(term(sample_of(output), key, {})[0])),
        in_torch(lambda output: wanted(torch_sample_of(output), None, {})[0].mean()),
    )


REALISM = np.array([0.0, 0.25, 0.7, 1.0])


def test_colour_by_realism() -> None:
    term, wanted = ColourConfig(at_mean=7.0).create(), torch_losses.colour({"at_mean": 7.0})
    aux = {"realism": torch.from_numpy(REALISM)}
    assert_same(
        in_jax(
            lambda output: jnp.mean(term(sample_of(output), jax.random.key(0), {"realism": jnp.asarray(REALISM)})[0])
        ),
        in_torch(lambda output: wanted(torch_sample_of(output), None, aux)[0].mean()),
    )


@pytest.mark.parametrize(("progress", "at_mean"), [(0.0, 100.0), (0.3, 7.0), (1.0, 100.0)])
def test_anchor(progress: float, at_mean: float) -> None:
    settings = {"end": 0.1, "at_mean": at_mean}
    term, wanted = AnchorConfig(**settings).create(), torch_losses.anchor(settings)
    mean, key = pictures(5), jax.random.key(0)

    def given(array: Callable[[np.ndarray], Any], picture: Callable[[np.ndarray], Any]) -> dict[str, Any]:
        return {"mean": picture(mean), "progress": array(np.array(progress)), "realism": array(REALISM)}

    assert_same(
        in_jax(lambda output: jnp.mean(term(sample_of(output), key, given(jnp.asarray, jnp.asarray))[0])),
        in_torch(lambda output: wanted(torch_sample_of(output), None, given(torch.from_numpy, to_torch))[0].mean()),
    )


WIDTH = 3
SHIFT, HOLE = (7, 1), (20, 3)


@pytest.fixture(scope="module")
def weights() -> Any:
    """A discriminator's, float64, its biases not zero."""
    rng = np.random.default_rng(3)
    fresh = discriminator.fresh(3, WIDTH, jax.random.key(1))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + 0.1 * rng.normal(size=leaf.shape), fresh)


@pytest.fixture(scope="module")
def torch_side(weights: Any) -> theirs.Discriminator:
    model = theirs.Discriminator(3, WIDTH).double()
    flat = flatten(weights)
    state = {
        name: torch.from_numpy(
            flat[name.replace("weight", "kernel")].transpose((3, 2, 0, 1)).copy()
            if name.endswith("weight")
            else flat[name].copy()
        )
        for name in model.state_dict()
    }
    model.load_state_dict(state)
    return model


CHANGES = ours.Changes(
    np.array(SHIFT, np.int32), np.array(HOLE, np.int32),
    np.linspace(0.8, 1.2, BATCH).reshape(BATCH, 1, 1, 1), np.linspace(-0.2, 0.1, BATCH).reshape(BATCH, 1, 1, 1),
)  # fmt: skip


def test_generator_loss_behind_the_augmentation(weights: Any, torch_side: theirs.Discriminator) -> None:
    def jax_loss(output: jax.Array) -> jax.Array:
        shown = ours.Shown(jnp.asarray(COND), output, jnp.asarray(X0))
        shown = ours.changed(shown, ours.Changes(*map(jnp.asarray, CHANGES)))
        return jnp.mean(ours.generator_loss(lambda p, c: discriminator.scores(3, WIDTH, weights, p, c), shown))

    def torch_loss(output: Tensor) -> Tensor:
        colours = [torch.from_numpy(values) for values in CHANGES[2:]]
        shown = theirs.changed(theirs.Shown(to_torch(COND), output, to_torch(X0)), SHIFT, HOLE, *colours)
        return theirs.generator_loss(torch_side, shown).mean()

    assert_same(in_jax(jax_loss), in_torch(torch_loss))


@pytest.mark.parametrize("every", [1, 3])
def test_discriminator_step(weights: Any, torch_side: theirs.Discriminator, every: int) -> None:
    """Value, penalties of second order included, and the gradient of every weight."""
    with jax.enable_x64(True):
        shown = ours.Shown(*map(jnp.asarray, (COND, OUTPUT, X0)))

        def jax_loss(weights: Any) -> jax.Array:
            scores = lambda p, c: discriminator.scores(3, WIDTH, weights, p, c)  # noqa: E731
            return ours.discriminator_loss(scores, shown, 0.7, every)[0]

        value, gradient = jax.jit(jax.value_and_grad(jax_loss))(jax.tree.map(jnp.asarray, weights))
    torch_side.zero_grad()
    wanted = theirs.discriminator_loss(torch_side, theirs.Shown(*map(to_torch, (COND, OUTPUT, X0))), 0.7, every)
    wanted.backward()
    assert float(value) == pytest.approx(float(wanted.detach()), rel=CLOSE)
    flat = flatten(gradient)
    assert len(flat) == 12
    for name, parameter in torch_side.named_parameters():
        assert parameter.grad is not None
        theirs_there = parameter.grad.numpy()
        ours_there = np.asarray(flat[name.replace("weight", "kernel")])
        ours_there = ours_there.transpose(3, 2, 0, 1) if ours_there.ndim == 4 else ours_there
        np.testing.assert_allclose(ours_there, theirs_there, rtol=CLOSE, atol=CLOSE, err_msg=name)


def test_its_size_is_that_of_the_paper_row() -> None:
    """0.37 M parameters at the default width."""
    shapes = jax.eval_shape(lambda: discriminator.fresh(3, 32, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == pytest.approx(0.45e6, rel=0.2)
