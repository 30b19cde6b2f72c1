"""`export.edge.load`: the same numbers as `translate`, for arrays, images of Pillow and files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export.edge
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.translate import Options, translate
from tests.edge.conftest import MakeModel


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model()


def test_each_kind_of_picture_comes_back_as_its_kind(model: Path, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    wanted = translate(open_artifact(model), photo, Options(steps=2, sampler="ddpm"), seed=7)
    loaded = export.edge.load(model)
    made = loaded.translate(photo, 2, seed=7, options=Options(sampler="ddpm"))
    np.testing.assert_array_equal(made, wanted)
    for picture in (Image.fromarray(photo), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        image = loaded.translate(picture, 2, seed=7, options=Options(sampler="ddpm"))
        assert isinstance(image, Image.Image)
        np.testing.assert_array_equal(np.asarray(image), wanted)


def test_an_image_is_turned_upright_and_keeps_its_profile(model: Path) -> None:
    image = Image.effect_noise((20, 30), 60).convert("L")
    image.getexif()[0x0112] = 6  # Turned by a quarter.
    image.info["icc_profile"] = b"a profile"
    made = export.edge.load(model).translate(image)
    assert (made.mode, made.size, made.info["icc_profile"]) == ("RGB", (30, 20), b"a profile")


@pytest.mark.parametrize(
    ("array", "found"),
    [(np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"), (np.zeros((4, 4, 3)), r"float64 \(4, 4, 3\)")],
    ids=["grey", "floats"],
)
def test_other_arrays_are_refused(array: np.ndarray, found: str, model: Path) -> None:
    with pytest.raises(UserError, match=f"the picture is an array {found}; give uint8"):
        export.edge.load(model).translate(array)


def test_importing_the_package_loads_no_numpy(root: Path) -> None:
    code = "import sys, export.edge; print(*(name for name in ('numpy', 'PIL', 'onnxruntime') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        export.edge.lode  # type: ignore[attr-defined]  # noqa: B018
