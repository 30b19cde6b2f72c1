"""`optimizer.safetensors`: where a training stands, kept beside its `model.safetensors`, and the same in torch's words.

Tensors `mu.NAME` and `nu.NAME`: AdamW's first and second moments (Loshchilov & Hutter
2019, algorithm 2) in JAX's names and layouts, float32. The rest is JSON under `training`
in the file's metadata; `jax_impl.runs.bundles` writes the same format. A file made from a
checkpoint of the original script holds beside that, under `original`, what the script
had in it word for word, so that the way back is exact.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as to_bytes
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import StepLR

from export.edge.disk.files import write_bytes
from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from export.edge.model.bundles import OPTIMIZER_FORMAT, OPTIMIZER_VERSION, optimizer_digest, optimizer_metadata
from torch_ref.original import parameters
from torch_ref.tensor_file import read_tensors
from torch_ref.weights import TORCH_ONLY, from_jax, to_jax

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Torch's names for mu and nu."""
STEP_LR = ("step_size", "gamma", "base_lrs", "last_epoch")
"""What StepLR's state dict holds in every version of torch."""
MOST_FACTS = 100_000
LEAVE_OUT = "leave out --optimizer to convert the weights alone"


@dataclass(frozen=True)
class Training:
    """Where a training stands after whole steps."""

    mu: dict[str, np.ndarray]
    """First moments by JAX's names, float32."""
    nu: dict[str, np.ndarray]
    """Second moments, of the same names and shapes."""
    facts: dict[str, Any]
    """step, epoch: whole ones done; loss: of the last epoch, or None; learning_rate: of the step to come;
    initial_learning_rate, weight_decay, betas, eps; schedule: step, warm-up or cosine; decay_epochs,
    decay_factor; original: see above, or absent."""
    weights_digest: str = ""
    """Of the bundle that it belongs to."""


def write_training(path: Path, training: Training) -> None:
    """Write an `optimizer.safetensors` atomically."""
    tensors = {f"mu.{name}": value for name, value in training.mu.items()}
    tensors |= {f"nu.{name}": value for name, value in training.nu.items()}
    text = json.dumps({**training.facts, "weights_digest": training.weights_digest})
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(tensors, optimizer_metadata(tensors, text)))


def read_training(path: Path) -> Training:
    """Open an `optimizer.safetensors`; UserError for a file that is missing, broken, damaged or of another kind."""
    metadata, tensors = read_tensors(path, "--optimizer")
    kind = metadata.get("format"), metadata.get("format_version")
    if kind != (OPTIMIZER_FORMAT, OPTIMIZER_VERSION):
        raise UserError(
            f"--optimizer {path} is of format {kind[0]!r} version {kind[1]!r}, expected {OPTIMIZER_FORMAT!r} "
            f"{OPTIMIZER_VERSION!r}; write it with `jax_impl.bundle --optimizer`"
        )
    text = metadata.get("training", "")
    if optimizer_digest(tensors, text) != metadata.get("digest"):
        raise UserError(f"--optimizer {path} is damaged: it does not match its digest; write it again")
    mu, nu = (
        {name[3:]: value for name, value in tensors.items() if name.startswith(prefix)} for prefix in ("mu.", "nu.")
    )
    try:
        facts = parse_json(text)
        return Training(mu, nu, facts, facts.pop("weights_digest"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"--optimizer {path} does not say where the training stands ({error}); write it again"
        ) from None


def from_checkpoint(held: Mapping[str, Any], state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Training:
    """The training in a checkpoint of the original script, of weights whose digest is still to be said.

    `held`: what it holds besides the weights; `state`: its state dict in its own
    order. Raises UserError for moments or a scheduler that are missing or not those of
    AdamW and StepLR on this network.
    """
    for key in ("optimizer_state_dict", "scheduler_state_dict", "epoch", "loss"):
        if key not in held:
            raise UserError(f"it has no {key}, so no training can go on from it; {LEAVE_OUT}")
    names = parameters(state)
    entries, group = _adamw(held["optimizer_state_dict"], len(names))
    moments: dict[str, dict[str, Tensor]] = {kind: {} for kind in MOMENTS}
    for name, entry in zip(names, entries, strict=True):
        for kind in MOMENTS:
            moments[kind][name] = _moment(f"{kind} of {name}", entry[kind], state[name])
    if any((value < 0).any() for value in moments["exp_avg_sq"].values()):
        raise UserError(f"its optimizer_state_dict has a negative exp_avg_sq; {LEAVE_OUT}")
    steps = {_number("step", entry["step"]) for entry in entries}
    if len(steps) != 1:
        raise UserError(f"its optimizer_state_dict has parameters of different steps, {sorted(steps)}; {LEAVE_OUT}")
    scheduler = held["scheduler_state_dict"]
    if not isinstance(scheduler, Mapping) or not all(key in scheduler for key in STEP_LR):
        raise UserError(f"its scheduler_state_dict is not that of a StepLR; {LEAVE_OUT}")
    loss = _number("loss", held["loss"])
    facts = {
        "step": int(steps.pop()),
        "epoch": int(_number("epoch", held["epoch"])),
        "loss": loss if math.isfinite(loss) else None,
        "learning_rate": _number("lr", group["lr"]),
        "initial_learning_rate": _number("initial_lr", group.get("initial_lr", group["lr"])),
        "weight_decay": _number("weight_decay", group["weight_decay"]),
        "betas": [_number("betas", beta) for beta in group["betas"]],
        "eps": _number("eps", group["eps"]),
        "schedule": "step",
        "decay_epochs": int(_number("step_size", scheduler["step_size"])),
        "decay_factor": _number("gamma", scheduler["gamma"]),
        "original": {
            "param_group": {key: value for key, value in group.items() if key != "params"},
            "scheduler": dict(scheduler),
            "order": list(state),
            TORCH_ONLY: {name: int(value) for name, value in state.items() if name.endswith(TORCH_ONLY)},
        },
    }
    try:
        whole = _few(facts) and json.dumps(facts)
    except (TypeError, ValueError):
        whole = None
    if not whole:
        raise UserError(f"its optimiser or scheduler holds more than plain numbers; {LEAVE_OUT}")
    # BatchNorm's statistics have no moments; in the table their places must be filled all the same.
    mu, nu = (_without_statistics(to_jax({**state, **moments[kind]}, config)) for kind in MOMENTS)
    return Training(mu, nu, facts)


def to_checkpoint(
    training: Training, state: Mapping[str, Tensor], config: Mapping[str, Any], order: Sequence[str]
) -> dict[str, Any]:
    """The training as a checkpoint of the original script holds it beside the weights.

    `state`: the network's state dict; `order`: its names in the order of the script's.
    Raises UserError for moments that do not fill the network; KeyError, TypeError or
    ValueError for facts that are not whole.
    """
    if sorted(order) != sorted(state):
        raise ValueError("its order is of another network")
    facts, names = training.facts, parameters(order)
    weights = to_jax(state, config)
    for moments in (training.mu, training.nu):
        for name in sorted(moments.keys() ^ _without_statistics(weights).keys()):
            raise UserError(f"--optimizer {'holds the unknown' if name in moments else 'lacks'} {name}; write it again")
    first, second = (from_jax({**weights, **moments}, config) for moments in (training.mu, training.nu))
    entries = {
        number: {"step": torch.tensor(float(facts["step"])), "exp_avg": first[name], "exp_avg_sq": second[name]}
        for number, name in enumerate(names)
    }
    epoch, loss = facts["epoch"], math.inf if facts["loss"] is None else facts["loss"]
    if "original" in facts:
        group = {**facts["original"]["param_group"], "params": list(range(len(names)))}
        group["betas"] = tuple(group["betas"])
        optimizer, scheduler = {"param_groups": [group]}, dict(facts["original"]["scheduler"])
    else:
        optimizer, scheduler = _state_dicts(len(names), facts)
        rate = facts["learning_rate"]
        optimizer["param_groups"][0]["lr"] = rate
        scheduler |= {"last_epoch": epoch, "_step_count": epoch + 1, "_last_lr": [rate]}
    return {
        "optimizer_state_dict": {"state": entries, "param_groups": optimizer["param_groups"]},
        "scheduler_state_dict": scheduler,
        "epoch": epoch,
        "loss": loss,
    }


def batches(training: Training, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm's counts of training batches by name: those of the checkpoint it came from, else a batch per step."""
    known = training.facts.get("original", {}).get(TORCH_ONLY, {})
    names = (name for name in state if name.endswith(TORCH_ONLY))
    return {name: torch.tensor(known.get(name, training.facts["step"]), dtype=torch.int64) for name in names}


def fresh(count: int, optim: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint of the original script holds beside the weights before any step.

    `count`: number of parameters; `optim`: the settings of that name.
    """
    facts = {**optim, "initial_learning_rate": optim["learning_rate"], "betas": (0.9, 0.999), "eps": 1e-8}
    optimizer, scheduler = _state_dicts(count, facts)
    return {"optimizer_state_dict": optimizer, "scheduler_state_dict": scheduler, "epoch": 0, "loss": math.inf}


def has_moments(held: Mapping[str, Any]) -> bool:
    """Whether there are any in what stands beside the weights of a checkpoint."""
    optimizer = held.get("optimizer_state_dict")
    return isinstance(optimizer, Mapping) and bool(optimizer.get("state"))


def _state_dicts(count: int, facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dicts of a fresh AdamW and StepLR, written by torch itself."""
    optimizer = AdamW(
        [nn.Parameter(torch.zeros(())) for _ in range(count)],
        lr=facts["initial_learning_rate"],
        betas=tuple(facts["betas"]),
        eps=facts["eps"],
        weight_decay=facts["weight_decay"],
    )
    scheduler = StepLR(optimizer, step_size=facts["decay_epochs"], gamma=facts["decay_factor"])
    return optimizer.state_dict(), scheduler.state_dict()


def _adamw(optimizer: object, count: int) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """The entries of a state dict of AdamW in the order of the parameters, and its only group."""
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    entries = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    if not isinstance(groups, list) or not isinstance(entries, Mapping) or not entries:
        raise UserError(f"its optimizer_state_dict holds no moments to keep; {LEAVE_OUT}")
    group = groups[0] if len(groups) == 1 and isinstance(groups[0], Mapping) else {}
    whole = {"lr", "betas", "eps", "weight_decay"} <= group.keys() and isinstance(group["betas"], list | tuple)
    if group.get("params") != list(range(count)) or not whole:
        raise UserError(f"its optimizer_state_dict is not one AdamW over {count} parameters; {LEAVE_OUT}")
    for number in range(count):
        entry = entries.get(number)
        if not isinstance(entry, Mapping) or entry.keys() != {"step", *MOMENTS}:
            found = sorted(map(str, entry)) if isinstance(entry, Mapping) else "nothing"
            raise UserError(
                f"its optimizer_state_dict holds {found} for parameter {number}, expected AdamW's "
                f"{', '.join(('step', *MOMENTS))}; {LEAVE_OUT}"
            )
    return [entries[number] for number in range(count)], group


def _moment(what: str, value: object, parameter: Tensor) -> Tensor:
    """A moment in float32, of its parameter's shape."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise UserError(f"its {what} is no plain tensor; {LEAVE_OUT}")
    if value.shape != parameter.shape or not value.is_floating_point():
        found = f"{value.dtype} {tuple(value.shape)}"
        raise UserError(f"its {what} is {found}, expected floats {tuple(parameter.shape)}; {LEAVE_OUT}")
    value = value.detach().to(torch.float32)
    if not value.isfinite().all():
        raise UserError(f"its {what} is not finite; {LEAVE_OUT}")
    return value


def _number(what: str, value: object) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"its {what} is {reprlib.repr(value)}, expected a number; {LEAVE_OUT}")
    try:
        number = float(value)
    except OverflowError:
        raise UserError(f"its {what} is a number past all reason; {LEAVE_OUT}") from None
    if what != "loss" and not math.isfinite(number):
        raise UserError(f"its {what} is {number}; {LEAVE_OUT}")
    return number


def _without_statistics(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in tensors.items() if name.rpartition(".")[2] not in ("mean", "var")}


def _few(facts: object) -> bool:
    """Whether there are at most MOST_FACTS values in a tree: a pickle may hold one list a billion times."""
    left, count = [facts], 0
    while left and count <= MOST_FACTS:
        value = left.pop()
        count += 1
        if isinstance(value, Mapping):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
    return not left
