"""`python -m export.bench artifact/`: what a picture costs, by variant and threads, and what it costs PyTorch.

Every line is a process of its own in each round (`export.timed`), and all lines take turns. Ratios come first:
milliseconds are this machine's.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from export.edge import markdown, plugins
from export.edge.command import Parser
from export.edge.disk.files import check_input_file, write_json
from export.edge.errors import UserError, run
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import variants
from export.edge.model.variants import REFERENCE
from export.edge.pictures.files import SAVE_OPTIONS, save_picture
from export.edge.progress import Progress
from export.edge.threads import processors
from export.edge.timing import Child, Entrant, GoneError, take_turns
from export.probes import paint_probe
from export.scoring import STEPS, steps_of
from export.timed import ORIGINAL_STEPS

LARGE = (4000, 3000)
"""Pixels of the photo on which the way back to full size is measured."""


@dataclass
class Line(Entrant):
    """One way to draw, and what it cost in every round."""

    title: str
    engine: str
    model: Path
    threads: int
    steps: int
    costs: list[dict[str, float]] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    """Seconds from the start of a process until the model is open."""
    peak_mb: float = 0.0

    def median(self, name: str) -> float:
        return statistics.median(cost[name] for cost in self.costs)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a folder that is no artifact and numbers that measure nothing."""
    words = plugins.take(argv, "export")
    parser = Parser(prog="python -m export.bench", description="Time an artifact, and PyTorch with the same weights.")
    parser.add_argument("artifact", type=Path, help="the folder that export.to_onnx wrote")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, processors()],
        help="processor threads, one measurement for each number (default: 1 and all)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help=f"sampling steps of every picture (default: {STEPS}, or what the model recommends where it has its own)",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of times that every line is measured, in turn (default: 3)"
    )
    parser.add_argument(
        "--pictures", type=int, default=3, help="pictures that every line makes in each round (default: 3)"
    )
    parser.add_argument(
        "--no-original", action="store_true", help="leave out the original script's loop, which is slow"
    )
    parser.add_argument("--output", type=Path, metavar="JSON", help="also write every figure there")
    args = parser.parse_args(words)
    if min(*args.threads, args.rounds, args.pictures) < 1:
        raise UserError("--threads, --rounds and --pictures must each be at least 1; choose more")
    there = variants(args.artifact)
    if REFERENCE not in there:
        raise UserError(f"{args.artifact} has no onnx/model.onnx; name the folder that export.to_onnx wrote")
    bundle = args.artifact / "model.safetensors"
    check_input_file(bundle, "bundle")
    exact = open_artifact(there[REFERENCE])
    args.steps = steps_of(exact, STEPS) if args.steps is None else args.steps
    exact.plan(args.steps)
    lines = plan(there, bundle, sorted(set(args.threads)), args.steps, not args.no_original)
    with tempfile.TemporaryDirectory() as folder:
        photo, large = Path(folder) / "photo.jpg", Path(folder) / "large.jpg"
        scene = paint_probe(0, exact.size)
        save_picture(photo, scene)
        save_picture(large, _enlarged(paint_probe(0, 1000)))
        progress = Progress(noun="turn")
        take_turns(lines, args.rounds, lambda line, _: time_line(line, photo, args.pictures), progress.update)
        progress.close()
        alone, full = full_size(there[REFERENCE], large, max(args.threads), args.steps)
    print("\n".join(cost_table(lines)))
    drawn = full.median("network_ms") / 1e3
    whole = full.median("picture_ms") / 1e3
    print(
        f"\n{LARGE[0]} x {LARGE[1]} JPEG to JPEG, {args.steps} steps: {whole:.2f} s, of which the network {drawn:.2f}; "
        f"the rest is {(whole - drawn) / alone:.2f} x what Pillow alone takes to decode and encode it ({alone:.2f} s)"
    )
    if args.output is not None:
        write_json(
            args.output, {"lines": [_figures(line) for line in lines], "full": _figures(full), "pillow_s": alone}
        )


def plan(there: dict[str, Path], bundle: Path, threads: Sequence[int], steps: int, with_original: bool) -> list[Line]:
    """The lines of the table: each variant, PyTorch and the original, each with every number of threads."""
    lines = []
    for count in threads:
        lines += [Line(f"{name}, {path.name}", "edge", path, count, steps) for name, path in there.items()]
        lines.append(Line("PyTorch, eager", "torch", bundle, count, steps))
        if with_original:
            lines.append(Line("original network and loop", "original", bundle, count, ORIGINAL_STEPS))
    return lines


def time_line(line: Line, photo: Path, pictures: int, suffix: str = "png") -> None:
    """One more round of a line. The original's pictures take long: it draws one. Raises UserError where it fails."""
    job = {"engine": line.engine, "model": str(line.model), "threads": line.threads, "steps": line.steps}
    started = time.perf_counter()
    try:
        with Child("export.timed", job) as child:
            child.hear()
            line.cold.append(time.perf_counter() - started)
            count = 1 if line.engine == "original" else pictures
            found = child.ask({"photo": str(photo), "pictures": count, "suffix": suffix})
    except GoneError as gone:
        raise UserError(f"{line.title} with {line.threads} threads could not be timed ({gone})") from gone
    line.costs += found["costs"]
    line.peak_mb = max(line.peak_mb, found["peak_mb"])


def full_size(model: Path, photo: Path, threads: int, steps: int) -> tuple[float, Line]:
    """Seconds that Pillow takes to decode and encode a large photo, and a line of `export.edge` that translates it."""
    line = Line("full size", "edge", model, threads, steps)
    alone = []
    for _ in range(3):
        started = time.perf_counter()
        with Image.open(photo) as picture, tempfile.TemporaryDirectory() as folder:
            picture.convert("RGB").save(Path(folder) / "copy.jpg", **SAVE_OPTIONS["JPEG"])
        alone.append(time.perf_counter() - started)
        time_line(line, photo, 1, "jpg")
    return statistics.median(alone), line


def cost_table(lines: Sequence[Line]) -> list[str]:
    """Markdown, ratios to the float32 file with as many threads first."""
    head = ["", "threads", "step, × fp32", "picture, × fp32", "ms a step", "ms a picture", "outside the network"]
    head += ["until open, s", "peak MB", "file MB"]
    rows = []
    for line in lines:
        first = next(one for one in lines if one.threads == line.threads)
        step, picture = line.median("step_ms"), line.median("picture_ms")
        size = "" if line.engine == "original" else f"{line.model.stat().st_size / 1e6:.1f}"
        rows.append(
            [
                f"{line.title}, {line.steps} steps",
                str(line.threads),
                f"{step / first.median('step_ms'):.2f}",
                f"{picture / first.median('picture_ms'):.2f}",
                f"{step:.1f}",
                f"{picture:.0f}",
                f"{100 * line.median('outside'):.0f} %",
                f"{statistics.median(line.cold):.2f}",
                f"{line.peak_mb:.0f}",
                size,
            ]
        )
    return markdown.table(head, rows)


def _figures(line: Line) -> dict:
    """Every figure of a line."""
    return {
        "title": line.title, "engine": line.engine, "threads": line.threads, "steps": line.steps, "costs": line.costs,
        "cold_s": line.cold, "peak_mb": line.peak_mb,
    }  # fmt: skip


def _enlarged(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(LARGE, Image.Resampling.BICUBIC))


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
