"""The package opens lightly and still offers its network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import torch_ref
from export.edge.errors import UserError
from torch_ref.base import Denoiser


def test_importing_the_package_does_not_import_torch(root: Path) -> None:
    code = "import sys, torch_ref; print('torch' in sys.modules); torch_ref.from_bundle; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("kind", ["seed", "unet"])
def test_network_loads_from_a_bundle(kind: str, make_bundle: Callable[[str], Path]) -> None:
    model = torch_ref.from_bundle(make_bundle(kind))
    assert isinstance(model, Denoiser)
    assert not model.training
    picture = torch.zeros(1, 3, 16, 16)
    assert model(picture, picture, torch.tensor([5])).shape == picture.shape


def test_unknown_names_and_missing_bundles_are_errors(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="bundle"):
        torch_ref.bundle  # noqa: B018
    with pytest.raises(UserError, match=r"none\.safetensors does not exist"):
        torch_ref.from_bundle(tmp_path / "none.safetensors")
