"""From the original script's checkpoint through JAX, ONNX and the edge, and back into the script's own training."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from PIL import Image

from export import to_onnx
from export.edge import __main__ as edge
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import DENOISER
from jax_impl import bundle
from jax_impl.config.arguments import parse
from jax_impl.config.as_json import to_json
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.network import Tree, flatten
from jax_impl.runs.bundles import read_bundle, warm_start
from jax_impl.runs.folder import open_run, write_config
from jax_impl.training.batches import Drawn
from jax_impl.training.objective import Problem, diffusion_loss
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.report import MetricsLog
from jax_impl.training.retention import Retention
from jax_impl.training.state import TrainState, outline, with_params
from jax_impl.training.writer import save
from tests.parity.subject import to_nhwc, to_torch, with_weights
from tests.torch_ref.original_network import Original, Script, batch, trained
from torch_ref import convert
from torch_ref.optimizer import read_training, write_training
from torch_ref.original import settings
from torch_ref.weights import to_jax

WIDTH, PER_EPOCH, STEPS = 8, 3, 6
TYPED = ["--model.width", str(WIDTH), "--data.size", "16", "--optim.decay-epochs", "2"]
FLAG = ["--model.output-activation", "tanh"]


@dataclass(frozen=True)
class Imported:
    """A training of the original, and its checkpoint as a bundle."""

    script: Script
    bundle: Path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    folder, script = tmp_path_factory.mktemp("original"), trained(WIDTH)
    torch.save(script.checkpoint(), folder / "original.pth")
    convert.main([str(folder / "original.pth"), str(folder / "model.safetensors")])
    return Imported(script, folder / "model.safetensors")


def test_what_a_checkpoint_is_given_is_the_preset_with_a_tanh() -> None:
    # Where this fails, write torch_ref/original.json anew: these two values under `config` and `alphas_cumprod`.
    config = PRESETS["seed"]()
    config = replace(config, model=replace(config.model, output_activation="tanh"))
    held, schedule = settings()
    assert held == json.loads(to_json(config))
    assert schedule.dtype == np.float64
    np.testing.assert_array_equal(schedule, config.diffusion.create().published().alphas_cumprod)


def test_the_wheel_holds_it(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("torch_ref/original.json") == (root / "torch_ref/original.json").read_bytes()


def test_jax_onnx_and_the_edge_run_it_like_the_original(imported: Imported, tmp_path: Path) -> None:
    words = [str(imported.bundle), "--output", str(tmp_path / "artifact"), "--variants", "fp32", "--no-sampler"]
    to_onnx.main(words)
    path = tmp_path / "artifact" / "onnx" / "model.onnx"
    x_t, t, cond, _ = batch(5, 16, 24)
    with torch.no_grad():
        wanted = to_nhwc(imported.script.model.eval()(x_t, t / 1000, cond))
    held = read_bundle(imported.bundle)
    network, params, stats = with_weights(held.config, dict(held.weights))
    arrays = to_nhwc(x_t), to_nhwc(cond), t.numpy()
    in_jax = jax.jit(lambda *given: network.apply(params, stats, *given)[0])(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(in_jax, wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(open_artifact(path).denoise(*arrays), wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 1e-3

    Image.effect_noise((40, 24), 60).convert("RGB").save(tmp_path / "photo.png")
    edge.main([str(path), str(tmp_path / "photo.png"), str(tmp_path / "sunset.png"), "--steps", "2"])
    assert Image.open(tmp_path / "sunset.png").size == (40, 24)


def start(weights: Path, words: list[str]) -> tuple[Problem, optax.GradientTransformation, TrainState]:
    """What `jax_impl.train --init-from` does with these words before its first step."""
    args = parse([*words, "--init-from", str(weights)])
    config = args.settings()
    optimizer = make_optimizer(config.optim, learning_rate(config.optim, PER_EPOCH, PER_EPOCH * config.train.epochs))
    network, shapes = outline(config, optimizer)
    assert args.init_from is not None
    params, stats = warm_start(args.init_from, config, shapes.params, shapes.stats)[DENOISER]
    problem = Problem.of(network, config)
    # In one program: optax makes zeros of every shape in one of their own.
    begin = jax.jit(lambda params, stats: with_params(params, stats, config, optimizer, jax.random.key(0)))
    return problem, optimizer, begin(params, stats)


def test_without_its_flags_training_names_them(imported: Imported) -> None:
    with pytest.raises(UserError, match=r"trained with model\.output_activation tanh, not none; add --model\.output-"):
        start(imported.bundle, TYPED)
    with pytest.raises(UserError, match=r"add --model\.width 8 --model\.output-activation tanh$"):
        start(imported.bundle, TYPED[2:])
    with pytest.raises(UserError, match="use the preset it was trained with"):
        start(imported.bundle, ["tiny"])


def pictures(seed: int, config: Config) -> tuple[np.ndarray, ...]:
    """x_t, t, cond, eps, x0 of an odd batch that is not square; pictures float64 (3, 16, 24, 3)."""
    _, t, cond, eps = batch(seed, 16, 24)
    x0 = np.random.default_rng(seed).uniform(-1, 1, (3, 16, 24, 3))
    cond, eps = (to_nhwc(pictures).astype(np.float64) for pictures in (cond, eps))
    alpha_bar = np.asarray(config.diffusion.create().published().alphas_cumprod)[t.numpy()][:, None, None, None]
    return np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * eps, t.numpy(), cond, eps, x0


def cast(tree: Tree, dtype: str) -> Tree:
    """Floats in `dtype`; by numpy, since JAX would compile a program for every shape, and the step for every origin."""

    def leaf(array: jax.Array) -> jax.Array:
        plain = np.asarray(array)
        return jnp.asarray(plain.astype(dtype) if np.issubdtype(plain.dtype, np.floating) else plain)

    return jax.tree.map(leaf, tree)


def make_step(problem: Problem, optimizer: optax.GradientTransformation) -> Callable[..., tuple[Tree, Tree, Tree]]:
    """A jitted (params, stats, opt_state, cond, x0, t, eps) -> the first three after a step."""

    def step(params: Tree, stats: Tree, opt_state: optax.OptState, *drawn: jax.Array) -> tuple[Tree, Tree, Tree]:
        grads, (_, stats) = jax.grad(lambda p: diffusion_loss(problem, p, stats, Drawn(*drawn)), has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state

    # Seven steps of a narrow network: to compile it well would take longer than it then saves.
    return jax.jit(step, compiler_options={"xla_backend_optimization_level": 0})


def step_of_the_script(path: Path, config: Config) -> dict[str, np.ndarray]:
    """By JAX's names how far each parameter moves when the script resumes from `path` and takes a step, in float64."""
    script = Script.resume(Original(WIDTH), path)
    script.model.double()
    for state in script.optimizer.state.values():
        state.update({name: value.double() for name, value in state.items() if name != "step"})
    before = to_jax({n: v.clone() for n, v in script.model.state_dict().items()}, json.loads(to_json(config)))
    x_t, t, cond, eps, _ = pictures(STEPS, config)
    script.step(to_torch(x_t), torch.from_numpy(t), to_torch(cond), to_torch(eps))
    after = to_jax(script.model.state_dict(), json.loads(to_json(config)))
    return {name: after[name] - before[name] for name in after if name.rpartition(".")[2] not in ("mean", "var")}


def test_the_script_takes_the_step_that_jax_would_have_taken(imported: Imported, tmp_path: Path) -> None:
    problem, optimizer, state = start(imported.bundle, [*TYPED, *FLAG])
    run, config = tmp_path / "run", problem.config
    step = make_step(problem, optimizer)

    def drawn(n: int) -> tuple[jax.Array, ...]:
        _, t, cond, eps, x0 = pictures(n, config)
        return tuple(map(jnp.asarray, (cond, x0, t, eps)))

    run.mkdir()
    log = MetricsLog(run, 0)
    with jax.enable_x64(True):
        moving = tuple(cast(part, "float64") for part in (state.params, state.stats, state.opt_state))
        for n in range(STEPS):
            moving = step(*moving, *drawn(n))
            log.write(n + 1, {"epoch": (n + 1) / PER_EPOCH, "loss": 0.5})
        params, stats, opt_state = (cast(part, "float32") for part in moving)
    # What a run keeps of it, and the commands that take it to the script.
    log.close()
    reached = replace(state, step=jnp.asarray(STEPS), params=params, stats=stats, opt_state=opt_state)
    save(run, reached, Retention(1))
    write_config(run, config)
    model, moments, out = (tmp_path / name for name in ("m.safetensors", "o.safetensors", "model.pth"))
    bundle.main(["--run", str(run), "--output", str(model), "--optimizer", str(moments)])
    convert.main([str(model), str(out), "--optimizer", str(moments)])

    held = Script.resume(Original(WIDTH), out)
    assert held.epoch == held.scheduler.last_epoch == STEPS // PER_EPOCH == 2
    assert held.optimizer.param_groups[0]["lr"] == held.scheduler.get_last_lr()[0] == 5e-5
    theirs = step_of_the_script(out, config)
    kept = open_run(run).state
    with jax.enable_x64(True):
        before = tuple(cast(part, "float64") for part in (kept.params, kept.stats, kept.opt_state))
        after = step(*before, *drawn(STEPS))
        params, moved = flatten(before[0]), flatten(after[0])
        ours = {name: np.asarray(moved[name]) - np.asarray(params[name]) for name in params}
    assert ours.keys() == theirs.keys()

    def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
        whole = np.sqrt(sum(np.square(value).sum() for value in one.values()))
        return np.sqrt(sum(np.square(one[name] - other[name]).sum() for name in one)) / whole

    assert apart(ours, theirs) < 1e-9
    # A moment that landed with its axes, or its place, exchanged is seen.
    training = read_training(moments)
    for kind, one, other in (("mu", "inc.conv2.kernel", None), ("nu", "down1.norm1.bias", "down1.norm2.bias")):
        part = dict(getattr(training, kind))
        if other is None:
            part[one] = part[one].transpose(0, 1, 3, 2).copy()
        else:
            part[one], part[other] = part[other], part[one]
        write_training(moments, replace(training, **{kind: part}))
        convert.main([str(model), str(out), "--optimizer", str(moments)])
        assert apart(ours, step_of_the_script(out, config)) > 1e-3
