"""`python -m export.edge` as a person meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.__main__ import main
from export.edge.artifact import open_artifact
from export.edge.errors import UserError
from export.edge.pictures import open_picture
from export.edge.translate import translate

MakeModel = Callable[..., Path]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 51, 3), np.uint8)).save(path)
    return path


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "export.edge", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_command_writes_what_translate_returns(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model = make_model()
    output = tmp_path / "sunset.png"
    run = command(model, photo, output, "--steps", 3, "--seed", 7, "--sampler", "ddpm", "--threads", 1)
    assert (run.returncode, run.stdout.count("\n"), run.stderr.count("\n")) == (0, 1, 1), run.stderr
    assert run.stdout.startswith(f"{output} (51 x 37) in ") and run.stderr.startswith("step 3/3, ")
    expected = translate(open_artifact(model, 1), open_picture(photo), 3, 7, "ddpm")
    np.testing.assert_array_equal(open_picture(output), expected)
    assert listing(tmp_path) == {"model.onnx", "photo.png", "sunset.png"}


def test_the_spacing_that_is_named_is_used(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model, output = make_model(), tmp_path / "a.png"
    main([str(model), str(photo), str(output), "--steps", "5", "--sampler", "dpmpp", "--spacing", "logsnr"])
    expected = translate(open_artifact(model), open_picture(photo), 5, 0, "dpmpp", spacing="logsnr")
    np.testing.assert_array_equal(open_picture(output), expected)


def test_the_size_that_is_named_is_used(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model, output, folder = make_model(), tmp_path / "a.png", tmp_path / "frames"
    main([str(model), str(photo), str(output), "--size", "64", "--save-intermediate", str(folder)])
    expected = translate(open_artifact(model), open_picture(photo), size=64)
    np.testing.assert_array_equal(open_picture(output), expected)
    assert open_picture(folder / "start_noise.png").shape == (64, 88, 3)


def test_intermediate_pictures(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    arguments = [str(make_model()), str(photo), str(tmp_path / "a.jpg"), "--save-intermediate", str(folder)]
    main([*arguments, "--steps", "25"])
    names = listing(folder)
    assert {"start_noise.png", "final.png", "film_strip.png"} < names and len(names) == 13
    assert "step_0025_t0003.png" in names
    assert open_picture(folder / "final.png").shape == (37, 51, 3)
    main([*arguments, "--steps", "2"])
    assert listing(folder) == {
        "start_noise.png", "step_0001_t0099.png", "step_0002_t0049.png", "final.png", "film_strip.png",
    }  # fmt: skip


def test_the_start_noise_that_is_saved_is_the_one_that_was_used(
    make_model: MakeModel, photo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    main([str(make_model()), str(photo), str(tmp_path / "a.png"), "--seed", "3", "--save-intermediate", str(folder)])
    noise, first = (open_picture(folder / name) / 127.5 - 1 for name in ("start_noise.png", "step_0001_t0099.png"))
    inside = (np.abs(noise) < 0.99) & (np.abs(first) < 0.99)
    assert np.corrcoef(noise[inside], first[inside])[0, 1] > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "none/a.png"}, "does not exist; create it with `mkdir -p"),
        ({"output": "a.bmp"}, "use .png"),
        ({"output": "."}, "use .png"),
        ({"output": "photo.png"}, "is the photo itself"),
        ({"photo": "none.jpg"}, "photo {}/none.jpg does not exist"),
        ({"photo": "words.jpg"}, "words.jpg is not a picture"),
        ({"photo": "cut.png"}, "cut.png is damaged or cut short"),
        ({"model": "none.onnx"}, "model {}/none.onnx does not exist"),
        ({"model": "words.jpg"}, "not a whole file written by export.to_onnx"),
        ({"--steps": "0"}, "--steps 0 is less than 1"),
        ({"--steps": "many"}, "invalid int value: 'many'"),
        ({"--steps": "101"}, "steps 101 is outside 1 ... 100"),
        ({"--sampler": "euler"}, "invalid choice: 'euler'"),
        ({"--spacing": "karras"}, "invalid choice: 'karras'"),
        ({"--size": "20"}, "size 20 is none that this model can work at"),
        ({"--seed": "-1"}, "--seed -1 is outside"),
        ({"--eta": "1.5"}, "--eta 1.5 is outside"),
        ({"--threads": "0"}, "--threads 0 is less than 1"),
        ({"--save-intermediate": "words.jpg"}, "is a file; name a folder"),
        ({"--save-intermediate": "none/frames"}, "mkdir -p"),
        ({"--colour": "red"}, "unrecognized arguments"),
    ],
)
def test_bad_input_writes_nothing(
    make_model: MakeModel, photo: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    model = make_model()
    (tmp_path / "words.jpg").write_text("just words\n")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:2000])
    before = listing(tmp_path)
    places = {"model": model, "photo": photo, "output": tmp_path / "a.png"}
    places |= {key: tmp_path / value for key, value in change.items() if key in places}
    options: list[str] = []
    for key, value in change.items():
        if key not in places:
            options += [key, str(tmp_path / value) if key == "--save-intermediate" else value]
    with pytest.raises(UserError) as caught:
        main([*map(str, places.values()), *options])
    assert message.format(tmp_path) in str(caught.value)
    assert listing(tmp_path) == before


def test_the_output_is_checked_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output .* create it with"):
        main([str(tmp_path / "no.onnx"), str(tmp_path / "no.jpg"), str(tmp_path / "none" / "a.png")])


def test_a_mistake_is_one_line_and_status_2(tmp_path: Path) -> None:
    run = command(tmp_path / "m.onnx", tmp_path / "p.jpg", tmp_path / "none" / "a.png")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith("error: output ")
    run = command("one")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1) and "photo, output" in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_leaves_nothing_behind(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk."""
    model = make_model()
    before = listing(tmp_path)
    code = (
        "import resource, signal, sys; from export.edge.__main__ import main; from export.edge.errors import run;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.argv = ['edge', *sys.argv[1:]]; run(main)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(model), str(photo), str(tmp_path / "a.png")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2 and ended.stderr.splitlines()[-1].startswith("error: "), ended.stderr
    assert listing(tmp_path) == before
