"""Files that went bad: each must be noticed, never loaded as other numbers."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from export.edge.errors import UserError
from export.edge.info import describe
from export.edge.model.artifact import open_artifact
from export.edge.model.sealed import read_sealed
from jax_impl.config.as_json import to_json
from jax_impl.config.tree import Config
from jax_impl.data.loader import Pairs, load
from jax_impl.runs import folder as run_folder
from jax_impl.runs.folder import CONFIG, DATA, check_data, open_run, read_config
from jax_impl.training.state import to_arrays
from tests.faults.mutations import IN_PLACE, KINDS, SHARES, Mutation, delete
from tests.faults.processes import CHECKPOINTS, Arrays, committed, contents, stored, unlike
from tests.faults.table import Row
from torch_ref.weights import load_bundle

FELL_BACK, ONE_LINE, HARMLESS = "fell back to an earlier one", "one line", "harmless"
Judge = Callable[[Path, str, Mutation], str]
"""judge(folder, name, mutation): FELL_BACK, ONE_LINE or HARMLESS, or what is wrong."""


@dataclass
class Tally:
    """What came of the damages of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def row(self, fault: str) -> Row:
        """As a row of the table."""
        outcome = ", ".join(f"{n:,} {what}" for what, n in self.outcomes.most_common())
        tried = sum(self.outcomes.values()) + len(self.failures)
        return Row(fault, tried, len(self.failures), outcome, tuple(self.failures))


def campaign(
    what: str, original: Path, names: Sequence[str], judge: Judge, count: int, rng: random.Random, place: Path
) -> list[Row]:
    """Damage fresh copies of a folder `count` times; a row for each kind of damage."""
    tallies = {kind: Tally() for kind in KINDS}
    plan = [kind for kind, share in SHARES.items() for _ in range(share)]
    turns = dict.fromkeys(KINDS, 0)
    for n in range(count):
        kind = plan[n % len(plan)]
        # Every file in turn, so that small ones are hit as often as large ones.
        name = names[turns[kind] % len(names)]
        mutation = rng.choice(KINDS[kind])
        turns[kind] += 1
        copy = place / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(original, copy)
        done = mutation(copy, name, names, rng)
        verdict = judged(lambda copy=copy, name=name, mutation=mutation: judge(copy, name, mutation))
        if verdict in (FELL_BACK, ONE_LINE, HARMLESS):
            tallies[kind].outcomes[verdict] += 1
        else:
            tallies[kind].failures.append(f"{done}: {verdict}")
    shutil.rmtree(place / "damaged", ignore_errors=True)
    return [tally.row(f"{what}: {kind}") for kind, tally in tallies.items() if tally.outcomes or tally.failures]


def judged(load_it: Callable[[], str]) -> str:
    """The verdict of `load_it`; errors that a command line says in one line are ONE_LINE."""
    try:
        return load_it()
    except (UserError, OSError):
        return ONE_LINE
    except Exception as error:  # any other is a traceback for the one who typed the command
        return f"{type(error).__name__} instead of one line: {' '.join(str(error).split())[:200]}"


def run_names(run: Path) -> list[str]:
    """What is damaged of a run: its newest checkpoint, that one's manifest, and what describes the run."""
    newest = f"{CHECKPOINTS}/step_{max(committed(run)):08d}"
    inside = sorted(p.relative_to(run).as_posix() for p in (run / newest).rglob("*") if p.is_file())
    return [*inside, f"{newest}.json", CONFIG, DATA]


class RunJudge:
    """Opens a damaged run and compares what it gives with what the run held."""

    def __init__(self, run: Path) -> None:
        steps = sorted(committed(run))
        *self.older, self.newest = (stored(run, step) for step in steps)
        self.config = read_config(run)
        self.pairs, self.held_out = load(self.config.data, "train"), load(self.config.data, "val")
        self.others = Pairs(self.pairs.names, 255 - self.pairs.cond, self.pairs.x0)
        self.manifest = f"{CHECKPOINTS}/step_{steps[-1]:08d}.json"
        self.outline = run_folder.outline_state
        self.outlines: dict[tuple[str, int], Any] = {}

    def __call__(self, run: Path, name: str, mutation: Mutation) -> str:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), mock.patch.object(run_folder, "outline_state", self._outline):
            trained = open_run(run)
        if to_json(trained.config) != to_json(self.config):
            return "another configuration, in silence"
        found: Arrays = {name: np.asarray(array) for name, array in to_arrays(trained.state).items()}
        if name == DATA:
            return self._data(run)
        if unlike(found, self.newest) is None:
            return HARMLESS
        if all(unlike(found, older) for older in self.older):
            return f"other numbers, in silence: {unlike(found, self.newest)}"
        # Without its manifest a checkpoint is the leftover of an interrupted save: nothing to report.
        gone = not (run / self.manifest).exists()
        return FELL_BACK if said.getvalue().startswith("warning: ") or gone else "fell back in silence"

    def _outline(self, config: Config, index: int) -> Any:
        """The outline follows from the configuration alone, and is most of the work of opening a run."""
        key = to_json(config), index
        if key not in self.outlines:
            self.outlines[key] = self.outline(config, index)
        return self.outlines[key]

    def _data(self, run: Path) -> str:
        """A resume must refuse other pictures, or refuse to go on."""
        check_data(run, self.pairs, self.held_out)
        try:
            check_data(run, self.others, self.held_out)
        except UserError:
            return HARMLESS
        return "other training pictures pass, in silence"


def artifact_names(folder: Path) -> list[str]:
    """Everything in an artifact's folder."""
    return sorted(contents(folder))


class ArtifactJudge:
    """Describes a damaged artifact, and opens the damaged file alone where it is a model."""

    def __init__(self, artifact: Path) -> None:
        self.known = self._describe(artifact)
        self.bundle = load_bundle(artifact / "model.safetensors")

    def __call__(self, artifact: Path, name: str, mutation: Mutation) -> str:
        alone = judged(lambda: self._alone(artifact / name)) if mutation in IN_PLACE else ""
        if alone not in ("", ONE_LINE, HARMLESS):
            return f"opened alone: {alone}"
        known = self._describe(artifact)
        return HARMLESS if known == self.known else f"described otherwise, without an error: {self._changes(known)}"

    def _alone(self, path: Path) -> str:
        if path.name == "sampler.onnx" or path.name.startswith("photo"):
            read_sealed(path)
            return "not noticed"
        if path.suffix == ".onnx":
            open_artifact(path, threads=1)
            return "not noticed"
        if path.name != "model.safetensors":
            return ""
        bundle, wanted = load_bundle(path), self.bundle
        if bundle.config != wanted.config or bundle.weights_digest != wanted.weights_digest:
            return "another configuration or digest, in silence"
        if bundle.alphas_cumprod.tobytes() != wanted.alphas_cumprod.tobytes():
            return "another noise schedule, in silence"
        here, there = ({n: t.numpy() for n, t in b.model.state_dict().items()} for b in (bundle, wanted))
        difference = unlike(here, there)
        return HARMLESS if difference is None else f"other weights, in silence: {difference}"

    @staticmethod
    def _describe(artifact: Path) -> dict[str, Any]:
        return {name: value for name, value in describe(artifact).items() if name != "file"}

    def _changes(self, known: dict[str, Any]) -> str:
        names = [name for name in self.known.keys() | known.keys() if self.known.get(name) != known.get(name)]
        return ", ".join(f"{name} {known.get(name)}, was {self.known.get(name)}" for name in sorted(names))


def impostors(run: Path, judge: RunJudge, place: Path) -> Row:
    """Checkpoints that are whole but not what they seem, and what looks like a newer one."""
    steps = sorted(committed(run))
    old, new = (f"{CHECKPOINTS}/step_{step:08d}" for step in (steps[-2], steps[-1]))
    beyond = f"{CHECKPOINTS}/step_{steps[-1] + 10:08d}"

    def swap(copy: Path, a: str, b: str) -> None:
        (copy / a).rename(copy / "aside")
        (copy / b).rename(copy / a)
        (copy / "aside").rename(copy / b)

    def swap_checkpoints(copy: Path) -> None:
        swap(copy, old, new)
        swap(copy, f"{old}.json", f"{new}.json")

    def renamed(copy: Path) -> None:
        shutil.copytree(copy / old, copy / beyond)
        shutil.copyfile(copy / f"{old}.json", copy / f"{beyond}.json")

    faults: dict[str, Callable[[Path], object]] = {
        "two checkpoints changed names": swap_checkpoints,
        "two data folders changed names": lambda copy: swap(copy, old, new),
        "two manifests changed names": lambda copy: swap(copy, f"{old}.json", f"{new}.json"),
        "an older checkpoint copied under a newer name": renamed,
        "an empty folder as the newest": lambda copy: (copy / beyond).mkdir(),
        "a copy of the newest without a manifest": lambda copy: shutil.copytree(copy / new, copy / beyond),
        "a manifest without a folder": lambda copy: shutil.copyfile(copy / f"{new}.json", copy / f"{beyond}.json"),
        "an empty manifest": lambda copy: (copy / f"{beyond}.json").write_bytes(b""),
        "the newest's data deleted": lambda copy: shutil.rmtree(copy / new),
        "all manifests deleted": lambda copy: [p.unlink() for p in (copy / CHECKPOINTS).glob("*.json")],
    }
    tally = Tally()
    for what, change in faults.items():
        copy = place / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        change(copy)
        verdict = judged(lambda copy=copy: judge(copy, "", delete))
        if verdict in (FELL_BACK, ONE_LINE, HARMLESS):
            tally.outcomes[verdict] += 1
        else:
            tally.failures.append(f"{what}: {verdict}")
    return tally.row("run: checkpoints that are not what they seem")


def damages(run: Path, artifact: Path, count: int, seed: int, place: Path) -> list[Row]:
    """Damage a run of at least two checkpoints and an artifact, half of `count` each."""
    rng, judge = random.Random(seed), RunJudge(run)
    rows = campaign("run", run, run_names(run), judge, count - count // 2, rng, place)
    rows.append(impostors(run, judge, place))
    names, judge_artifact = artifact_names(artifact), ArtifactJudge(artifact)
    return rows + campaign("artifact", artifact, names, judge_artifact, count // 2, rng, place)
