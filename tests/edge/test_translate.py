"""From a photo to a photo of the same size, by the seed alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.invention import invented
from export.edge.model.artifact import open_artifact
from export.edge.pictures.arrays import FITS, to_float, to_uint8, working
from export.edge.sampling.loop import Call
from export.edge.sampling.noise import normal
from export.edge.translate import Options, translate

MakeModel = Callable[..., Path]


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 0 * x + 90], -1).astype(np.uint8)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(37, 101), (1, 1), (300, 50), (32, 32), (1, 900)])
def test_the_photos_own_size_comes_back(make_model: MakeModel, fit: str, height: int, width: int) -> None:
    result = translate(open_artifact(make_model(fit=fit)), photo(height, width), Options(steps=2))
    assert result.shape == (height, width, 3) and result.dtype == np.uint8


def test_a_seed_is_a_picture(make_model: MakeModel) -> None:
    model = open_artifact(make_model(sampler="ddpm"))
    a, b, c = (translate(model, photo(37, 50), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    np.testing.assert_array_equal(
        a, translate(open_artifact(make_model(sampler="ddpm"), threads=1), photo(37, 50), seed=1)
    )


def test_the_photo_matters(make_model: MakeModel) -> None:
    model = open_artifact(make_model())
    assert np.abs(translate(model, photo(32, 32)).astype(int) - translate(model, 255 - photo(32, 32))).mean() > 20


def test_ddim_is_what_the_papers_formula_says(make_model: MakeModel) -> None:
    """Three steps by hand for an x0 network: eps of the clamped x0_hat, then on to the next timestep."""
    model = open_artifact(make_model(fit="stretch"))
    cond = to_float(photo(32, 32))[None]
    x = normal(9, 0, cond.shape).astype(np.float64)
    # trailing timesteps of 100 in 3 steps
    for t, after in ((99, 66), (66, 32), (32, None)):
        x0 = np.clip(model.denoise(x.astype(np.float32), cond, np.array([t])), -1, 1)
        a, s = model.alphas_cumprod[t], 1.0 if after is None else model.alphas_cumprod[after]
        eps = (x - np.sqrt(a) * x0) / np.sqrt(1 - a)
        x = np.sqrt(s) * x0 + np.sqrt(1 - s) * eps
    found = translate(model, photo(32, 32), Options(3, "ddim"), seed=9)
    assert np.abs(found.astype(int) - to_uint8(x[0])).max() <= 1


def test_each_step_has_a_noise_stream_of_its_own(make_model: MakeModel) -> None:
    model = open_artifact(make_model(fit="stretch"))
    seen: list[tuple[Call, int]] = []
    translate(model, photo(32, 32), Options(3, "ddpm"), seed=5, on_step=lambda step, total: seen.append((step, total)))
    assert [(step.index, step.t, total) for step, total in seen] == [(0, 99, 3), (1, 66, 3), (2, 32, 3)]
    shape = (1, 32, 32, 3)
    before = normal(5, 0, shape)
    for step, _ in seen[:-1]:
        a, s = model.alphas_cumprod[step.t], model.alphas_cumprod[seen[step.index + 1][0].t]
        beta = 1 - a / s
        mean = np.sqrt(s) * beta / (1 - a) * step.x0 + np.sqrt(a / s) * (1 - s) / (1 - a) * before
        z = (step.x - mean) / np.sqrt(beta * (1 - s) / (1 - a))
        np.testing.assert_allclose(z, normal(5, step.index + 1, shape), atol=1e-4)
        before = step.x


def test_spacing_and_threshold_are_the_models_unless_another_spacing_is_named(make_model: MakeModel) -> None:
    settings = {"sampler": "heun", "spacing": "linspace", "threshold": "0.5", "fit": "stretch", "gain": 5.0}
    model = open_artifact(make_model(**settings))
    seen: list[tuple[Call, int]] = []
    translate(model, photo(32, 32), Options(steps=4), on_step=lambda step, total: seen.append((step, total)))
    assert [(step.t, total) for step, total in seen] == [(99, 6), (66, 6), (33, 6), (33, 6), (0, 6), (0, 6)]
    for step, _ in seen:
        s = max(1.0, float(np.median(np.abs(step.x0_raw))))
        np.testing.assert_allclose(step.x0, np.clip(step.x0_raw, -s, s) / s, atol=1e-6)
    seen.clear()
    translate(
        model, photo(32, 32), Options(2, "ddim", "trailing"), on_step=lambda step, total: seen.append((step, total))
    )
    assert [(step.t, total) for step, total in seen] == [(99, 2), (49, 2)]


def test_the_model_sees_the_working_picture(make_model: MakeModel) -> None:
    model = open_artifact(make_model())
    seen: list[tuple[int, ...]] = []
    translate(model, photo(37, 101), on_step=lambda step, _: seen.append(step.x.shape))
    assert seen == [(1, *working(photo(37, 101), 32, "crop", 8).shape)] * model.steps


@pytest.mark.parametrize("fit", FITS)
def test_the_size_that_is_named_is_the_working_size(make_model: MakeModel, fit: str) -> None:
    model = open_artifact(make_model(fit=fit))
    seen: list[tuple[int, ...]] = []
    result = translate(model, photo(37, 101), Options(1, size=48), on_step=lambda step, _: seen.append(step.x.shape))
    assert result.shape == (37, 101, 3)
    assert seen == [(1, *working(photo(37, 101), 48, fit, 8).shape)]
    trained = translate(model, photo(37, 101), Options(1))
    np.testing.assert_array_equal(translate(model, photo(37, 101), Options(1, size=32)), trained)
    assert (result != trained).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps 0 is outside"),
        ({"steps": 101}, "steps 101 is outside"),
        ({"sampler": "euler"}, "sampler 'euler' is unknown"),
        ({"spacing": "karras"}, "spacing 'karras' is unknown"),
        ({"eta": 2.0}, "eta 2.0 is outside"),
        (
            {"size": 44},
            "size 44 is none that this model can work at; choose a multiple of 8 from 8 to 4096, such as 48",
        ),
        ({"size": 0}, "size 0 is none .* such as 8$"),
        ({"size": -64}, "size -64 is none .* such as 8$"),
        ({"size": 4104}, "size 4104 is none .* such as 4096$"),
    ],
)
def test_bad_arguments_are_named(make_model: MakeModel, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        translate(open_artifact(make_model()), photo(8, 8), Options(**arguments))  # pyright: ignore[reportArgumentType]


def test_a_bad_seed_is_named(make_model: MakeModel) -> None:
    with pytest.raises(UserError, match="seed -1 is outside"):
        translate(open_artifact(make_model()), photo(8, 8), seed=-1)


def test_a_model_gone_mad_is_not_made_into_a_picture(make_model: MakeModel) -> None:
    model = open_artifact(make_model(gain=float("nan"), clamp="null"))
    with pytest.raises(UserError, match="not finite"):
        translate(model, photo(8, 8))


def test_an_image_is_translated_like_an_array(make_model: MakeModel) -> None:
    model, picture = open_artifact(make_model()), photo(90, 70)
    expected, image = translate(model, picture), Image.fromarray(picture)
    made = translate(model, image)
    np.testing.assert_array_equal(np.asarray(made), expected)
    np.testing.assert_array_equal(np.asarray(image), picture)
    inner = working(picture, model.size, model.fit, model.size_multiple)
    assert translate(model, image, Options(in_place=True), inner=inner) is image
    np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (Image.new("L", (9, 5)), r"an image of mode L, 9 x 5; give one of mode RGB"),
        (Image.new("RGBA", (9, 5)), r"an image of mode RGBA, 9 x 5; give one of mode RGB"),
        (Image.new("RGB", (9, 0)), r"an image of mode RGB, 9 x 0; give one of mode RGB, .* not empty"),
        (np.zeros((5, 9), np.uint8), r"an array uint8 \(5, 9\); give uint8"),
        (np.zeros((5, 9, 4), np.uint8), r"an array uint8 \(5, 9, 4\); give uint8"),
    ],
    ids=["grey", "transparent", "empty", "grey array", "four channels"],
)
def test_a_photo_of_another_kind_is_named(make_model: MakeModel, given: np.ndarray | Image.Image, named: str) -> None:
    model = open_artifact(make_model())
    for work in (translate, invented):
        with pytest.raises(UserError, match=f"the picture is {named}"):
            work(model, given)
