"""The devices of JAX: there, or one line that says why not; and out of memory, in one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from export.edge.errors import UserError

LESS_TRAINING = (
    "choose a smaller --train.batch-size or --data.size, a larger --optim.accumulate (the batch in parts) or "
    "--model.remat (gradient checkpointing); --dry-run prints the memory that a run takes"
)
"""What to do where a device has no memory left for training."""
LESS = "close other programs that use the device, choose smaller or fewer pictures at a time, or set JAX_PLATFORMS=cpu"
"""The same for anything else."""
_LONGEST = 200


def start_devices() -> None:
    """Start JAX's devices, where nothing has yet; before that, `JAX_PLATFORMS` may name some that are not there.

    Raises UserError, one line, where they cannot be had.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # The latter, without a word, for cuda where there is no GPU.
        asked: str | None = getattr(jax.config, "jax_platforms")  # noqa: B009
        reason = _reason(error).removeprefix("Unable to initialize backend ")
        because = f" ({reason})" if reason else ""
        if not asked:
            raise UserError(f"JAX cannot start its devices{because}; JAX_PLATFORMS=cpu does without them") from error
        raise UserError(
            f"JAX finds no device for JAX_PLATFORMS={asked}{because}; set it to cpu, or leave it unset to take what is "
            'there. A GPU needs `pip install "jax[cuda12]"`, a TPU `pip install "jax[tpu]"`'
        ) from error


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is that of a device without memory left, or was caused by one."""
    while error is not None:
        text = str(error)
        if isinstance(error, RuntimeError) and ("RESOURCE_EXHAUSTED" in text or "OUT_OF_MEMORY" in text):
            return True
        error = error.__cause__ or error.__context__
    return False


def out_of_memory(error: BaseException, remedy: str) -> UserError:
    """What to say about it."""
    size = re.search(r"allocat\w* ([\d.,]+ ?(?:[KMGT]?i?B|bytes))", str(error))
    wanted = f", {_readable(size[1])} more are needed" if size else ""
    return UserError(f"{jax.devices()[0].device_kind} is out of memory{wanted}; {remedy}")


@contextmanager
def memory_errors(remedy: str = LESS) -> Iterator[None]:
    """Raise UserError, one line with the remedy, where a device has no memory left."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error, remedy) from error


def _readable(size: str) -> str:
    """Bytes in GiB or MiB; another unit as it is."""
    number = size.removesuffix(" bytes")
    if number == size or not number.isdecimal():
        return size
    mib = int(number) / 2**20
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.1f} MiB"


def _reason(error: BaseException) -> str:
    """The first line of an error, without JAX's own remedy."""
    return str(error).partition(" (set JAX_PLATFORMS")[0].partition(" (you may need")[0].partition("\n")[0][:_LONGEST]
