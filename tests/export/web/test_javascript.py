"""The page's sampler, noise and pictures, run by Node, against export.edge's and Pillow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.edge import steady
from export.edge.choices import PREDICTIONS, SAMPLERS, SPACINGS
from export.edge.detail import to_photo_size
from export.edge.invention import WHITE
from export.edge.model import likeness
from export.edge.pictures.arrays import FITS, to_float, to_uint8, working
from export.edge.sampling.coordinates import with_coordinates
from export.edge.sampling.guidance import guided
from export.edge.sampling.loop import bounded, iterate
from export.edge.sampling.noise import normal
from export.edge.sampling.spacing import timesteps
from export.edge.sampling.table import Plan, coefficients
from export.edge.sampling.tables import write_tables
from tests.schedule import cosine_schedule

Ask = Callable[[list[dict[str, Any]]], list[Any]]
NAMES = {
    "t": "t",
    "x0FromX": "x0_from_x",
    "x0FromOutput": "x0_from_output",
    "nextFromX0": "next_from_x0",
    "nextFromPrevious": "next_from_previous",
    "nextFromX": "next_from_x",
    "noise": "noise",
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise over a ramp: every frequency, and values at both ends."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, width)[None, :, None]
    return np.clip(ramp + rng.normal(0, 70, (height, width, 3)), 0, 255).astype(np.uint8)


def as_json(array: np.ndarray) -> list[Any]:
    return [*array.shape[:2], array.ravel().tolist()]


def test_philox_gives_the_published_answers(ask: Ask) -> None:
    # Random123 1.14.0, tests/kat_vectors, philox4x32 with 10 rounds.
    known = [
        ([0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ]
    found = ask([{"ask": "philox", "counter": counter, "key": key} for counter, key, _ in known])
    assert [" ".join(f"{word:08x}" for word in words) for words in found] == [text for _, _, text in known]


def test_noise_is_the_same_to_the_last_bit(ask: Ask) -> None:
    cases = [(0, 0, 20_001), (2024, 3, 4096), (2**32 + 5, 1, 999), (2**64 - 1, 1000, 2)]
    found = ask([{"ask": "normal", "seed": str(s), "stream": i, "count": n} for s, i, n in cases])
    for (seed, stream, count), values in zip(cases, found, strict=True):
        np.testing.assert_array_equal(np.array(values, np.float32), normal(seed, stream, (count,)))


def test_a_seed_is_read_or_refused(ask: Ask) -> None:
    texts = ["0", " 7 ", str(2**64 - 1), str(2**64), "-1", "1.5", "", "1e3", "seed"]
    found = ask([{"ask": "seed", "text": text} for text in texts])
    assert found == [[0, 0], [7, 0], [2**32 - 1, 2**32 - 1], None, None, None, None, None, None]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_timesteps_are_the_same(ask: Ask, spacing: str) -> None:
    table = cosine_schedule()
    counts = [1, 2, 3, 4, 7, 20, 32, 50, 77, 333, 1000]
    found = ask([{"ask": "timesteps", "table": table.tolist(), "steps": n, "name": spacing} for n in counts])
    for count, t in zip(counts, found, strict=True):
        assert t == timesteps(table, count, spacing).tolist()


def test_coefficients_are_the_same(ask: Ask) -> None:
    table = cosine_schedule(200)
    cases = [(s, p, c, n) for s in SAMPLERS for p in PREDICTIONS for c in ("trailing", "logsnr") for n in (1, 2, 3, 20)]
    found = ask(
        [
            {"ask": "plan", "table": table.tolist(), "steps": n, "name": s, "prediction": p, "spaced": c}
            for s, p, c, n in cases
        ]
    )
    for (sampler, prediction, spacing, steps), rows in zip(cases, found, strict=True):
        plan = coefficients(table, steps, sampler, prediction=prediction, spacing=spacing)
        assert len(rows) == len(plan)
        for theirs, ours in NAMES.items():
            column = [row[theirs] for row in rows]
            np.testing.assert_allclose(column, getattr(plan, ours), rtol=1e-12, atol=1e-15, err_msg=f"{sampler} {ours}")


def test_realism_moves_the_timesteps_of_a_slider(ask: Ask) -> None:
    plan = Plan.from_columns({"t": [899, 10], "mean_t": [999, 5], "x0_from_output": [1, 1], "next_from_x0": [1, 1]})
    model = {"tables": json.loads(write_tables({"one": {2: plan}}))}
    values = [None, 0.0, 0.005, 0.3, 0.45, 0.995, 1.0]
    common = {"ask": "made", "model": model, "steps": 2, "name": "one"}
    found = ask([common if value is None else {**common, "realism": value} for value in values])
    assert [[row["t"] for row in one["rows"]] for one in found] == [plan.at(value).t.tolist() for value in values]
    assert ask([{"ask": "slider", "model": one} for one in (model, {"tables": None}, {})]) == [True, False, False]


def test_figures_between_measured_ones_are_on_straight_lines(ask: Ask) -> None:
    points = [[0.0, 16.0, 180.0], [0.5, 17.0, 90.0], [1.0, 19.0, 60.0]]
    values = [0.0, 0.2, 0.5, 0.9, 1.0]
    found = ask([{"ask": "figures", "points": points, "realism": value} for value in values])
    table = np.array(points)
    wanted = [[np.interp(value, table[:, 0], table[:, column]) for column in (1, 2)] for value in values]
    np.testing.assert_allclose(found, wanted)
    assert ask([{"ask": "figures", "points": points[1:], "realism": 0.2}]) == [None]


def test_the_map_of_what_is_invented_is_the_edges(ask: Ask) -> None:
    rng = np.random.default_rng(0)
    planes, mean = (rng.uniform(-1, 1, (3, 5, 4)) for _ in range(2))
    question = {"ask": "invention", "planes": planes.ravel().tolist(), "mean": mean.ravel().tolist()}
    (found,) = ask([{**question, "height": 5, "width": 4}])
    wanted = np.clip(np.abs(planes - mean).mean(axis=0) / (2 * WHITE), 0, 1) * 255
    pixels = np.array(found).reshape(5, 4, 3)
    np.testing.assert_allclose(pixels[..., [0, 2]], wanted[..., None].repeat(2, 2), atol=0.51)
    assert not pixels[..., 1].any()


@pytest.mark.parametrize(
    ("sampler", "threshold", "scale"), [("ddpm", 0.0, 1.0), ("dpmpp", 0.9, 1.0), ("heun", 0.0, 1.5)]
)
def test_a_run_is_the_same(ask: Ask, sampler: str, threshold: float, scale: float) -> None:
    plan = coefficients(cosine_schedule(100), 6, sampler, prediction="v")
    shape = (1, 5, 4, 3)
    start, noises = normal(1, 0, shape), [normal(1, i + 1, shape) for i in range(len(plan))]

    def network(x: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.float32(0.5) * x + np.float32(t[0]) * np.float32(0.001) + cond

    cond = np.full(shape, 0.25, np.float32)
    steps = iterate(guided(network, scale), cond, start, plan, 1.0, lambda i: noises[i], threshold)
    columns = asdict(plan)
    question = {
        "ask": "draw",
        "plan": [{js: columns[py][i].item() for js, py in NAMES.items()} for i in range(len(plan))],
        "start": start.ravel().tolist(),
        "clamp": 1.0,
        "threshold": threshold,
        "scale": scale,
        "noises": [z.ravel().tolist() for z in noises],
    }
    for step, x in zip(steps, ask([question])[0], strict=True):
        # Without a quantile, which numpy takes in float32, every operation rounds alike.
        np.testing.assert_allclose(np.array(x), step.x.ravel(), rtol=0, atol=1e-5 if threshold else 0)


def test_bounds_are_the_same(ask: Ask) -> None:
    values = np.random.default_rng(0).normal(0, 1.5, (1, 9, 7, 3)).astype(np.float32)
    cases = [(None, 0.0), (1.0, 0.0), (0.7, 0.995), (1.0, 0.9), (5.0, 0.9)]
    found = ask([{"ask": "bounded", "values": values.ravel().tolist(), "clamp": c, "threshold": q} for c, q in cases])
    for (clamp, threshold), x0 in zip(cases, found, strict=True):
        np.testing.assert_allclose(np.array(x0), bounded(values, clamp, threshold).ravel(), rtol=0, atol=1e-6)


def test_resizing_is_pillows(ask: Ask) -> None:
    sizes = [(40, 60, 24, 36), (24, 36, 91, 130), (37, 101, 37, 8), (1, 1, 5, 7), (33, 3, 200, 3), (300, 50, 70, 20)]
    sources = [picture(height, width) for height, width, _, _ in sizes]
    found = ask(
        [
            {"ask": "resize", "given": as_json(source), "height": h, "width": w}
            for source, (_, _, h, w) in zip(sources, sizes, strict=True)
        ]
    )
    for source, (_, _, height, width), data in zip(sources, sizes, found, strict=True):
        wanted = np.array(Image.fromarray(source).resize((width, height), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(np.array(data).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("fit", FITS)
def test_working_pictures_are_the_same(ask: Ask, fit: str) -> None:
    # The last four are so large that they are averaged over blocks first, whole ones or not.
    sizes = [(37, 101), (1, 1), (300, 50), (32, 32), (1, 900), (65, 43), (256, 512), (261, 387), (300, 299), (400, 203)]
    given = [picture(height, width) for height, width in sizes]
    found = ask([{"ask": "working", "given": as_json(p), "size": 28, "fit": fit, "multiple": 8} for p in given])
    for source, inner in zip(given, found, strict=True):
        assert inner == as_json(working(source, 28, fit, 8))


def test_likeness_is_the_same(ask: Ask) -> None:
    given = [picture(height, width) for height, width in ((32, 32), (24, 40), (41, 33), (3, 2))]
    given += [np.full((9, 9, 3), level, np.uint8) for level in (0, 7, 255)]
    known = likeness.fit(np.stack([likeness.features(picture(32, 32, seed)) for seed in range(100, 140)]))
    assert known is not None
    found = ask([{"ask": "features", "given": as_json(source)} for source in given])
    np.testing.assert_allclose(found, [likeness.features(source) for source in given], rtol=0, atol=1e-5)
    found = ask([{"ask": "distance", "known": known.as_entry(), "given": as_json(source)} for source in given])
    np.testing.assert_allclose(found, [known.distance(source) for source in given], rtol=1e-5)


@pytest.mark.parametrize("fit", FITS)
def test_the_way_back_is_the_same(ask: Ask, fit: str) -> None:
    # Larger than what the network saw, so that detail is carried over; of its size; and smaller.
    given = [picture(height, width) for height, width in ((157, 111), (24, 24), (20, 13), (90, 700))]
    inners = [working(source, 24, fit, 8) for source in given]
    results = [np.float32(0.8) * to_float(255 - i) + normal(1, 0, i.shape) * np.float32(0.1) for i in inners]
    found = ask(
        [
            {
                "ask": "photo",
                "given": as_json(source),
                "inner": as_json(inner),
                "planes": result.transpose(2, 0, 1).ravel().tolist(),
                "fit": fit,
            }
            for source, inner, result in zip(given, inners, results, strict=True)
        ]
    )
    for source, inner, result, data in zip(given, inners, results, found, strict=True):
        wanted = to_photo_size(source, inner, result, fit)
        assert np.abs(np.array(data).reshape(wanted.shape) - wanted.astype(int)).max() <= 1


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_frames_of_a_film_are_the_same(ask: Ask, monkeypatch: pytest.MonkeyPatch, fit: str) -> None:
    """A still scene, a flickering network, noise, a thing that moves, a new scene, another size and a leap back."""
    rng = np.random.default_rng(5)
    still = picture(45, 70)
    moved = np.roll(still, 9, axis=1)
    noisy = np.clip(still + rng.normal(0, 9, still.shape), 0, 255).astype(np.uint8)
    films = [still, still, noisy, moved, moved, 255 - moved, picture(70, 45, 3), picture(70, 45, 3)]
    times = [0.0, 0.04, 0.1, 0.3, 0.31, 1.5, 1.6, 0.2]
    model: Any = SimpleNamespace(size=24, fit=fit, size_multiple=8)
    asked, wanted, seen = [], [], None
    for frame, time in zip(films, times, strict=True):
        inner = working(frame, 24, fit, 8)
        made = np.clip(255.0 - inner * 0.8 + rng.normal(0, 15, inner.shape), 0, 255).astype(np.uint8)
        monkeypatch.setattr(steady, "translate", lambda *given, made=made, **options: made)
        # In Python a film has one size; where it changes, the page begins as with a first frame.
        seen = None if seen is None or frame.shape != films[len(wanted) - 1].shape else seen
        shown, seen = steady.translate_frame(model, frame, time, seen)
        asked.append({"given": as_json(frame), "made": as_json(made), "time": time})
        wanted.append(shown)
    (found,) = ask([{"ask": "film", "frames": asked, "size": 24, "fit": fit, "multiple": 8}])
    for data, frame in zip(found, wanted, strict=True):
        assert np.abs(np.array(data).reshape(frame.shape) - frame.astype(int)).max() <= 1


def test_frames_have_even_sides_within_the_limit(ask: Ask) -> None:
    given = [(640, 480), (480, 640), (1920, 1080), (1, 1), (63, 41), (20_000, 2), (3, 9_000)]
    found = ask([{"ask": "sides", "width": w, "height": h, "pixels": 640 * 480} for w, h in given])
    assert found[:2] == [[640, 480], [480, 640]] and found[3:5] == [[2, 2], [62, 40]]
    for (width, height), sides in zip(given, found, strict=True):
        assert all(side >= 2 and side % 2 == 0 for side in sides)
        assert sides[0] * sides[1] <= max(640 * 480, 2 * max(sides))
        if min(width, height) > 100:
            assert abs(sides[0] / sides[1] / (width / height) - 1) < 0.02


def test_a_film_takes_the_fewest_steps(ask: Ask) -> None:
    tables = {"samplers": ["a", "b"], "tables": {"a": {"1": {}, "4": {}}, "b": {"8": {}}}, "steps": 4}
    cases = [
        ({"steps": 20}, {"sampler": "ddim", "steps": 20}, 20),
        ({"steps": 20}, {"sampler": "ddim", "steps": 3}, 3),
        ({"steps": 20}, {"sampler": "ddim", "steps": 50}, 20),
        (tables, {"sampler": "a", "steps": 4}, 1),
        (tables, {"sampler": "b", "steps": 8}, 8),
    ]
    assert ask([{"ask": "liveSteps", "model": m, "given": given} for m, given, _ in cases]) == [n for *_, n in cases]


def test_values_in_and_out_are_the_same(ask: Ask) -> None:
    levels = np.arange(258, dtype=np.uint8).reshape(2, 43, 3)
    values = np.random.default_rng(1).uniform(-1.3, 1.3, (6, 5, 3)).astype(np.float32)
    planes, bytes_ = ask(
        [
            {"ask": "planes", "given": as_json(levels)},
            {"ask": "levels", "values": values.transpose(2, 0, 1).ravel().tolist(), "height": 6, "width": 5},
        ]
    )
    np.testing.assert_array_equal(np.array(planes, np.float32), to_float(levels).transpose(2, 0, 1).ravel())
    np.testing.assert_array_equal(np.array(bytes_), to_uint8(values).ravel())


def test_coordinates_are_the_same(ask: Ask) -> None:
    cond = to_float(picture(4, 6))[None]
    planes = cond[0].transpose(2, 0, 1).ravel().tolist()
    (placed,) = ask([{"ask": "placed", "values": planes, "height": 4, "width": 6}])
    np.testing.assert_array_equal(
        np.array(placed, np.float32).reshape(5, 4, 6).transpose(1, 2, 0), with_coordinates(cond)[0]
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + bytes(5000)}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    ],
)
def test_sizes_are_known_from_the_header(ask: Ask, kind: str, options: dict[str, Any]) -> None:
    buffer = BytesIO()
    Image.fromarray(picture(61, 347)).save(buffer, kind, **options)
    data = buffer.getvalue()
    whole, cut, other = ask([{"ask": "size", "bytes": list(part)} for part in (data, data[:12], b"text\n" + data)])
    assert whole == {"width": 347, "height": 61}
    assert cut is None or kind == "GIF"
    assert other is None


def test_a_setting_without_a_choice_is_not_offered(ask: Ask) -> None:
    """One pass without start noise leaves nothing to choose; noise at the start or on the way makes seeds differ."""
    one = {"start_from_noise": 0.0, "noise": [0.0]}
    model = {"samplers": ["one-pass"], "cond_dropout": 0.0, "tables": {"one-pass": {"1": one}}}
    tables = [
        {"one-pass": {"1": one | {"start_from_noise": 1.0}}},
        {"one-pass": {"1": one | {"noise": [0.0, 0.5]}}},
        {"one-pass": {"1": one, "2": one}},
    ]
    changed = [{}, *({"tables": table} for table in tables), {"tables": None, "samplers": ["ddim", "heun"]}]
    found = ask([{"ask": "choices", "model": model | change} for change in changed])
    free = [{name for name, choice in answer.items() if choice} for answer in found]
    assert free == [set(), {"noise"}, {"noise"}, {"steps"}, {"noise", "steps", "sampler", "spacing"}]
    assert ask([{"ask": "choices", "model": model | {"cond_dropout": 0.1}}])[0]["guidance"]


def test_the_sampler_refuses_what_python_refuses(ask: Ask) -> None:
    with pytest.raises(AssertionError, match="Steps must be a whole number from 1 to 100"):
        ask([{"ask": "timesteps", "table": cosine_schedule(100).tolist(), "steps": 101, "name": "trailing"}])
