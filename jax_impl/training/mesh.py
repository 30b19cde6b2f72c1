"""Where the arrays of a run lie: one mesh over all devices of all processes, with the axes `data` and `fsdp`.

Every batch is divided among all devices. Over `fsdp` the weights, their averages and the optimiser's moments are
divided too (Rajbhandari et al. 2020, ZeRO, stage 3): each step gathers the weights, and leaves each device its part of
the gradient. Everything else is computed as on one device: under `jax.jit` a mean over the batch, BatchNorm's too, is
one over all devices, and random numbers are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from export.edge.errors import UserError
from jax_impl.config.tree import Config
from jax_impl.model.network import Tree

DATA, FSDP = "data", "fsdp"
SMALLEST_DIVIDED = 4096
"""Scalars in the smallest array that is divided: to gather a smaller one takes longer than its memory is worth."""


def make_mesh(config: Config, devices: Sequence[Any] | None = None) -> Mesh:
    """The devices of a run, (data, fsdp): `train.devices` of them, or for 0 as many as divide a batch evenly.

    They have the order of their processes, so that each process has one block of every batch, and the devices
    that share out the weights are neighbours. Raises UserError where the settings do not fit the devices.
    """
    train = config.train
    there = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    micro, processes = train.batch_size // config.optim.accumulate, len({device.process_index for device in there})
    even = [n for n in range(1, len(there) + 1) if micro % n == 0 and n % train.fsdp_devices == 0]
    count = train.devices or (even[-1] if even and processes == 1 else len(there))
    if count > len(there):
        raise UserError(f"train.devices is {count}: {len(there)} are there; choose at most that, or 0 for what fits")
    if processes > 1 and count != len(there):
        raise UserError(f"train.devices is {count}: {processes} processes train on all their {len(there)}; choose 0")
    if count % train.fsdp_devices:
        raise UserError(f"train.fsdp_devices is {train.fsdp_devices}: choose a divisor of the {count} devices")
    if micro % count:
        each = f" in {config.optim.accumulate} parts (optim.accumulate)" if config.optim.accumulate > 1 else ""
        raise UserError(
            f"train.batch_size is {train.batch_size}{each}: it is divided among {count} devices; choose a multiple of "
            f"{count * config.optim.accumulate}" + (", or train.devices 0" if train.devices and processes == 1 else "")
        )
    return Mesh(np.array(there[:count]).reshape(count // train.fsdp_devices, train.fsdp_devices), (DATA, FSDP))


def single_device() -> Mesh:
    """One device of this process, for what is not worth dividing."""
    return Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), (DATA, FSDP))


def describe_devices(mesh: Mesh) -> str:
    """A mesh in words."""
    there = jax.device_count()
    if mesh.size == there == 1:
        return str(mesh.devices.flat[0])
    shared, processes = mesh.shape[FSDP], len({device.process_index for device in mesh.devices.flat})
    weights = f", weights divided among {shared}" if shared > 1 else ""
    hosts = f" in {processes} processes" if processes > 1 else ""
    of = f" of {there}" if mesh.size < there else ""
    return f"{mesh.size}{of} devices ({mesh.devices.flat[0].device_kind}){hosts}{weights}"


def replicated(mesh: Mesh) -> NamedSharding:
    """All of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """The first dimension, that of the batch, divided among all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def spec(shape: Sequence[int], parts: int) -> PartitionSpec:
    """How an array of the state is divided in `parts`: along its largest divisible dimension, the last of equals.

    Arrays of fewer than SMALLEST_DIVIDED scalars, and those with no such dimension, are not.
    """
    if parts == 1 or np.prod(shape) < SMALLEST_DIVIDED:
        return PartitionSpec()
    divisible = [(size, axis) for axis, size in enumerate(shape) if size % parts == 0]
    if not divisible:
        return PartitionSpec()
    _, axis = max(divisible)
    return PartitionSpec(*(FSDP if i == axis else None for i in range(axis + 1)))


def state_sharding(mesh: Mesh, state: Tree) -> Tree:
    """The sharding of each array of a state, or of any part of it, from the shapes alone."""
    return jax.tree.map(lambda leaf: NamedSharding(mesh, spec(leaf.shape, mesh.shape[FSDP])), state)


def divided(mesh: Mesh, state: Tree) -> Tree:
    """Inside `jax.jit`: a state, weights or their gradient, divided as `state_sharding` says."""
    return jax.lax.with_sharding_constraint(state, state_sharding(mesh, state))


def gathered(mesh: Mesh, params: Tree) -> Tree:
    """Inside `jax.jit`: divided weights, whole on every device."""
    # Without it XLA may divide a layer's channels instead of the batch where the weights are divided.
    return jax.lax.with_sharding_constraint(params, replicated(mesh))


def put(value: np.ndarray | jax.Array, sharding: NamedSharding) -> jax.Array:
    """An array that every process has in full, placed."""
    if sharding.is_fully_addressable:
        return jax.device_put(value, sharding)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(put(jax.random.key_data(value), sharding))  # type: ignore[arg-type]
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def put_state(state: Tree, mesh: Mesh) -> Tree:
    """A state that every process has in full, divided as `state_sharding` says."""
    return jax.tree.map(put, state, state_sharding(mesh, state))


def put_rows(part: np.ndarray, mesh: Mesh) -> jax.Array:
    """A batch (rows, …) of which every process has its own block."""
    return jax.make_array_from_process_local_data(rows(mesh), part)


def to_host(array: jax.Array) -> np.ndarray:
    """All of an array in host memory, a copy; all processes call it at the same time."""
    if array.is_fully_addressable:
        # A copy: on a CPU the host's view is the device's own buffer, which the next step overwrites.
        return np.array(jax.device_get(array))
    if array.is_fully_replicated:
        return np.array(array.addressable_data(0))
    # The parts are neighbours, and so mostly on this host.
    parts = {str(shard.index): shard for shard in array.addressable_shards}
    if sum(shard.data.size for shard in parts.values()) < array.size:
        return np.array(multihost_utils.process_allgather(array, tiled=True))
    result = np.empty(array.shape, array.dtype)
    for shard in parts.values():
        result[shard.index] = shard.data
    return result


def on_one_device(tree: Tree, mesh: Mesh) -> Tree:
    """Arrays to compute with in one process alone; all processes call it at the same time."""
    return tree if mesh.size == 1 else jax.tree.map(brought_here, tree)


def brought_here(array: jax.Array) -> np.ndarray | jax.Array:
    """All of an array or of a key, which numpy cannot hold, in this process; all processes call it at the same time."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(to_host(jax.random.key_data(array)))  # type: ignore[arg-type]
    return to_host(array)
