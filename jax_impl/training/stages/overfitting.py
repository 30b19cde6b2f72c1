"""Has a discriminator learned the training pairs by heart? Its scores of pairs that it never saw tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.model.layout import DENOISER
from jax_impl.diffusion.losses.adversarial import Scores
from jax_impl.model.network import Tree
from jax_impl.training.batches import to_unit
from jax_impl.training.interfaces import Batch, NamedNetworks
from jax_impl.training.objective import Problem

OVERFITTING = "overfitting"
"""Name of the gauge in the metrics log."""
TOO_MUCH = 0.6
"""The value that adaptive augmentation keeps the gauge under (Karras et al. 2020, section 3.1)."""
_SMALLEST_LEAD = 1e-3
"""Of real over generated scores: with less, the discriminator has learned nothing yet, and the gauge is 0."""

Gauge = Callable[[Tree, NamedNetworks, Batch, Batch], Mapping[str, float]]
"""(discriminator's weights, networks, training pairs, held-out pairs) to figures for the log."""


def make_gauge(problem: Problem, scores_of: Callable[[Tree], Scores]) -> Gauge:
    """The gauge of a denoiser with that discriminator, on whole pictures without augmentation.

    overfitting = (E[D(training)] - E[D(held-out)]) / (E[D(training)] - E[D(generated)]), of Karras et al. 2020
    ("Training generative adversarial networks with limited data", equation 1): 0 where the discriminator scores real
    pairs alike, 1 where it takes held-out pairs for generated ones. The generated pictures are those of the held-out
    inputs. Beside it stand the three mean scores.
    """

    @jax.jit
    def mean_scores(weights: Tree, networks: NamedNetworks, cond: jax.Array, x0: jax.Array) -> tuple[jax.Array, ...]:
        cond, x0 = (problem.codec.encode(to_unit(side)) for side in (cond, x0))
        noise = jax.random.normal(jax.random.key(0), x0.shape, x0.dtype)
        t = jnp.zeros(len(x0), jnp.int32)
        noised = problem.process.corrupt(x0, cond, t, noise)
        output, _ = problem.network.apply(*networks[DENOISER], noised.x_t, cond, noised.t)
        generated = problem.process.to_x0(output, noised.x_t, noised.t)
        score = scores_of(weights)
        return jnp.mean(score(x0, cond)), jnp.mean(score(generated, cond))

    def gauge(weights: Tree, networks: NamedNetworks, train: Batch, held_out: Batch) -> dict[str, float]:
        size = problem.config.train.batch_size

        def of(pairs: Batch) -> np.ndarray:
            starts = range(0, len(pairs.x0), size)
            batches = [Batch(*(jnp.asarray(side[n : n + size]) for side in pairs)) for n in starts]
            found = [jax.device_get(mean_scores(weights, networks, *batch)) for batch in batches]
            return np.average(np.array(found, np.float64), axis=0, weights=[len(batch.x0) for batch in batches])

        (training, _), (unseen, generated) = of(train), of(held_out)
        lead = training - generated
        share = (training - unseen) / lead if lead > _SMALLEST_LEAD else 0.0
        scores = {"score_training": training, "score_held_out": unseen, "score_generated": generated}
        return {OVERFITTING: float(share), **{name: float(value) for name, value in scores.items()}}

    return gauge


def warning(figures: Mapping[str, float]) -> str | None:
    """What to say where the gauge is too high."""
    if figures.get(OVERFITTING, 0.0) <= TOO_MUCH:
        return None
    return (
        f"warning: the discriminator knows the training pairs by heart (overfitting {figures[OVERFITTING]:.2f}; 0 is "
        f"none, 1 is complete): use more pairs, fewer epochs of the stage realism, or a larger gamma"
    )
