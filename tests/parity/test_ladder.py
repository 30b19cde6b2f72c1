"""The frame of the table, and its levels on narrow networks: blocks and process have files of their own."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config.presets import PRESETS
from tests.parity.__main__ import main, report
from tests.parity.conftest import SLOW_FOR_TINY, TRAINED
from tests.parity.ladder import Line, compare, summary, to_json, to_markdown, worst
from tests.parity.network import gradients, network
from tests.parity.onnx_file import onnx_file
from tests.parity.sampling import FEW, WALKS, Walk, samplers
from tests.parity.subject import Subject

every_preset = pytest.mark.parametrize(
    "subject",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("tiny", "sharp") else ())
        for name in PRESETS
        if name != "realism"
    ],
    indirect=True,
)
"""Also those that are too dear for the levels that train and draw. `realism` has the network and process of `sharp`;
what that has more than `base` and `quick` is compared in test_unfolding.py, and `tiny` has less."""
OTHERS = {"tiny+bridge": (Walk("dbim2", 4), Walk("i2sb", 2)), "tiny+flow": (Walk("heun", 4), Walk("ab2", 4))}
"""Presets with a process that none has, and some of its samplers."""


def line(absolute: float, tolerance: float = 1e-3, relative: float = 0.0) -> Line:
    return Line("b", "forward", "JAX · torch", "float32", absolute, relative, "absolute", tolerance, "rounding")


def test_compare_measures_the_largest_element_and_the_norm() -> None:
    # Differences 3 and 4 beside a reference of norm 10, over two arrays.
    ours = {"a": np.array([3.0, 6.0], np.float32), "b": np.array([[12.0]], np.float32)}
    reference = {"b": np.array([[8.0]]), "a": np.array([0.0, 6.0])}
    found = compare("b", "forward", ours, reference, measure="relative", tolerance=0.5, reason="")
    assert (found.absolute, found.relative) == (4.0, pytest.approx(0.5))
    assert found.dtype == "float32"
    assert found.passed
    assert not compare("b", "forward", ours, reference, tolerance=3.9, reason="").passed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("measure", ["absolute", "relative"])
def test_what_is_not_finite_never_passes(bad: float, place: int, measure: str) -> None:
    ours = np.ones(2)
    ours[place] = bad
    assert not compare("b", "", ours, np.ones(2), measure=measure, tolerance=1e3, reason="").passed
    assert not worst("b", "", {"a": np.ones(2), "b": ours}, {"a": np.ones(2), "b": np.ones(2)}, tolerance=1e3, reason="").passed  # fmt: skip # noqa: E501


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        ({"a": np.ones(2)}, {"b": np.ones(2)}),
        (np.ones((2, 1)), np.ones((1, 2))),
        (np.zeros(2), np.zeros(2)),
        (np.ones(0), np.ones(0)),
        ({}, {}),
    ],
    ids=["names", "shapes", "zeros", "no elements", "no arrays"],
)
def test_a_comparison_that_shows_nothing_is_refused(ours: object, reference: object) -> None:
    with pytest.raises(ValueError, match="forward"):
        compare("b", "forward", ours, reference, tolerance=1.0, reason="")


def test_the_worst_array_is_not_hidden_by_a_large_one() -> None:
    ours = {"large": np.full(3, 1e6), "small": np.array([1e-3]), "none": np.array([1e-12])}
    reference = {"large": np.full(3, 1e6), "small": np.array([2e-3]), "none": np.array([9e-12])}
    found = worst("c", "gradient", ours, reference, tolerance=0.1, reason="", share=1e-12)
    assert found.what == "gradient (small)"
    assert found.relative == pytest.approx(0.5)


def test_levels_climbed_later_join_the_table(tmp_path: Path) -> None:
    forward, gradient = line(1e-4), dataclasses.replace(line(5e-4), level="c")
    about = {"weights_digest": "a", "date": "today"}
    report(iter([forward, gradient]), about, tmp_path / "table")
    # Level b anew, on another day; c is kept.
    better = dataclasses.replace(forward, absolute=1e-5)
    report(iter([better]), {"weights_digest": "a", "date": "tomorrow"}, tmp_path / "table", keep=True)
    held = json.loads((tmp_path / "table" / "parity.json").read_text())
    assert [(one["level"], one["absolute"]) for one in held["lines"]] == [("b", 1e-5), ("c", 5e-4)]
    with pytest.raises(UserError, match="other weights"):
        report(iter([better]), {"weights_digest": "b"}, tmp_path / "table", keep=True)


def test_the_table_says_what_failed(tmp_path: Path) -> None:
    lines = [line(1e-4), line(5e-4), line(2e-3), line(math.nan, tolerance=1.0)]
    text = to_markdown(lines, {"date": "today", "versions": {"jax": "1", "torch": "2"}})
    assert "**2 of 4 lines fail.**" in text
    assert "versions: jax 1, torch 2" in text
    assert text.count("**FAIL**") == 2 + 2  # the lines themselves, and their groups in the summary
    assert "| **2.0e-03** | 0.0e+00 | 1.0e-03 |" in summary(lines)
    assert "worst of 3" in summary(lines)
    assert report(iter(lines[:2]), {"date": "today"}, tmp_path / "good") == 0
    assert report(iter(lines[:3]), {"date": "today"}, tmp_path / "bad") == 1
    assert json.loads((tmp_path / "good" / "parity.json").read_text())["passed"] is True
    bad = json.loads((tmp_path / "bad" / "parity.json").read_text())
    assert [entry["passed"] for entry in bad["lines"]] == [True, True, False]
    assert bad["passed"] is False
    assert to_json([], {})["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["huge"], "huge"),
        (["none.safetensors"], "none.safetensors"),
        (["seed", "--levels", "x"], "'x'"),
        (["seed", "--levels", ""], "''"),
        (["seed", "--batch", "1"], "1"),
        (["seed", "--steps", "0"], "0"),
        (["tiny", "--size", "64"], "64"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        main([*arguments, "--output", str(tmp_path / "parity")])
    assert not (tmp_path / "parity").exists()


@pytest.mark.parametrize("subject", SLOW_FOR_TINY, indirect=True)
def test_the_command(subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = subject.folder / "model.safetensors"
    main([str(path), "--levels", "b", "--output", str(tmp_path / "parity")])
    table = json.loads((tmp_path / "parity" / "parity.json").read_text())
    assert table["passed"] is True
    assert table["weights_digest"] == subject.bundle.weights_digest
    assert {entry["level"] for entry in table["lines"]} == {"b"}
    assert f"{len(table['lines'])} lines" in capsys.readouterr().out
    assert "| b whole network |" in (tmp_path / "parity" / "parity.md").read_text()
    with pytest.raises(UserError, match="--size 12"):
        main([str(path), "--size", "12", "--output", str(tmp_path / "other")])


def assert_all_pass(lines: list[Line], pairs: set[str], dtypes: set[str]) -> None:
    failed = [(one.what, one.pair, one.dtype, one.error, one.tolerance) for one in lines if not one.passed]
    assert not failed
    assert {one.pair for one in lines} == pairs
    assert {one.dtype for one in lines} == dtypes


@every_preset
def test_whole_network(subject: Subject) -> None:
    lines = list(network(subject, size=subject.size))
    assert_all_pass(lines, {"JAX · torch", "torch · torch in float64"}, {"float32", "float64"})
    statistics = [one for one in lines if "running statistics" in one.what]
    assert len(statistics) == (4 if subject.stats else 0)
    assert sum(one.pair == "torch · torch in float64" for one in lines) == 6
    codec = [one for one in lines if one.what.startswith("codec, ")]
    assert len(codec) == (2 if subject.config.codec.learned else 0)
    assert len(lines) - len(statistics) - len(codec) == 8 + 6


@pytest.mark.parametrize(
    "subject",
    # What `tiny` has more than its process on one level is in `base`.
    [
        *(
            pytest.param(name, marks=pytest.mark.slow if name == "tiny" else ())
            for name in PRESETS
            if name != "realism"
        ),
        *("tiny+gaussian", *OTHERS),
    ],
    indirect=True,
)
def test_loss_and_gradients(subject: Subject) -> None:
    lines = list(gradients(subject, size=subject.size, batch=4, every=False))
    assert_all_pass(lines, {"JAX · torch"}, {"float32", "float64"})
    assert any("worst gradient" in one.what for one in lines)


@pytest.mark.parametrize(
    ("subject", "walks"),
    [("seed", FEW), *(pytest.param(name, WALKS, marks=pytest.mark.slow) for name in TRAINED)],
    indirect=["subject"],
    ids=["few", *(f"all of {name}" for name in TRAINED)],
)
def test_samplers(subject: Subject, walks: tuple[Walk, ...]) -> None:
    lines = list(samplers(subject, walks))
    pairs = {"JAX · torch", "onnxruntime · torch", "diffusers · torch", "torch · torch in float64", "torch"}
    assert_all_pass(lines, pairs, {"float32", "float64"})
    assert sum(f"{walks[0]}, " in one.what for one in lines) == 4


@pytest.mark.parametrize("subject", ["sharp"], indirect=True)
def test_a_process_of_tables(subject: Subject, tmp_path: Path) -> None:
    pairs = {"JAX · torch", "onnxruntime · torch", "torch · torch in float64"}
    lines = list(samplers(subject))
    assert_all_pass(lines, pairs, {"float32", "float64"})
    assert all(one.what.startswith("one pass, 1 step") for one in lines)
    path = str(subject.folder / "model.safetensors")
    with pytest.raises(UserError, match="level d needs a noise schedule, and the process one-pass has none"):
        main([path, "--levels", "bd", "--output", str(tmp_path / "parity")])
    assert not (tmp_path / "parity").exists()


@pytest.mark.parametrize(("subject", "walks"), OTHERS.items(), indirect=["subject"], ids=list(OTHERS))
def test_walks_from_the_input_picture(subject: Subject, walks: tuple[Walk, ...]) -> None:
    lines = list(samplers(subject, walks))
    assert_all_pass(
        lines, {"JAX · torch", "onnxruntime · torch", "torch · torch in float64", "torch"}, {"float32", "float64"}
    )
    assert all(any(one.what.startswith(f"{walk}, ") for one in lines) for walk in walks)


@pytest.mark.parametrize(
    "subject",
    # tests/end_to_end/test_whole_path.py exports and compares a network of `tiny`; what `quick` has more, attention and
    # coordinates, `base` has here too.
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("tiny", "quick") else ())
        for name in PRESETS
        if name != "realism"
    ],
    indirect=True,
)
def test_onnx_file(subject: Subject) -> None:
    lines = list(onnx_file(subject, size=subject.size))
    assert_all_pass(lines, {"onnxruntime · torch", "onnxruntime · JAX"}, {"float32"})
    assert {one.what.split(", ")[1] for one in lines} == {"no optimisation", "all optimisations"}
