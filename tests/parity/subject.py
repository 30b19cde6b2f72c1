"""One set of weights and three ways to run it: JAX, PyTorch and onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from filelock import FileLock

from export.edge.errors import UserError
from export.edge.model.artifact import Artifact, open_network
from export.edge.model.codec import CODEC
from export.edge.model.layout import DENOISER
from export.to_onnx import export
from jax_impl.config.as_json import from_tree, to_json
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.data.batches import batch_indices
from jax_impl.data.loader import load
from jax_impl.diffusion.bridge import BridgeConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.gaussian import DiffusionConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.diffusion.process import ProcessConfig, Published
from jax_impl.model.codec import codec_of
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.model.learned_codec import ReconstructionConfig, unknown_statistics, with_statistics
from jax_impl.model.network import Network, Tree, flatten, outline
from jax_impl.model.registry import NetworkConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.runs.bundles import open_bundle, write_bundle
from jax_impl.training.objective import Problem
from tests.drawing import drawn
from torch_ref.codec import transform_of
from torch_ref.codec_weights import fill
from torch_ref.trainer import Trainer
from torch_ref.weights import Bundle, build_model, load_bundle, to_jax

TRAINING_STEPS = {"seed": 400}
"""Enough that a picture drawn by the narrow network is not mostly at the clamp, where any two implementations agree;
150 for the other presets."""
PROCESSES: dict[str, ProcessConfig] = {
    "gaussian": DiffusionConfig(prediction="x0"),
    "bridge": BridgeConfig(sampler="dbim2"),
    "flow": FlowConfig(sampler="heun", prediction="velocity"),
}
"""Those in place of a preset's, by name."""


@dataclass(frozen=True)
class Subject:
    """What the ladder compares."""

    problem: Problem
    params: Tree
    stats: Tree
    bundle: Bundle
    folder: Path
    """Where the exported file goes."""
    alphas_cumprod: np.ndarray | None
    """float64 (T,); None where the process has tables and no schedule."""
    cond: np.ndarray
    """Held-out guiding pictures, float32 (count, size, size, 3) in [-1, 1]; states where there is a codec."""
    x0: np.ndarray
    """Their targets."""

    @cached_property
    def onnx(self) -> Path:
        """The exported file, which takes seconds to make."""
        path = self.folder / "artifact/onnx/model.onnx"
        with FileLock(self.folder / "export.lock"):
            if not path.exists():
                export(self.bundle, self.folder / "artifact")
        return path

    @cached_property
    def artifact(self) -> Artifact:
        """The same, opened."""
        return open_network(self.onnx)

    @property
    def config(self) -> Config:
        return self.problem.config

    @property
    def schedule(self) -> np.ndarray:
        """ᾱ, float64 (T,). Raises ValueError for a process that has none."""
        if self.alphas_cumprod is None:
            raise ValueError(f"the process {self.config.diffusion.process} has no noise schedule")
        return self.alphas_cumprod

    @property
    def tree(self) -> dict:
        """The configuration as torch_ref reads it."""
        return self.bundle.config

    @property
    def size(self) -> int:
        """The side of what the network takes at the working size: of pictures, or of a codec's states."""
        return self.config.data.size // self.config.codec.factor

    def flat(self) -> dict[str, np.ndarray]:
        """Copies of all weights and statistics by JAX's names."""
        return {name: np.array(leaf) for name, leaf in (flatten(self.params) | flatten(self.stats)).items()}


def to_torch(pictures: np.ndarray) -> torch.Tensor:
    """(batch, height, width, channels) to a tensor (batch, channels, height, width) with memory of its own."""
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())


def to_nhwc(pictures: torch.Tensor) -> np.ndarray:
    """The inverse of `to_torch`."""
    return pictures.detach().numpy().transpose(0, 2, 3, 1)


def narrow(name: str) -> Config:
    """A preset with few channels, little data and a short warm-up; all else that decides what is computed stays.

    `name`: the preset's, or with a process of PROCESSES in place of its own, such as tiny+bridge. What changes is
    that there is one block on each level, where the presets have two, and, of residual networks, one level except in
    `tiny` and `base`, that one pass starts from noise, so that its state is not zero, and that `base` takes the options
    that no preset takes: attention to cond, coordinates, fixed resampling, the time added.
    """
    preset, _, process = name.partition("+")
    config = PRESETS[preset]()
    config = replace(config, diffusion=PROCESSES[process]) if process else config
    if isinstance(config.diffusion, OnePassConfig):
        config = replace(config, diffusion=replace(config.diffusion, start_noise=0.5))
    augment = replace(config.data.augment, rotation=0.0, perspective=0.0, jitter_probability=0.0)
    model = config.model
    if isinstance(model, SeedModelConfig):
        model = replace(model, width=8)
    elif preset == "base":
        model = replace(
            model, width=16, groups=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), head_channels=8,
            cross_attention=True, coordinates=True, resample="fixed", time_modulation="add",
        )  # fmt: skip
    else:
        model = replace(model, width=16, groups=4, blocks=1)
        if name != "tiny":
            attention = {"attention_levels": (0,), "head_channels": 8} if model.attention_levels else {}
            model = replace(model, multipliers=(1,), refine=min(model.refine, 1), **attention)
    codec = config.codec
    if isinstance(codec, LatentCodecConfig):
        codec = replace(codec, channels=4, mean=(), std=(), width=8, blocks=1)
    size = max(2 * model.size_multiple, 16 if codec.factor == 1 else 4) * codec.factor
    return replace(
        config,
        data=replace(config.data, size=size, synthetic_pairs=32, augment=augment),
        model=comparable(model),
        codec=codec,
        optim=replace(
            config.optim, learning_rate=6e-3, schedule="cosine", warmup_steps=min(config.optim.warmup_steps, 30)
        ),
        train=replace(config.train, batch_size=8),
    )


def comparable(model: NetworkConfig) -> NetworkConfig:
    """The network in float32 and without dropout, whose draws no two libraries share: what its weights mean."""
    if isinstance(model, SeedModelConfig):
        return replace(model, compute_dtype="float32")
    return replace(model, dropout=0.0, compute_dtype="float32")


def from_preset(preset: str, folder: Path, steps: int | None = None) -> Subject:
    """The preset's network, narrow, trained for some seconds on the built-in scenes; its files go to `folder`.

    `steps`: of training, by default those of TRAINING_STEPS; only the levels that draw need them. PyTorch takes them:
    what is compared is what the weights mean, wherever they come from, and it has nothing to compile. Its trainer knows
    gaussian diffusion alone; other processes keep the weights that torch draws.
    """
    config = narrow(preset)
    steps = TRAINING_STEPS.get(preset, 150) if steps is None else steps
    tree = json.loads(to_json(replace(config, train=replace(config.train, epochs=max(steps, 1)))))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(tree)
    published, others, codec = config.diffusion.create().published(), {}, None
    if isinstance(config.codec, LatentCodecConfig):
        # Of the size of trained weights; fresh ones leave half of the codec at zero.
        _, weights, _ = drawn(Config(data=config.data, model=ReconstructionConfig(codec=config.codec)))
        others[CODEC] = with_statistics(weights, *unknown_statistics(config.codec.channels)), {}
        codec = transform_of(tree)
        fill(codec.module, {name: np.array(leaf) for name, leaf in flatten(others[CODEC][0]).items()})
    if steps and published.alphas_cumprod is not None:
        train(Trainer(model, published.alphas_cumprod, tree, steps_per_epoch=1, codec=codec), config)
    _, params, stats = with_weights(config, to_jax(model.state_dict(), tree))
    bundle = folder / "model.safetensors"
    write_bundle(bundle, {DENOISER: (params, stats), **others}, published, config)
    return from_bundle(bundle, folder, config.data.size)


def train(trainer: Trainer, config: Config) -> None:
    """Take all of a trainer's steps, on pairs of which about half are turned over."""
    pairs, size, rng = load(config.data, "train"), config.train.batch_size, np.random.default_rng(0)
    for n in range(trainer.total):
        rows, over = batch_indices(0, n, len(pairs.names), 20, size), rng.random() < 0.5
        pictures = (side[rows, :, ::-1] if over else side[rows] for side in (pairs.cond, pairs.x0))
        cond, x0 = (to_torch(picture / np.float32(127.5) - 1) for picture in pictures)
        shape = config.codec.state_shape((size, *x0.shape[2:]))
        t = torch.from_numpy(rng.integers(0, config.diffusion.timesteps, size))
        trainer.step(cond, x0, t, to_torch(rng.standard_normal(shape, np.float32)))


def from_bundle(path: Path, folder: Path, size: int | None = None) -> Subject:
    """The weights in a bundle, compared on pictures of size x size pixels (default: the size of training).

    The ONNX file goes to `folder`, where a level asks for it. The pictures are the built-in scenes held out, whatever
    the weights were trained on: the data of the run need not be there. Raises UserError for a file that is no bundle
    and a size that the network cannot take.
    """
    bundle = load_bundle(path)
    config = from_tree(bundle.config)
    config = replace(config, model=comparable(config.model))
    for module in bundle.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    size = config.data.size if size is None else size
    if size % config.size_multiple:
        raise UserError(f"--size {size} is no multiple of {config.size_multiple}; choose one")
    config = replace(config, data=replace(config.data, path="synthetic", size=size))
    network, params, stats = with_weights(config, to_jax(bundle.model.state_dict(), bundle.config))
    held_out = load(config.data, "val")
    cond, x0 = (pictures[:4].astype(np.float32) / 127.5 - 1.0 for pictures in (held_out.cond, held_out.x0))
    if config.codec.learned:
        config = replace(config, codec=open_bundle(path)[0].config.codec)
    if config.codec.factor > 1:
        cond, x0 = (np.asarray(codec_of(config.codec).encode(jnp.asarray(side))) for side in (cond, x0))
    problem = Problem.of(network, config, Published(bundle.alphas_cumprod, bundle.tables))
    return Subject(problem, params, stats, bundle, folder, bundle.alphas_cumprod, cond, x0)


def with_weights(config: Config, weights: dict[str, np.ndarray]) -> tuple[Network, Tree, Tree]:
    """The network with the named weights: (network, params, stats). JAX's own are never drawn, which takes long."""
    network, *shapes = outline(config)
    params, stats = (
        jax.tree.unflatten(jax.tree.structure(part), [jnp.array(weights[name]) for name in flatten(part)])
        for part in shapes
    )
    return network, params, stats
