"""Which choice bought what: one change a row, every row on the same data and the same number of images.

`python -m tests.figures.ablation DATA --direction reverse --output runs/ablation` trains every row with every
seed, scores each run beside the first row's of the same seed, and writes `ablation.md` and `ablation.json` after each
run: what is cut short keeps what it has, and goes on from there when it is started again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json, write_text
from export.edge.errors import UserError, run
from export.edge.markdown import table
from tests.figures.counts import check_counts
from tests.figures.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    "psnr": ("PSNR, dB", 2, 1.0),
    "ssim": ("SSIM", 3, 1.0),
    "delta_e": ("ΔE2000", 2, 1.0),
    "swd": ("SWD × 10³", 1, 1.0),
    "sharpness": ("sharpness ratio", 2, 1.0),
}
"""Title, digits and scale of each column."""
KNOWN = {**FIGURES, "joint_swd": ("joint SWD × 10³", 1, 1.0)}
"""The same of figures that other tables show too."""
FILES = tuple(dict.fromkeys(row.needs for row in ROWS.values() if row.needs))
"""Flags that name files of weights."""
RIVALS = ("copy_input", "mean_target", "color_transfer", "pixel_ridge")


@dataclass(frozen=True)
class Plan:
    """What is the same for every row."""

    data: str
    direction: str
    size: int
    epochs: int
    repeats: int
    batch: int
    output: Path
    deadline: float
    """Clock time, seconds, after which no further run is begun."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of weights that rows need, by their flag."""


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for rows that are not there and numbers that make no run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.figures.ablation", description="Train and score rows of one change each."
    )
    parser.add_argument("data", help="pairs, as for training")
    parser.add_argument("--direction", choices=("forward", "reverse"), default="forward")
    parser.add_argument(
        "--rows", nargs="+", help=f"of {', '.join(ROWS)} (default: all, but those whose weights are not given)"
    )
    for flag in FILES:
        parser.add_argument(flag, help=f"weights for the row {flag[2:]}, made by `python -m torch_ref.perceptual`")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row (default: 3)")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, pixels (default: 64)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=8, help="how often an epoch shows each pair (default: 8)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no run after this time (default: 600)")
    parser.add_argument("--output", type=Path, required=True, help="folder for runs, evaluations and the table")
    args = parser.parse_args(argv)
    files = {flag: str(Path(held).resolve()) for flag in FILES if (held := getattr(args, flag[2:]))}
    rows = chosen(args.rows, files)
    check_counts(args, "seeds", "size", "epochs", "repeats", "batch", "jobs")
    check_counts(args, "minutes", least=0)
    args.output.mkdir(parents=True, exist_ok=True)
    deadline = time.time() + 60.0 * args.minutes
    plan = Plan(
        args.data, args.direction, args.size, args.epochs, args.repeats, args.batch, args.output, deadline, files
    )
    with ThreadPoolExecutor(args.jobs) as pool:
        # Seed by seed, so that a table cut short has whole comparisons; the first row first, since all lean on it.
        for seed in range(args.seeds):
            first, *others = rows
            for _ in pool.map(lambda name, seed=seed: one(plan, name, seed, None), [first]):
                report(plan, rows)
            for _ in pool.map(lambda name, seed=seed, first=first: one(plan, name, seed, first), others):
                report(plan, rows)
    print((args.output / "ablation.md").read_text())


def chosen(asked: Sequence[str] | None, files: Mapping[str, str]) -> list[str]:
    """The rows to train. Raises UserError for one that is not there, or needs a file of weights that is not given."""
    if asked is None:
        return [name for name, row in ROWS.items() if not row.needs or row.needs in files]
    if unknown := [name for name in asked if name not in ROWS]:
        raise UserError(f"--rows {unknown[0]} is no row; choose from {', '.join(ROWS)}")
    if lacking := [name for name in asked if ROWS[name].needs and ROWS[name].needs not in files]:
        raise UserError(f"--rows {lacking[0]} needs weights: name their file with {ROWS[lacking[0]].needs}")
    return list(asked)


def one(plan: Plan, name: str, seed: int, rival: str | None) -> None:
    """Train and score one run, unless it is there already or the time is up. Raises UserError where that fails."""
    folder, scores = plan.output / f"{name}_{seed}", plan.output / f"{name}_{seed}_scores"
    if (scores / "evaluation.json").exists() or time.time() > plan.deadline:
        return
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier start left unfinished
    for command in (train(plan, name, seed, folder), evaluate(plan, seed, folder, scores, rival)):
        begun = time.time()
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
            raise UserError(f"{name}, seed {seed}: {command[0]} failed ({said[-1]})")
        print(f"{name}, seed {seed}: {command[0]} {time.time() - begun:.0f} s", flush=True)


def train(plan: Plan, name: str, seed: int, folder: Path) -> list[str]:
    """The training command of a row: its own settings, then what all rows share."""
    needs = ROWS[name].needs
    words = [word.replace(needs, plan.files.get(needs, needs)) if needs else word for word in ROWS[name].train]
    return [
        "jax_impl.train", *words, "--data.path", plan.data, "--data.direction", plan.direction,
        "--data.size", str(plan.size), "--train.batch-size", str(plan.batch), "--train.seed", str(seed),
        "--data.repeats", str(plan.repeats), "--train.epochs", str(plan.epochs),
        "--train.sample-every", "0", "--train.checkpoint-every", str(plan.epochs), "--output-dir", str(folder),
    ]  # fmt: skip


def evaluate(plan: Plan, seed: int, folder: Path, scores: Path, rival: str | None) -> list[str]:
    """The scoring command of a row, which draws as the run recommends."""
    beside = [] if rival is None else ["--baseline-run", str(plan.output / f"{rival}_{seed}")]
    return [
        "jax_impl.evaluate", "--run", str(folder), *beside, "--data.path", plan.data,
        "--data.direction", plan.direction, "--seed", str(seed), "--output-dir", str(scores),
    ]  # fmt: skip


def report(plan: Plan, names: Sequence[str]) -> None:
    """Write the table of all evaluations that are there."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        paths = sorted(plan.output.glob(f"{name}_[0-9]*_scores/evaluation.json"))
        if paths:
            found[name] = [json.loads(path.read_text()) for path in paths]
    if found:
        plain = {
            name: [{k: v for k, v in one.items() if k != "pictures"} for one in some] for name, some in found.items()
        }
        write_json(plan.output / "ablation.json", plain)
        write_text(plan.output / "ablation.md", to_markdown(found))


Evaluations = Sequence[Mapping[str, Any]]
"""What `jax_impl.evaluate` wrote for each training of a row."""


def to_markdown(found: Mapping[str, Evaluations]) -> str:
    """Two tables, rows by figures: means and ranges over trainings; differences from the first row, and how sure."""
    head = ["", *(title for title, _, _ in FIGURES.values())]
    first = next(iter(found.values()))[0]
    rows = [[ROWS[name].what, *(spread(some, "model", figure) for figure in FIGURES)] for name, some in found.items()]
    rows += [[first["methods"][rival]["title"], *(spread([first], rival, f) for f in FIGURES)] for rival in RIVALS]
    against = [
        [ROWS[name].what, *(surely(some, figure) for figure in FIGURES)]
        for name, some in found.items()
        if any("baseline_run" in one["against"] for one in some)
    ]
    trainings = max(len(some) for some in found.values())
    images = sorted({one["methods"]["model"]["images_seen"] for some in found.values() for one in some})
    data = first["data"]
    lines = [
        f"{data['pairs']} held-out pairs at {data['size']} × {data['size']}; every run saw "
        f"{' or '.join(f'{n:,}' for n in images)} images; mean of {trainings} trainings (least to most).",
        "",
        *table(head, rows),
        "",
        "Against the first row: the mean difference, and in how many trainings its 95 % interval leaves out zero.",
        "",
        *table(head, against),
    ]
    if data.get("scenes"):
        lines += [
            "",
            f"In how many of the {data['scenes']} scenes, over {trainings} trainings, each row is better.",
            "",
            *table([*head[:1], "than", *head[1:]], in_scenes(found)),
        ]
    return "\n".join(lines) + "\n"


def in_scenes(found: Mapping[str, Evaluations]) -> list[list[str]]:
    """For each row and what it is compared with: scenes won, out of those of all trainings."""
    rows = []
    for name, some in found.items():
        for rival in ("baseline_run", *RIVALS):
            apart = [one["against"][rival] for one in some if rival in one["against"]]
            if apart:
                title = "the first row" if rival == "baseline_run" else some[0]["methods"][rival]["title"]
                won = (
                    f"{sum(one[figure]['wins'] for one in apart)} of {sum(one[figure]['of'] for one in apart)}"
                    for figure in FIGURES
                )
                rows.append([ROWS[name].what, title, *won])
    return rows


def spread(evaluations: Evaluations, method: str, figure: str) -> str:
    """Mean and range of a figure over trainings."""
    _, digits, scale = KNOWN[figure]
    values = [scale * one["methods"][method]["metrics"][figure]["mean"] for one in evaluations]
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def surely(evaluations: Evaluations, figure: str) -> str:
    """How far a row is from the first, and how often that is beyond the interval over pictures."""
    _, digits, scale = KNOWN[figure]
    apart = [one["against"]["baseline_run"][figure] for one in evaluations if "baseline_run" in one["against"]]
    beyond = sum(one["low"] > 0 or one["high"] < 0 for one in apart)
    return f"{scale * statistics.mean(one['mean'] for one in apart):+.{digits}f} ({beyond} of {len(apart)})"


if __name__ == "__main__":
    run(main)
