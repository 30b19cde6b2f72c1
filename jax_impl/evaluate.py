"""Score an exported model on held-out pairs, beside copying the input.

`python -m jax_impl.evaluate --artifact artifact/onnx/model.onnx --data.path DIR --output-dir evaluation`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import tyro
from tqdm import tqdm

from export.edge.artifact import open_artifact
from export.edge.errors import UserError, run
from export.edge.files import check_output_folder, write_json, write_text
from export.edge.metrics import psnr, ssim
from export.edge.pictures import grid, save_picture
from export.edge.translate import translate
from jax_impl.config import DataConfig, Direction, Fit, Layout, SamplerName
from jax_impl.data.loader import Pairs, load, remarks

Translate = Callable[[np.ndarray, int], np.ndarray]
"""(picture, seed) to a picture of the same size, both uint8 (height, width, 3)."""
BEST_PSNR = 100.0
"""What an exact match counts, dB: its PSNR is infinite, which neither a mean nor JSON can hold."""
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "psnr": lambda a, b: min(psnr(a, b), BEST_PSNR),
    "ssim": ssim,
}
CELL = 256
"""Smallest height of a picture on the contact sheet, pixels."""


@dataclass(frozen=True)
class EvaluationData:
    """The pairs to score on; size and fit are the model's own."""

    path: str = "synthetic"
    """A folder, a CSV or JSONL manifest, or `synthetic` for the built-in scenes."""
    layout: Layout = "auto"
    direction: Direction = "forward"
    val_share: float = 0.1
    """Share held out where the data has no validation split: as in training."""
    synthetic_val_pairs: int = 16


@dataclass(frozen=True)
class EvaluateArgs:
    """Score an exported model on held-out pairs, beside copying the input."""

    artifact: Path
    """The .onnx file; it runs through export.edge."""
    output_dir: Path
    """Folder for evaluation.json, evaluation.md and contact_sheet.png."""
    data: EvaluationData = field(default_factory=EvaluationData)
    split: Literal["train", "val", "test"] = "val"
    steps: int | None = None
    """Sampling steps; default: what the model recommends."""
    sampler: SamplerName | None = None
    seed: int = 0
    shown: int = 6
    """Pairs on the contact sheet."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, score, and write the three files."""
    args = tyro.cli(EvaluateArgs, args=argv, prog="python -m jax_impl.evaluate")
    if args.shown < 1:
        raise UserError(f"--shown is {args.shown}: choose at least 1")
    check_output_folder(args.output_dir, "--output-dir")
    model = open_artifact(args.artifact)
    data = DataConfig(size=model.size, fit=cast(Fit, model.fit), **vars(args.data))
    for remark in remarks(data):
        print(remark)
    pairs = load(data, args.split)
    if not pairs.names:
        raise UserError(f"--split {args.split} of {data.path} has no pairs; name another split")

    def by_model(picture: np.ndarray, seed: int) -> np.ndarray:
        return translate(model, picture, args.steps, seed, args.sampler)

    results, drawn = score(pairs, by_model, args.seed)
    copies, _ = score(pairs, copy_input, args.seed)
    report = {
        "artifact": args.artifact.name,
        "weights_digest": model.weights_digest,
        "data": {"path": data.path, "split": args.split, "pairs": len(pairs.names), "size": data.size},
        "steps": args.steps or model.steps,
        "sampler": args.sampler or model.sampler,
        "seed": args.seed,
        "model": summary(results),
        "copy_input": summary(copies),
        "pictures": {name: results[i] for i, name in enumerate(pairs.names)},
    }
    args.output_dir.mkdir(exist_ok=True)
    write_json(args.output_dir / "evaluation.json", report)
    table = to_markdown(report)
    write_text(args.output_dir / "evaluation.md", table)
    rows = [[pairs.cond[i], drawn[i], pairs.x0[i]] for i in chosen(len(pairs.names), args.shown)]
    # Small pictures are enlarged in whole steps, pixel by pixel, so that the sheet shows what is there.
    zoom = max(1, CELL // data.size)
    rows = [[np.repeat(np.repeat(cell, zoom, 0), zoom, 1) for cell in row] for row in rows]
    sheet = args.output_dir / "contact_sheet.png"
    save_picture(sheet, grid(rows, titles=("input", "generated", "target")))
    print(table)
    print(f"contact sheet: {sheet}")


def copy_input(picture: np.ndarray, seed: int) -> np.ndarray:
    """The baseline that changes nothing."""
    del seed
    return picture


def score(pairs: Pairs, by: Translate, seed: int) -> tuple[list[dict[str, float]], list[np.ndarray]]:
    """Every metric of every pair's translation against its truth, and the translations.

    Picture i is drawn with seed + i.
    """
    results, drawn = [], []
    for i in tqdm(range(len(pairs.names)), "scoring", unit="picture", leave=False, disable=None):
        drawn.append(by(pairs.cond[i], seed + i))
        results.append({name: float(metric(drawn[-1], pairs.x0[i])) for name, metric in METRICS.items()})
    return results, drawn


def summary(results: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean of every metric with a 95 % bootstrap interval over pictures: {metric: {mean, low, high}}."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(results), (2000, len(results)))
    out = {}
    for name in METRICS:
        values = np.array([result[name] for result in results])
        low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
        out[name] = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
    return out


def to_markdown(report: dict[str, Any]) -> str:
    """The report's summary as a Markdown table."""
    data = report["data"]
    lines = [
        f"{data['pairs']} pairs of {data['path']} ({data['split']}), {data['size']} × {data['size']}, "
        f"{report['sampler']} in {report['steps']} steps; mean and 95 % bootstrap interval over pictures",
        "",
        "| | PSNR, dB | SSIM |",
        "|---|---|---|",
    ]
    for name, title in (("model", "model"), ("copy_input", "copying the input")):
        p, s = report[name]["psnr"], report[name]["ssim"]
        cells = (
            f"{p['mean']:.2f} ({p['low']:.2f}–{p['high']:.2f})",
            f"{s['mean']:.3f} ({s['low']:.3f}–{s['high']:.3f})",
        )
        lines.append(f"| {title} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def chosen(count: int, shown: int) -> list[int]:
    """Evenly spaced positions among `count` pictures."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, shown))})


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
