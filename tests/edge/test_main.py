"""`python -m export.edge` as a person meets it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export.edge
from export.edge.__main__ import main
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.likeness import features, fit
from export.edge.pictures.arrays import resize, working
from export.edge.pictures.files import open_picture
from export.edge.translate import Options, translate

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
    expected = translate(open_artifact(model, 1), open_picture(photo), Options(3, "ddpm"), seed=7)
    np.testing.assert_array_equal(open_picture(output), expected)
    assert listing(tmp_path) == {"model.onnx", "photo.png", "sunset.png"}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_no_numpy(flag: str, root: Path) -> None:
    code = (
        "import sys\nfrom export.edge.__main__ import main\n"
        f"try: main(['{flag}'])\n"
        "except SystemExit: print(*(name for name in ('numpy', 'PIL', 'importlib.metadata') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert len(done.stdout) > 10 and done.stdout.endswith("\n\n"), done.stdout


def test_the_spacing_that_is_named_is_used(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model, output = make_model(), tmp_path / "a.png"
    main([str(model), str(photo), str(output), "--steps", "5", "--sampler", "dpmpp", "--spacing", "logsnr"])
    expected = translate(open_artifact(model), open_picture(photo), Options(5, "dpmpp", "logsnr"))
    np.testing.assert_array_equal(open_picture(output), expected)


def test_the_size_that_is_named_is_used(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model, output, folder = make_model(), tmp_path / "a.png", tmp_path / "frames"
    main([str(model), str(photo), str(output), "--size", "64", "--save-intermediate", str(folder)])
    expected = translate(open_artifact(model), open_picture(photo), Options(size=64))
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


def test_a_folder_of_photos_ends_with_status_2_when_some_are_broken(
    make_model: MakeModel, photo: Path, tmp_path: Path
) -> None:
    artifact, photos, out = tmp_path / "artifact", tmp_path / "photos", tmp_path / "out"
    (artifact / "onnx").mkdir(parents=True)
    make_model().rename(artifact / "onnx/model.onnx")
    photos.mkdir()
    shutil.copy(photo, photos / "a.png")
    run = command(artifact, photos, out, "--seed", 2, "--threads", 1)
    assert (run.returncode, run.stdout.count("\n")) == (0, 1) and run.stderr.startswith("photo 1/1, ")
    expected = translate(open_artifact(artifact / "onnx/model.onnx", 1), open_picture(photo), seed=2)
    np.testing.assert_array_equal(open_picture(out / "a.png"), expected)
    (photos / "b.png").write_bytes(photo.read_bytes()[:2000])
    run = command(artifact, photos, out, "--seed", 2)
    assert run.returncode == 2 and run.stdout.startswith(f"{out}: 1 of 2 photos in ")
    first, second, third = run.stderr.splitlines()
    assert first.startswith("skipped: picture") and second.startswith("photo 2/2, ")
    assert third.startswith("error: 1 of 2 photos")
    assert listing(out) == {"a.png"}


def test_wishes_that_no_photo_could_meet_are_told_before_a_folder_is_made(
    make_model: MakeModel, photo: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    photo.rename(photos / "a.png")
    for options in (["--steps", "101"], ["--tile", "33"], ["--film", "a.gif"], ["--save-intermediate", "frames"]):
        with pytest.raises(UserError, match=r"101|33|one photo"):
            main([str(make_model()), str(photos), str(tmp_path / "out"), *options])
    assert listing(tmp_path) == {"model.onnx", "photos"}


def test_a_large_photo_is_changed_in_colour_or_enlarged(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model, picture = open_artifact(make_model()), open_picture(photo)
    inner = working(picture, 32, "crop", 8)
    results = {}
    for detail in ("transfer", "enlarge"):
        output = tmp_path / f"{detail}.png"
        main([str(tmp_path / "model.onnx"), str(photo), str(output), "--detail", detail])
        results[detail] = open_picture(output)
    np.testing.assert_array_equal(results["enlarge"], resize(translate(model, inner), 37, 51))
    assert (results["transfer"] != results["enlarge"]).any()
    np.testing.assert_array_equal(results["transfer"], translate(model, picture))


def test_tiles_and_a_film(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    model, film, output = make_model(), tmp_path / "film.gif", tmp_path / "a.png"
    run = command(model, photo, output, "--tile", 64, "--film", film, "--threads", 1)
    assert run.stderr.startswith("window 60/60, "), run.stderr  # 3 x 5 windows, in four steps
    expected = translate(open_artifact(model, 1), open_picture(photo), Options(tile=64))
    np.testing.assert_array_equal(open_picture(output), expected)
    command(model, photo, tmp_path / "own.png", "--threads", 1, "--tile")
    own = translate(open_artifact(model, 1), open_picture(photo), Options(tile=40))  # of 37 pixels, in multiples of 8
    np.testing.assert_array_equal(open_picture(tmp_path / "own.png"), own)
    with Image.open(film) as animation:  # whose last two frames are one where they are equal
        assert getattr(animation, "n_frames", 1) in (5, 6) and animation.size == (51, 37)


def test_the_photos_own_file_speaks_on(make_model: MakeModel, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "Acme"})
    Image.new("RGB", (50, 40), "navy").save(tmp_path / "p.jpg", exif=exif)
    main([str(make_model()), str(tmp_path / "p.jpg"), str(tmp_path / "a.jpg")])
    with Image.open(tmp_path / "a.jpg") as result:
        assert result.size == (40, 50) and dict(result.getexif()) == {0x010F: "Acme"}


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
        ({"--sampler": "euler"}, "sampler 'euler' is unknown; choose one of ddim, ddpm, dpmpp, heun"),
        ({"--spacing": "karras"}, "invalid choice: 'karras'"),
        ({"--size": "20"}, "size 20 is none that this model can work at"),
        ({"--seed": "-1"}, "--seed -1 is outside"),
        ({"--eta": "1.5"}, "--eta 1.5 is outside"),
        ({"--threads": "0"}, "--threads 0 is less than 1"),
        ({"--save-intermediate": "words.jpg"}, "is a file; name a folder"),
        ({"--save-intermediate": "none/frames"}, "mkdir -p"),
        ({"--colour": "red"}, "unrecognized arguments"),
        ({"--tile": "33"}, "tile 33 is no multiple of 8 from 32"),
        ({"--variant": "int8"}, "--variant int8 chooses from an artifact folder"),
        ({"--detail": "sharp"}, "invalid choice: 'sharp'"),
        ({"--film": "film.mp4"}, "suffix is not known; use .png"),
        ({"--film": "none/film.gif"}, "mkdir -p"),
        ({"--film": "photo.png"}, "film {}/photo.png is the photo itself"),
        ({"model": "."}, "model folder {} has no variant fp32"),
        ({"photo": "."}, "output {}/a.png names one picture for a folder of photos"),
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
            options += [key, str(tmp_path / value) if key in ("--save-intermediate", "--film") else value]
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
    assert (run.returncode, run.stderr.count("\n")) == (2, 1) and "required: output" in run.stderr


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


def test_photos_unlike_the_training_inputs_are_named(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, photos = np.random.default_rng(0), tmp_path / "photos"
    photos.mkdir()
    for name, low in (("dark.png", 0), ("light.png", 190)):
        Image.fromarray(rng.integers(low, low + 60, (40, 70, 3), np.uint8)).save(photos / name)
    dark = (rng.integers(0, 60, (40, 70, 3), np.uint8) for _ in range(20))
    known = fit(np.stack([features(working(picture, 32, "crop", 8)) for picture in dark]))
    assert known is not None
    model = str(make_model(likeness=known.to_json()))

    def notes(source: Path, output: str) -> list[str]:
        main([model, str(source), str(tmp_path / output)])
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]

    away = open_artifact(Path(model)).unlikeness(open_picture(photos / "light.png"))
    assert away is not None and away > 1
    (line,) = notes(photos / "light.png", "a.png")
    assert line.startswith(f"note: light.png is unlike the pictures that this model was trained on ({away:.1f} times")
    assert notes(photos / "dark.png", "b.png") == []
    (line,) = notes(photos, "out")
    assert line.startswith("note: 1 of 2 photos are unlike") and f"light.png ({away:.1f});" in line
    assert export.edge.load(model).unlikeness(photos / "light.png") == away
    main(["info", model])
    assert "it can say which are unlike its training inputs" in capsys.readouterr().out
