"""Bytes between devices: those of a program written by hand, and those of a training step beside its parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.figures.collectives import Exchange, collectives, main, sent_bytes, table

PROGRAM = """
  %a = (f32[3,4]{1,0}, bf16[5]{0}) all-reduce(%x, %y), channel_id=1, replica_groups={{0,1,2,3}}
  %b = f32[8]{0} all-reduce-start(%z), channel_id=2
  %c = f32[8]{0} all-reduce-done(%b)
  %d = f32[2,2]{1,0} reduce-scatter(%w), channel_id=3, dimensions={0}
  %e = pred[] all-gather(%v), channel_id=4
  %f = f32[100]{0} fusion(%all-reduce), kind=kLoop, calls=%all-reduce.computation
"""
STEP = """
import json
import jax
jax.config.update("jax_num_cpu_devices", 2)
from tests.figures.collectives import measure
from tests.jax_impl.training.devices import setting
print(json.dumps([measure(setting("unet", 2), shared) for shared in (1, 2)]))
"""


def test_operations_are_counted_once_with_all_their_results() -> None:
    found = collectives(PROGRAM)
    assert found == {
        "all-gather": Exchange(1, 1),
        "all-reduce": Exchange(2, 48 + 10 + 32),
        "reduce-scatter": Exchange(1, 16),
    }
    # Four devices: an all-reduce sends 2 · 3/4 of its data, a reduce-scatter 3 of the 4 parts.
    assert sent_bytes(found, 4) == pytest.approx(1.5 * 90 + 3 * 16 + 0.75 * 1)


def test_a_step_sends_its_gradient(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", STEP], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, divided = json.loads(done.stdout)
    gradient = 4 * whole["parameters"]
    assert gradient <= whole["collectives"]["all-reduce"]["bytes"] < 1.01 * gradient + 1000
    assert "all-gather" not in whole["collectives"]
    # Arrays of fewer than 4096 scalars are on every device.
    assert 0 < divided["collectives"]["all-gather"]["bytes"] <= gradient
    assert divided["sent_bytes"] > whole["sent_bytes"]
    assert [line.count("|") for line in table([{"preset": "unet", "devices": 2, **whole}])] == [7, 7, 7]


def test_one_device_sends_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--devices 1 exchange nothing; choose at least 2"):
        main(["--output", str(tmp_path / "f.json"), "--devices", "1"])
