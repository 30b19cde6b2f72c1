"""Weights of networks that others have trained: safetensors files that the user has on disk.

They are made from the usual files by `python -m torch_ref.perceptual`. Convolution kernels in them are (out, in,
height, width). How many channels there are follows from the weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from export.edge.disk.files import weights_digest
from export.edge.errors import UserError
from jax_impl.runs.tensor_file import read_tensors

Weights = Mapping[str, jax.Array]
FORMAT_VERSION = "1"


def read_weights(path: Path, wanted: str, what: str, source: str = "") -> dict[str, jax.Array]:
    """The weights in a file of the format `dawn2dusk-` + `wanted`; UserError, which calls the file `what`, for another
    or a damaged one, and, with the `source` of its content, for one that is not there."""
    if source and not path.exists():
        raise UserError(f"{what} {path} does not exist; {source}")
    metadata, tensors = read_tensors(path, what)
    if (metadata.get("format"), metadata.get("format_version")) != (f"dawn2dusk-{wanted}", FORMAT_VERSION):
        kind = "fid" if wanted == "inception" else wanted
        raise UserError(
            f"{what} {path} holds no dawn2dusk-{wanted} weights; make it with `python -m torch_ref.perceptual {kind}`"
        )
    if weights_digest(tensors) != metadata.get("weights_digest"):
        raise UserError(f"{what} {path} does not fit its digest; the file is damaged, write it again")
    return {name: jnp.asarray(tensor) for name, tensor in tensors.items()}


def read_once(read: Callable[[Path, str], Weights], path: Path, what: str) -> Weights:
    """`read(path, what)`, or what it returned before for the same content: training and validation share the arrays."""
    status = path.stat() if path.is_file() else None
    return _read(read, path, what, status and (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=4)
def _read(read: Callable[[Path, str], Weights], path: Path, what: str, content: tuple[int, int] | None) -> Weights:
    return read(path, what)


class _Watched(dict):
    """Weights that note which of them were asked for."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> jax.Array:
        self.asked.add(name)
        return super().__getitem__(name)


def check_weights(path: Path, network: Callable[..., jax.Array], weights: Weights, *shapes: tuple[int, ...]) -> None:
    """Raise UserError unless the weights fill the network, and nothing is left over; computes nothing."""
    watched = _Watched(weights)
    try:
        jax.eval_shape(lambda *x: network(watched, *x), *(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
    except KeyError as error:
        raise UserError(f"{path} lacks {error.args[0]}; write it again") from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its weights do not fit together ({str(error).splitlines()[0]}); write it again"
        ) from None
    extra = sorted(weights.keys() - watched.asked)
    if extra:
        raise UserError(f"{path} holds {extra[0]}, which this network lacks; write it again")
