"""The map of what a model invents: where the sharp picture leaves the mean one, or where seeds differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.__main__ import main
from export.edge.errors import UserError
from export.edge.invention import SEEDS, WHITE, invented
from export.edge.model.artifact import open_artifact
from export.edge.pictures.files import open_picture, save_picture
from export.edge.sampling.table import Plan
from export.edge.sampling.tables import write_tables
from export.edge.translate import Options, translate
from tests.edge.conftest import SLIDER, MakeModel

PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def by(model: Path, realism: float | None = None, seed: int = 0) -> np.ndarray:
    """A translation at the model's own size, as floats of 255."""
    options = Options(realism=realism, detail="enlarge")
    return translate(open_artifact(model), PHOTO, options, seed=seed).astype(float)


def levels(apart: np.ndarray) -> np.ndarray:
    """A difference in levels of 255, (height, width, 3), as the map shows it."""
    return np.clip(apart.mean(axis=2) / (255.0 * WHITE), 0.0, 1.0) * 255.0


def test_with_a_slider_it_is_the_distance_from_the_mean_picture(make_model: MakeModel) -> None:
    model = make_model(**SLIDER)
    for realism in (None, 0.3):
        found = invented(open_artifact(model), PHOTO, Options(realism=realism))
        wanted = levels(np.abs(by(model, realism) - by(model, 0.0)))
        assert wanted.max() > 10
        np.testing.assert_allclose(found, wanted, atol=8)  # Pictures are rounded to levels, an eighth of the map's.


def test_without_one_it_is_the_spread_of_seeds(make_model: MakeModel) -> None:
    model = make_model(gain=3.0)
    found = invented(open_artifact(model), PHOTO, seed=5)
    wanted = levels(np.std([by(model, seed=5 + n) for n in range(SEEDS)], axis=0))
    assert wanted.max() > 10
    np.testing.assert_allclose(found, wanted, atol=8)


def test_it_has_the_size_of_the_photo_and_leaves_bars_out(make_model: MakeModel) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (30, 71, 3), np.uint8)
    for fit in ("letterbox", "crop"):
        assert invented(open_artifact(make_model(**SLIDER, fit=fit)), photo).shape == (30, 71)


def test_a_model_with_one_picture_for_each_photo_has_no_map(make_model: MakeModel) -> None:
    plan = Plan.from_columns({"t": [5], "x0_from_output": [1.0], "next_from_x0": [1.0], "start_from_noise": 0.0})
    model = make_model(**SLIDER | {"tables": write_tables({"one": {1: plan}})})
    with pytest.raises(UserError, match="one picture for each photo"):
        invented(open_artifact(model), PHOTO)
    with pytest.raises(UserError, match="realism 0 is the mean picture"):
        invented(open_artifact(make_model(**SLIDER)), PHOTO, Options(realism=0.0))


@pytest.mark.parametrize("guidance", [None, 1.5])
def test_runs_are_counted_over_all_pictures(guidance: float | None, make_model: MakeModel) -> None:
    model = open_artifact(make_model(cond_dropout="0.1"))
    told: list[tuple[int, int]] = []
    options = Options(3, "ddpm", guidance=guidance)
    found = invented(model, PHOTO, options, on_run=lambda done, total: told.append((done, total)))
    assert told == [(done, 3 * SEEDS) for done in range(3 * SEEDS + 1)]
    np.testing.assert_array_equal(found, invented(model, PHOTO, options))


def test_the_command_saves_it(make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, photo = make_model(**SLIDER), tmp_path / "photo.png"
    output, found = tmp_path / "out.png", tmp_path / "map.png"
    save_picture(photo, PHOTO)
    main([str(model), str(photo), str(output), "--realism", "0.6", "--invented", str(found)])
    wanted = invented(open_artifact(model), PHOTO, Options(realism=0.6))
    np.testing.assert_array_equal(open_picture(found)[..., 0], wanted)
    assert output.is_file()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("map step 2/2, ") and second.startswith("step 1/1, ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--invented", "out.png"], "output and map are the same file"),
        (["--invented", "photo.png"], "map photo.png is the photo itself"),
        (["--invented", "map.bmp"], "map map.bmp"),
        (["--invented", "map.png", "--realism", "0"], "realism 0 is the mean picture"),
        (["--invented", "map.png", "--realism", "1.5"], "realism 1.5 is outside 0 ... 1"),
        (["--realism", "nan"], "realism nan is outside 0 ... 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    words: list[str], message: str, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_picture(Path("photo.png"), PHOTO)
    with pytest.raises(UserError, match=message.replace(".", "[.]")):
        main([str(make_model(**SLIDER)), "photo.png", "out.png", *words])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "photo.png"]


def test_a_model_without_a_slider_refuses_a_realism(make_model: MakeModel, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    save_picture(photo, PHOTO)
    with pytest.raises(UserError, match="needs a model that was trained with diffusion"):
        main([str(make_model()), str(photo), str(tmp_path / "out.png"), "--realism", "0.5"])
    assert not (tmp_path / "out.png").exists()
