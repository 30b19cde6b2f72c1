"""The training benchmark: what it counts, that it runs what it says it runs, and that its table says what was found."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import jax
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from export.edge.errors import UserError
from export.edge.timing import Child, GoneError
from jax_impl.bench import training as bench
from jax_impl.bench.flops import peak_flops, step_flops
from jax_impl.bench.table import Case, Way, case_table
from jax_impl.bench.training import BenchArgs, choices, configure
from jax_impl.config.as_json import to_json
from jax_impl.config.presets import PRESETS
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.compiled import SWITCH, keep_programs
from torch_ref.codec import transform_of
from torch_ref.weights import build_model


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_formula_is_what_pytorch_counts(preset: str) -> None:
    config = configure(BenchArgs(width=48), preset, 64, 3, "float32")
    if isinstance(config.model, UNetModelConfig):
        # Enlarging colours of the affine head, or blocks, is a matrix product in one and an interpolation in the other.
        config = replace(config, model=replace(config.model, head="plain", unfold="blocks", blocks=1))
    with torch.device("meta"):
        model = build_model(json.loads(to_json(config)))
        batch, height, width, channels = config.codec.state_shape((3, 64, 64))
        picture = torch.zeros(batch, channels, height, width)
        with FlopCounterMode(display=False) as counter:
            model(picture, picture, torch.zeros(3, dtype=torch.int64))
        network = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            # Inputs and targets, without gradients: what the stage after that of the codec does first.
            transform_of(json.loads(to_json(config))).encode(torch.zeros(2 * 3, 3, 64, 64))
    assert (counter.get_total_flops() > 0) == config.codec.learned
    assert step_flops(config) == pytest.approx(3 * network + counter.get_total_flops(), rel=1e-3)


def test_peaks_go_by_the_device_s_name() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3", "bfloat16") == peak_flops("NVIDIA H200", "bfloat16")
    h100 = peak_flops("NVIDIA H100 PCIe", "bfloat16")
    assert h100 is not None and h100 < (peak_flops("NVIDIA H100 80GB HBM3", "bfloat16") or 0.0)
    assert peak_flops("TPU v5 lite", "bfloat16") != peak_flops("TPU v5", "bfloat16")
    assert peak_flops("an abacus", "float32") is None


@pytest.mark.slow  # A benchmark of every way to train.
def test_every_way_is_measured_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    output, profile = tmp_path / "bench.json", tmp_path / "profile"
    words = ["--presets", "seed", "--sizes", "16", "--batch-sizes", "4", "8", "--width", "4", "--dtypes", "bfloat16"]
    words += ["--minutes", "1e-9"]
    bench.main([*words, "--rounds", "2", "--seconds", "0.02", "--output", str(output), "--profile", str(profile)])
    (case,) = json.loads(output.read_text())
    assert [way["title"] for way in case["ways"]] == ["JAX", "PyTorch, eager"]
    ours, theirs = case["ways"]
    assert ours["facts"]["parameters"] == theirs["facts"]["parameters"]
    assert case["dtype"] == "bfloat16"
    for way in case["ways"]:
        assert way["error"] is None and len(way["step_seconds"]) == 2 and min(way["step_seconds"]) > 0.0
    # XLA also counts norms and the optimiser, which weigh in a narrow network.
    assert 1.0 < ours["facts"]["xla_flops"] / ours["facts"]["formula_flops"] < 2.0
    assert case["peak_flops"] > 0.0 and ours["peak_bytes"] > 4 * ours["facts"]["parameters"]
    assert list(profile.rglob("*.xplane.pb")) and list(profile.rglob("*.trace.json.gz"))
    assert 1 <= len(case["top"]) <= 5 and 0.0 < sum(share for _, share in case["top"]) <= 1.0
    said = capsys.readouterr().out
    assert output.with_suffix(".md").read_text() in said
    # There is time for one case.
    assert said.count("left out") == 1
    assert re.search(r"left out after \d+\.\d minutes: `seed`, 16 × 16, batch 8, bfloat16\n", said)


def test_the_table_s_figures_follow_from_each_other() -> None:
    ways = [
        Way("JAX", {"compile_seconds": 9.0, "formula_flops": 6e9, "xla_flops": 7e9}, [0.1, 0.3, 0.2], 5_000_000),
        Way("PyTorch, eager", {"first_seconds": 1.0}, [0.4, 0.5, 0.3]),
        Way("PyTorch, compiled", error="out of memory"),
    ]
    rows = [row.split(" | ") for row in case_table([Case("tiny", 64, 8, "float32", ways, peak_flops=1e11)])[2:]]
    assert rows[0][1:] == ["1.00", "40.0", "200.0", "9.0", "30.0 %", "7, 6", "5 |"]
    assert rows[1][1:5] == ["2.00", "20.0", "400.0", "1.0"]
    assert rows[2][1] == "out of memory"
    ratio, speeds = float(rows[1][1]), [float(row[2]) for row in rows[:2]]
    assert math.isclose(ratio, speeds[0] / speeds[1])


def test_a_child_that_fails_says_why_in_a_line() -> None:
    job = {"config": {"model": {"architecture": "none"}}}
    with (
        Child("jax_impl.bench.timed", job) as child,
        pytest.raises(GoneError, match=r"config\.model\.architecture is 'none'") as gone,
    ):
        child.hear()
    assert "\n" not in str(gone.value)


def test_choices_name_each_case_once() -> None:
    args = BenchArgs(presets=("seed", "tiny"), sizes=(32, 64), dtypes=("float32", "bfloat16"))
    found = choices(args)
    assert len(found) == len(set(found)) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "--rounds 0 and --seconds 2 must both be above 0"),
        (["--minutes", "0"], "--minutes is 0: choose a value above 0"),
        (["--presets", "seed", "--sizes", "20", "--no-torch"], "data.size is 20"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        bench.main(words)


def test_where_compiled_programs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, most = jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "told"))
        assert keep_programs() == tmp_path / "told"
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv(SWITCH, "off")
        assert keep_programs() is None and jax.config.jax_compilation_cache_dir is None
        monkeypatch.delenv(SWITCH)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        folder = keep_programs()
        assert folder is not None and folder.parent == tmp_path / "dawn2dusk" / "jax"
        assert jax.config.jax_compilation_cache_dir == str(folder)
    finally:
        jax.config.update("jax_compilation_cache_dir", told)
        jax.config.update("jax_compilation_cache_max_size", most)
