"""The model that comes with the package: it is small, good on unseen scenes, and taken where no model is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export.edge
from export.edge.__main__ import main
from export.edge.errors import UserError
from export.edge.pictures.files import open_picture
from export.edge.pretrained import PRETRAINED
from jax_impl.data.synthetic import render_pair, scene_seed

UNSEEN = 500
"""The first of the validation scenes that are looked at: training shows its pictures of the first few."""


def test_it_is_small_and_has_a_model_card() -> None:
    files = [path for path in PRETRAINED.parents[1].rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 8e6
    assert "export.edge photo.jpg sunset.jpg" in (PRETRAINED.parents[1] / "README.md").read_text()


def test_its_sunsets_are_nearer_to_the_truth_than_a_change_of_the_mean_colour() -> None:
    """By far: a third of the error that is left where the true mean and spread of each colour are given away."""
    model, errors = export.edge.load(), []
    for index in range(UNSEEN, UNSEEN + 8):
        sunrise, sunset = render_pair(scene_seed("val", index), 128)
        wanted, given = sunset.astype(float), sunrise.astype(float)
        moved = (given - given.mean((0, 1))) / given.std((0, 1)) * wanted.std((0, 1)) + wanted.mean((0, 1))
        drawn = (model.translate(sunrise).astype(float), np.clip(moved, 0, 255))
        errors.append([np.mean((picture - wanted) ** 2) for picture in drawn])
    ours, recoloured = np.mean(errors, axis=0)
    assert ours < recoloured / 3


def test_the_command_takes_it_where_no_model_is_named(tmp_path: Path) -> None:
    sunrise, _ = render_pair(scene_seed("val", UNSEEN), 128)
    photo, output = tmp_path / "photo.png", tmp_path / "sunset.png"
    Image.fromarray(sunrise).resize((200, 120)).save(photo)
    main([str(photo), "--threads", "1", str(output)])
    wanted = export.edge.load(threads=1).translate(open_picture(photo))
    np.testing.assert_array_equal(open_picture(output), wanted)
    main([str(PRETRAINED), "--threads", "1", str(photo), str(tmp_path / "named.png")])
    np.testing.assert_array_equal(open_picture(tmp_path / "named.png"), wanted)


@pytest.mark.parametrize("model", ["artifact", "artifact/onnx/model.onnx"])
def test_a_model_without_a_photo_or_an_output(model: str, tmp_path: Path) -> None:
    (tmp_path / "artifact" / "onnx").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is a model, and of photo and output one is missing"):
        main([str(tmp_path / model), str(tmp_path / "sunset.jpg")])
    assert not (tmp_path / "sunset.jpg").exists()
