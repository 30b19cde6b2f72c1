"""Augmentation: one draw for both pictures of a pair, each change against an independent oracle."""

import colorsys
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import ProjectiveTransform
from skimage.transform import warp as skimage_warp

from jax_impl.config.data import AugmentConfig
from jax_impl.data import augment as module
from jax_impl.data.augment import augment

NONE = AugmentConfig(flip=0.0, rotation=0.0, perspective=0.0, jitter_probability=0.0)
FLIP = AugmentConfig(flip=1.0, rotation=0.0, perspective=0.0, jitter_probability=0.0)
GEOMETRY = AugmentConfig(crop=0.3, rotation=30.0, perspective=0.5, perspective_probability=1.0, jitter_probability=0.0)
COLOUR = AugmentConfig(flip=0.0, rotation=0.0, perspective=0.0, jitter_probability=1.0, hue=0.5)
EVERYTHING = AugmentConfig(crop=0.5, rotation=180.0, perspective=1.0, brightness=1.0, contrast=1.0, saturation=1.0)
BATCH, SIZE = 8, 16

# Compiled whole, as training uses it; operation by operation takes ten times as long to compile.
changed = jax.jit(augment, static_argnames="config")
warp = jax.jit(module.warp)
homographies = jax.jit(module.homographies, static_argnames="config")


def pictures(seed: int, batch: int = BATCH, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (batch, size, size, 3)).astype(np.float32)


def positions(batch: int = BATCH, size: int = SIZE) -> np.ndarray:
    """A picture whose first two channels say where each pixel is: x, y in [-1, 1]."""
    line = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    return np.broadcast_to(np.stack([x, y, 0 * x], -1), (batch, size, size, 3))


def pixel_homography(homography: jax.Array, size: int) -> np.ndarray:
    """The same map between pixel positions (column, row)."""
    half = (size - 1) / 2
    to_pixels = np.array([[half, 0, half], [0, half, half], [0, 0, 1]])
    return to_pixels @ np.asarray(homography, np.float64) @ np.linalg.inv(to_pixels)


@pytest.mark.parametrize("config", [NONE, FLIP, GEOMETRY, COLOUR, AugmentConfig(), EVERYTHING])
def test_both_pictures_get_the_same_change(config: AugmentConfig) -> None:
    x = pictures(0)
    cond, x0 = changed(jax.random.key(1), x, x, config)
    np.testing.assert_array_equal(cond, x0)
    assert cond.shape == x.shape
    assert cond.dtype == jnp.float32


def test_the_same_positions_are_seen_in_both_pictures() -> None:
    where, other = positions(), pictures(0)
    seen, _ = changed(jax.random.key(3), where, other, GEOMETRY)
    _, mirrored = changed(jax.random.key(3), other, where[..., ::-1, :], GEOMETRY)
    np.testing.assert_allclose(mirrored[..., 0], -seen[..., 0], atol=1e-5)
    np.testing.assert_allclose(mirrored[..., 1], seen[..., 1], atol=1e-5)


def test_nothing_allowed_changes_nothing() -> None:
    a, b = pictures(0), pictures(1)
    cond, x0 = changed(jax.random.key(0), a, b, NONE)
    np.testing.assert_array_equal(cond, a)
    np.testing.assert_array_equal(x0, b)


def test_flip_is_exact() -> None:
    a, b = pictures(0), pictures(1)
    cond, x0 = changed(jax.random.key(0), a, b, FLIP)
    np.testing.assert_array_equal(cond, a[:, :, ::-1])
    np.testing.assert_array_equal(x0, b[:, :, ::-1])


def test_flips_happen_about_as_often_as_asked() -> None:
    where = positions(400, 8)
    seen, _ = changed(jax.random.key(0), where, where, AugmentConfig(0.25, 0, 0, 0, jitter_probability=0))
    share = float(jnp.mean(seen[:, 0, 0, 0] > 0))
    assert 0.17 < share < 0.33


@pytest.mark.parametrize("size", [16, 33])
def test_warp_agrees_with_skimage_also_beyond_the_border(size: int) -> None:
    draws = jax.random.uniform(jax.random.key(2), (BATCH, 13))
    maps = homographies(draws[:, 0], draws, GEOMETRY)
    picture = pictures(5, BATCH, size)
    ours = warp(picture, maps)
    for i in range(BATCH):
        inverse_map = ProjectiveTransform(pixel_homography(maps[i], size))
        theirs = skimage_warp(picture[i].astype(np.float64), inverse_map, order=1, mode="reflect", clip=False)
        np.testing.assert_allclose(ours[i], theirs, atol=2e-4)


@pytest.mark.parametrize("degrees", [-90.0, -10.0, 7.5, 90.0, 180.0])
def test_rotation_agrees_with_scipy(degrees: float) -> None:
    picture = pictures(0, 1, 21)
    turn = module.rotation(jnp.array([math.radians(degrees)]))
    theirs = ndimage.rotate(np.asarray(picture[0], np.float64), degrees, reshape=False, order=1, mode="mirror")
    np.testing.assert_allclose(warp(picture, turn)[0], theirs, atol=1e-4)


def test_positive_angles_turn_counter_clockwise() -> None:
    picture = pictures(0, 1)
    turned = warp(picture, module.rotation(jnp.array([math.pi / 2])))
    np.testing.assert_allclose(turned[0], np.rot90(picture[0]), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_perspective_moves_the_corners_where_it_should(seed: int) -> None:
    inward = np.random.default_rng(seed).uniform(0.0, 0.6, (1, 4, 2))
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    moved = corners * (1.0 - inward[0])
    ours = np.asarray(jax.jit(module.perspective)(inward.astype(np.float32))[0])
    oracle = ProjectiveTransform.from_estimate(moved, corners)
    assert isinstance(oracle, ProjectiveTransform)
    np.testing.assert_allclose(ours, oracle.params / oracle.params[2, 2], atol=1e-4)
    np.testing.assert_allclose(ProjectiveTransform(ours)(moved), corners, atol=1e-5)


def test_no_perspective_is_the_identity() -> None:
    np.testing.assert_allclose(jax.jit(module.perspective)(jnp.zeros((1, 4, 2)))[0], np.eye(3), atol=1e-7)


def test_perspective_stays_within_its_limit_and_its_probability() -> None:
    config = AugmentConfig(0.0, rotation=0.0, perspective=0.2, perspective_probability=0.5)
    draws = jax.random.uniform(jax.random.key(0), (300, 13))
    maps = np.asarray(homographies(draws[:, 0], draws, config), np.float64)
    plain = np.abs(maps - np.eye(3)).max((1, 2)) < 1e-6
    assert 0.4 < plain.mean() < 0.6
    for homography in maps:
        moved = ProjectiveTransform(np.linalg.inv(homography))(np.array([[-1.0, -1.0], [1.0, 1.0]]))
        assert (np.abs(moved) <= 1.0 + 1e-5).all()
        assert (np.abs(moved) >= 0.8 - 1e-5).all()


def test_a_crop_shows_a_window_inside_the_picture() -> None:
    where = positions(64, 32)
    config = AugmentConfig(0.0, crop=0.4, rotation=0.0, perspective=0.0, jitter_probability=0.0)
    seen = np.asarray(changed(jax.random.key(0), where, where, config)[0][..., :2])
    extent = seen.max((1, 2)) - seen.min((1, 2))
    assert (np.abs(seen) <= 1.0 + 1e-5).all()
    assert (extent >= 2 * 0.6 - 1e-4).all()
    assert extent.min() < 1.4
    np.testing.assert_allclose(extent[:, 0], extent[:, 1], atol=1e-4)  # no change of aspect ratio


def blend(a: np.ndarray, b: np.ndarray | float, factor: float) -> np.ndarray:
    """torchvision.transforms._functional_tensor._blend, for floats."""
    return np.clip(factor * a + (1.0 - factor) * b, 0.0, 1.0)


def grey(rgb: np.ndarray) -> np.ndarray:
    return (0.2989 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2])[..., None]


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.6])
def test_brightness_contrast_and_saturation_are_torchvisions(factor: float) -> None:
    rgb = np.random.default_rng(0).uniform(size=(1, 6, 5, 1, 3))
    one, factors = jnp.asarray(rgb), jnp.array([factor])
    np.testing.assert_allclose(jax.jit(module.adjust_brightness)(one, factors), blend(rgb, 0.0, factor), atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(module.adjust_contrast)(one, factors), blend(rgb, grey(rgb).mean(), factor), atol=1e-6
    )
    np.testing.assert_allclose(
        jax.jit(module.adjust_saturation)(one, factors), blend(rgb, grey(rgb), factor), atol=1e-6
    )


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.03, 0.4])
def test_hue_is_turned_as_colorsys_does(turn: float) -> None:
    rgb = np.random.default_rng(0).uniform(size=(1, 8, 8, 1, 3))
    rgb[0, 0, :7, 0] = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0.5, 0.5, 0.5]]
    expected = rgb.copy()
    for pixel in expected.reshape(-1, 3):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        pixel[:] = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    np.testing.assert_allclose(jax.jit(module.adjust_hue)(jnp.asarray(rgb), jnp.array([turn])), expected, atol=2e-6)


def test_colours_of_each_picture_are_judged_by_its_own_mean() -> None:
    dark, light = np.full((1, 4, 4, 3), -0.8, np.float32), np.full((1, 4, 4, 3), 0.8, np.float32)
    config = AugmentConfig(
        0.0, 0.0, 0.0, 0.0, brightness=0.0, contrast=0.9, saturation=0.0, hue=0.0, jitter_probability=1.0
    )
    cond, x0 = changed(jax.random.key(0), dark, light, config)
    np.testing.assert_allclose(cond, dark, atol=2e-4)  # the weights of grey add up to 0.9999
    np.testing.assert_allclose(x0, light, atol=2e-4)


def test_jitter_happens_about_as_often_as_asked_and_else_leaves_every_bit() -> None:
    x = pictures(0, 200, 8)
    config = AugmentConfig(flip=0.0, rotation=0.0, perspective=0.0, jitter_probability=0.3)
    cond, _ = changed(jax.random.key(0), x, x, config)
    untouched = np.all(np.asarray(cond == x), axis=(1, 2, 3))
    assert 0.6 < untouched.mean() < 0.8


@pytest.mark.parametrize("seed", range(5))
def test_values_stay_in_range_and_finite_at_the_extremes(seed: int) -> None:
    a, b = pictures(seed), np.sign(pictures(seed + 100))
    for picture in changed(jax.random.key(seed), a, b, EVERYTHING):
        assert bool(jnp.all(jnp.isfinite(picture)))
        assert float(jnp.abs(picture).max()) <= 1.0 + 1e-6


def test_the_same_key_gives_the_same_pictures_and_another_key_others() -> None:
    x = pictures(0)
    first, again, other = (changed(jax.random.key(k), x, x, AugmentConfig())[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-2)


@pytest.mark.parametrize("config", [GEOMETRY, COLOUR])
def test_every_pair_of_a_batch_has_a_draw_of_its_own(config: AugmentConfig) -> None:
    x = np.broadcast_to(pictures(0, 1), (BATCH, SIZE, SIZE, 3))
    seen = np.asarray(changed(jax.random.key(0), x, x, config)[0])
    assert all(np.abs(seen[i] - seen[j]).max() > 1e-2 for i in range(BATCH) for j in range(i))


def test_it_gives_the_same_without_jit() -> None:
    a, b = jnp.asarray(pictures(0)), jnp.asarray(pictures(1))
    plain = augment(jax.random.key(0), a, b, COLOUR)
    for one, other in zip(plain, changed(jax.random.key(0), a, b, COLOUR), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_nothing_leans_on_silent_promotion_of_ranks_or_types() -> None:
    x = jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, 3), jnp.float32)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        shapes = jax.eval_shape(lambda key, a, b: augment(key, a, b, EVERYTHING), jax.random.key(0), x, x)
    assert all((shape.shape, shape.dtype) == (x.shape, x.dtype) for shape in shapes)
