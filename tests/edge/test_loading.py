"""`export.edge.load`: the same numbers as `translate`, for arrays, images of Pillow and files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
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


def colours(mode: str, transparency: object = None) -> Image.Image:
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (21, 34, 3), np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.arange(21 * 34, dtype=np.uint16).reshape(21, 34) * 90)
    elif mode != "RGB":
        image = image.convert(mode)
    if image.mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (colours("1"), ".png"),
        (colours("L"), ".png"),
        (colours("L", 3), ".png"),
        (colours("LA"), ".png"),
        (colours("P"), ".png"),
        (colours("P", bytes(range(0, 250, 10))), ".png"),
        (colours("RGB", (255, 0, 0)), ".png"),
        (colours("RGBA"), ".png"),
        (colours("CMYK"), ".tif"),
        (colours("I;16"), ".png"),
        (colours("F"), ".tif"),
    ],
    ids=lambda value: getattr(value, "mode", value) + "t" * ("transparency" in getattr(value, "info", {})),
)
def test_an_image_of_any_mode_is_what_its_file_is(image: Image.Image, suffix: str, model: Path, tmp_path: Path) -> None:
    image.save(tmp_path / f"photo{suffix}")
    loaded = export.edge.load(model)
    made = loaded.translate(image)
    assert made.mode == "RGB" and made.size == image.size
    np.testing.assert_array_equal(np.asarray(made), np.asarray(loaded.translate(tmp_path / f"photo{suffix}")))
    assert np.asarray(made).std() > 1


def test_premultiplied_images_are_what_they_were_before(model: Path) -> None:
    loaded = export.edge.load(model)
    for plain, premultiplied in (("LA", "La"), ("RGBA", "RGBa")):
        image = Image.new(plain, (34, 21), (90,) * (len(plain) - 1) + (255,))
        found, wanted = (np.asarray(loaded.translate(one)) for one in (image.convert(premultiplied), image))
        np.testing.assert_array_equal(found, wanted)


def cut(folder: Path) -> Image.Image:
    """An image whose pixels are yet to be read, from a file that lacks some."""
    colours("RGB").save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:1500])
    return Image.open(folder / "cut.png")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (lambda _: Image.new("RGB", (0, 0)), "mode RGB, 0 x 0, cannot be read"),
        (lambda _: Image.new("L", (0, 5)), "mode L, 0 x 5, cannot be read"),
        (lambda _: colours("RGB", b"no colour"), "mode RGB, 34 x 21, cannot be read"),
        (cut, "mode RGB, 34 x 21, cannot be read .*truncated"),
    ],
    ids=["empty", "no columns", "no colour", "cut"],
)
def test_an_image_that_cannot_be_read_is_named(
    image: Callable[[Path], Image.Image], reason: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"the picture, an image of {reason}"):
        export.edge.load(model).translate(image(tmp_path))


def test_importing_the_package_loads_no_numpy(root: Path) -> None:
    code = "import sys, export.edge; print(*(name for name in ('numpy', 'PIL', 'onnxruntime') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        export.edge.lode  # type: ignore[attr-defined]  # noqa: B018
