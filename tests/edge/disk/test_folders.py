"""Many photos: what is made, what is passed over, what is never touched."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.disk.folders import left_out, plan_jobs, translate_all
from export.edge.errors import UserError
from export.edge.pictures.files import open_picture
from export.edge.progress import Progress


def photos(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for i, name in enumerate(names):
        Image.new("RGB", (9 + i, 7), (i, 10, 20)).save(folder / name)
    return folder


def negative(picture: np.ndarray) -> np.ndarray:
    return 255 - picture


def test_every_photo_gets_a_result_of_its_name(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", "b.JPG", "a.png", "c.bmp", "d.webp", "e.tif", "f.gif")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "deeper.png").mkdir()
    jobs = plan_jobs([folder], tmp_path / "out")
    assert [(photo.name, result.name) for photo, result in jobs] == [
        ("a.png", "a.png"), ("b.JPG", "b.JPG"), ("c.bmp", "c.png"), ("d.webp", "d.webp"), ("e.tif", "e.png"),
        ("f.gif", "f.png"),
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_broken_photos_are_said_and_the_others_made(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", "a.png", "c.png", "d.png"), photos(tmp_path / "out")
    (folder / "b.jpg").write_text("just words")
    (folder / "d.png").write_bytes((folder / "d.png").read_bytes()[:40])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stream = io.StringIO()
    progress = Progress(stream, noun="photo")
    assert translate_all(lambda _, image: negative(np.asarray(image)), plan_jobs([folder], out), progress) == 2
    progress.close()
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["skipped", "skipped"]
    assert "b.jpg" in lines[0] and "d.png" in lines[1] and lines[2].startswith("photo 4/4, ")
    assert {path.name for path in out.iterdir()} == {"a.png", "c.png"}
    for name in ("a.png", "c.png"):
        np.testing.assert_array_equal(open_picture(out / name), 255 - open_picture(folder / name))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_no_photo_is_ever_overwritten(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", "a.png", "b.png"), photos(tmp_path / "out")
    with pytest.raises(UserError, match="is the folder of the photos itself"):
        plan_jobs([folder], folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UserError, match="is the folder of the photos itself"):
        plan_jobs([folder], tmp_path / "link")
    (out / "a.png").symlink_to(folder / "b.png")
    with pytest.raises(UserError, match=r"output .*a\.png is one of the photos itself"):
        plan_jobs([folder], out)


def test_several_photos_by_name_and_results_of_one_suffix(tmp_path: Path) -> None:
    photos(tmp_path / "in", "b.jpg", "a.bmp")
    named = [tmp_path / "in" / name for name in ("b.jpg", "a.bmp")]
    jobs = plan_jobs(named, tmp_path / "out", suffix=".png")
    assert [(photo.name, result.name) for photo, result in jobs] == [("b.jpg", "b.png"), ("a.bmp", "a.png")]
    assert plan_jobs(named[:1], tmp_path / "x.webp", suffix=".png") == [(named[0], tmp_path / "x.webp")]
    with pytest.raises(UserError, match=r"names one picture for 2 photos; name a folder"):
        plan_jobs(named, tmp_path / "x.png")
    with pytest.raises(UserError, match=r"b\.jpg is one of the photos itself"):
        plan_jobs(named, tmp_path / "in")
    with pytest.raises(UserError, match=r"b\.jpg is the photo itself"):
        plan_jobs(named[:1], named[0])
    with pytest.raises(UserError, match=r"none\.png does not exist"):
        plan_jobs([*named, tmp_path / "none.png"], tmp_path / "out")
    with pytest.raises(UserError, match=r"would both become"):
        plan_jobs([*named, named[0]], tmp_path / "out")


@pytest.mark.parametrize("names", [("a.bmp", "a.png"), ("a.tif", "a.gif"), ("a.png", "A.PNG")])
def test_two_results_of_one_name_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    folder = photos(tmp_path / "in", *names)
    if len(list(folder.iterdir())) < 2:
        pytest.skip("this file system does not tell a from A")
    with pytest.raises(UserError, match=r"photos .* and .* would both become .*; rename one of them"):
        plan_jobs([folder], tmp_path / "out")


def test_what_makes_no_sense_is_named(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", "a.png")
    with pytest.raises(UserError, match=r"names one picture for a folder"):
        plan_jobs([folder], tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"is a file; name a folder"):
        plan_jobs([folder], tmp_path / "file")
    with pytest.raises(UserError, match="mkdir -p"):
        plan_jobs([folder], tmp_path / "none" / "out")
    with pytest.raises(UserError, match="holds no pictures"):
        plan_jobs([photos(tmp_path / "empty")], tmp_path / "out")


def test_every_picture_of_a_folder_is_translated_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.jfif", "JPEG")
    Image.new("RGB", (4, 4)).save(folder / "b.HEIC", "PNG")  # What is in it counts.
    (folder / "c.CR2").touch()
    (folder / "d.txt").touch()
    assert [(photo.name, result.name) for photo, result in plan_jobs([folder], tmp_path / "out")] == [
        ("a.jfif", "a.png"),
        ("b.HEIC", "b.png"),
    ]
    line = f"1 file (.CR2) cannot be read and is left out, such as {folder}/c.CR2; convert them to JPEG or PNG"
    assert left_out([folder]) == [line]
    assert left_out([folder / "a.jfif"]) == []
    for name in ("a.jfif", "b.HEIC"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"holds no pictures that can be read; 1 file \(\.CR2\)"):
        plan_jobs([folder], tmp_path / "out")
