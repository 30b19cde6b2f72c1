"""What the devices of a training step send each other, read from the compiled program.

`python -m tests.figures.collectives --presets seed base --output collectives.json`. The devices are simulated on the
CPU, so the program is that of XLA's partitioner; nothing is computed and nothing is timed. Beside each figure stands
what `docs/scaling.md` says on paper.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.disk.files import check_output_file, write_json, write_text
from export.edge.errors import UserError, run
from jax_impl.bench.training import BenchArgs, configure
from jax_impl.config.command import parse
from jax_impl.config.tree import Config
from jax_impl.model.network import count
from jax_impl.training.interfaces import Batch
from jax_impl.training.mesh import make_mesh, replicated, rows, state_sharding
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import TrainState, outline
from jax_impl.training.step import make_train_step

KINDS = ("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute")
"""XLA's operations between devices."""
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_OPERATION = re.compile(rf" = (.+?) ({'|'.join(KINDS)})(?:-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


@dataclass(frozen=True)
class CollectivesArgs:
    """Count the bytes that devices exchange in a training step, from the compiled program."""

    output: Path
    """Where every figure is written, as JSON; the table goes beside it, as Markdown."""
    presets: tuple[str, ...] = ("seed", "base")
    size: int = 128
    """Side of a training picture, pixels."""
    devices: int = 8
    """Simulated devices; each has two pictures of a batch."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, compile, print and write the table. Raises UserError for fewer than two devices."""
    args = parse(CollectivesArgs, argv, "python -m tests.figures.collectives")
    if args.devices < 2:
        raise UserError(f"--devices {args.devices} exchange nothing; choose at least 2")
    check_output_file(args.output, "--output")
    jax.config.update("jax_num_cpu_devices", args.devices)
    found: list[dict[str, Any]] = []
    for preset in args.presets:
        config = configure(BenchArgs(), preset, args.size, 2 * args.devices, "float32")
        for shared in (1, args.devices):
            found.append({"preset": preset, "devices": args.devices, **measure(config, shared)})
            print(table(found[-1:])[-1], flush=True)
            write_json(args.output, found)
            write_text(args.output.with_suffix(".md"), "\n".join(table(found)) + "\n")


def measure(config: Config, shared: int) -> dict[str, Any]:
    """The step's exchanges on all devices, with the weights divided among `shared` of them."""
    config = replace(config, train=replace(config.train, fsdp_devices=shared))
    mesh = make_mesh(config)
    network, state = outline(config, make_optimizer(config.optim, learning_rate(config.optim, 1000, 1000)))
    side, batch = config.data.size, config.train.batch_size

    def placed(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = cast(TrainState, jax.tree.map(placed, state, state_sharding(mesh, cast(Any, state))))
    pictures = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8, sharding=rows(mesh))
    total = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(mesh))
    step = cast(Any, make_train_step(Problem.of(network, config), 1000, mesh))
    program = step.lower(state, Batch(*cast(Any, (pictures, pictures))), None, total).compile().as_text()
    exchanged = collectives(program)
    parameters = count(state.params)
    return {
        "shared": shared,
        "parameters": parameters,
        "collectives": {kind: asdict(each) for kind, each in exchanged.items()},
        "sent_bytes": sent_bytes(exchanged, mesh.size),
        # On paper: one all-reduce of the gradient, in FSDP one all-gather of the weights and one reduce-scatter.
        "paper_bytes": 2 * (mesh.size - 1) / mesh.size * 4 * parameters,
    }


@dataclass(frozen=True)
class Exchange:
    """All operations of a kind in a program."""

    count: int
    bytes: int
    """Of their results, on one device."""


def collectives(program: str) -> dict[str, Exchange]:
    """The operations between devices in the text of a compiled program, by kind."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in program.splitlines():
        if match := _OPERATION.search(line):
            shapes, kind = match.groups()
            found[kind].append(sum(map(_bytes, _SHAPE.findall(shapes))))
    return {kind: Exchange(len(sizes), sum(sizes)) for kind, sizes in sorted(found.items())}


def _bytes(shape: tuple[str, str]) -> int:
    kind, sides = shape
    return BYTES[kind] * int(np.prod([int(side) for side in sides.split(",") if side], dtype=np.int64))


def sent_bytes(found: Mapping[str, Exchange], devices: int) -> float:
    """What each device sends in a ring of them all, from the bytes of the results.

    An all-reduce passes its data around twice, the other operations once (Patarasu and Yuan 2009). The result of a
    reduce-scatter is one device's part.
    """
    rounds = (devices - 1) / devices
    factors = {"all-reduce": 2 * rounds, "reduce-scatter": devices - 1, "collective-permute": 1}
    return sum(factors.get(kind, rounds) * each.bytes for kind, each in found.items())


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: a row for each preset and division of the weights."""
    lines = [
        "| preset | devices, weights divided among | operations: results on a device, MB | sent by each device, MB "
        "| on paper, MB | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        parts = [f"{e['count']} {kind} {e['bytes'] / 1e6:.1f}" for kind, e in one["collectives"].items()]
        sent, paper = one["sent_bytes"], one["paper_bytes"]
        lines.append(
            f"| `{one['preset']}` | {one['devices']}, {one['shared']} | {', '.join(parts)} | {sent / 1e6:.1f} "
            f"| {paper / 1e6:.1f} | {sent / paper:.2f} |"
        )
    return lines


if __name__ == "__main__":
    run(main)
