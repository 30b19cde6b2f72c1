"""A run folder: its configuration, and what it takes to work with its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from export.edge import plugins
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from export.edge.sampling.table import COND
from jax_impl.config.as_json import from_tree
from jax_impl.config.fields import FREE_ON_RESUME, marked
from jax_impl.config.tagged import plugins_of
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.data.sources.registry import SOURCES
from jax_impl.model.network import outline
from jax_impl.runs.sealed_json import DIGEST, read_sealed_json, write_sealed_json
from jax_impl.training.checkpoint import NEWEST, check_wanted, last_stage, restore
from jax_impl.training.interfaces import Stage
from jax_impl.training.objective import Problem
from jax_impl.training.session import outline as outline_state
from jax_impl.training.stages.latents import stage_of

CONFIG = "config.json"
DATA = "data.json"
PLUGINS = "plugins"
"""Where the configuration says which of its entries a user's modules registered."""


@dataclass(frozen=True)
class TrainedRun:
    """A checkpoint of a run, ready to sample with."""

    config: Config
    state: Any
    index: int = 0
    """The stage that the checkpoint is of."""

    @cached_property
    def stage(self) -> Stage:
        """That stage."""
        return stage_of(self.config, self.index)

    @cached_property
    def problem(self) -> Problem:
        """What sampling takes besides the weights of the denoiser."""
        config, source = self.config, self.config.diffusion.starts_from
        if not config.codec.learned and source == COND:
            return Problem.of(outline(config)[0], config)
        networks = self.stage.networks(self.state)
        if config.codec.learned:
            config = replace(config, codec=config.codec.filled(networks[CODEC][0]))
        others = {source: networks[source]} if source in networks else {}
        return Problem.of(outline(config)[0], config)._replace(others=others)


def write_config(run: Path, config: Config) -> None:
    """Save the resolved configuration in the run folder, with the plugins that it needs."""
    brought, layout = plugins_of(config), config.data.layout
    if module := SOURCES.plugin_of(layout):
        brought += ((SOURCES.kind, layout, module),)
    write_sealed_json(run / CONFIG, dataclasses.asdict(config) | ({PLUGINS: brought} if brought else {}))


def read_config(run: Path) -> Config:
    """The configuration a run was started with; UserError when the folder is not a run, or the file is damaged."""
    path = run / CONFIG
    if not path.is_file():
        raise UserError(f"run {run} has no {CONFIG}; name the folder given to training as --output-dir")
    return _from_file(path, read_sealed_json(path, "configuration"))


def read_plugins(run: Path) -> plugins.Record:
    """Which entries of a run's configuration a user's modules registered, its data layout included."""
    return plugins.record(read_sealed_json(run / CONFIG, "configuration").get(PLUGINS, []), PLUGINS)


def read_settings(path: Path) -> Config:
    """The settings in a JSON file such as a run's config.json, which may have been edited; what it lacks is default.

    Raises UserError for a file that is missing or holds anything else.
    """
    text = read_text(path, "configuration")
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError(f"configuration {path} is not JSON ({error}); mend it, or copy {CONFIG} of a run") from None
    known = {key: value for key, value in tree.items() if key != DIGEST} if isinstance(tree, dict) else tree
    return _from_file(path, known)


def _from_file(path: Path, tree: Any) -> Config:
    try:
        brought = tree.pop(PLUGINS, []) if isinstance(tree, dict) else []
        return from_tree(tree, plugins.record(brought, PLUGINS))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def open_run(run: Path, wanted: str = NEWEST) -> TrainedRun:
    """Restore the newest usable checkpoint of a run's last stage, its `best`, or that of a step.

    It does not disturb a process that trains there.
    """
    check_wanted(wanted)
    config, index = read_config(run), last_stage(run)
    state, _, damages = restore(run, outline_state(config, index), wanted, stage=index)
    for damage in damages:
        print(f"warning: passed over a damaged checkpoint, {damage}", file=sys.stderr)
    return TrainedRun(config, state, index)


def write_data(
    run: Path, pairs: Pairs | LazyPairs, held_out: Pairs, *, warm: bool = False, frozen: Sequence[str] = ()
) -> None:
    """Note in the run folder what it is trained on: names and digests of both splits.

    `warm` notes that it began with given weights, which only its checkpoints hold. frozen: digests of the weights that
    its loss terms look through.
    """
    more = ({"warm_start": True} if warm else {}) | ({"frozen": list(frozen)} if frozen else {})
    write_sealed_json(run / DATA, {"train": _fingerprint(pairs), "val": _fingerprint(held_out), **more})


def check_frozen(run: Path, frozen: Sequence[str]) -> None:
    """Raise UserError when the digests of the loss terms' weights are not those that the run was started with."""
    if read_sealed_json(run / DATA, "record of the pairs").get("frozen", []) != list(frozen):
        raise UserError(
            f"the weights that the loss terms look through are not those that run {run} was started with; name files "
            "of the same content, or start a new run from its weights with --init-from"
        )


def check_data(run: Path, pairs: Pairs | LazyPairs, held_out: Pairs) -> None:
    """Raise UserError when the pairs are not those that the run was started with.

    Moved folders are fine; added, removed or changed pictures are not: batches, epochs
    and held-out pairs would no longer be the same. Of pairs that stream in, a change is
    seen where it touches the names, what `LazyPairs.origin` tells (the sizes of all files,
    the parts of a prepared data set) or one of SAMPLED pairs: all of them would take as
    long as an epoch.
    """
    path = run / DATA
    if not path.exists():
        raise UserError(
            f"run {run} has no {DATA}, which says what it was trained on; restore it from a copy, or start a new run "
            "from its weights with --init-from"
        )
    before = read_sealed_json(path, "record of the pairs")
    for split, now in (("train", pairs), ("val", held_out)):
        noted, found = before.get(split, {}), _fingerprint(now)
        # Digests of another kind say nothing: the run may have held in memory what now streams in.
        if any(noted[key] != found[key] for key in noted.keys() & found.keys()) or "names" not in noted:
            change = _change(noted.get("names", []), list(now.names))
            raise UserError(
                f"the {split} pairs are not those that run {run} was started with ({change}); name the same data with "
                "--data.path, or start a new run from its weights with --init-from"
            )


def began_warm(run: Path) -> bool:
    """Whether a run began with given weights, so that it cannot be begun again from its seed."""
    try:
        return bool(read_sealed_json(run / DATA, "record of the pairs").get("warm_start"))
    except UserError:
        return False


def trained_names(run: Path) -> tuple[str, ...] | None:
    """Names of the pairs that a run was trained on; None where its folder does not say."""
    try:
        return tuple(read_sealed_json(run / DATA, "record of the pairs")["train"]["names"])
    except (UserError, KeyError, TypeError):
        return None


def _change(before: list[str], now: list[str]) -> str:
    if len(before) != len(now):
        return f"{len(now)} now, {len(before)} then"
    for old, new in zip(before, now, strict=True):
        if old != new:
            return f"{new} where {old} was: was a file renamed, or a picture that cannot be read mended or damaged?"
    return "the names are the same, their pictures are not"


SAMPLED = 64
"""Pairs, spread evenly, whose decoded pictures stand for those of a set that streams in."""


def _fingerprint(pairs: Pairs | LazyPairs) -> dict[str, object]:
    count, sample = len(pairs.names), hashlib.sha256()
    for i in sorted({k * count // SAMPLED for k in range(SAMPLED)} if count else ()):
        for picture in (pairs.cond[i], pairs.x0[i]) if isinstance(pairs, Pairs) else pairs.read(i):
            sample.update(picture.tobytes())
    found: dict[str, object] = {"names": list(pairs.names), "sample": sample.hexdigest()}
    if isinstance(pairs, LazyPairs):
        return {**found, "origin": pairs.origin()}
    digest = hashlib.sha256(pairs.cond.tobytes())
    digest.update(pairs.x0.tobytes())
    return {**found, "sha256": digest.hexdigest()}


def check_resume(saved: Config, wanted: Config) -> list[str]:
    """What to say about a run that goes on with `wanted` and began with `saved`, a line each.

    Fields marked FREE_ON_RESUME may differ; what lies at data.path is checked by `check_data`. Raises UserError for
    any other, since the run would go on with other numbers.
    """
    free = marked(saved, FREE_ON_RESUME) | marked(wanted, FREE_ON_RESUME)
    remarks = []
    for name, (before, after) in differences(saved, wanted).items():
        if name not in free:
            new = "start a new run in another folder"
            if not name.startswith(("model.", "codec.")):
                new += ", from these weights with `python -m jax_impl.bundle` and --init-from"
            raise UserError(
                f"{name} is {after!r} but the run was started with {before!r}; resume with its own configuration, or "
                + new
            )
        if name == "train.minutes" and after:
            remarks.append(
                f"{name} is {after} and was {before}: stages that have a length keep it; this is for those to come"
            )
        if name.endswith(".epochs") and wanted.optim.schedule == "cosine" and not wanted.train.minutes:
            remarks.append(
                f"{name} is {after} and was {before}: from here on the learning rate is that of a run of {after} "
                "epochs, a cosine to zero at their end"
            )
    return remarks


def differences(a: Config, b: Config) -> dict[str, tuple[object, object]]:
    """Settings in which two configurations differ, by dotted name."""
    left, right = _flat(dataclasses.asdict(a)), _flat(dataclasses.asdict(b))
    names = [*left, *(name for name in right if name not in left)]
    return {n: (left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)}


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, tuple) and any(isinstance(item, dict) for item in value):
            value = dict(enumerate(value))
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
