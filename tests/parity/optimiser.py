"""Level d: a whole training run, the same batches through JAX's training step and through PyTorch's own optimiser."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from export.edge.errors import UserError
from jax_impl.config.as_json import to_json
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config, OptimConfig
from jax_impl.data.batches import batch_indices
from jax_impl.data.loader import Pairs, load
from jax_impl.model.network import Tree, flatten
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.training import batches
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import with_params
from jax_impl.training.step import update
from tests.parity.ladder import Line, compare
from tests.parity.subject import Subject, to_torch
from torch_ref.base import Denoiser
from torch_ref.trainer import Drawn, Trainer
from torch_ref.weights import to_jax

LEVEL = "d"
EPOCHS = 10
"""A run counts about this many epochs, so that their conversion to steps is compared as well."""
PICTURES = 16
PROBES = 10
"""Steps from whose gradient norms the clipping bound is chosen."""
LOGGED = ("loss", "grad_norm", "learning_rate")
ROUNDING = "float64 rounding over the whole run; a constant that is wrong in its sixth digit leaves more"
YARDSTICK = "a yardstick of JAX · torch; three times more than this would let even zeros pass"
MEASURED = "three times what PyTorch drifts from itself, the larger of both yardsticks"
ROUNDED = "the run hardly drifts: some ten roundings of float32, as losses are summed in another order"
LEAST = 1e-6
Values = Mapping[str, np.ndarray]
MakeOptimizer = Callable[[OptimConfig, optax.Schedule], optax.GradientTransformation]


@dataclass(frozen=True)
class Course:
    """What both sides train on: the settings, the pictures, and from them every batch."""

    config: Config
    pairs: Pairs
    steps: int
    per_epoch: int

    def batch(self, n: int, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """cond, x0, t and eps of step n: the same whoever asks, only rounded to dtype; t is int64."""
        size = self.config.train.batch_size
        rows = batch_indices(0, n, len(self.pairs.names), 1, size)
        cond, x0 = (pictures[rows] / 127.5 - 1.0 for pictures in (self.pairs.cond, self.pairs.x0))
        rng = np.random.default_rng([1, n])
        t = rng.integers(0, self.config.diffusion.timesteps, size)
        return cond.astype(dtype), x0.astype(dtype), t, rng.normal(size=x0.shape).astype(dtype)


@dataclass(frozen=True)
class Trained:
    """What a run leaves, by JAX's names and in JAX's layouts."""

    quantities: Mapping[str, Values]
    """Such as "first moments": arrays by name."""
    clipped: np.ndarray
    """Whether each step's gradient was longer than the bound, bool (steps,)."""
    rates: np.ndarray
    """Learning rate of each step, float64 (steps,)."""

    def story(self) -> str:
        """How long the run was and how often it clipped.

        Raises UserError where it would show nothing: clipping always or never, a learning rate that stays.
        """
        steps, clipped, rates = len(self.clipped), int(self.clipped.sum()), len(np.unique(self.rates))
        if not 0 < clipped < steps:
            raise UserError(
                f"level d clipped the gradient in {clipped} of {steps} steps, which shows nothing; choose more --steps"
            )
        if rates < 3:
            raise UserError(f"the learning rate took {rates} values in {steps} steps of level d; choose more --steps")
        return f"{steps} steps, {clipped} of them clipped"


def optimiser(subject: Subject, *, steps: int = 200, size: int, batch: int) -> Iterator[Line]:
    """Lines for `steps` steps from the subject's weights, `batch` built-in scenes of size x size pixels in each.

    In float64 both sides compute the same but for rounding. In float32 no two runs stay
    together: rounding decides on which side of a kink an activation or an error lies, and
    Adam moves a weight by its full rate along a gradient that is nothing but rounding. The
    yardstick is then what PyTorch drifts from itself: with every batch reversed, which
    changes the order of sums over the batch (not over two pictures: give it four), and from
    its own float64 run, because each picture's way forward is rounded alike in either order.
    Moments are left to float64: the first ones are means over ten gradients, and those of
    two runs that have drifted have little in common.

    Raises UserError for fewer than 10 steps, and for a run that would show nothing:
    whose gradient is clipped always or never, or whose learning rate stays.
    """
    course = course_for(subject, steps, size, batch)

    def in_torch(dtype: str, *, reverse: bool = False) -> Trained:
        return train_in_torch(subject.bundle.model, subject.schedule, course, dtype, reverse=reverse)

    def in_jax(dtype: str) -> Trained:
        return train_in_jax(subject.problem, subject.params, subject.stats, course, dtype)

    exact, single = in_torch("float64"), in_torch("float32")
    yield from float64_lines(exact, in_jax("float64"))
    yield from float32_lines(single, in_jax("float32"), in_torch("float32", reverse=True), exact)


def float64_lines(reference: Trained, ours: Trained) -> Iterator[Line]:
    """JAX against PyTorch, quantity by quantity. Raises UserError for a run that would show nothing."""
    for quantity, wanted in reference.quantities.items():
        what = f"{quantity} after {reference.story()}"
        yield _line(what, ours.quantities[quantity], wanted, "JAX · torch", 1e-9, ROUNDING)


def float32_lines(reference: Trained, ours: Trained, reverse: Trained, exact: Trained) -> Iterator[Line]:
    """For each quantity both yardsticks, and JAX against PyTorch. Raises UserError for a run that would show nothing.

    reverse: PyTorch with every batch reversed; exact: PyTorch in float64.
    """
    for quantity, wanted in reference.quantities.items():
        if quantity.endswith("moments"):
            continue
        what = f"{quantity} after {reference.story()}"
        controls = [
            _line(what, reverse.quantities[quantity], wanted, "torch, batches reversed · torch", 1 / 3, YARDSTICK),
            _line(what, wanted, exact.quantities[quantity], "torch · torch in float64", 1 / 3, YARDSTICK),
        ]
        yield from controls
        drift = max(line.relative for line in controls)
        tolerance, reason = (3 * drift, MEASURED) if 3 * drift > LEAST else (LEAST, ROUNDED)
        yield _line(what, ours.quantities[quantity], wanted, "JAX · torch", tolerance, reason)


def _line(what: str, ours: Values, reference: Values, pair: str, tolerance: float, reason: str) -> Line:
    return compare(LEVEL, what, ours, reference, pair=pair, measure="relative", tolerance=tolerance, reason=reason)


def course_for(subject: Subject, steps: int, size: int, batch: int) -> Course:
    """The recipe of the subject's preset in `steps` steps.

    StepLR halves the rate every two epochs of ten, and the warm-up keeps its share of 200
    steps. The clipping bound is the median gradient norm of the first steps: weights that
    are trained already never reach the preset's.
    """
    if steps < EPOCHS:
        raise UserError(f"--steps is {steps}, too few for the learning rate to change; choose at least {EPOCHS}")
    recipe = PRESETS["seed" if isinstance(subject.config.model, SeedModelConfig) else "tiny"]().optim
    recipe = replace(recipe, decay_epochs=2, warmup_steps=recipe.warmup_steps * steps // 200, clip_norm=0.0)
    per_epoch = steps // EPOCHS
    config = replace(
        subject.config,
        data=replace(subject.config.data, path="synthetic", size=size, synthetic_pairs=PICTURES),
        optim=recipe,
        train=replace(subject.config.train, epochs=-(-steps // per_epoch), batch_size=batch),
    )
    course = Course(config, load(config.data, "train"), steps, per_epoch)
    trainer = _trainer(subject.bundle.model, subject.schedule, course, "float32")
    norms = [float(trainer.step(*_drawn(course, n, "float32"))["grad_norm"]) for n in range(PROBES)]
    bound = float(f"{np.median(norms):.2g}")
    return replace(course, config=replace(config, optim=replace(recipe, clip_norm=bound)))


def train_in_jax(
    problem: Problem, params: Tree, stats: Tree, course: Course, dtype: str, of: MakeOptimizer = make_optimizer
) -> Trained:
    """The course through the product's own step; `of` makes the optimiser, so that a fault can be planted there."""
    config = course.config
    with jax.enable_x64(dtype == "float64"):
        schedule = learning_rate(config.optim, course.per_epoch, course.per_epoch * config.train.epochs)
        optimizer = of(config.optim, schedule)
        # Copies: the step consumes its state, and the subject's weights are wanted again.
        params, stats = (jax.tree.map(lambda a: jnp.asarray(np.array(a, dtype)), tree) for tree in (params, stats))
        # In one program: optax makes zeros of every shape in one of their own.
        begin = jax.jit(lambda params, stats: with_params(params, stats, config, optimizer, jax.random.key(0)))
        state = begin(params, stats)
        step = functools.partial(update, problem._replace(config=config), optimizer, schedule)
        step = jax.jit(step, donate_argnums=0)
        log = []
        for n in range(course.steps):
            state, metrics = step(state, batches.Drawn(*course.batch(n, dtype)))
            log.append([float(metrics[name]) for name in LOGGED])
        mu, nu, momentum = (flatten(optax.tree.get(state.opt_state, name, {})) for name in ("mu", "nu", "momentum"))
        nothing = {name: jnp.zeros_like(value) for name, value in momentum.items()}
        trees = {"parameters": flatten(state.params), "first moments": mu | momentum, "second moments": nu | nothing}
        trees |= {"running statistics": flatten(state.stats), "averaged parameters": flatten(state.ema)}
        arrays = {what: {k: np.array(v) for k, v in tree.items()} for what, tree in trees.items()}
    return _trained(arrays, log, course, dtype)


def train_in_torch(
    model: Denoiser, alphas_cumprod: np.ndarray, course: Course, dtype: str, *, reverse: bool = False
) -> Trained:
    """The course through torch_ref's trainer, on a copy of the model; `reverse` turns the order within each batch."""
    trainer = _trainer(model, alphas_cumprod, course, dtype)
    log = []
    for n in range(course.steps):
        cond, x0, t, eps = (part.flip(0) if reverse else part for part in _drawn(course, n, dtype))
        metrics = trainer.step(cond, x0, t, eps)
        log.append([float(metrics[name]) for name in LOGGED])
    state, tree = trainer.model.state_dict(), _tree(course)
    mu, nu = trainer.moments()
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for what, values in {"parameters": {}, "first moments": mu, "second moments": nu}.items():
        # The table of names wants the statistics too, which have no moments.
        arrays[what] = _without_statistics(to_jax({**state, **values}, tree))
    arrays["running statistics"] = {k: v for k, v in to_jax(state, tree).items() if k not in arrays["parameters"]}
    averaged = _without_statistics(to_jax({**state, **trainer.ema}, tree)) if trainer.ema else {}
    return _trained(arrays | {"averaged parameters": averaged}, log, course, dtype)


def _trained(arrays: dict[str, dict[str, np.ndarray]], log: list[list[float]], course: Course, dtype: str) -> Trained:
    loss, grad_norm, rates = np.array(log).T
    quantities = {what: values for what, values in arrays.items() if values}
    quantities["loss curve"] = {"": loss.astype(dtype)}
    return Trained(quantities, grad_norm > course.config.optim.clip_norm, rates)


def _trainer(model: Denoiser, alphas_cumprod: np.ndarray, course: Course, dtype: str) -> Trainer:
    own = copy.deepcopy(model).to(getattr(torch, dtype))
    return Trainer(own, alphas_cumprod, _tree(course), steps_per_epoch=course.per_epoch)


def _tree(course: Course) -> dict:
    return json.loads(to_json(course.config))


def _drawn(course: Course, n: int, dtype: str) -> Drawn:
    cond, x0, t, eps = course.batch(n, dtype)
    return to_torch(cond), to_torch(x0), torch.from_numpy(t), to_torch(eps)


def _without_statistics(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in values.items() if name.rpartition(".")[2] not in ("mean", "var")}
