"""What each training step is given: the same batches from pairs on the device and from pairs that stream in.

Batch n holds the pairs at `batch_indices(seed, n, ...)`, a pure function of its arguments: a run resumes at any step by
its number alone. Resident pairs are the whole set, on every device, beside the positions of those that make up the
batch; each device gathers its own rows. Streamed ones are the batch itself: each process reads its block of the rows
alone, and each device gets its part of that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from export.edge.errors import UserError
from export.edge.threads import processors
from jax_impl.config.tree import Config
from jax_impl.data.batches import batch_indices
from jax_impl.data.loader import LazyPairs, Pairs, tolerant
from jax_impl.training.interfaces import Batch
from jax_impl.training.mesh import put, put_rows, replicated, rows, single_device

_MOST_THREADS = 16
_ON_DEVICE = 2
"""Batches that wait on the device while a step is computed."""


@dataclass(frozen=True)
class Shard:
    """A host's part of every batch: the rows of block `index` out of `count` equal ones."""

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> slice:
        """Which rows of the global batch these are. Raises UserError where the blocks would not be equal."""
        if batch_size % self.count:
            raise UserError(
                f"train.batch_size is {batch_size}: it is divided among {self.count} hosts; choose a multiple of that"
            )
        each = batch_size // self.count
        return slice(self.index * each, (self.index + 1) * each)


@runtime_checkable
class Feed(Protocol):
    """Batches by number; a context that ends what reads ahead."""

    def batch(self, step: int) -> tuple[Batch, jax.Array | None]:
        """Pairs, uint8, and the positions among them, int32 (batch,), of batch `step` from 0; or these alone, and
        None."""
        ...

    def __enter__(self) -> Feed: ...

    def __exit__(self, *error: object) -> None: ...


def open_feed(pairs: Pairs | LazyPairs, config: Config, mesh: Mesh | None = None) -> Feed:
    """The batches of a run on a mesh: from the devices where the pairs are decoded, else read as they are needed.

    Without a mesh they come to one device. Raises UserError where there are no pairs, and where grain is missing that
    reads ahead.
    """
    mesh, count = mesh or single_device(), len(pairs.names)
    if isinstance(pairs, Pairs):
        return ResidentFeed(pairs, Order(count, config), mesh)
    processes = sorted({device.process_index for device in mesh.devices.flat})
    return StreamedFeed(pairs, Order(count, config, Shard(processes.index(jax.process_index()), len(processes))), mesh)


@dataclass(frozen=True)
class Order:
    """Which pairs make up this host's part of each batch."""

    count: int
    config: Config
    shard: Shard = Shard()

    def __call__(self, step: int) -> np.ndarray:
        """Positions int32 (rows,) of batch `step` from 0."""
        train, data = self.config.train, self.config.data
        indices = batch_indices(train.seed, step, self.count, data.repeats, train.batch_size)
        return indices[self.shard.rows(train.batch_size)]


class ResidentFeed:
    """All pairs on every device; batches are gathered there."""

    def __init__(self, pairs: Pairs, order: Order, mesh: Mesh) -> None:
        self.pairs = Batch(put(pairs.cond, replicated(mesh)), put(pairs.x0, replicated(mesh)))
        self.order, self.rows = order, rows(mesh)

    def batch(self, step: int) -> tuple[Batch, jax.Array | None]:
        """All pairs, and the positions of this batch."""
        return self.pairs, put(self.order(step), self.rows)

    def __enter__(self) -> ResidentFeed:
        return self

    def __exit__(self, *error: object) -> None: ...


class StreamedFeed:
    """Pairs decoded on threads, some batches ahead, and copied to the devices; asked in order, or from anywhere."""

    def __init__(self, source: LazyPairs, order: Order, mesh: Mesh) -> None:
        self.grain = _library()
        self.batches = Batches(tolerant(source), order)
        self.mesh = mesh
        self.threads = source_threads(order.config.data.threads)
        self.next: int | None = None
        self.ahead: Iterator[Batch] | None = None

    def batch(self, step: int) -> tuple[Batch, None]:
        """The pairs of this batch. Raises UserError for one that cannot be read."""
        if self.ahead is None or step != self.next:
            self.close()
            self.ahead = self._from(step)
        self.next = step + 1
        return next(self.ahead), None

    def _from(self, step: int) -> Iterator[Batch]:
        grain = self.grain
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=2 * self.threads)
        batches = grain.MapDataset.source(self.batches).slice(slice(step, None)).to_iter_dataset(options)
        placed = batches.map(lambda batch: Batch(*(put_rows(side, self.mesh) for side in batch)))
        return iter(grain.experimental.ThreadPrefetchIterDataset(placed, prefetch_buffer_size=_ON_DEVICE))

    def close(self) -> None:
        """Stop reading ahead."""
        ahead: Any = self.ahead
        if ahead is not None:
            ahead.close()
        self.ahead = None

    def __enter__(self) -> StreamedFeed:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class Batches:
    """All batches of a run by number, in host memory, in the form that grain expects of a source of data."""

    source: LazyPairs
    order: Order

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> Batch:
        """Batch `step`, uint8 (rows, size, size, 3) on each side."""
        pairs = [self.source.read(int(i)) for i in self.order(int(step))]
        return Batch(np.stack([cond for cond, _ in pairs]), np.stack([x0 for _, x0 in pairs]))


def source_threads(wanted: int) -> int:
    """Threads that read: those asked for, or for 0 one per core, at most 16."""
    return wanted or min(processors(), _MOST_THREADS)


def _library() -> Any:
    try:
        import grain
    except ImportError as error:
        raise UserError(
            f"pairs that take more than data.in_memory_mb need {error.name or 'grain'} to stream; `pip install grain`, "
            "or allow more memory"
        ) from None
    return grain
