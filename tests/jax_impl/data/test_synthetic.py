"""The built-in scenes: repeatable, disjoint between splits, the same geometry in two lights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.data.scenery import atmosphere, film, silhouettes
from jax_impl.data.scenery.noise import fbm, gradient_noise, gradient_table
from jax_impl.data.scenery.painting import daylight
from jax_impl.data.scenery.stage import build_stage
from jax_impl.data.synthetic import SPLITS, draw_scene, render, render_pair, scene_seed

SEEDS = range(24)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [render_pair(seed, 64) for seed in SEEDS]


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255.0**2 / max(float(((a.astype(float) - b.astype(float)) ** 2).mean()), 1e-9))


def _box(picture: np.ndarray, factor: int) -> np.ndarray:
    side = len(picture) // factor
    return picture.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [16, 37, 64, 128])
def test_pictures_are_square_rgb_of_the_asked_size(size: int) -> None:
    for picture in render_pair(5, size):
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert picture.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("size", [16, 64, 128])
def test_same_seed_same_bytes(size: int) -> None:
    for seed in (0, 7):
        first, second = render_pair(seed, size), render_pair(seed, size)
        assert first[0].tobytes() == second[0].tobytes()
        assert first[1].tobytes() == second[1].tobytes()


def test_a_pair_is_the_two_hours_of_one_scene() -> None:
    scene = draw_scene(11)
    cond, x0 = render_pair(11, 64)
    np.testing.assert_array_equal(render(scene, 64, "sunrise"), cond)
    np.testing.assert_array_equal(render(scene, 64, "sunset"), x0)


def test_different_seeds_are_different_scenes(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for a in SEEDS:
        for b in range(a):
            assert np.abs(pairs[a][0].astype(float) - pairs[b][0]).mean() > 5.0


def test_every_kind_of_ground_and_prop_turns_up() -> None:
    scenes = [draw_scene(seed) for seed in range(200)]
    assert {scene.ground for scene in scenes} == {"water", "meadow", "stream"}
    seen = {prop for scene in scenes for prop in scene.props}
    assert seen == {"conifers", "broadleaf", "winter", "reeds", "grass", "hut", "boat", "jetty", "birds"}


def test_splits_never_share_a_seed() -> None:
    seeds = {split: {scene_seed(split, index) for index in range(2000)} for split in SPLITS}
    assert all(len(found) == 2000 for found in seeds.values())
    assert len(set.union(*seeds.values())) == 2000 * len(SPLITS)


def test_pictures_keep_off_the_ends_of_the_range(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for picture in (picture for pair in pairs for picture in pair):
        assert np.mean((picture == 0) | (picture == 255)) < 0.001
        assert picture.std() > 15.0


def test_sunset_is_warmer_than_sunrise(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    def warmth(picture: np.ndarray) -> float:
        red, _, blue = picture.reshape(-1, 3).mean(axis=0)
        return float(red / blue)

    rise = [warmth(cond) for cond, _ in pairs]
    fall = [warmth(x0) for _, x0 in pairs]
    assert np.mean(fall) > 1.15 * np.mean(rise)
    assert np.mean(np.array(fall) > np.array(rise)) > 0.95


def test_sun_stands_left_at_sunrise_and_right_at_sunset(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    def lean(picture: np.ndarray, seed: int) -> float:
        sky = film.luminance(np.moveaxis(picture[: int(64 * draw_scene(seed).shore)].astype(np.float32), 2, 0))
        return float(sky[:, 32:].mean() - sky[:, :32].mean())

    # Clouds and trees are shared, so the change of the balance is the light's.
    turned = [lean(x0, seed) - lean(cond, seed) for seed, (cond, x0) in zip(SEEDS, pairs, strict=True)]
    assert np.mean(np.array(turned) > 0) > 0.95
    for seed in SEEDS:
        scene = draw_scene(seed)
        morning, evening = daylight(scene, "sunrise"), daylight(scene, "sunset")
        assert morning.sun_x < 0.5 < evening.sun_x
        assert morning.sun_x + evening.sun_x == pytest.approx(1.0)
        assert morning.sun_y == evening.sun_y < scene.shore


def test_silhouettes_are_dark_in_both_pictures(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    checked = 0
    for seed, pair in zip(SEEDS, pairs, strict=True):
        stage = build_stage(draw_scene(seed), 64)
        inside = (stage.dark > 0.99) & (stage.window < 0.01)
        if inside.sum() < 20:
            continue
        checked += 1
        for picture in pair:
            assert np.percentile(picture[inside].max(axis=1), 95) < 70
            assert picture[inside].mean() < 0.5 * picture[~inside].mean()
    assert checked > 10


def test_edges_of_the_two_pictures_lie_in_the_same_places(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    def edges(picture: np.ndarray) -> np.ndarray:
        grey = picture.astype(float).mean(axis=2)
        return np.hypot(*np.gradient(np.log(grey + 8.0))).ravel()

    own = [np.corrcoef(edges(cond), edges(x0))[0, 1] for cond, x0 in pairs]
    other = [np.corrcoef(edges(pairs[k][0]), edges(pairs[k - 1][1]))[0, 1] for k in range(len(pairs))]
    assert np.mean(own) > 0.75
    assert np.mean(own) > np.mean(other) + 0.4


@pytest.mark.parametrize("seed", [0, 3, 39, 43])
def test_a_small_picture_is_the_large_one_seen_from_afar(seed: int) -> None:
    for large, small in zip(render_pair(seed, 256), render_pair(seed, 64), strict=True):
        assert _psnr(_box(large, 4), small) > 27.0


@pytest.mark.parametrize("size", [-1, 0, 15, 1025])
def test_size_out_of_range_is_named(size: int) -> None:
    with pytest.raises(UserError, match=f"{size}: choose 16 to 1024"):
        render_pair(1, size)
    with pytest.raises(UserError, match="choose 16 to 1024"):
        render(draw_scene(1), size, "sunset")


def test_bad_seeds_and_splits_are_named() -> None:
    with pytest.raises(UserError, match="-3"):
        render_pair(-3)
    with pytest.raises(UserError, match="-1"):
        scene_seed("train", -1)
    with pytest.raises(UserError, match=r"'dev'.*train, val, test"):
        scene_seed("dev", 0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("asymmetry", [0.0, 0.3, 0.76])
def test_phase_functions_send_all_light_somewhere(asymmetry: float) -> None:
    # The mean over the sphere of 4 pi times a phase function is 1; the mean cosine of Henyey-Greenstein's is g.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    assert (atmosphere.rayleigh_phase(nodes) * weights).sum() / 2 == pytest.approx(1.0)
    phase = atmosphere.forward_phase(nodes, asymmetry)
    assert (phase * weights).sum() / 2 == pytest.approx(1.0)
    assert (phase * nodes * weights).sum() / 2 == pytest.approx(asymmetry, abs=1e-9)


def test_a_lower_sun_is_dimmer_and_redder() -> None:
    def light(degrees: float) -> np.ndarray:
        return atmosphere.sunlight(atmosphere.Air(degrees, 1.0, 1.0), np.array([1.0]))[:, 0]

    low, high = light(1.0), light(8.0)
    assert (low < high).all() and (low > 0).all() and (high < 1).all()
    assert low[0] / low[2] > 5 * high[0] / high[2]


def test_noise_vanishes_on_the_lattice_and_is_smooth_and_bounded() -> None:
    table = gradient_table(np.random.Generator(np.random.Philox(1)))
    grid = np.arange(-5, 70, dtype=np.float32)
    np.testing.assert_allclose(gradient_noise(grid[None, :], grid[:, None], table), 0.0, atol=1e-6)
    fine = np.linspace(-3, 9, 1500, dtype=np.float32)
    noise = gradient_noise(fine[None, :], fine[:, None] * np.float32(0.7), table)
    assert np.abs(noise).max() < 1.5 and noise.std() > 0.2
    assert np.abs(np.diff(noise, axis=1)).max() < 0.05


def test_octaves_finer_than_a_pixel_fade_out() -> None:
    table = gradient_table(np.random.Generator(np.random.Philox(2)))
    x = np.linspace(0, 20, 64, dtype=np.float32)
    full, none = fbm(x[None], x[:, None], table, 6), fbm(x[None], x[:, None], table, 6, footprint=1.0)
    assert full.std() > 0.1
    np.testing.assert_array_equal(none, 0.0)


@pytest.mark.parametrize("size", [16, 128])
def test_coverage_measures_areas(size: int) -> None:
    square = silhouettes.box(0.25, 0.25, 0.75, 0.5)
    diamond = np.array([[[0.5, 0.2], [0.8, 0.5], [0.5, 0.8], [0.2, 0.5]]])
    assert silhouettes.coverage(square, size).mean() == pytest.approx(0.125, abs=1e-6)
    assert silhouettes.coverage(diamond, size).mean() == pytest.approx(0.18, abs=2e-3)
    # A union: what overlaps counts once; what lies outside the picture does not count.
    both = np.concatenate([square, square[:, ::-1], silhouettes.box(1.2, 0.1, 1.5, 0.9)])
    assert silhouettes.coverage(both, size).mean() == pytest.approx(0.125, abs=1e-6)
    assert not silhouettes.coverage(np.zeros((0, 4, 2)), size).any()
