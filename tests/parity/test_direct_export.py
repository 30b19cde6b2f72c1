"""The exported file beside jax2onnx's. Downloads about 1 GB of packages, so it runs with `-m slow` alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import pytest

from tests.parity.direct_export import BATCHES, convert, direct_export, make_environment
from tests.parity.subject import Subject

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with jax2onnx."""
    return make_environment(tmp_path_factory.mktemp("jax2onnx"))


def test_both_ways_to_onnx_agree(subject: Subject, python: Path, tmp_path: Path) -> None:
    lines = list(direct_export(subject, convert(python, subject, tmp_path / "direct.onnx")))
    assert not [(one.what, one.pair, one.error) for one in lines if not one.passed]
    assert len(lines) == 2 * 2 * len(BATCHES)
    assert {one.pair for one in lines} == {"JAX→ONNX · torch→ONNX", "JAX→ONNX · JAX"}


def test_other_weights_are_told_apart(subject: Subject, python: Path, tmp_path: Path) -> None:
    """A thousandth more on every weight is seen in every comparison with the exported file."""
    params = jax.tree.map(lambda leaf: leaf * 1.001, subject.params)
    other = dataclasses.replace(subject, params=params)
    lines = direct_export(subject, convert(python, other, tmp_path / "direct.onnx"))
    assert not [(one.what, one.pair, one.error) for one in lines if one.passed]
