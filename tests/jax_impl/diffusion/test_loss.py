"""The hybrid loss on numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.sampling.table import Prediction
from jax_impl.config.tree import DiffusionConfig
from jax_impl.diffusion.loss import hybrid_loss, loss_weight


def test_by_hand() -> None:
    output = jnp.asarray([1.0, -2.0, 0.0, 3.0]).reshape(1, 2, 2, 1)
    loss, terms = hybrid_loss(output, jnp.zeros((1, 2, 2, 1)), 0.1)
    assert float(terms["mse"]) == pytest.approx((1 + 4 + 0 + 9) / 4)
    assert float(terms["mae"]) == pytest.approx((1 + 2 + 0 + 3) / 4)
    assert float(loss) == pytest.approx(3.5 + 0.1 * 1.5)


def test_gradient_by_hand() -> None:
    gradient = jax.grad(lambda o: hybrid_loss(o, jnp.zeros((1, 1, 1, 2)), 0.1)[0])(jnp.asarray([[[[2.0, -0.5]]]]))
    # d/do (o²/2 + 0.1 |o|/2) = o + 0.05 sign(o)
    assert gradient.reshape(-1).tolist() == pytest.approx([2.05, -0.55])


def test_a_weight_scales_each_picture() -> None:
    output, zero = jnp.asarray([[[[1.0]]], [[[-3.0]]]]), jnp.zeros((2, 1, 1, 1))
    loss, terms = hybrid_loss(output, zero, 0.1, jnp.asarray([2.0, 0.5]).reshape(2, 1, 1, 1))
    assert float(terms["mse"]) == pytest.approx((2 * 1 + 0.5 * 9) / 2)
    assert float(terms["mae"]) == pytest.approx((2 * 1 + 0.5 * 3) / 2)
    assert float(loss) == pytest.approx(float(terms["mse"]) + 0.1 * float(terms["mae"]))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_is_one_weight_of_x0_whatever_is_predicted(prediction: Prediction) -> None:
    """The same squared error of x0 costs min(SNR, γ) times itself in any parametrisation."""
    alpha_bar = np.array([1 - 1e-4, 0.9, 5 / 6, 0.5, 0.01, 1e-6])
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    error_of_x0 = 0.37
    # eps, x0 and v of one x_t differ by these factors when x0 is off by 1 (Salimans & Ho 2022, appendix D).
    factor = {"eps": signal / noise, "x0": np.ones(6), "v": 1 / noise}[prediction]
    config = DiffusionConfig(prediction=prediction, loss_weight="min_snr", snr_gamma=5.0)
    weight = np.asarray(loss_weight(config, jnp.asarray(signal), jnp.asarray(noise)))
    expected = np.minimum(alpha_bar / (1 - alpha_bar), 5.0) * error_of_x0**2
    np.testing.assert_allclose(weight * (factor * error_of_x0) ** 2, expected, rtol=1e-4)
    assert loss_weight(DiffusionConfig(prediction=prediction), jnp.asarray(signal), jnp.asarray(noise)) == 1.0
