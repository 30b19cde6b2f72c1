"""Prepared data sets: what goes in comes out, in its order, and nothing else is taken for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from export.edge.errors import UserError
from jax_impl import prepare
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import Pairs, load
from jax_impl.data.sources import open_source
from jax_impl.data.sources.tfds import _features, find_folder
from jax_impl.data.synthetic import render_pair

Config = Callable[..., DataConfig]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pairs of several sizes and formats, one turned by its EXIF orientation; don't change it."""
    root = tmp_path_factory.mktemp("data") / "Photos 2"
    for i in range(7):
        for side, picture in zip("AB", render_pair(i, 24 + i), strict=True):
            (root / side).mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = 6 if i == 3 else 1
            suffix = "jpg" if i % 2 else "png"
            Image.fromarray(picture).save(root / side / f"view{i}.{suffix}", exif=exif)
    return root


@pytest.fixture(scope="module")
def data_dir(photos: Path) -> Path:
    """The photos and a few built-in scenes, prepared."""
    output = photos.parent / "prepared"
    prepare.main([str(photos), "--output-dir", str(output)])
    words = ["synthetic", "--size", "16", "--synthetic-pairs", "5", "--synthetic-val-pairs", "2"]
    prepare.main([*words, "--output-dir", str(output)])
    return output


@pytest.fixture
def prepared(data_dir: Path) -> Config:
    """`prepared(name, **settings)`: the settings that read what was prepared."""

    def config(start: str, **settings: object) -> DataConfig:
        (folder,) = (data_dir / "paired_images").glob(f"{start}*")
        name = f"paired_images/{folder.name}"
        return DataConfig(**{"tfds": name, "tfds_dir": str(data_dir), "size": 16, **settings})  # pyright: ignore

    return config


def assert_same(a: Pairs, b: Pairs) -> None:
    np.testing.assert_array_equal(a.cond, b.cond)
    np.testing.assert_array_equal(a.x0, b.x0)


@pytest.mark.parametrize("settings", [{}, {"direction": "reverse", "fit": "letterbox", "size": 32}])
def test_a_folder_gives_the_same_pairs_prepared_or_not(photos: Path, prepared: Config, settings: dict) -> None:
    plain = DataConfig(path=str(photos), **{"size": 16, **settings})
    for split in ("train", "val", "test"):
        assert_same(load(prepared("photos_2", **settings), split), load(plain, split))
    assert len(load(plain, "val").names) == 1


def test_built_in_scenes_give_the_same_pairs_prepared_or_not(prepared: Config) -> None:
    plain = DataConfig(size=16, synthetic_pairs=5, synthetic_val_pairs=2)
    for split in ("train", "val"):
        assert_same(load(prepared("scenes_16px_5"), split), load(plain, split))
    assert open_source(prepared("scenes_16px_5")).fingerprint("train").startswith('["paired_images/scenes_16px_5_')


def test_a_second_run_finds_it_and_other_content_has_another_name(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shutil.copytree(photos, tmp_path / "Photos 2")
    words = [str(source), "--output-dir", str(tmp_path / "out"), "--size", "16"]
    places = []
    for change in (lambda: None, lambda: None, lambda: Image.new("RGB", (30, 30)).save(source / "A" / "view2.png")):
        change()
        prepare.main(words)
        places.append(capsys.readouterr().out.splitlines()[2].split(": "))
    assert [what for what, _ in places] == ["written", "there already", "written"]
    assert places[0][1] == places[1][1] != places[2][1]
    name = f"paired_images/{Path(places[2][1]).parent.name}"
    for split in ("train", "val"):
        read = load(DataConfig(tfds=name, tfds_dir=words[2], size=16), split)
        assert_same(read, load(DataConfig(path=str(source), size=16), split))


def test_a_picture_that_cannot_be_read_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    source = shutil.copytree(photos, tmp_path / "photos")
    (source / "B" / "view4.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"view4\.png is not a picture"):
        prepare.main([str(source), "--output-dir", str(tmp_path / "out")])
    assert list((tmp_path / "out" / "paired_images").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tfds": "paired_images"}, "has 2 configurations .*; name one of paired_images/photos_2_"),
        ({"tfds": "sunsets"}, r"data\.tfds sunsets is not prepared in .*paired_images/.*prepare"),
        ({"tfds_features": ("cond", "label")}, "pictures in each example: cond, x0; name the guiding one"),
        ({"tfds_dir": "/nowhere"}, "nothing is"),
    ],
)
def test_what_cannot_be_opened_is_named(prepared: Config, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(prepared("scenes", **settings), "train")


def test_the_newest_version_is_taken_and_any_can_be_named(tmp_path: Path) -> None:
    for name in ("a/2.0.0", "a/10.0.0", "b/c/1.0.0", "a/incomplete.x_11.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").touch()
    assert find_folder("a", tmp_path) == tmp_path / "a/10.0.0"
    assert find_folder("a:2.0.0", tmp_path) == tmp_path / "a/2.0.0"
    assert find_folder("b", tmp_path) == find_folder("b/c", tmp_path) == tmp_path / "b/c/1.0.0"
    with pytest.raises(UserError, match=r"a:3\.0\.0 is not prepared"):
        find_folder("a:3.0.0", tmp_path)


class Filmed(tfds.core.GeneratorBasedBuilder):
    """A data set by somebody else: other names, more features, no validation split."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"label": tfds.features.ClassLabel(num_classes=3), "left": tfds.features.Image()}
        features |= {"right": tfds.features.Image(), "note": tfds.features.Text()}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: object) -> dict:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> object:
        for i in range(10):
            left, right = (Image.fromarray(picture) for picture in render_pair(i, 20))
            yield i, {"label": i % 3, "left": left, "right": right, "note": str(i)}


def test_the_only_two_pictures_are_taken_by_alphabet() -> None:
    """Whatever their order, which differs from process to process."""
    for names in (("right", "left"), ("left", "right")):
        features = tfds.features.FeaturesDict({name: tfds.features.Image() for name in names})
        assert _features(tfds, features, (), "filmed") == ("left", "right")
        assert _features(tfds, features, ("right", "left"), "filmed") == ("right", "left")


def test_a_data_set_by_somebody_else(tmp_path: Path) -> None:
    Filmed(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    config = DataConfig(tfds="filmed:1.0.0", tfds_dir=str(tmp_path), size=20, val_share=0.2)
    train, val = load(config, "train"), load(config, "val")
    assert (len(train.names), len(val.names)) == (8, 2)
    assert set(train.names).isdisjoint(val.names)
    wanted = {tuple(picture.tobytes() for picture in render_pair(i, 20)) for i in range(10)}
    pairs = [pair for part in (train, val) for pair in zip(part.cond, part.x0, strict=True)]
    assert {(cond.tobytes(), x0.tobytes()) for cond, x0 in pairs} == wanted
    assert (
        "left to right" in open_source(config).remarks()[0] and "held out 2 of 10" in open_source(config).remarks()[1]
    )
    turned = load(DataConfig(**{**vars(config), "tfds_features": ("right", "left")}), "train")
    np.testing.assert_array_equal(turned.cond, train.x0)


def test_files_without_random_access_are_named(tmp_path: Path, data_dir: Path) -> None:
    (folder,) = (data_dir / "paired_images").glob("scenes*/1.0.0")
    copy = shutil.copytree(folder, tmp_path / "old" / "1.0.0")
    info = copy / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"old .* is not in array_record files"):
        load(DataConfig(tfds="old", tfds_dir=str(tmp_path), size=16), "train")


def test_without_the_libraries_the_message_names_them(prepared: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"data\.tfds needs tensorflow_datasets; `pip install tensorflow-datasets"):
        load(prepared("scenes", val_share=0.123), "train")


def test_tensorflow_is_not_imported(data_dir: Path, root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from jax_impl import prepare; from jax_impl.data.loader import load; "
        "from jax_impl.config.data import DataConfig; folder = sys.argv[1]; "
        "prepare.main(['synthetic', '--size', '16', '--synthetic-pairs', '2', "
        "'--output-dir', folder]); pairs = load(DataConfig(tfds='paired_images', tfds_dir=folder, size=16), 'train'); "
        "assert len(pairs.names) == 2; print([m for m in ('tensorflow', 'torch', 'jax') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
