"""Training in plain PyTorch: the same recipe with torch's own optimiser, schedulers and clipping.

A reference for `jax_impl.training`, and what its speed is measured against. It takes
batches already drawn, so that both sides can train on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR, StepLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from export.edge.errors import UserError
from export.edge.model.codec import of_settings
from torch_ref.base import Denoiser
from torch_ref.codec import Transform, codec_of
from torch_ref.diffusion import levels_at
from torch_ref.losses import Losses, LossSample
from torch_ref.muon import Muon

Drawn = tuple[Tensor, Tensor, Tensor, Tensor]
"""A batch: cond, x0 (batch, 3, height, width) in [-1, 1], or cond with two channels of coordinates too; t int64
(batch,); eps, standard normal, of x0's shape, or of a codec's state of it."""
Metrics = dict[str, Tensor]
"""Scalars of one step, on the device that computed them: nothing waits for it until one is read."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a config tree that training reads; `jax_impl.config.tree` says what each means."""

    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    decay_epochs: int
    decay_factor: float
    warmup_steps: int
    clip_norm: float
    ema_decay: float
    prediction: str
    epochs: int

    @staticmethod
    def of(config: Mapping[str, Any]) -> Recipe:
        """Raises UserError for a setting that is missing or unknown."""
        try:
            found = {"optimizer": "adamw", **config["optim"], **config["diffusion"], **config["train"]}
            recipe = Recipe(**{field.name: found[field.name] for field in fields(Recipe)})
        except (KeyError, TypeError) as error:
            raise UserError(
                f"the config does not say how to train ({error} is missing); bundle the run again"
            ) from error
        if recipe.optimizer not in ("adamw", "muon"):
            raise UserError(f"config optim.optimizer is {recipe.optimizer!r}: choose adamw or muon")
        if recipe.schedule not in ("step", "cosine"):
            raise UserError(f"config optim.schedule is {recipe.schedule!r}: choose step or cosine")
        if recipe.prediction not in ("eps", "x0", "v"):
            raise UserError(f"config diffusion.prediction is {recipe.prediction!r}: choose one of eps, x0, v")
        return recipe


class Trainer:
    """A network and its optimiser, one step at a time. The network is trained in place, where it lies.

    model: in training mode from now on; its device, dtype and memory format stay.
    alphas_cumprod: float64 (T,). config: the tree that a bundle carries.
    steps_per_epoch: what the learning rate's epochs are counted in.
    autocast: torch.bfloat16 runs the network, not the loss, in mixed precision; None does not.
    compiler: backend of `torch.compile` for network and loss, such as "inductor"; None runs them eagerly.
    codec: that of the config, which one with weights has to be given; None makes it.
    Raises UserError for a config that does not say how to train, and another autocast.
    """

    def __init__(
        self,
        model: Denoiser,
        alphas_cumprod: np.ndarray,
        config: Mapping[str, Any],
        *,
        steps_per_epoch: int,
        autocast: torch.dtype | None = None,
        compiler: str | None = None,
        codec: Transform | None = None,
    ) -> None:
        if autocast not in (None, torch.bfloat16):
            raise UserError(f"autocast {autocast} would need its loss scaled; choose torch.bfloat16 or None")
        self.model = model.train()
        self.recipe, self.losses, self.codec = Recipe.of(config), Losses(config), codec or codec_of(config)
        self._sizes = of_settings(config.get("codec", {}))
        self.steps = 0
        """Steps taken."""
        self.total = self.recipe.epochs * steps_per_epoch
        """Steps of the whole run; the learning rate stays at its end after them."""
        self._named = dict(model.named_parameters())
        self._parameters: list[Tensor] = list(self._named.values())
        decays = self.recipe.ema_decay > 0
        self.ema = {name: p.detach().clone() for name, p in self._named.items()} if decays else {}
        """Moving average of the parameters, by name; empty where the config switches it off."""
        rate, decay = self.recipe.learning_rate, self.recipe.weight_decay
        self.optimizer: torch.optim.Optimizer = (
            Muon(self.model, lr=rate, weight_decay=decay)
            if self.recipe.optimizer == "muon"
            else torch.optim.AdamW(self._parameters, lr=rate, weight_decay=decay)
        )
        self.scheduler = make_scheduler(self.optimizer, self.recipe, steps_per_epoch)
        first = self._parameters[0]
        # Once, on the device: indexing numpy in every step would make the device wait for the host.
        every_t = torch.arange(len(alphas_cumprod), device=first.device)
        self._signal, self._noise = levels_at(alphas_cumprod, every_t, first.dtype)
        self._autocast = autocast
        self._objective = (
            self.objective if compiler is None else torch.compile(self.objective, backend=compiler, fullgraph=True)
        )

    def step(self, cond: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Metrics:
        """One step on a batch already drawn, a `Drawn` on the network's device and in its dtype.

        Returns loss, the parts of its terms (mse, mae), grad_norm (global, before clipping) and learning_rate, the
        one that this step used. Raises UserError where the pictures' shapes differ.
        """
        if not (cond[:, :3].shape == x0.shape and eps.shape == self._state_shape(x0)):
            shapes = ", ".join(str(tuple(picture.shape)) for picture in (cond, x0, eps))
            raise UserError(f"cond, x0 and eps have the shapes {shapes}; give three of the same")
        self.optimizer.zero_grad(set_to_none=True)
        metrics = self._objective(cond, x0, t, eps)
        metrics["loss"].backward()
        if self.recipe.clip_norm > 0:
            grad_norm = nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
        else:
            grad_norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        learning_rate = torch.tensor(self.scheduler.get_last_lr()[0], dtype=torch.float64)
        self.optimizer.step()
        if self.ema:
            self._move_average()
        self.steps += 1
        if self.steps < self.total:
            self.scheduler.step()
        metrics = {**metrics, "grad_norm": grad_norm}
        return {name: value.detach() for name, value in metrics.items()} | {"learning_rate": learning_rate}

    def train(self, batches: Iterable[Drawn]) -> Iterator[Metrics]:
        """A step for every batch, as the metrics are taken."""
        for batch in batches:
            yield self.step(*batch)

    def objective(self, cond: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Metrics:
        """The loss of a batch and the parts of its terms, scalars."""
        recipe, signal, noise = self.recipe, self._signal[t], self._noise[t]
        cond, x0 = self.codec.encode(cond), self.codec.encode(x0)
        x_t = signal * x0 + noise * eps
        with torch.autocast(x0.device.type, self._autocast, enabled=self._autocast is not None):
            output = self.model(x_t, cond, t)
        wanted = {"eps": eps, "x0": x0}.get(recipe.prediction)
        if wanted is None:
            wanted = signal * eps - noise * x0
        output = output.to(wanted.dtype)
        sample = LossSample(cond, x0, x_t, t, eps, output, wanted, signal, noise, recipe.prediction)
        return self.losses(sample, None, {"decode": self.codec.decode})

    def moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """First and second moments by parameter name, not copied; zeros before the first step.

        With Muon the first moment of a kernel is its momentum, and the second stays zero.
        """
        first, second = {}, {}
        for name, parameter in self._named.items():
            state, nothing = self.optimizer.state[parameter], torch.zeros_like(parameter)
            first[name] = state.get("momentum_buffer", state.get("exp_avg", nothing))
            second[name] = state.get("exp_avg_sq", nothing)
        return first, second

    def _state_shape(self, x0: Tensor) -> tuple[int, ...]:
        batch, height, width, channels = self._sizes.state_shape((x0.shape[0], *x0.shape[2:]))
        return batch, channels, height, width

    def _move_average(self) -> None:
        # At most (1 + n) / (10 + n) after n steps, so that the first average forgets the initial weights.
        decay = min(self.recipe.ema_decay, (1.0 + self.steps) / (10.0 + self.steps))
        get_ema_multi_avg_fn(decay)(list(self.ema.values()), self._parameters, None)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> LRScheduler:
    """The learning rate, moved on after every step.

    `step`: StepLR's, decay_epochs counted in steps; `cosine`: half a cosine down to zero
    at the last step (Loshchilov & Hutter 2017, equation 5). Before either, warmup_steps
    of a linear rise that takes the values 1/n, 2/n, … 1 of the full rate.
    """
    warmup, period = recipe.warmup_steps, recipe.decay_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "cosine":
        main: LRScheduler = CosineAnnealingLR(optimizer, max(total - warmup, 1))
    elif warmup == 0:
        return StepLR(optimizer, period, recipe.decay_factor)
    else:
        # Inside SequentialLR steps count from the end of the rise; the drops stay at the epochs' beginnings.
        drops = [max(step - warmup, 0) for step in range(period, total, period)]
        main = MultiStepLR(optimizer, drops, recipe.decay_factor)
    if warmup == 0:
        return main
    rise = LinearLR(optimizer, start_factor=1.0 / warmup, total_iters=max(warmup - 1, 1))
    return SequentialLR(optimizer, [rise, main], [warmup])
