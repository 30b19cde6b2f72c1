"""Devices that are not there, and devices without memory: one line, whoever meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from export.edge.errors import UserError
from jax_impl.devices import LESS_TRAINING, is_out_of_memory, memory_errors, start_devices

COMMANDS = """
import importlib, sys
import jax
from export.edge.errors import UserError
for platform in sys.argv[1:]:
    jax.config.update("jax_platforms", platform)
    for name, words in (
        ("train", "tiny --output-dir a_run"),
        ("sample", "--run r --input photo.png --output out.png"),
        ("bundle", "--run r --output model.safetensors"),
        ("evaluate", "--run r --output-dir scores"),
        ("bench.loader", ""),
    ):
        try:
            importlib.import_module(f"jax_impl.{name}").main(words.split())
        except UserError as error:
            print(error)
"""


def test_every_command_names_devices_that_are_not_there(root: Path, tmp_path: Path) -> None:
    wanted = ["cdua"] if os.path.exists("/dev/nvidiactl") else ["cuda", "cdua"]
    (tmp_path / "photo.png").touch()
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *wanted],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    starts = [line.partition(";")[0].partition(" (")[0] for line in lines]
    assert starts == [f"JAX finds no device for JAX_PLATFORMS={name}" for name in wanted for _ in range(5)]
    assert all("set it to cpu, or leave it unset" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_devices_that_are_there_are_started(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    devices, found = jax.devices, []
    monkeypatch.setattr(jax, "devices", lambda: found.append(devices()) or found[-1])
    start_devices()
    assert [device.platform for device in found[0]] == ["cpu"] * len(found[0])
    assert len(found) == 1 and found[0]
    assert capfd.readouterr() == ("", "")


def test_out_of_memory_is_one_line_with_the_remedy() -> None:
    with (
        pytest.raises(UserError, match=r"^cpu is out of memory, 262,144\.0 GiB more are needed; .*batch-size.*remat"),
        memory_errors(LESS_TRAINING),
    ):
        jnp.zeros((2**46,), jnp.float32)


def test_it_is_known_behind_an_error_of_a_library_and_no_other_error_is_taken_for_it() -> None:
    def wrapped() -> None:
        try:
            jnp.zeros((2**46,), jnp.float32)
        except RuntimeError as error:
            raise ValueError("cannot read") from error

    with pytest.raises(ValueError, match="cannot read") as caught:
        wrapped()
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("RESOURCE_EXHAUSTED"))
    with pytest.raises(RuntimeError, match=r"^other$"), memory_errors():
        raise RuntimeError("other")
