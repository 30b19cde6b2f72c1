"""Any number of devices computes what one does, and where arrays lie follows from their shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from export.edge.errors import UserError
from jax_impl.config.tree import Config, OptimConfig, TrainConfig
from jax_impl.training.mesh import FSDP, SMALLEST_DIVIDED, make_mesh, put, rows, single_device, spec, to_host
from jax_impl.training.votes import Consensus


@pytest.mark.parametrize("which", ["few", pytest.param("all", marks=pytest.mark.slow)])
def test_any_number_of_devices_and_of_parts_computes_what_one_does(root: Path, which: str) -> None:
    found = child(root, which, double=True)
    for name, distance in found["distances"].items():
        assert distance <= 1e-9, name
    # Memory of a device falls by what the others have taken over, of the state and of the positions in a batch of 8.
    for name, size in found["sizes"].items():
        model, devices, fsdp, _ = name.replace("(", "").replace(")", "").replace(",", "").split()
        all_of_it, divided = found["sizes"][f"{model} (1, 1, 1)"], found["divided"][model]
        saved = divided * (int(fsdp) - 1) // int(fsdp) + 8 * 4 * (int(devices) - 1) // int(devices)
        assert (all_of_it - size, divided > 0.7 * all_of_it) == (saved, True), name
    # A checkpoint of four devices comes back on one and on eight, to the bit.
    assert found["restored"] == []


@pytest.mark.slow
def test_in_float32_devices_drift_no_further_than_one_does_with_its_batch_reversed(root: Path) -> None:
    distances = child(root, "single", double=False)
    for count in (2, 4, 8):
        assert 0.0 < distances[f"{count} devices"] <= distances["reversed"]


def child(root: Path, what: str, *, double: bool) -> dict:
    """What `devices.py` prints, with 8 simulated devices."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_ENABLE_X64": str(int(double))}
    if not double:
        # Here the size of rounding counts: that of a user's programs.
        environment["XLA_FLAGS"] = ""
    command = [sys.executable, "-m", "tests.jax_impl.training.devices", what]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=4), st.sampled_from([1, 2, 3, 4, 8]))
def test_what_is_large_enough_is_divided_along_its_largest_divisible_dimension(shape: list[int], parts: int) -> None:
    axes = [axis for axis, name in enumerate(spec(shape, parts)) if name == FSDP]
    divisible = [size for size in shape if size % parts == 0]
    if parts == 1 or np.prod(shape) < SMALLEST_DIVIDED or not divisible:
        assert axes == []
    else:
        assert [shape[axis] for axis in axes] == [max(divisible)]
    assert spec((), parts) == PartitionSpec()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"devices": 2}, "train.devices is 2: 1 are there"),
        ({"fsdp_devices": 2}, "train.fsdp_devices is 2: choose a divisor of the 1 devices"),
    ],
)
def test_settings_that_do_not_fit_the_devices_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_mesh(Config(train=TrainConfig(**settings)))


def test_a_batch_is_divided_among_devices_and_parts() -> None:
    config = Config(optim=OptimConfig(accumulate=2), train=TrainConfig(batch_size=4, devices=4))
    with pytest.raises(UserError, match=r"4 in 2 parts \(optim.accumulate\): it is divided among 4 devices; .* 8"):
        make_mesh(config, jax.devices() * 4)
    with pytest.raises(UserError, match=r"batch_size is 2: .* among 4 devices; choose a multiple of 4$"):
        make_mesh(Config(train=TrainConfig(batch_size=2, fsdp_devices=4)), jax.devices() * 4)
    with pytest.raises(UserError, match=r"choose a divisor of train\.batch_size"):
        Config(optim=OptimConfig(accumulate=3), train=TrainConfig(batch_size=4))


@pytest.mark.parametrize(
    ("batch", "parts", "fsdp", "shape"),
    [
        (8, 1, 1, (8, 1)),
        (12, 1, 1, (6, 1)),
        (12, 2, 2, (3, 2)),
        (7, 1, 1, (7, 1)),
        (11, 1, 1, (1, 1)),
        (2, 1, 2, (1, 2)),
    ],
)
def test_of_eight_devices_as_many_work_as_share_a_batch_evenly(
    batch: int, parts: int, fsdp: int, shape: tuple[int, int]
) -> None:
    config = Config(optim=OptimConfig(accumulate=parts), train=TrainConfig(batch_size=batch, fsdp_devices=fsdp))
    assert make_mesh(config, jax.devices() * 8).devices.shape == shape


def test_one_process_has_its_way_at_once_and_its_arrays_come_back_as_copies() -> None:
    mesh = single_device()
    assert Consensus(mesh).maximum((15, 0, 1)) == (15, 0, 1)
    placed = put(jnp.arange(6.0), rows(mesh))
    back = to_host(placed)
    back += 1.0
    np.testing.assert_array_equal(placed, np.arange(6.0))
