"""Leave JAX: write a run's weights, configuration and schedule as one safetensors file.

`python -m jax_impl.bundle --run runs/x --output model.safetensors`; with `--optimizer
optimizer.safetensors` AdamW's state too, for going on in the original script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.edge.disk.files import check_output_file
from export.edge.errors import UserError, run
from jax_impl.config.command import parse
from jax_impl.devices import memory_errors, start_devices
from jax_impl.runs.bundles import write_bundle, write_optimizer
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import (
    adam_state,
    choose_average,
    describe_weights,
    likeness_of_inputs,
    published,
    state_of_training,
    training_facts,
)
from jax_impl.training.checkpoint import NEWEST


@dataclass(frozen=True)
class BundleArgs:
    """Write a run's weights, configuration and schedule as one safetensors file."""

    run: Path
    """Run folder, as given to training."""
    output: Path
    """File to write, such as model.safetensors."""
    checkpoint: str = NEWEST
    """Checkpoint of --run: `newest`, `best` (lowest validation loss) or the number of a step."""
    ema_decay: float | None = None
    """Decay of the moving average to write; 0 for the raw weights. Default: optim.ema_decay."""
    optimizer: Path | None = None
    """File for AdamW's moments and the state of training, with which the original script can continue."""


@memory_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the bundle."""
    args = parse(BundleArgs, argv, "python -m jax_impl.bundle")
    for name, path in (("--output", args.output), ("--optimizer", args.optimizer)):
        if path is not None:
            check_output_file(path, name)
            if path.suffix != ".safetensors":
                raise UserError(f"{name} {path} must end in .safetensors, the format that is written")
    if args.optimizer is not None and args.optimizer.resolve() == args.output.resolve():
        raise UserError(f"--optimizer {args.optimizer} is the file of --output; name another")
    start_devices()
    trained = choose_average(open_run(args.run, args.checkpoint), args.ema_decay)
    facts = training_facts(args.run, trained) if args.optimizer is not None else {}
    process = trained.problem.process.published()
    networks, far = published(trained), state_of_training(args.run, trained)
    likeness = likeness_of_inputs(args.run, trained)
    digest = write_bundle(args.output, networks, process, trained.config, far, likeness)
    print(f"{args.output}: {describe_weights(trained)}, digest {digest[:16]}")
    if args.optimizer is not None:
        adam = adam_state(trained.state.opt_state)
        write_optimizer(args.optimizer, adam.mu, adam.nu, {**facts, "weights_digest": digest})
        print(f"{args.optimizer}: AdamW's moments after {facts['epoch']} whole epochs")


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
