"""pix2pix as in the paper (Isola et al. 2017, arXiv:1611.07004), to compare with: a training, then its pictures.

`python -m tests.figures.pix2pix --data.path DIR --size 64 --seconds 600 --output OUT` leaves `OUT/pictures`, one file
for each pair of the split val, which `python -m jax_impl.evaluate --pictures` scores, and `OUT/pix2pix.json`.

Adam (learning rate 2e-4, β1 0.5), falling to zero in the second half; λ = 100 on L1; the discriminator's loss halved;
pictures enlarged by 286 / 256, then cropped and mirrored at random; dropout and batch statistics at sampling as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import torch
from torch import nn

from export.edge.disk.files import check_output_folder, write_json
from export.edge.errors import UserError, run
from export.edge.pictures.arrays import to_uint8
from export.edge.pictures.files import save_picture
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig, DirectionConfig, PlaceConfig, SceneConfig, TfdsConfig, part_of
from jax_impl.data.loader import Pairs, decode, lazy_pairs
from jax_impl.data.sources.registry import open_source
from tests.figures.pix2pix_networks import discriminator, generator

ENLARGED = 286 / 256
LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)
L1_WEIGHT = 100.0
RESULT, PICTURES = "pix2pix.json", "pictures"
_READ_EVERY = 32
"""Steps between two looks at the losses, each of which waits for the device."""


@dataclass(frozen=True)
class RivalData(TfdsConfig, SceneConfig, DirectionConfig, PlaceConfig):
    """The pairs, as in training."""


@dataclass(frozen=True)
class RivalArgs:
    """Train pix2pix for some time or number of pictures, and write its pictures of the validation pairs."""

    output: Path
    """Folder for pix2pix.json and the folder pictures."""
    data: RivalData = field(default_factory=RivalData)
    size: int = 64
    """Side of the pictures, pixels; a power of two from 16."""
    seconds: float | None = None
    """Longest training time, seconds; the learning rate then depends on the clock."""
    images: int | None = None
    """Most training pictures, repeats counted. Name --seconds, --images or both."""
    batch: int = 1
    """Pairs in a training step, 1 to 4 in the paper."""
    width: int = 64
    """Channels of the first layer of both networks."""
    seed: int = 0
    """Seed of weights, order, crops and dropout. With --images alone, the same seed gives the same pictures."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of PyTorch; auto is CUDA where there is one."""
    bf16: bool = False
    """Compute in bfloat16 where CUDA's autocast does."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train, draw, and write the pictures and the figures. Raises UserError for what cannot be trained."""
    args = parse(RivalArgs, argv, "python -m tests.figures.pix2pix")
    device = check(args)
    source = open_source(part_of(DataConfig, args.data))
    enlarged = part_of(DataConfig, args.data, size=round(args.size * ENLARGED))
    pairs = decode(lazy_pairs(source, enlarged, "train"))
    held_out = decode(lazy_pairs(source, part_of(DataConfig, args.data, size=args.size), "val"))
    if not held_out.names:
        raise UserError(f"--data.path {source.place} has no pairs for val; hold some out with --data.val-share")
    # Kernels are chosen by their speed where the clock decides anyway.
    torch.backends.cudnn.deterministic = args.seconds is None
    torch.backends.cudnn.benchmark = args.seconds is not None
    torch.manual_seed(args.seed)
    networks = Networks.begin(args, device)
    found = train(networks, pairs, args)
    folder = args.output / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    files = [pair.name if pair.cond is None else pair.cond.path.stem for pair in source.splits["val"]]
    for name, file, cond in zip(held_out.names, files, held_out.cond, strict=True):
        save_picture(folder / f"{file if '/' in name else name}.png", networks.draw(cond))
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(args).items()}
    write_json(args.output / RESULT, {**found, "torch": torch.__version__, "settings": settings})
    print(f"{found['images']:,} images in {found['seconds']:.1f} s; pictures: {folder}")


def check(args: RivalArgs) -> torch.device:
    """The device. Raises UserError for settings that cannot be, before anything is read or written."""
    if args.size < 16 or args.size & (args.size - 1):
        raise UserError(f"--size is {args.size}: choose a power of two from 16, such as 64")
    if args.seconds is None and args.images is None:
        raise UserError("neither --seconds nor --images is given; name one of them, or both")
    for name in ("seconds", "images", "batch", "width"):
        if (value := getattr(args, name)) is not None and value <= 0:
            raise UserError(f"--{name} is {value}: choose a value above 0")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda, and PyTorch finds none; choose cpu")
    check_output_folder(args.output, "--output")
    args.output.mkdir(exist_ok=True)
    return torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Networks:
    """Both networks, their optimisers, and where they compute."""

    generator: nn.Module
    discriminator: nn.Module
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
    """Of the generator and of the discriminator."""
    device: torch.device
    bf16: bool

    @classmethod
    def begin(cls, args: RivalArgs, device: torch.device) -> Networks:
        """New networks, from the global random state of PyTorch."""
        both = [make(args.size, args.width).to(device) for make in (generator, discriminator)]
        if device.type == "cuda":  # On a CPU this order takes longer with batches of one.
            for network in both:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        first, second = (torch.optim.Adam(network.parameters(), LEARNING_RATE, BETAS) for network in both)
        return cls(*both, (first, second), device, args.bf16 and device.type == "cuda")

    def to_device(self, pictures: np.ndarray) -> torch.Tensor:
        """uint8 (batch, side, side, 3) as float32 (batch, 3, side, side) in [-1, 1]."""
        tensor = torch.from_numpy(np.array(pictures)).to(self.device).permute(0, 3, 1, 2)
        return tensor.to(torch.float32) / 127.5 - 1.0

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def step(self, cond: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        """Train both on a batch, (batch, 3, size, size) in [-1, 1]; the losses (discriminator, generator, L1)."""
        of_generator, of_discriminator = self.optimizers
        with self.autocast():
            drawn = self.generator(cond)
            said = (self.discriminator(torch.cat([cond, each], dim=1)) for each in (x0, drawn.detach()))
            real, fake = (logits.to(x0.dtype) for logits in said)
        loss = 0.5 * (nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean())
        of_discriminator.zero_grad()
        loss.backward()
        of_discriminator.step()

        self.discriminator.requires_grad_(False)
        with self.autocast():
            fooled = self.discriminator(torch.cat([cond, drawn], dim=1)).to(x0.dtype)
        adversarial, l1 = nn.functional.softplus(-fooled).mean(), nn.functional.l1_loss(drawn.to(x0.dtype), x0)
        of_generator.zero_grad()
        (adversarial + L1_WEIGHT * l1).backward()
        of_generator.step()
        self.discriminator.requires_grad_(True)
        return torch.stack([loss, adversarial, l1]).detach()

    @torch.no_grad()
    def draw(self, cond: np.ndarray) -> np.ndarray:
        """A picture from a picture, uint8 (size, size, 3) both; dropout stays on."""
        with self.autocast():
            drawn = self.generator(self.to_device(cond[None]))
        return to_uint8(drawn[0].float().permute(1, 2, 0).cpu().numpy())


def train(networks: Networks, pairs: Pairs, args: RivalArgs) -> dict[str, Any]:
    """Train until the time or the number of pictures is used up; what it took, and how the losses went.

    `losses` has one row for each _READ_EVERY steps: pictures seen, and the means of the three losses of those steps.
    """
    batches = Batches(pairs, args.size, args.batch, np.random.default_rng(args.seed))
    course = Course(args.seconds, args.images)
    images, rows, recent = 0, [], []
    while (share := course.share(images)) < 1.0:
        for group in (group for each in networks.optimizers for group in each.param_groups):
            group["lr"] = LEARNING_RATE * min(1.0, 2.0 * (1.0 - share))
        cond, x0 = batches.draw()
        recent.append(networks.step(networks.to_device(cond), networks.to_device(x0)))
        images += args.batch
        if len(recent) == _READ_EVERY:
            rows.append(_row(images, recent))
            recent = []
    rows += [_row(images, recent)] if recent else []  # It waits for the device.
    return {
        "seconds": course.elapsed(),
        "images": images,
        "steps": images // args.batch,
        "parameters": sum(weight.numel() for weight in networks.generator.parameters()),
        "parameters_discriminator": sum(weight.numel() for weight in networks.discriminator.parameters()),
        "device": torch.cuda.get_device_name() if networks.device.type == "cuda" else "CPU",
        "bf16": networks.bf16,
        "losses": [dict(zip(("images", "discriminator", "generator", "l1"), row, strict=True)) for row in rows],
    }


def _row(images: int, recent: Sequence[torch.Tensor]) -> list[float]:
    means = torch.stack(list(recent)).mean(dim=0).tolist()
    if not np.isfinite(means).all():
        raise UserError(f"the losses are {means} after {images} pictures, not finite; try another --seed")
    return [images, *means]


@dataclass(frozen=True)
class Course:
    """A training's way to its end, which is a time, a number of pictures, or the first of both."""

    seconds: float | None
    images: int | None
    began: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.began

    def share(self, images: int) -> float:
        """How much is done after so many pictures, 0 to 1 and more."""
        shares = (self.elapsed() / self.seconds if self.seconds else 0.0, images / self.images if self.images else 0.0)
        return max(shares)


@dataclass
class Batches:
    """Random batches: every pair once before any comes again, a random crop, mirrored half of the time."""

    pairs: Pairs
    size: int
    batch: int
    rng: np.random.Generator
    _waiting: list[int] = field(default_factory=list)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch: cond and x0, uint8 (batch, size, size, 3), each pair with one crop for both."""
        spare = self.pairs.cond.shape[1] - self.size
        both: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for _ in range(self.batch):
            self._waiting = self._waiting or self.rng.permutation(len(self.pairs.cond)).tolist()
            index, (top, left) = self._waiting.pop(), self.rng.integers(0, spare + 1, 2)
            turn = -1 if self.rng.random() < 0.5 else 1
            for out, side in zip(both, (self.pairs.cond, self.pairs.x0), strict=True):
                out.append(side[index, top : top + self.size, left : left + self.size][:, ::turn])
        return np.stack(both[0]), np.stack(both[1])


def cli() -> None:
    """Entry point; JAX, which nothing here computes with, leaves the accelerator alone."""
    jax.config.update("jax_platforms", "cpu")
    run(main)


if __name__ == "__main__":
    cli()
