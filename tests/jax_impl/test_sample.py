"""Drawing pictures from a run."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures.files import open_photo
from export.edge.pictures.tags import Tags
from jax_impl import sample
from jax_impl.bundle import main as write_bundle_of
from jax_impl.sample import main
from tests.figures import samplers as figure


def photo(path: Path, size: tuple[int, int] = (37, 21), colour: int = 90) -> Path:
    Image.effect_noise(size, colour).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("extra", [[], ["--sampler", "ddpm", "--steps", "6"], ["--eta", "0.5", "--steps", "1"]])
def test_the_picture_keeps_the_size_of_its_photo(trained_run: Path, tmp_path: Path, extra: list[str]) -> None:
    source = photo(tmp_path / "in.png")
    for name in ("a", "b"):
        main(["--run", str(trained_run), "--input", str(source), "--output", str(tmp_path / f"{name}.png"), *extra])
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert a.size == (37, 21)
        assert a.tobytes() == b.tobytes()


def test_another_seed_starts_elsewhere(trained_seed_run: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "in.png")
    pictures = []
    for seed in ("0", "1"):
        out = tmp_path / f"{seed}.png"
        main(["--run", str(trained_seed_run), "--input", str(source), "--output", str(out), "--seed", seed])
        pictures.append(np.asarray(Image.open(out)).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() > 5


def test_a_bundle_draws_what_its_run_draws(trained_seed_run: Path, tmp_path: Path) -> None:
    source, bundle = photo(tmp_path / "in.png"), tmp_path / "model.safetensors"
    write_bundle_of(["--run", str(trained_seed_run), "--output", str(bundle)])
    for name, weights in (("run", ["--run", str(trained_seed_run)]), ("bundle", ["--weights", str(bundle)])):
        main([*weights, "--input", str(source), "--output", str(tmp_path / f"{name}.png")])
    assert (tmp_path / "run.png").read_bytes() == (tmp_path / "bundle.png").read_bytes()


@pytest.mark.parametrize("both", [False, True])
def test_either_a_run_or_a_bundle(tmp_path: Path, both: bool) -> None:
    words = ["--run", "runs/x", "--weights", "model.safetensors"] if both else []
    with pytest.raises(UserError, match="both" if both else "neither"):
        main([*words, "--input", str(photo(tmp_path / "in.png")), "--output", str(tmp_path / "out.png")])


def test_intermediate_pictures(trained_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    main(
        ["--run", str(trained_run), "--input", str(photo(tmp_path / "in.png")), "--output", str(out),
         "--steps", "25", "--save-intermediate"]
    )  # fmt: skip
    names = sorted(p.name for p in (tmp_path / "diffusion_outputs").iterdir())
    assert names[:3] == ["film_strip.png", "final.png", "start_noise.png"]
    assert len([n for n in names if n.startswith("step_")]) == 10
    assert (tmp_path / "diffusion_outputs" / "final.png").read_bytes() == out.read_bytes()


def test_intermediate_pictures_of_the_original_loop_go_down_to_zero(trained_run: Path, tmp_path: Path) -> None:
    source, out = photo(tmp_path / "in.png"), tmp_path / "out.png"
    main(
        ["--run", str(trained_run), "--input", str(source), "--output", str(out),
         "--sampler", "original", "--steps", "4", "--save-intermediate"]
    )  # fmt: skip
    names = [p.name for p in sorted((tmp_path / "diffusion_outputs").glob("step_*"))]
    assert names == ["step_0001_t0999.png", "step_0002_t0666.png", "step_0003_t0333.png", "step_0004_t0000.png"]
    with Image.open(out) as picture:
        assert picture.size == (37, 21)


def test_heun_saves_a_state_for_each_call_at_the_timesteps_of_the_spacing(trained_run: Path, tmp_path: Path) -> None:
    source, out = photo(tmp_path / "in.png"), tmp_path / "out.png"
    main(
        ["--run", str(trained_run), "--input", str(source), "--output", str(out),
         "--sampler", "heun", "--steps", "3", "--spacing", "linspace", "--save-intermediate"]
    )  # fmt: skip
    names = [p.name for p in sorted((tmp_path / "diffusion_outputs").glob("step_*"))]
    assert names == ["step_0001_t0999.png", "step_0002_t0500.png", "step_0003_t0000.png", "step_0004_t0000.png"]


def test_a_folder_of_photos(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.jpg", (20, 30))
    photo(tmp_path / "in" / "b.png", (40, 24))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    main(["--run", str(trained_run), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert {p.name: Image.open(p).size for p in (tmp_path / "out").iterdir()} == {"a.png": (20, 30), "b.png": (40, 24)}


def test_a_folder_of_one_photo(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.jpg")
    main(["--run", str(trained_run), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_photos_drawn_together_look_as_if_drawn_alone(trained_run: Path, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{i}.png", colour=40 + 30 * i) for i in range(3)]
    words = ["--run", str(trained_run), "--sampler", "ddpm", "--steps", "6"]
    main([*words, "--input", *map(str, photos), "--output", str(tmp_path / "out"), "--batch-size", "2"])
    for source in photos:
        main([*words, "--input", str(source), "--output", str(tmp_path / "alone.png")])
        together, alone = (np.asarray(Image.open(p)) for p in (tmp_path / "out" / source.name, tmp_path / "alone.png"))
        assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--input", "--output", "{d}/o.png"], "names no photo"),
        (["--input", "{d}/in.png", "--output", "{d}/o.png", "--batch-size", "0"], "batch-size is 0"),
        (["--input", "{d}/none.png", "--output", "{d}/o.png"], "none.png does not exist"),
        (["--input", "{d}/in.png", "--output", "{d}/no/o.png"], "does not exist"),
        (["--input", "{d}/in.png", "--output", "{d}/o.xyz"], "suffix"),
        (["--input", "{d}/in.png", "--output", "{d}/o.png", "--steps", "0"], "steps"),
        (["--input", "{d}/in.png", "--output", "{d}/o.png", "--size", "31"], "size 31 is none"),
        (["--input", "{d}/in.png", "--output", "{d}/o.png", "--steps", "2000"], "steps 2000"),
        (["--input", "{d}/in.png", "--output", "{d}/o.png", "--eta", "2"], "eta 2.0 is outside"),
        (
            ["--input", "{d}/in.png", "--output", "{d}/o.png", "--sampler", "original", "--eta", "1"],
            "eta 1.0 belongs to ddim",
        ),
        (["--input", "{d}/in.png", "--output", "{d}/o.png", "--seed", "-1"], "seed -1"),
        (["--input", "{d}/text.jpg", "--output", "{d}/o.png"], "text.jpg"),
        (["--input", "{d}/in.png", "{d}/text.jpg", "--output", "{d}/o.png"], "name a folder"),
        (["--input", "{d}", "--output", "{d}/o.png", "--run", "{d}"], "has no config"),
    ],
)
def test_bad_input_leaves_nothing_behind(trained_run: Path, tmp_path: Path, words: list[str], part: str) -> None:
    photo(tmp_path / "in.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    before = sorted(tmp_path.iterdir())
    if words[-2] == "--run":
        words = [*words[:3], "{d}/out", *words[4:]]
    words = [word.format(d=tmp_path) for word in words]
    with pytest.raises(UserError, match=part):
        main([*(["--run", str(trained_run)] if "--run" not in words else []), *words])
    assert sorted(tmp_path.iterdir()) == before


def test_photos_are_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photos = [photo(folder / name) for name in ("a.png", "b.png")]
    before = {path: path.read_bytes() for path in photos}
    for inputs, output, fault in (
        ([folder], folder, "is the folder of the photos itself"),
        (photos, folder, r"a\.png is one of the photos itself"),
        (photos[:1], photos[0], r"a\.png is the photo itself"),
    ):
        with pytest.raises(UserError, match=fault):
            main(["--run", "none", "--input", *map(str, inputs), "--output", str(output)])
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

    (tmp_path / "diffusion_outputs").mkdir()
    final, output = photo(tmp_path / "diffusion_outputs" / "final.png"), tmp_path / "out.png"
    with pytest.raises(UserError, match=r"would get a final\.png, which is the photo itself"):
        main(["--run", "none", "--input", str(final), "--output", str(output), "--save-intermediate"])


def test_photos_are_opened_batch_by_batch(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(5):
        for name, size in (("wide", (40, 30)), ("high", (30, 40)), ("large", (80, 60))):
            photo(tmp_path / "in" / f"{name}{i}.png", size)
    (tmp_path / "in" / "wide2.png").write_bytes((tmp_path / "in" / "wide2.png").read_bytes()[:200])
    alive: set[int] = set()
    most = 0

    def opened(path: Path) -> tuple[np.ndarray, Tags]:
        nonlocal most
        picture, tags = open_photo(path)
        alive.add(id(picture))
        weakref.finalize(picture, alive.discard, id(picture))
        most = max(most, len(alive))
        return picture, tags

    monkeypatch.setattr(sample, "open_photo", opened)
    words = ["--run", str(trained_run), "--steps", "1", "--batch-size", "2"]
    with pytest.raises(UserError, match="1 of 15 photos were skipped"):
        main([*words, "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert most == 2
    assert "skipped: picture " in (said := capsys.readouterr().err) and "wide2.png is damaged" in said
    made = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    sources = {path.name: Image.open(path).size for path in (tmp_path / "in").iterdir() if path.name != "wide2.png"}
    assert made == sources


def test_the_figure_has_a_row_for_each_pair_and_a_column_for_each_sampler(trained_run: Path, tmp_path: Path) -> None:
    words = ["--run", str(trained_run), "--steps", "2"]
    with pytest.raises(UserError, match=r"--pairs 3 is outside 0 \.\.\. 2"):
        figure.main([*words, "--output", str(tmp_path / "figure.png"), "--pairs", "0", "3"])
    assert not list(tmp_path.iterdir())
    figure.main([*words, "--output", str(tmp_path / "figure.png"), "--pairs", "2", "0"])
    with Image.open(tmp_path / "figure.png") as picture:
        columns = 2 + len(figure.COLUMNS)
        assert columns * figure.CELL < picture.width < (columns + 1) * figure.CELL
        assert 2 * figure.CELL < picture.height < 3 * figure.CELL
