"""What is made of a run, by processes of their own: a bundle, an artifact, translated photos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.edge.pictures.files import save_picture
from tests.faults.processes import Process, contents, small_run

TIMED = ("README.md", "SHA256SUMS")
"""Of an artifact: the card tells times that vary; its digest lies in the other."""


@dataclass(frozen=True)
class Tool:
    """A command that writes `target` in a folder."""

    name: str
    module: str
    words: Callable[[Path], list[str]]
    """Its words, by the folder to write in."""
    target: str
    old: Path
    """What may be there before; `target` is a file or a folder as this is."""
    together: bool
    """Whether the files of a folder must be all old or all new, or each for itself."""

    def run(self, folder: Path, prints: Path, extra: Mapping[str, str] | None = None) -> Process:
        """Start it, to write in `folder`."""
        return Process(self.module, self.words(folder), prints, extra)

    def put_old(self, folder: Path) -> None:
        """Put there what was there before."""
        target = folder / self.target
        shutil.copytree(self.old, target) if self.old.is_dir() else shutil.copyfile(self.old, target)


@dataclass(frozen=True)
class Workshop:
    """A run, and all that its tools need."""

    run: Path
    bundle: Path
    artifact: Path
    tools: dict[str, Tool]


def workshop(folder: Path, run: Path) -> Workshop:
    """Make once, by the real commands, what each tool starts from and what an older result looks like."""
    bundle, raw = folder / "model.safetensors", folder / "raw.safetensors"
    artifact, older = folder / "artifact", folder / "older"
    photos, drawn = folder / "photos", folder / "drawn"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 3), dtype=np.uint8)
    for n, picture in enumerate(pixels):
        save_picture(photos / f"{n}.png", picture)
    photo = photos / "0.png"
    quick = ["--variants", "fp32", "--no-sampler"]
    steps: list[tuple[str, list[str]]] = [
        ("jax_impl.bundle", ["--run", str(run), "--output", str(bundle)]),
        ("jax_impl.bundle", ["--run", str(run), "--output", str(raw), "--ema-decay", "0"]),
        ("export.to_onnx", [str(bundle), "--output", str(artifact)]),
        ("export.to_onnx", [str(raw), "--output", str(older), *quick]),
        ("export.edge", [str(artifact), str(photos), str(drawn), "--seed", "1"]),
    ]
    for module, words in steps:
        if complaint := Process(module, words, folder / "prepare.log").end().complaint(0):
            raise RuntimeError(f"{module} {' '.join(words)}: {complaint}")
    edge, model = "export.edge", str(artifact)

    def exporting(place: Path) -> list[str]:
        return [str(bundle), "--output", str(place / "artifact"), *quick]

    tools = (
        Tool(
            "bundle",
            "jax_impl.bundle",
            lambda place: ["--run", str(run), "--output", str(place / "m.safetensors")],
            "m.safetensors",
            raw,
            True,
        ),
        Tool("export", "export.to_onnx", exporting, "artifact", older, True),
        Tool(
            "edge, a photo",
            edge,
            lambda place: [model, str(photo), str(place / "0.png")],
            "0.png",
            drawn / "0.png",
            True,
        ),
        Tool(
            "edge, a folder of photos",
            edge,
            lambda place: [model, str(photos), str(place / "drawn")],
            "drawn",
            drawn,
            False,
        ),
    )
    return Workshop(run, bundle, artifact, {tool.name: tool for tool in tools})


def state_of(tool: Tool, folder: Path, new: dict[str, bytes]) -> str | None:
    """None when the target is absent, old or new as a whole; else what is wrong with it."""
    target = folder / tool.target
    if not target.exists():
        return None
    found, old = contents(target), contents(tool.old)
    if tool.old.is_file():
        old = {tool.target: next(iter(old.values()))}
    if tool.together:
        if found == old or (found.keys() == new.keys() and unvarying(found) == unvarying(new)):
            return None
        kinds = {name: "old" if found.get(name) == old.get(name) else "other" for name in sorted(old.keys() | new)}
        return f"neither old nor new: {', '.join(f'{name} {kind}' for name, kind in kinds.items())}"
    odd = [name for name, data in found.items() if data not in (old.get(name), new.get(name))]
    return f"{', '.join(odd)} neither old nor new" if odd else None


def unvarying(found: Mapping[str, bytes]) -> dict[str, object]:
    """What is the same whenever it is made: without the files that tell how long something took."""
    return {name: meaning(name, data) for name, data in found.items() if name not in TIMED}


def meaning(name: str, data: bytes) -> object:
    """The bytes of a file; of safetensors header and arrays, as its writer puts the header in any order."""
    if not name.endswith(".safetensors"):
        return data
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        return json.loads(data[8:start]), data[start:]
    except ValueError:
        return data


def sampled_run(epochs: int) -> list[str]:
    """A small run that draws a sample picture every epoch."""
    return small_run(epochs, "--train.sample-every", "1")
