"""What each training step is given: the same batches from pairs on the device and from pairs that stream in.

Batch n holds the pairs at `batch_indices(seed, n, ...)`, a pure function of its arguments: a run resumes at any step by
its number alone. `make_train_step` takes pairs and the positions of those that make up the batch. Resident pairs are
the whole set; streamed ones are the batch itself, in order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.errors import UserError
from jax_impl.config import Config
from jax_impl.data.loader import Pairs, Source, batch_indices, tolerant
from jax_impl.training.step import Batch

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


WHOLE = Shard()


class Feed(Protocol):
    """Batches by number; a context that ends what reads ahead."""

    def batch(self, step: int) -> tuple[Batch, jax.Array]:
        """Pairs on the device, uint8, and the positions among them, int32 (rows,), of batch `step` from 0."""
        ...

    def __enter__(self) -> Feed: ...

    def __exit__(self, *error: object) -> None: ...


def open_feed(pairs: Pairs | Source, config: Config, shard: Shard = WHOLE) -> Feed:
    """The batches of a run: from the device where the pairs are decoded, else read as they are needed.

    Raises UserError where there are no pairs, and where grain is missing that reads ahead.
    """
    order = Order(len(pairs.names), config, shard)
    return ResidentFeed(pairs, order) if isinstance(pairs, Pairs) else StreamedFeed(pairs, order)


@dataclass(frozen=True)
class Order:
    """Which pairs make up this host's part of each batch."""

    count: int
    config: Config
    shard: Shard = WHOLE

    def __call__(self, step: int) -> np.ndarray:
        """Positions int32 (rows,) of batch `step` from 0."""
        train, data = self.config.train, self.config.data
        indices = batch_indices(train.seed, step, self.count, data.repeats, train.batch_size)
        return indices[self.shard.rows(train.batch_size)]


class ResidentFeed:
    """All pairs on the device; batches are gathered there."""

    def __init__(self, pairs: Pairs, order: Order) -> None:
        self.pairs = Batch(jnp.asarray(pairs.cond), jnp.asarray(pairs.x0))
        self.order = order

    def batch(self, step: int) -> tuple[Batch, jax.Array]:
        """All pairs, and the positions of this batch."""
        return self.pairs, jnp.asarray(self.order(step))

    def __enter__(self) -> ResidentFeed:
        return self

    def __exit__(self, *error: object) -> None: ...


class StreamedFeed:
    """Pairs decoded on threads, some batches ahead, and copied to the device; asked in order, or from anywhere."""

    def __init__(self, source: Source, order: Order) -> None:
        self.grain = _library()
        self.batches = Batches(tolerant(source), order)
        self.positions = jnp.arange(len(order(0)), dtype=jnp.int32)
        self.threads = source_threads(order.config.data.threads)
        self.next: int | None = None
        self.ahead: Iterator[Batch] | None = None

    def batch(self, step: int) -> tuple[Batch, jax.Array]:
        """The pairs of this batch, and their positions in order. Raises UserError for one that cannot be read."""
        if self.ahead is None or step != self.next:
            self.close()
            self.ahead = self._from(step)
        self.next = step + 1
        return next(self.ahead), self.positions

    def _from(self, step: int) -> Iterator[Batch]:
        grain = self.grain
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=2 * self.threads)
        batches = grain.MapDataset.source(self.batches).slice(slice(step, None)).to_iter_dataset(options)
        ahead = grain.experimental.device_put(
            batches, jax.devices()[0], cpu_buffer_size=_ON_DEVICE, device_buffer_size=_ON_DEVICE
        )
        return iter(ahead)

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
    """All batches of a run by number, in host memory, as grain wants a source of data to be."""

    source: Source
    order: Order

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> Batch:
        """Batch `step`, uint8 (rows, size, size, 3) on each side."""
        pairs = [self.source.read(int(i)) for i in self.order(int(step))]
        return Batch(np.stack([cond for cond, _ in pairs]), np.stack([x0 for _, x0 in pairs]))


def source_threads(wanted: int) -> int:
    """Threads that read: those asked for, or for 0 one per core, at most 16."""
    return wanted or min(os.cpu_count() or 1, _MOST_THREADS)


def _library() -> Any:
    try:
        import grain
    except ImportError as error:
        raise UserError(
            f"pairs that take more than data.in_memory_mb need {error.name or 'grain'} to stream; `pip install grain`, "
            "or allow more memory"
        ) from None
    return grain
