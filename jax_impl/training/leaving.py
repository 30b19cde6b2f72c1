"""The bundle that a run leaves in its folder where it ends or is stopped: all that an export reads."""

from __future__ import annotations

import shlex

from export.edge.errors import UserError, describe_os_error
from export.edge.model.layout import BUNDLE
from jax_impl.runs.bundles import write_bundle
from jax_impl.runs.likeness import likeness_of
from jax_impl.training.checkpoint import say
from jax_impl.training.leadership import is_primary
from jax_impl.training.mesh import on_one_device
from jax_impl.training.report import PLOT, SAMPLES
from jax_impl.training.session import Position, Session, how_far


def leave_bundle(session: Session, position: Position) -> None:
    """Write `model.safetensors` into the run folder: what `jax_impl.bundle` makes of the newest checkpoint.

    Where that cannot be done, a line says so: the checkpoint, which is there already, holds all of it. All processes
    call it at the same time; the primary one writes.
    """
    config, path = session.config, session.folder / BUNDLE
    own = config.stages[position.index]
    if own.learns_codec:
        say(f"{path} is not written yet: the stage {own.stage} trains no denoiser")
        return
    state = on_one_device(position.state, session.mesh)
    if not is_primary():
        return
    try:
        networks = position.stage.publish(state, lambda: session.pairs)
        far = how_far(config, len(session.pairs.names), position.index, int(state.step), session.planned)
        published, likeness = config.diffusion.create().published(), likeness_of(session.pairs)
        write_bundle(path, networks, published, config, far, likeness)
    except (OSError, UserError) as error:
        reason = describe_os_error(error) if isinstance(error, OSError) else error
        say(f"warning: {path} was not written ({reason}); `python -m jax_impl.bundle` writes it from the checkpoint")
        return
    folder = shlex.quote(str(session.folder))
    print(f"weights: {path}; sample pictures: {session.folder / SAMPLES}; curves: {session.folder / PLOT}")
    print(f"next: python -m jax_impl.sample --run {folder} --input photo.jpg --output result.png")
    print(f"  or: python -m export.to_onnx {folder} --output artifact")
