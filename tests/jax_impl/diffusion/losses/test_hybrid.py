"""The hybrid loss on numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.choices import Prediction
from export.edge.errors import UserError
from jax_impl.diffusion.gaussian import DiffusionConfig, GaussianProcess
from jax_impl.diffusion.losses.hybrid import HybridConfig, min_snr
from jax_impl.diffusion.losses.registry import Losses, LossSample
from jax_impl.diffusion.process import Levels


def judged(output: jax.Array, config: HybridConfig, levels: Levels | None = None) -> tuple[jax.Array, dict]:
    """The value and parts of an output whose target is 0."""
    zero, one = jnp.zeros_like(output), jnp.ones((len(output), 1, 1, 1))
    t = jnp.zeros(len(output), int)
    levels = Levels(one, one, one) if levels is None else levels
    sample = LossSample(zero, zero, zero, t, zero, output, zero, zero, levels)
    return Losses((config,))(sample, jax.random.key(0), {})


def test_by_hand() -> None:
    output = jnp.asarray([1.0, -2.0, 0.0, 3.0]).reshape(1, 2, 2, 1)
    value, terms = judged(output, HybridConfig())
    loss = terms["loss"]
    assert value.shape == (1,)
    assert float(terms["mse"]) == pytest.approx((1 + 4 + 0 + 9) / 4)
    assert float(terms["mae"]) == pytest.approx((1 + 2 + 0 + 3) / 4)
    assert float(loss) == pytest.approx(3.5 + 0.1 * 1.5)


def test_gradient_by_hand() -> None:
    gradient = jax.grad(lambda o: judged(o, HybridConfig())[1]["loss"])(jnp.asarray([[[[2.0, -0.5]]]]))
    # d/do (o²/2 + 0.1 |o|/2) = o + 0.05 sign(o)
    assert gradient.reshape(-1).tolist() == pytest.approx([2.05, -0.55])


def test_a_weight_scales_each_picture() -> None:
    """SNR 4 and 1/4 below gamma, for a network that says x0: the weights are 4 and 1/4."""
    signal, noise = (jnp.asarray(values).reshape(2, 1, 1, 1) for values in ([2.0, 0.5], [1.0, 1.0]))
    output = jnp.asarray([[[[1.0]]], [[[-3.0]]]])
    value, terms = judged(output, HybridConfig(weighting="min_snr"), Levels(signal, noise, jnp.ones_like(signal)))
    assert value.tolist() == pytest.approx([4 * 1 * 1.1, 0.25 * (9 + 0.3)])
    assert float(terms["mse"]) == pytest.approx((4 * 1 + 0.25 * 9) / 2)
    assert float(terms["mae"]) == pytest.approx((4 * 1 + 0.25 * 3) / 2)
    assert float(terms["loss"]) == pytest.approx(float(terms["mse"]) + 0.1 * float(terms["mae"]))


@pytest.mark.parametrize(("setting", "value"), [("mae_weight", -0.1), ("snr_gamma", 0.0), ("weight", -1.0)])
def test_each_refusal_names_its_setting(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"losses\.hybrid\.{setting} is {value}"):
        HybridConfig(**{setting: value})


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_is_one_weight_of_x0_whatever_is_predicted(prediction: Prediction) -> None:
    """The same squared error of x0 costs min(SNR, γ) times itself in any parametrisation."""
    alpha_bar = np.array([1 - 1e-4, 0.9, 5 / 6, 0.5, 0.01, 1e-6])
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    error_of_x0 = 0.37
    # eps, x0 and v of one x_t differ by these factors when x0 is off by 1 (Salimans & Ho 2022, appendix D).
    factor = {"eps": signal / noise, "x0": np.ones(6), "v": 1 / noise}[prediction]
    process = GaussianProcess(DiffusionConfig(prediction=prediction), alpha_bar)
    picture = jnp.zeros((6, 1, 1, 1))
    levels = process.corrupt(picture, picture, jnp.arange(6), picture).levels
    weight = np.asarray(min_snr(levels, 5.0)).ravel()
    expected = np.minimum(alpha_bar / (1 - alpha_bar), 5.0) * error_of_x0**2
    np.testing.assert_allclose(weight * (factor * error_of_x0) ** 2, expected, rtol=1e-4)
