"""`python -m tests.parity model.safetensors`: how far JAX, PyTorch and onnxruntime are apart, as a table.

Writes `parity.json` and `parity.md`. Exit status 0: every line is inside its tolerance;
1: one is not; 2: the command cannot be carried out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

# A table of rounding errors is about one machine model: no accelerator unless one is asked for.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from export.edge.disk.files import atomic_file, check_output_folder, write_json
from export.edge.errors import UserError, run
from jax_impl import bundle
from jax_impl.config.presets import PRESETS
from jax_impl.model.seed_unet import SeedModelConfig
from tests.parity.blocks import blocks
from tests.parity.ladder import LEVELS, Line, to_json, to_markdown
from tests.parity.network import gradients, network
from tests.parity.onnx_file import onnx_file
from tests.parity.optimiser import optimiser
from tests.parity.process import process
from tests.parity.sampling import samplers
from tests.parity.subject import Subject, from_bundle, from_preset, narrow

OF_A_SCHEDULE = "de"
"""Levels of gaussian diffusion alone."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "onnx", "onnxruntime", "diffusers", "numpy")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for what cannot be compared, and SystemExit(1) for drift."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity", description="Compare JAX, PyTorch and onnxruntime, from single blocks upwards."
    )
    parser.add_argument(
        "subject",
        help="a bundle model.safetensors, a run folder, or a preset's name "
        f"({', '.join(PRESETS)}) for a narrow network of that kind, trained for some seconds",
    )
    parser.add_argument("--size", type=int, help="side of the pictures, pixels (default: the training size)")
    parser.add_argument("--training-size", type=int, help="side of level d's pictures, pixels (default: --size)")
    parser.add_argument("--batch", type=int, default=2, help="pictures in a training batch, at least 2 (default: 2)")
    parser.add_argument("--steps", type=int, default=200, help="training steps of level d (default: 200)")
    parser.add_argument(
        "--levels", help=f"the levels to run, of {''.join(LEVELS)} (default: all that the process of the weights has)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what the table in --output says of the other levels")
    parser.add_argument("--output", type=Path, default=Path("parity"), help="folder for the table (default: parity)")
    args = parser.parse_args(argv)
    unknown = set(args.levels or "") - LEVELS.keys()
    if unknown or args.levels == "":
        raise UserError(
            f"--levels {args.levels!r} names no level {min(unknown, default='')}; choose from {''.join(LEVELS)}"
        )
    for name, value, least in (("batch", args.batch, 2), ("steps", args.steps, 2)):
        if value < least:
            raise UserError(f"--{name} is {value}: choose at least {least}")
    check_output_folder(args.output, "--output")
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subject(args.subject, Path(folder), args.size)
        check_training_size(args.training_size, subject)
        levels = check_levels(args.levels, subject)
        lines = climb(subject, levels, args.training_size, args.batch, args.steps)
        about = describe(subject, args.subject)
        failed = report(lines, about, args.output, keep=args.keep)
    if failed:
        print(f"{failed} lines are outside their tolerance")
        raise SystemExit(1)


def open_subject(name: str, folder: Path, size: int | None) -> Subject:
    """The weights to compare. Raises UserError for what is neither a bundle, nor a run folder, nor a preset."""
    path = Path(name)
    if path.is_dir():
        bundle.main(["--run", name, "--output", str(folder / "model.safetensors")])
        path = folder / "model.safetensors"
    if path.suffix == ".safetensors":
        return from_bundle(path, folder, size)
    if name in PRESETS:
        if size is not None and size != narrow(name).data.size:
            raise UserError(f"--size {size} goes with a bundle or a run; the preset {name} is compared at its own")
        return from_preset(name, folder)
    raise UserError(f"{name} is neither a bundle (.safetensors), a run folder nor a preset ({', '.join(PRESETS)})")


def check_training_size(size: int | None, subject: Subject) -> None:
    """Raise UserError for a size that level d cannot train at."""
    multiple = subject.config.size_multiple
    if size is not None and (size < 8 or size % multiple):
        raise UserError(f"--training-size {size} is no multiple of {multiple} from 8 up; choose one")


def check_levels(levels: str | None, subject: Subject) -> str:
    """The levels asked for, or all.

    Raises UserError for levels d and e of a process that has no schedule, and for d, which trains on pictures, of a
    network in the states of a codec.
    """
    held = [level for level in LEVELS if subject.alphas_cumprod is not None or level not in OF_A_SCHEDULE]
    if subject.config.codec.factor > 1 and "d" in held:
        held.remove("d")
        if "d" in (levels or ""):
            raise UserError(f"--levels {levels}: level d trains on pictures; choose from {''.join(held)}")
    for level in levels or "":
        if level not in held:
            raise UserError(
                f"--levels {levels}: level {level} needs a noise schedule, and the process "
                f"{subject.config.diffusion.process} has none; choose from {''.join(held)}"
            )
    return levels or "".join(held)


def climb(subject: Subject, levels: str, training_size: int | None, batch: int, steps: int) -> Iterator[Line]:
    """The lines of the levels named, from the smallest part to the whole."""
    size = subject.size
    rungs: dict[str, Callable[[], Iterator[Line]]] = {
        "a": blocks,
        "b": lambda: network(subject, size=size),
        "c": lambda: gradients(subject, size=size, batch=batch),
        "d": lambda: optimiser(subject, steps=steps, size=training_size or size, batch=batch),
        "e": lambda: process(subject),
        "f": lambda: samplers(subject),
        "g": lambda: onnx_file(subject, size=size),
    }
    for level in LEVELS:
        if level in levels:
            yield from rungs[level]()


def describe(subject: Subject, name: str) -> dict[str, object]:
    """What was compared, with what, where and when."""
    model = subject.config.model
    kind = "seed" if isinstance(model, SeedModelConfig) else "unet"
    parameters = sum(p.numel() for p in subject.bundle.model.parameters())
    return {
        "subject": Path(name).name,
        "network": f"{kind}, width {model.width}, {parameters:,} parameters",
        "size": subject.config.data.size,
        "weights_digest": subject.bundle.weights_digest,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {os.environ['JAX_PLATFORMS']}",
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
    }


def report(lines: Iterator[Line], about: dict[str, object], output: Path, *, keep: bool = False) -> int:
    """Print every line as it comes and write the table after each; returns how many lines of the table failed.

    `keep` joins them to the table that is there, in place of its lines of the same levels.
    Raises UserError where that is of other weights.
    """
    kept = _kept(output / "parity.json", about) if keep else []
    new: list[Line] = []
    done = kept
    for line in lines:
        new.append(line)
        climbed = {one.level for one in new}
        done = sorted([*new, *(one for one in kept if one.level not in climbed)], key=lambda one: one.level)
        verdict, errors = "pass" if line.passed else "FAIL", f"{line.error:.1e} of {line.tolerance:.1e}"
        print(f"{verdict} {line.level} {line.dtype} {errors}  {line.pair}: {line.what}", flush=True)
        # After each: a long climb that is cut short leaves what it has found, a run that never began leaves nothing.
        output.mkdir(exist_ok=True)
        write_json(output / "parity.json", to_json(done, about))
        with atomic_file(output / "parity.md") as temporary:
            temporary.write_text(to_markdown(done, about), encoding="utf-8")
    print(f"{len(done)} lines: {output / 'parity.md'}, {output / 'parity.json'}")
    return sum(not line.passed for line in done)


def _kept(path: Path, about: dict[str, object]) -> list[Line]:
    """The lines of an earlier table of the same weights; none where there is no table."""
    if not path.exists():
        return []
    held = json.loads(path.read_text())
    if held.get("weights_digest") != about.get("weights_digest"):
        raise UserError(f"{path} is of other weights; leave out --keep, or name another --output")
    return [Line(**{key: value for key, value in line.items() if key != "passed"}) for line in held["lines"]]


if __name__ == "__main__":
    run(main)
