"""What a run leaves for people to look at: a metrics log, a loss plot, sample pictures."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.files import atomic_file, write_text
from export.edge.noise import normal
from export.edge.pictures import grid, save_picture, to_uint8
from jax_impl.diffusion.samplers import SamplerConfig, sample
from jax_impl.model.network import Tree
from jax_impl.training.step import Batch, Problem, to_unit

METRICS = "metrics.jsonl"
SAMPLES = "training_samples"
PLOT = "training_loss.png"


class MetricsLog:
    """A JSONL file, a line per record, and TensorBoard event files where wanted.

    Opened at `step`, it drops the records of later steps: a resumed run writes them
    again, and the log has neither gaps nor doubles.
    """

    def __init__(self, run: Path, step: int, tensorboard: bool) -> None:
        self.path = run / METRICS
        self.records = [record for record in read_log(run) if record["step"] <= step]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in self.records))
        self.file = self.path.open("a")
        self.board = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, record: dict[str, float]) -> None:
        """Append one record: its step, epoch and figures."""
        self.records.append({"step": step, **record})
        self.file.write(json.dumps(self.records[-1]) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in record.items():
                self.board.add_scalar(name, value, step)

    def mean_since(self, step: int, name: str) -> float:
        """Mean of a figure over the records of later steps, those before a resume included."""
        return float(np.mean([r[name] for r in self.records if r["step"] > step and name in r]))

    def close(self) -> None:
        """Flush and close the files."""
        self.file.close()
        if self.board is not None:
            self.board.close()


def read_log(run: Path) -> list[dict[str, float]]:
    """The records of a run's metrics log; a line cut short by a crash is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def plot_losses(run: Path) -> None:
    """Draw training_loss.png from the metrics log: train and validation loss by epoch."""
    from matplotlib.figure import Figure

    records = read_log(run)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    batches = [(r["epoch"], r["loss"]) for r in records if "loss" in r]
    epochs = [(r["epoch"], r["train_loss"]) for r in records if "train_loss" in r]
    validation = [(r["epoch"], r["val_loss"]) for r in records if "val_loss" in r]
    if batches:
        axes.plot(*zip(*batches, strict=True), color="#9db7d5", linewidth=0.8, label="train, by batch")
    style = {"linewidth": 1.8, "marker": "o", "markersize": 3}
    if epochs:
        axes.plot(*zip(*epochs, strict=True), color="#1f4e8c", label="train, epoch mean", **style)
    if validation:
        axes.plot(*zip(*validation, strict=True), color="#d1495b", label="validation", **style)
    axes.set(xlabel="epoch", ylabel="loss", title="Training loss")
    if batches:
        axes.set_yscale("log")
        axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    with atomic_file(run / PLOT) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


class Sampler:
    """Draws the same held-out pairs after every epoch, from the same noise."""

    def __init__(self, problem: Problem, alphas_cumprod: np.ndarray, pairs: Batch, steps: int) -> None:
        self.pairs = pairs
        diffusion = problem.config.diffusion
        self.x_start = jnp.asarray(normal(0, 0, pairs.x0.shape))

        @jax.jit
        def draw(params: Tree, stats: Tree, cond: jax.Array, x_start: jax.Array) -> jax.Array:
            def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
                return problem.network.apply(params, stats, x_t, cond, t)[0]

            config = SamplerConfig("ddim", steps)
            start_key = jax.random.key(0)
            return sample(
                denoise,
                to_unit(cond),
                x_start,
                start_key,
                alphas_cumprod,
                config,
                prediction=diffusion.prediction,
                clamp=diffusion.clamp,
            ).x0

        self.draw = draw

    def save(self, run: Path, epoch: int, params: Tree, stats: Tree) -> Path:
        """Write training_samples/epoch_NNNN.png: rows of guiding picture, drawn target, true target."""
        drawn = np.asarray(self.draw(params, stats, jnp.asarray(self.pairs.cond), self.x_start))
        rows = list(zip(np.asarray(self.pairs.cond), to_uint8(drawn), np.asarray(self.pairs.x0), strict=True))
        path = run / SAMPLES / f"epoch_{epoch:04d}.png"
        path.parent.mkdir(exist_ok=True)
        save_picture(path, grid(rows, titles=("input", "generated", "target")))
        return path
