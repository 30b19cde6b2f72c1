"""The trainer against the papers' algorithms written out, and what it promises about memory, dtypes and graphs."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from export.edge.errors import UserError
from torch_ref.base import Denoiser
from torch_ref.diffusion import q_sample, target, to_x0
from torch_ref.trainer import Drawn, Trainer

OPTIM = {
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
    "schedule": "step",
    "decay_epochs": 2,
    "decay_factor": 0.5,
    "warmup_steps": 0,
    "clip_norm": 0.0,
    "ema_decay": 0.0,
}
MakeTrainer = Callable[..., Trainer]


def drawn(seed: int = 0, dtype: torch.dtype = torch.float64, batch: int = 3) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    cond, x0 = torch.rand(2, batch, 3, 16, 16, generator=generator, dtype=torch.float64) * 2 - 1
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    t = torch.randint(0, 100, (batch,), generator=generator)
    return cond.to(dtype), x0.to(dtype), t, eps.to(dtype)


@pytest.fixture
def make_trainer(
    make_network: Callable[[str], Denoiser], make_config: Callable[[str], dict[str, Any]], schedule: np.ndarray
) -> MakeTrainer:
    """`make_trainer(kind, prediction, dtype, options, **optim)`: two steps to an epoch, ten epochs."""

    def make(
        kind: str = "unet",
        *,
        prediction: str = "eps",
        dtype: torch.dtype = torch.float64,
        options: dict[str, Any] | None = None,
        optim: dict[str, Any] | None = None,
        diffusion: dict[str, Any] | None = None,
    ) -> Trainer:
        config = make_config(kind)
        config["diffusion"] |= {"prediction": prediction} | (diffusion or {})
        config |= {"optim": OPTIM | (optim or {}), "train": {"epochs": 10}}
        return Trainer(make_network(kind).to(dtype), schedule, config, steps_per_epoch=2, **(options or {}))

    return make


def parameters(trainer: Trainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("kind", ["seed", "unet"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_loss_is_the_network_s_distance_from_its_target(
    make_trainer: MakeTrainer, kind: str, prediction: str, schedule: np.ndarray
) -> None:
    trainer = make_trainer(kind, prediction=prediction)
    model = copy.deepcopy(trainer.model)
    assert model.training
    cond, x0, t, eps = drawn()
    output = model(q_sample(x0, eps, schedule, t), cond, t)
    wanted = target(prediction, x0, eps, schedule, t)  # type: ignore[arg-type]
    metrics = trainer.step(cond, x0, t, eps)
    torch.testing.assert_close(metrics["loss"], metrics["mse"] + 0.1 * metrics["mae"], rtol=1e-12, atol=0)
    torch.testing.assert_close(metrics["mse"], (output - wanted).square().mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(metrics["mae"], (output - wanted).abs().mean(), rtol=1e-12, atol=0)
    assert not any(value.requires_grad for value in metrics.values())
    for name, buffer in model.named_buffers():  # BatchNorm collects its statistics in the same pass
        torch.testing.assert_close(dict(trainer.model.named_buffers())[name], buffer)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_weighs_the_error_of_x0(make_trainer: MakeTrainer, prediction: str, schedule: np.ndarray) -> None:
    """Whatever is predicted, the squared error of the x0 that it stands for counts min(SNR, γ) times."""
    trainer = make_trainer(prediction=prediction, diffusion={"loss_weight": "min_snr", "snr_gamma": 0.5})
    cond, x0, t, eps = drawn()
    x_t = q_sample(x0, eps, schedule, t)
    with torch.no_grad():
        found = to_x0(prediction, trainer.model(x_t, cond, t), x_t, schedule, t)  # type: ignore[arg-type]
    alpha_bar = torch.from_numpy(schedule)[t]
    weight = (alpha_bar / (1 - alpha_bar)).clamp(max=0.5)
    assert weight.min() < weight.max() == 0.5
    expected = (weight * (found - x0).square().mean(dim=(1, 2, 3))).mean()
    torch.testing.assert_close(trainer.step(cond, x0, t, eps)["mse"], expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("clip_norm", [0.0, 0.05, 1e3])
def test_steps_are_those_of_the_algorithm(make_trainer: MakeTrainer, clip_norm: float) -> None:
    """Loshchilov & Hutter 2019, algorithm 2, behind clipping to c / (norm + 1e-6); η halves every four steps."""
    trainer = make_trainer(optim={"clip_norm": clip_norm})
    twin = copy.deepcopy(trainer.model)
    wanted = {name: p.detach().clone() for name, p in twin.named_parameters()}
    first, second = ({name: torch.zeros_like(p) for name, p in wanted.items()} for _ in range(2))
    for n in range(1, 10):
        batch = drawn(n)
        twin.load_state_dict(wanted, strict=False)
        loss = make_objective(trainer, twin)(*batch)
        grads = dict(zip(wanted, torch.autograd.grad(loss, list(twin.parameters())), strict=True))
        norm = math.sqrt(sum(float(g.square().sum()) for g in grads.values()))
        scale = min(1.0, clip_norm / (norm + 1e-6)) if clip_norm else 1.0
        rate = 1e-2 * 0.5 ** ((n - 1) // 4)
        for name, g in grads.items():
            first[name] = 0.9 * first[name] + 0.1 * scale * g
            second[name] = 0.999 * second[name] + 0.001 * (scale * g) ** 2
            direction = first[name] / (1 - 0.9**n) / ((second[name] / (1 - 0.999**n)).sqrt() + 1e-8)
            wanted[name] = wanted[name] - rate * (direction + 0.1 * wanted[name])
        metrics = trainer.step(*batch)
        assert float(metrics["grad_norm"]) == pytest.approx(norm)  # before clipping
        assert float(metrics["learning_rate"]) == rate
    torch.testing.assert_close(parameters(trainer), wanted, rtol=1e-10, atol=1e-12)
    for found, moment in zip(trainer.moments(), (first, second), strict=True):
        torch.testing.assert_close(found, moment, rtol=1e-9, atol=1e-14)


def make_objective(trainer: Trainer, model: Denoiser) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The trainer's loss with another network in it; the loss itself has a test of its own."""
    other = copy.copy(trainer)
    other.model = model
    return lambda *batch: other.objective(*batch)["loss"]


@pytest.mark.parametrize("warmup", [0, 1, 6])
@pytest.mark.parametrize("kind", ["step", "cosine"])
def test_learning_rates(make_trainer: MakeTrainer, kind: str, warmup: int) -> None:
    trainer = make_trainer(optim={"schedule": kind, "warmup_steps": warmup})
    # The rate does not depend on the loss: one that costs nothing.
    trainer._objective = lambda *batch: {"loss": sum(p.square().sum() for p in trainer.model.parameters())}
    batch = drawn(batch=1)
    rates = [float(trainer.step(*batch)["learning_rate"]) for _ in range(23)]
    assert trainer.total == 20
    for n, rate in enumerate(rates[:20]):
        if n < warmup:
            share = (n + 1) / warmup
        elif kind == "step":
            share = 0.5 ** (n // 4)  # every two epochs of two steps
        else:
            share = 0.5 * (1 + math.cos(math.pi * (n - warmup) / (20 - warmup)))
        assert rate == pytest.approx(1e-2 * share, rel=1e-12)
    assert rates[20:] == [rates[19]] * 3


def test_the_average_follows_the_parameters(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(optim={"ema_decay": 0.3})
    average, decays = parameters(trainer), [1 / 10, 2 / 11, 3 / 12, 0.3, 0.3]  # from the fourth step on 4/13 > 0.3
    for n, decay in enumerate(decays):
        trainer.step(*drawn(n))
        average = {name: decay * average[name] + (1 - decay) * p for name, p in parameters(trainer).items()}
    torch.testing.assert_close(trainer.ema, average, rtol=1e-12, atol=1e-15)
    assert make_trainer().ema == {}


@pytest.mark.parametrize("kind", ["seed", "affine"])
def test_the_loss_falls_on_one_batch(make_trainer: MakeTrainer, kind: str) -> None:
    trainer = make_trainer(kind, prediction="x0", dtype=torch.float32, optim={"clip_norm": 1.0, "decay_epochs": 10})
    batch = drawn(dtype=torch.float32)
    losses = [float(metrics["loss"]) for metrics in trainer.train(itertools.repeat(batch, 40))]
    assert len(losses) == trainer.steps == 40
    assert losses[-1] < 0.6 * losses[0]


def test_before_the_first_step_moments_are_zero(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    for moments in trainer.moments():
        assert moments.keys() == parameters(trainer).keys()
        assert not any(value.any() for value in moments.values())


@pytest.mark.parametrize("kind", ["seed", "affine"])
def test_network_and_loss_make_one_graph(make_trainer: MakeTrainer, kind: str) -> None:
    """`fullgraph` raises at anything that would go back to Python in the middle."""
    eager, compiled = make_trainer(kind), make_trainer(kind, options={"compiler": "eager"})
    for n in range(2):
        batch = drawn(n)
        torch.testing.assert_close(compiled.step(*batch), eager.step(*batch))
    torch.testing.assert_close(parameters(compiled), parameters(eager))


def test_channels_last_is_kept_and_changes_no_number(make_trainer: MakeTrainer) -> None:
    plain, last = make_trainer("seed"), make_trainer("seed")
    last.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for n in range(3):
        cond, x0, t, eps = drawn(n)
        plain.step(cond, x0, t, eps)
        last.step(*(a.to(memory_format=torch.channels_last) for a in (cond, x0)), t, eps)
    torch.testing.assert_close(parameters(last), parameters(plain), rtol=1e-9, atol=1e-9)
    kernels = [p for p in last.model.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert kernels and all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_mixed_precision_keeps_weights_and_loss_in_float32(make_trainer: MakeTrainer) -> None:
    plain = make_trainer("seed", dtype=torch.float32)
    mixed = make_trainer("seed", dtype=torch.float32, options={"autocast": torch.bfloat16})
    seen = []
    mixed.model.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    batch = drawn(dtype=torch.float32)
    metrics, exact = mixed.step(*batch), plain.step(*batch)
    assert seen == [torch.bfloat16]
    assert metrics["loss"].dtype == torch.float32
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in mixed.model.parameters())
    # bfloat16 keeps 8 bits: near the float32 loss, but not on it.
    assert 0 < abs(float(metrics["loss"] - exact["loss"])) < 0.02 * float(exact["loss"])


def test_batches_may_be_parts_of_pictures_that_say_where_they_lie(make_trainer: MakeTrainer) -> None:
    cond, x0, t, eps = drawn()
    grid = torch.stack(torch.meshgrid(*2 * [(torch.arange(16, dtype=x0.dtype) + 0.5) / 8 - 1], indexing="ij"))
    losses = []
    for places in (None, grid, grid / 2):
        trainer = make_trainer("options")
        torch.manual_seed(0)  # of dropout
        placed = cond if places is None else torch.cat([cond, places.expand(3, 2, 16, 16)], dim=1)
        losses.append(float(trainer.step(placed, x0, t, eps)["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert abs(losses[2] - losses[0]) > 1e-4 * losses[0]


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("optim", {"schedule": "linear"}, "optim.schedule is 'linear'"),
        ("diffusion", {"prediction": "score"}, "diffusion.prediction is 'score'"),
        ("diffusion", {"loss_weight": "p2"}, "losses.hybrid.weighting is 'p2'"),
        ("optim", None, "'learning_rate' is missing"),
        ("train", None, "'epochs' is missing"),
    ],
)
def test_bad_configs(
    make_trainer: MakeTrainer, section: str, change: dict[str, Any] | None, said: str, make_config: Callable
) -> None:
    good = {"optim": OPTIM, "diffusion": make_config("unet")["diffusion"], "train": {"epochs": 1}}
    config = good | {section: {} if change is None else good[section] | change}
    with pytest.raises(UserError, match=said):
        Trainer(make_trainer().model, np.array([0.9, 0.1]), config, steps_per_epoch=1)


def test_bad_batches_and_precisions(make_trainer: MakeTrainer) -> None:
    cond, x0, t, eps = drawn()
    trainer = make_trainer()
    before = parameters(trainer)
    with pytest.raises(UserError, match=r"\(1, 3, 16, 16\)"):
        trainer.step(cond, x0, t, eps[:1])
    torch.testing.assert_close(parameters(trainer), before, rtol=0, atol=0)
    with pytest.raises(UserError, match=r"autocast torch\.float16"):
        make_trainer(options={"autocast": torch.float16})
