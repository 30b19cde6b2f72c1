"""The hybrid loss on numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from jax_impl.diffusion.loss import hybrid_loss


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
