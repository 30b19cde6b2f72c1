"""Leave JAX: write a run's weights, configuration and schedule as one safetensors file.

`python -m jax_impl.bundle --run runs/x --output model.safetensors`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

from export.edge.errors import UserError, run
from export.edge.files import check_output_file
from jax_impl.config import DataConfig
from jax_impl.data.loader import batch_indices, load
from jax_impl.model.network import Tree
from jax_impl.run_folder import TrainedRun, open_run
from jax_impl.training.step import Batch, make_statistics_step
from jax_impl.weights import write_bundle

STATISTICS_BATCHES = 50
"""Training batches over which BatchNorm's statistics are re-estimated."""


@dataclass(frozen=True)
class BundleArgs:
    """Write a run's weights, configuration and schedule as one safetensors file."""

    run: Path
    """Run folder, as given to training."""
    output: Path
    """File to write, such as model.safetensors."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the bundle."""
    args = tyro.cli(BundleArgs, args=argv, prog="python -m jax_impl.bundle")
    check_output_file(args.output, "--output")
    if args.output.suffix != ".safetensors":
        raise UserError(f"--output {args.output} must end in .safetensors, the format that is written")
    trained = open_run(args.run)
    params, stats = final_weights(trained)
    digest = write_bundle(args.output, params, stats, trained.alphas_cumprod, trained.config)
    kind = "averaged" if trained.state.ema else "raw"
    print(f"{args.output}: {kind} weights after step {int(trained.state.step)}, digest {digest[:16]}")


def final_weights(trained: TrainedRun) -> tuple[Tree, Tree]:
    """Params and statistics to publish: the average of the weights, with statistics that belong to it."""
    state = trained.state
    if not state.ema:
        return state.params, state.stats
    if not state.stats:
        return state.ema, state.stats
    return state.ema, estimate_statistics(trained, state.ema)


def estimate_statistics(trained: TrainedRun, params: Tree) -> Tree:
    """BatchNorm statistics of `params`: the mean over batches of the run's own training data.

    Running statistics follow the raw weights and do not fit averaged ones.
    """
    config = trained.config
    data: DataConfig = config.data
    try:
        pairs = load(data, "train")
    except UserError as error:
        raise UserError(
            f"{error} (BatchNorm's statistics for the averaged weights are estimated from the training data: work in "
            "the folder that training was started in, or put the data back)"
        ) from None
    resident = Batch(jnp.asarray(pairs.cond), jnp.asarray(pairs.x0))
    step = make_statistics_step(trained.problem)
    mean, stats = None, trained.state.stats
    for n in range(STATISTICS_BATCHES):
        indices = batch_indices(config.train.seed, n, len(pairs.names), data.repeats, config.train.batch_size)
        batch_stats = step(params, stats, resident, jnp.asarray(indices), jax.random.key(n))
        weight = 1.0 / (n + 1)
        mean = batch_stats if mean is None else jax.tree.map(lambda m, b, w=weight: m + w * (b - m), mean, batch_stats)
    return mean


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
