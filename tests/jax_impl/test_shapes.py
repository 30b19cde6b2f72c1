"""Shapes in signatures: checked in the tests, and of no consequence where jaxtyping is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from jax_impl.model.blocks import average_pool


def test_the_suite_checks_shapes_and_kinds() -> None:
    average_pool(jnp.zeros((1, 4, 4, 3)))
    for wrong in (jnp.zeros((4, 4, 3)), jnp.zeros((1, 4, 4, 3), jnp.int32)):
        with pytest.raises(TypeError, match="average_pool"):
            average_pool(wrong)


def test_the_programs_need_neither_jaxtyping_nor_beartype(root: Path) -> None:
    code = (
        "import sys; sys.modules['jaxtyping'] = sys.modules['beartype'] = None\n"
        "import jax.numpy as jnp, jax_impl.train, jax_impl.sample, jax_impl.evaluate, jax_impl.bundle\n"
        "from jax_impl.model.blocks import average_pool\n"
        "print(average_pool(jnp.zeros((1, 4, 4, 3))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 2, 2, 3)\n", done.stderr
