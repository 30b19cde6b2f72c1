"""Whether trained weights are a better start than random ones, for few pairs and for many.

`python -m tests.figures.starting DATA --bundle model.safetensors --output runs/starting` trains on some of the pairs,
from random weights and from those of the bundle, for the same number of steps. It scores both on the same held-out
pairs, and writes `starting.md` and `starting.json` after each run: what is cut short goes on from there when it is
started again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.disk.files import write_json, write_text
from export.edge.errors import UserError, run
from export.edge.markdown import table
from export.edge.pictures.files import save_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import Pairs, load
from tests.figures.ablation import KNOWN, ROOT, spread, surely
from tests.figures.counts import check_counts

FIGURES = ("psnr", "delta_e", "joint_swd")
"""Columns of the table."""
RANDOM, TRAINED = "random", "trained"
RIVALS = ("pixel_ridge", "mean_target", "copy_input")


@dataclass(frozen=True)
class Plan:
    """What is the same for every training."""

    preset: str
    bundle: Path
    size: int
    steps: int
    batch: int
    output: Path


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for numbers that make no run and for trainings that fail."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.figures.starting", description="Compare trained weights with random ones as a start."
    )
    parser.add_argument("data", help="pairs, as for training")
    parser.add_argument("--direction", choices=("forward", "reverse"), default="forward")
    parser.add_argument("--bundle", type=Path, required=True, help="model.safetensors of the trained weights")
    parser.add_argument("--preset", default="quick", help="whose network the bundle holds (default: quick)")
    parser.add_argument("--pairs", type=int, nargs="+", default=[3, 8, 30, 140], help="default: 3 8 30 140")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default: 3)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures, pixels (default: 128)")
    parser.add_argument("--steps", type=int, default=600, help="of each training, about (default: 600)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--output", type=Path, required=True, help="folder for runs, evaluations and the table")
    args = parser.parse_args(argv)
    check_counts(args, "pairs", "seeds", "size", "steps", "batch")
    config = DataConfig(path=args.data, direction=args.direction, size=args.size)
    train, held_out = load(config, "train"), load(config, "val")
    if not held_out.names:
        raise UserError(f"{args.data} holds out no pairs; name data with a split `val`")
    args.output.mkdir(parents=True, exist_ok=True)
    plan = Plan(args.preset, args.bundle, args.size, args.steps, args.batch, args.output)
    counts = sorted({min(count, len(train.names)) for count in args.pairs})
    for seed in range(args.seeds):
        for count in counts:
            data = args.output / f"pairs_{count}_{seed}"
            if not data.exists():
                write_pairs(data, chosen(train, count, seed), held_out)
            for start in (RANDOM, TRAINED):
                one(plan, data, count, start, seed)
                report(args.output, counts)
    print((args.output / "starting.md").read_text())


def chosen(pairs: Pairs, count: int, seed: int) -> Pairs:
    """So many of the pairs, by chance: another seed, other pairs."""
    places = np.sort(np.random.default_rng(seed).permutation(len(pairs.names))[:count])
    return Pairs(tuple(pairs.names[i] for i in places), pairs.cond[places], pairs.x0[places])


def write_pairs(folder: Path, train: Pairs, held_out: Pairs) -> None:
    """Both splits as two folders of PNG files."""
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, pairs in (("train", train), ("val", held_out)):
        for side, pictures in (("A", pairs.cond), ("B", pairs.x0)):
            place = unfinished / side / split
            place.mkdir(parents=True)
            for name, picture in zip(pairs.names, pictures, strict=True):
                save_picture(place / f"{name}.png", picture)
    unfinished.rename(folder)


def one(plan: Plan, data: Path, count: int, start: str, seed: int) -> None:
    """Train and score once, unless that is there already. Raises UserError where it fails."""
    folder = plan.output / f"{start}_{count}_{seed}"
    scores = folder.with_name(f"{folder.name}_scores")
    if (scores / "evaluation.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier start left unfinished
    for command in (
        train_words(plan, data, count, start, seed, folder),
        evaluate_words(plan, data, count, start, seed, scores),
    ):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
            raise UserError(f"{folder.name}: {command[0]} failed ({said[-1]})")
    print(folder.name, flush=True)


def train_words(plan: Plan, data: Path, count: int, start: str, seed: int, folder: Path) -> list[str]:
    """The training command: one epoch that repeats the pairs until the steps are done."""
    repeats = max(1, round(plan.steps * plan.batch / count))
    warm = ["--init-from", str(plan.bundle.resolve())] if start == TRAINED else []
    return [
        "jax_impl.train", plan.preset, *warm, "--data.path", str(data.resolve()), "--data.size", str(plan.size),
        "--data.repeats", str(repeats), "--train.batch-size", str(plan.batch), "--train.epochs", "1",
        "--train.seed", str(seed), "--train.sample-every", "0", "--output-dir", str(folder.resolve()),
    ]  # fmt: skip


def evaluate_words(plan: Plan, data: Path, count: int, start: str, seed: int, scores: Path) -> list[str]:
    """The scoring command; the training from the bundle is compared with that from random weights."""
    folders = [(plan.output / f"{each}_{count}_{seed}").resolve() for each in (start, RANDOM)]
    against = ["--baseline-run", str(folders[1])] if start == TRAINED else []
    return [
        "jax_impl.evaluate", "--run", str(folders[0]), *against, "--data.path", str(data.resolve()),
        "--output-dir", str(scores.resolve()),
    ]  # fmt: skip


Found = Mapping[int, Mapping[str, Sequence[Mapping[str, Any]]]]
"""What `jax_impl.evaluate` wrote for each number of pairs, start and seed."""


def report(output: Path, counts: Sequence[int]) -> None:
    """Write the table of all evaluations that are there."""
    found = {
        count: {
            start: [
                {key: held for key, held in json.loads(path.read_text()).items() if key != "pictures"}
                for path in sorted(output.glob(f"{start}_{count}_[0-9]*_scores/evaluation.json"))
            ]
            for start in (RANDOM, TRAINED)
        }
        for count in counts
    }
    write_json(output / "starting.json", {str(count): some for count, some in found.items()})
    write_text(output / "starting.md", to_markdown(found))


def to_markdown(found: Found) -> str:
    """A table: for each number of pairs both starts and the best baseline, means and ranges over trainings."""
    head = ["pairs", "weights at the start", *(KNOWN[figure][0] for figure in FIGURES)]
    rows = []
    for count, starts in found.items():
        for start, some in starts.items():
            if some:
                rows.append([str(count), start, *(spread(some, "model", figure) for figure in FIGURES)])
        compared = [one for one in starts[TRAINED] if "baseline_run" in one["against"]]
        if compared:
            rows.append([str(count), "difference", *(surely(compared, figure) for figure in FIGURES)])
        if starts[RANDOM]:
            rows += [
                [str(count), rival, *(spread(starts[RANDOM], rival, figure) for figure in FIGURES)] for rival in RIVALS
            ]
    lines = [
        "Mean of the trainings (least to most). The difference is that of the trained start from the random one; in",
        "brackets, in how many trainings its 95 % interval over the held-out pairs leaves out zero.",
        "",
        *table(head, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(main)
