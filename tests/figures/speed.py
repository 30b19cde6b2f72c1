"""How fast `export.edge` is: its start, a small picture, a large photo beside Pillow alone, and the memory for one.

Another checkout can be measured too (`--before`); they take turns, in processes of their own. Times vary with what else
the machine does: ratios of processor time vary least.

    python -m tests.figures.speed --before ../before --rounds 7
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from export.edge import markdown
from export.edge.errors import UserError, run
from tests.figures.counts import check_counts

ROOT = Path(__file__).resolve().parents[2]
TIMED = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from PIL import Image
import export.edge
from export.edge.pictures.files import SAVE_OPTIONS
from export.edge.timing import Counted

photo, output, small, threads, repeats = *map(Path, sys.argv[1:4]), int(sys.argv[4]), int(sys.argv[5])
opened = export.edge.load(threads=threads or None)
network = Counted(opened.artifact.denoise)
model = replace(opened, artifact=replace(opened.artifact, denoise=network))
picture = np.asarray(Image.open(small).convert("RGB"))

def pillow():
    image = Image.open(photo)
    image.load()
    image.save(output, **SAVE_OPTIONS["JPEG"])

def seconds(work, times):
    found = []
    for number in range(times + 1):
        network.seconds = 0.0
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.append([time.perf_counter() - wall, time.process_time() - cpu, network.seconds])
    return found[1:]  # The first sets up memory.

large = lambda: model.translate(photo).save(output, **SAVE_OPTIONS["JPEG"])
print(json.dumps({
    "pillow": seconds(pillow, repeats),
    "large": seconds(large, repeats),
    "small": seconds(lambda: model.translate(picture), 10 * repeats),
}))
"""
"""What is timed inside a process; it uses what all versions of the package have."""


@dataclass(frozen=True)
class Spent:
    """What a process took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of processors, all threads together."""
    peak: float
    """Most memory held, MB."""


def textured(source: Path, target: Path, width: int, height: int) -> Path:
    """A photo of this size, pixels, with grain at two scales: a picture enlarged alone would compress too well."""
    with Image.open(source) as image:
        large = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((max(1, height // 4), max(1, width // 4)), np.float32)
    large += 8.0 * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))[..., None]
    large += 6.0 * rng.standard_normal((height, width, 1), np.float32)
    Image.fromarray(np.clip(large + 0.5, 0.0, 255.0).astype(np.uint8)).save(target, quality=90)
    return target


def process(checkout: Path, words: Sequence[str | Path]) -> tuple[Spent, str]:
    """Run Python with these words on the package of a checkout; what it took, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # An installed package is compiled once.
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *map(str, words)], env=environment, cwd=checkout, stdout=printed, stderr=said
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            why = (said.read().decode().strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(f"python {' '.join(map(str, words[:3]))} failed in {checkout}: {why}")
        printed.seek(0)
        return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6), printed.read().decode()


def measured(checkout: Path, folder: Path, repeats: int, threads: int) -> dict[str, list[float]]:
    """One round of one checkout: by the name of a figure its value, milliseconds or MB."""
    output, found = folder / "output.jpg", dict[str, list[float]]()
    edge = ["-m", "export.edge"]
    for name, words in {
        "--version": ["--version"],
        "--help": ["--help"],
        "a photo of 128 × 128": [folder / "small.png", output],
    }.items():
        spent, _ = process(checkout, [*edge, *words])
        found |= {f"start, {name}": [1e3 * spent.wall], f"start, {name}, processor": [1e3 * spent.cpu]}
    spent, _ = process(checkout, [*edge, folder / "larger.jpg", output])
    found["peak memory, larger photo"] = [spent.peak]
    words = ["-c", TIMED, folder / "large.jpg", output, folder / "small.png", threads, repeats]
    _, printed = process(checkout, words)
    inside = json.loads(printed)
    for name in ("pillow", "large", "small"):
        found |= {f"{name}, {kind}": [1e3 * row[n] for row in inside[name]] for n, kind in enumerate(("wall", "cpu"))}
    ratios = {"large / pillow": 0, "large / pillow, processor": 1}
    for name, kind in ratios.items():
        found[name] = [statistics.median(row[kind] for row in inside["large"]) / _middle(inside["pillow"], kind)]
    rest = [wall - network for wall, _, network in inside["large"]]
    found["large without the network / pillow"] = [statistics.median(rest) / _middle(inside["pillow"], 0)]
    return found


def _middle(rows: Sequence[Sequence[float]], kind: int) -> float:
    return statistics.median(row[kind] for row in rows)


def table(rounds: Sequence[Sequence[dict[str, list[float]]]]) -> list[str]:
    """Lines of a table: for each figure its median by checkout, and the quartiles of the ratio of a round."""
    names = list(rounds[0][0])
    rows = []
    for name in names:
        middles = [[statistics.median(one[name]) for one in turn] for turn in rounds]
        values = [statistics.median(turn[n] for turn in middles) for n in range(len(rounds[0]))]
        row = [name, *(f"{value:.3g}" for value in values)]
        if len(values) > 1:
            ratios = np.quantile([turn[-1] / turn[0] for turn in middles], (0.25, 0.5, 0.75))
            row.append(f"{ratios[1]:.2f} ({ratios[0]:.2f}–{ratios[2]:.2f})")
        rows.append(row)
    heads = ["", "now"] if len(rounds[0]) == 1 else ["", "before", "now", "now / before"]
    return markdown.table(heads, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.speed", description=__doc__)
    parser.add_argument("--before", type=Path, help="folder of another checkout, which is measured too")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--repeats", type=int, default=3, help="large photos in one process (default 3)")
    parser.add_argument("--threads", type=int, default=0, help="threads inside a process; default: as many as it takes")
    parser.add_argument("--large", type=int, nargs=2, default=(4000, 3000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--larger", type=int, nargs=2, default=(6000, 4000), metavar=("WIDTH", "HEIGHT"))
    arguments = parser.parse_args(argv)
    check_counts(arguments, "rounds", "repeats", "large", "larger")
    check_counts(arguments, "threads", least=0)
    if arguments.before and not (arguments.before / "export/edge").is_dir():
        raise UserError(f"--before {arguments.before} holds no export/edge; name the folder of a checkout")
    checkouts = [*([arguments.before.resolve()] if arguments.before else []), ROOT]
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), ROOT / "docs/photo.jpg"
        photos = [(source, folder / f"{name}.jpg", *getattr(arguments, name)) for name in ("large", "larger")]
        with multiprocessing.get_context("spawn").Pool(
            1
        ) as pool:  # Children are charged with the memory of this process.
            pool.starmap(textured, photos)
        with Image.open(source) as image:
            image.convert("RGB").resize((128, 128)).save(folder / "small.png")
        rounds = [
            [measured(checkout, folder, arguments.repeats, arguments.threads) for checkout in checkouts]
            for _ in range(arguments.rounds + 1)
        ][1:]  # The first compiles.
    print(f"{arguments.rounds} rounds; milliseconds, MB or ratios; medians, in brackets the quartiles")
    print("\n".join(table(rounds)))


if __name__ == "__main__":
    run(main)
