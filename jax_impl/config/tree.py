"""One frozen tree of settings: data, model, diffusion, losses, optim, train; each checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jax_impl.config.checks import require, require_finite
from jax_impl.config.data import DataConfig
from jax_impl.config.fields import FREE_ON_RESUME, MOST_USED, ONE_WORD
from jax_impl.diffusion.bridge import BridgeConfig  # noqa: F401  It registers the process.
from jax_impl.diffusion.flow import FlowConfig  # noqa: F401  It registers the process.
from jax_impl.diffusion.gaussian import DiffusionConfig
from jax_impl.diffusion.losses import builtin as _losses  # noqa: F401  It registers our loss terms.
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.registry import LossConfig
from jax_impl.diffusion.one_pass import OnePassConfig  # noqa: F401  It registers the process.
from jax_impl.diffusion.process import ProcessConfig
from jax_impl.model import builtin  # noqa: F401  It registers our networks.
from jax_impl.model.codec import CodecConfig, IdentityCodecConfig
from jax_impl.model.latent import LatentCodecConfig  # noqa: F401  It registers the codec.
from jax_impl.model.registry import NetworkConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig  # noqa: F401  It registers the stage.
from jax_impl.training.stages.from_mean_config import FromMeanStageConfig  # noqa: F401  It registers the stage.
from jax_impl.training.stages.realism_config import RealismStageConfig  # noqa: F401  It registers the stage.
from jax_impl.training.stages.registry import DenoisingStageConfig, StageConfig


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer, its learning-rate schedule and gradient clipping."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimizer: `adamw`; or `muon` for the kernels and AdamW for all else, which needs about half as many steps."""
    learning_rate: float = field(default=1e-4, metadata=MOST_USED)
    """Learning rate at its highest, of both optimizers; above 0."""
    weight_decay: float = 0.01
    """Weight decay, multiplied by the learning rate; 0 or more."""
    schedule: Literal["step", "cosine"] = "step"
    """Learning rate over the run: `step` multiplies it by `decay_factor` every `decay_epochs`; `cosine` lowers it to
    zero."""
    decay_epochs: int = 100
    """Epochs between two drops of the learning rate, with the schedule `step`; at least 1."""
    decay_factor: float = 0.5
    """Factor of each drop of the learning rate, with the schedule `step`; above 0, up to 1."""
    warmup_steps: int = 0
    """Number of steps in which the learning rate rises from zero; 0 for none."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient, which is scaled down to it; 0 switches clipping off."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights, which bundles and samples use, from 0 to below 1; 0 switches it
    off."""
    more_ema_decays: tuple[float, ...] = ()
    """Decays of further moving averages, each between 0 and 1, to choose from when the run is bundled."""
    max_skipped: int = field(default=10, metadata=FREE_ON_RESUME)
    """Largest number of steps in a row that may be skipped for a value that is not finite or a loss spike; one more
    ends the run."""
    accumulate: int = 1
    """Gradient accumulation: number of parts of a batch that pass through the network one after the other, in less
    memory; a divisor of train.batch_size. BatchNorm then normalises each part by itself."""
    spike_factor: float = 0.0
    """Skip a step whose loss is more than this many times the mean of about the last hundred; above 1, or 0 for no
    limit."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0.0, "optim.learning_rate", self.learning_rate, "choose a value above 0")
        require(self.weight_decay >= 0.0, "optim.weight_decay", self.weight_decay, "choose 0 or more")
        require(self.decay_epochs >= 1, "optim.decay_epochs", self.decay_epochs, "choose at least 1")
        require(0.0 < self.decay_factor <= 1.0, "optim.decay_factor", self.decay_factor, "choose above 0 to 1")
        require(self.warmup_steps >= 0, "optim.warmup_steps", self.warmup_steps, "choose 0 or more")
        require(self.clip_norm >= 0.0, "optim.clip_norm", self.clip_norm, "choose 0 or more")
        require(0.0 <= self.ema_decay < 1.0, "optim.ema_decay", self.ema_decay, "choose 0 to below 1")
        require(self.accumulate >= 1, "optim.accumulate", self.accumulate, "choose at least 1")
        require(self.max_skipped >= 0, "optim.max_skipped", self.max_skipped, "choose 0 or more")
        require(
            self.spike_factor == 0.0 or self.spike_factor > 1.0,
            "optim.spike_factor",
            self.spike_factor,
            "choose a value above 1, such as 10, or 0 for no limit",
        )
        decays = (self.ema_decay, *self.more_ema_decays)
        require(
            all(0.0 < decay < 1.0 for decay in self.more_ema_decays) and len(set(decays)) == len(decays),
            "optim.more_ema_decays",
            self.more_ema_decays,
            f"choose values between 0 and 1 that differ from each other and from optim.ema_decay ({self.ema_decay})",
        )


@dataclass(frozen=True)
class TrainConfig:
    """Length of the run and what it leaves behind."""

    epochs: int = field(default=50, metadata={**FREE_ON_RESUME, **MOST_USED})
    """Number of epochs to train, at least 1."""
    batch_size: int = field(default=2, metadata=MOST_USED)
    """Pairs in a training step, over all devices; at least 1."""
    devices: int = field(default=0, metadata=FREE_ON_RESUME)
    """Number of devices that a batch is divided among; 0 for the most available ones that divide it evenly."""
    fsdp_devices: int = field(default=1, metadata=FREE_ON_RESUME)
    """Number of devices that also divide the weights, their averages and the optimiser's moments among them, to save
    memory: a divisor of the number of devices; 1 keeps a whole copy on each."""
    seed: int = 0
    """Seed of the weights, batches, augmentation and noise, 0 to 4294967295."""
    checkpoint_every: int = field(default=10, metadata=FREE_ON_RESUME)
    """Epochs between two checkpoints, at least 1; the end of a run always writes one."""
    keep_checkpoints: int = field(default=3, metadata=FREE_ON_RESUME)
    """Number of newest checkpoints that stay on disk, at least 1."""
    keep_best: int = field(default=1, metadata=FREE_ON_RESUME)
    """Number of checkpoints that stay on disk for their low validation loss; 0 for none."""
    keep_every: int = field(default=0, metadata=FREE_ON_RESUME)
    """Checkpoints at the end of an epoch that is a multiple of this stay on disk; 0 for none."""
    checkpoint_minutes: float = field(default=10.0, metadata=FREE_ON_RESUME)
    """Age of the newest checkpoint, in minutes, at which another is written in the middle of an epoch; 0 for none."""
    sample_every: int = field(default=1, metadata=FREE_ON_RESUME)
    """Epochs between two sample pictures; 0 for none, in the middle of an epoch neither."""
    sample_minutes: float = field(default=5.0, metadata=FREE_ON_RESUME)
    """Age of the last sample pictures, in minutes, at which others are made in the middle of an epoch; the first come
    after half a minute of training. 0 for the ends of epochs alone."""
    sample_steps: int = field(default=50, metadata=FREE_ON_RESUME)
    """Sampling steps of the pictures that training writes, from 1 to diffusion.timesteps."""
    minutes: float = field(default=0.0, metadata={**FREE_ON_RESUME, **MOST_USED})
    """Training time in minutes, compilation included: the first steps are timed once, and the stages and their
    learning-rate schedules get the length that fits, divided among stages as their epochs are; 0 for the epochs."""
    max_minutes: float = field(default=0.0, metadata=FREE_ON_RESUME)
    """Longest training time in minutes: the run then writes a checkpoint and ends; 0 for no limit."""
    tensorboard: bool = field(default=False, metadata=FREE_ON_RESUME)
    """Also write TensorBoard event files."""
    wandb: str = field(default="", metadata=FREE_ON_RESUME)
    """Also log to this project of Weights & Biases, which needs `pip install wandb`; the setting WANDB_MODE=offline of
    the environment keeps the log in the run folder. Default: none."""
    deterministic: bool = False
    """Use only XLA operations whose results repeat to the last bit, which an exact resume on a GPU needs; slower."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "fsdp_devices", "checkpoint_every", "keep_checkpoints", "sample_steps"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "choose at least 1")
        require(0 <= self.seed < 2**32, "train.seed", self.seed, "choose 0 to 4294967295")
        times = ("minutes", "max_minutes", "checkpoint_minutes", "sample_minutes")
        for name in ("devices", "sample_every", "keep_best", "keep_every", *times):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "choose 0 or more")
        require(
            self.max_minutes == 0 or self.minutes <= self.max_minutes,
            "train.minutes",
            self.minutes,
            f"choose at most train.max_minutes ({self.max_minutes:g}), or 0",
        )


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes."""

    data: DataConfig = field(default_factory=DataConfig)
    model: NetworkConfig = field(default_factory=SeedModelConfig)
    codec: CodecConfig = field(default_factory=IdentityCodecConfig, metadata=ONE_WORD)
    """Codec around the network: identity, patches, latent, or a JSON object with the codec's settings, such as
    '{"codec": "patches", "factor": 4}'."""
    diffusion: ProcessConfig = field(default_factory=DiffusionConfig)
    losses: tuple[LossConfig, ...] = (HybridConfig(),)
    """Terms of the loss, added up by their weights: names, such as hybrid, or JSON objects with a term's settings, such
    as '{"term": "hybrid", "mae_weight": 0.2}'."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    stages: tuple[StageConfig, ...] = (DenoisingStageConfig(),)
    """Stages of training, one after the other, each from the networks that the one before published: names, such as
    denoising, or JSON objects with a stage's settings, such as '{"stage": "denoising", "epochs": 5}'."""

    def __post_init__(self) -> None:
        require_finite("", self)
        require(
            self.codec.channels == 3 or self.model.cond_channels == 3,
            "codec.channels",
            self.codec.channels,
            "coordinates need 3; leave out model.coordinates",
        )
        require(len(self.stages) > 0, "stages", self.stages, "name at least one stage, such as denoising")
        require(len(self.losses) > 0, "losses", self.losses, "name at least one term, such as hybrid")
        multiple = self.size_multiple
        nearest = round(self.data.size / multiple) * multiple
        require(
            self.data.size % multiple == 0,
            "data.size",
            self.data.size,
            f"this model needs a multiple of {multiple}, such as {max(multiple, nearest)}",
        )
        require(
            self.train.batch_size % self.optim.accumulate == 0,
            "optim.accumulate",
            self.optim.accumulate,
            f"choose a divisor of train.batch_size ({self.train.batch_size})",
        )
        crop = self.data.crop_size
        require(
            crop == 0 or (0 < crop <= self.data.size and crop % multiple == 0),
            "data.crop_size",
            crop,
            f"choose a multiple of {multiple} up to data.size ({self.data.size}), or 0 for whole pictures",
        )
        most = self.diffusion.most_steps
        of = "diffusion.timesteps" if most == self.diffusion.timesteps else f"those of {self.diffusion.process}"
        require(
            self.train.sample_steps <= most,
            "train.sample_steps",
            self.train.sample_steps,
            f"choose at most {of} ({most})",
        )
        for stage in self.stages:
            stage.check(self)

    @property
    def size_multiple(self) -> int:
        """Height and width of pictures must be multiples of this, pixels."""
        return self.model.size_multiple * self.codec.factor
