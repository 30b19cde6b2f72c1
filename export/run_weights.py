"""What an export starts from: a bundle, or the folder of a run, which holds one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.edge.disk.files import check_input_file
from export.edge.errors import UserError
from export.edge.model.layout import BUNDLE

CHECKPOINTS = "model_checkpoints"
"""The folder by which a run is known."""
REPORT = Path("evaluation/evaluation.json")
"""Where a run keeps its evaluation."""


@dataclass(frozen=True)
class RunWeights:
    """The weights to export, and what is known of their run."""

    bundle: Path
    name: str = ""
    """Of the run folder; empty for a bundle alone."""
    report: Path | None = None
    """The evaluation in the run folder."""


def find_weights(path: Path) -> RunWeights:
    """What a path holds. Raises UserError for a folder without a bundle, and for a file that does not exist."""
    if not path.is_dir():
        return RunWeights(check_input_file(path, "bundle"))
    bundle, report = path / BUNDLE, path / REPORT
    if bundle.is_file():
        return RunWeights(bundle, path.resolve().name, report if report.is_file() else None)
    if is_run(path):
        raise UserError(
            f"run {path} has no {BUNDLE}: it is being trained, or was ended by force; make it with "
            f"`python -m jax_impl.bundle --run {path} --output {bundle}`"
        )
    raise UserError(f"folder {path} has no {BUNDLE}; name the folder of a run, or a bundle")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / CHECKPOINTS).is_dir()
