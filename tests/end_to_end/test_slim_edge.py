"""The deployed half on a small device: a virtual environment with numpy, Pillow, onnxruntime, the wheel, nothing else.

The model here is a real ONNX file whose answer is known without running it: an x0-predicting network that returns
its guide negated paints the photographic negative, whatever the noise, the steps and the sampler.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from export.edge.model.sealed import UNSEALED, seal

SIZE = 32  # the model's training size, pixels


@dataclass(frozen=True)
class Device:
    """A slim environment and the folder that its commands run in."""

    python: Path
    folder: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the slim environment's Python with nothing of this process's settings that could lend it a library."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "VIRTUAL_ENV"))}
        command = [str(self.python), *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )


def link_or_copy(source: str, target: str) -> None:
    """A hard link costs no space; where the two folders lie on different disks, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def install_from_here(name: str, site_packages: Path) -> None:
    """Put the files of the installed distribution `name` into another environment, with no package index."""
    files = distribution(name).files
    assert files, f"{name} does not list its files"
    for file in files:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = site_packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(str(file.locate()), str(target))


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Device:
    home = tmp_path_factory.mktemp("device")
    venv.EnvBuilder(with_pip=False, symlinks=os.name == "posix").create(home / "slim")
    (site_packages,) = (home / "slim").glob("lib/python*/site-packages")
    # onnxruntime names more distributions than its inference imports; these three are all that it needs here.
    for name in ("numpy", "pillow", "onnxruntime"):
        install_from_here(name, site_packages)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    return Device(home / "slim/bin/python", home)


def write_negative(path: Path) -> None:
    """Write an artifact whose network answers x0 = −cond (x_t and t are read, and weigh nothing)."""
    picture = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["t"], ["t_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["t_float", "zero"], ["t_nothing"]),
            helper.make_node("Reshape", ["t_nothing", "column"], ["t_column"]),
            helper.make_node("Mul", ["x_t", "zero"], ["x_nothing"]),
            helper.make_node("Neg", ["cond"], ["negative"]),
            helper.make_node("Sum", ["negative", "x_nothing", "t_column"], ["prediction"]),
        ],
        "negative",
        [
            helper.make_tensor_value_info("x_t", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("cond", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("t", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, picture)],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("column", TensorProto.INT64, [4], [-1, 1, 1, 1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    alphas_cumprod = np.cos(np.linspace(0.05, 1.55, 50)) ** 2
    helper.set_model_props(
        model,
        {
            "format": "dawn2dusk",
            "format_version": "1",
            "alphas_cumprod": json.dumps(alphas_cumprod.tolist()),
            "prediction": "x0",
            "clamp": "1.0",
            "size": str(SIZE),
            "size_multiple": "8",
            "fit": "crop",
            "value_range": "[-1, 1]",
            "steps": "4",
            "sampler": "ddim",
            "weights_digest": 64 * "1",
            "config": "{}",
            "file_digest": UNSEALED,
        },
    )
    onnx.save(model, path)
    seal(path)


def write_photo(path: Path, width: int, height: int) -> np.ndarray:
    """A photo with gentle gradients in all three channels; returns uint8 (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [40 + 150 * rows / height, 220 - 180 * columns / width, 90 + 60 * (rows + columns) / (height + width)]
    picture = np.stack(channels, axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(path)
    return picture


@pytest.fixture(scope="module")
def model(device: Device) -> Path:
    path = device.folder / "model.onnx"
    write_negative(path)
    return path


def open_result(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_device_holds_nothing_else(device: Device) -> None:
    for name in ("jax", "torch", "onnx", "safetensors", "scipy", "matplotlib", "tqdm", "google.protobuf"):
        done = device.run("-c", f"import {name}")
        assert done.returncode != 0, name
        assert "ModuleNotFoundError" in done.stderr
    listed = device.run("-c", "from importlib.metadata import distributions as d; print(*sorted(x.name for x in d()))")
    assert listed.stdout.split() == ["dawn2dusk", "numpy", "onnxruntime", "pillow"]
    where = device.run("-c", "import export.edge; print(export.edge.__file__)")
    assert where.stdout.startswith(str(device.folder / "slim"))


def test_translates_a_photo_exactly(device: Device, model: Path) -> None:
    photo = write_photo(device.folder / "photo.png", 2 * SIZE, SIZE)
    done = device.run("-m", "export.edge", model, "photo.png", "sunset.png")
    assert done.returncode == 0, done.stderr
    assert "sunset.png" in done.stdout
    result = open_result(device.folder / "sunset.png")
    assert result.shape == photo.shape
    assert np.abs(result.astype(int) - (255 - photo.astype(int))).max() <= 1


@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (75, 51, ["--steps", "1"]),
        (50, 133, ["--steps", "7", "--seed", "3", "--sampler", "ddpm"]),
        (1, 1, []),
    ],
)
def test_keeps_the_photos_own_size(
    device: Device, model: Path, width: int, height: int, options: Sequence[str]
) -> None:
    photo = write_photo(device.folder / "odd.png", width, height)
    done = device.run("-m", "export.edge", model, "odd.png", "odd_sunset.png", *options)
    assert done.returncode == 0, done.stderr
    result = open_result(device.folder / "odd_sunset.png")
    assert result.shape == photo.shape
    # Resized to the model's size and back: gentle gradients survive that.
    assert np.abs(result.astype(float) - (255.0 - photo)).mean() < 4.0


def test_a_large_photo_keeps_its_detail(device: Device, model: Path) -> None:
    """Fine stripes that the model's small picture cannot hold come back as their negative."""
    rough = np.random.default_rng(0).integers(60, 196, (16, 24, 3), np.uint8)
    photo = np.array(Image.fromarray(rough).resize((480, 320), Image.Resampling.BICUBIC))
    photo = (photo + 20 * (np.arange(480) // 2 % 2)[:, None]).astype(np.uint8)
    Image.fromarray(photo).save(device.folder / "large.png")
    done = device.run("-m", "export.edge", model, "large.png", "large_sunset.png")
    assert done.returncode == 0, done.stderr
    fine = [
        np.diff(picture.astype(float), axis=1) for picture in (open_result(device.folder / "large_sunset.png"), photo)
    ]
    assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] < -0.9
    assert 0.6 < fine[0].std() / fine[1].std() < 1.2


def test_folders_tiles_films_and_info(device: Device, model: Path) -> None:
    (device.folder / "photos").mkdir()
    write_photo(device.folder / "photos/one.jpg", 2 * SIZE, SIZE)
    write_photo(device.folder / "photos/two.png", 2 * SIZE, SIZE)
    done = device.run("-m", "export.edge", model, "photos", "sunsets", "--tile", str(2 * SIZE))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (device.folder / "sunsets").iterdir()) == ["one.jpg", "two.png"]
    done = device.run("-m", "export.edge", model, "photos/two.png", "sunset.webp", "--film", "film.webp")
    assert done.returncode == 0 and (device.folder / "film.webp").is_file(), done.stderr
    done = device.run("-m", "export.edge", "info", model, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["opset"] == 18, done.stderr


def test_translate_from_python(device: Device, model: Path) -> None:
    write_photo(device.folder / "photo.png", 2 * SIZE, SIZE)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from export.edge.model.artifact import open_artifact\n"
        "from export.edge.pictures.files import open_picture\n"
        "from export.edge.translate import Options, translate\n"
        "picture = open_picture(Path('photo.png'))\n"
        f"result = translate(open_artifact(Path({str(model)!r})), picture, Options(steps=3), seed=1)\n"
        "assert result.shape == picture.shape and result.dtype == 'uint8'\n"
        "print(int(abs(result.astype(int) + picture - 255).max()))\n"
    )
    done = device.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 1


def test_command_of_the_wheel(device: Device) -> None:
    code = (
        "from importlib.metadata import entry_points\n"
        "(command,) = entry_points(group='console_scripts', name='dawn2dusk-edge')\n"
        "import sys; sys.argv = ['dawn2dusk-edge', 'missing.onnx', 'missing.jpg', 'out.png']\n"
        "command.load()()\n"
    )
    done = device.run("-c", code)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def damaged(model: Path, folder: Path) -> Path:
    data = bytearray(model.read_bytes())
    data[len(data) // 3] ^= 1
    path = folder / "damaged.onnx"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "mistake", ["no model", "not a model", "damaged model", "no photo", "not a photo", "no folder"]
)
def test_mistakes_get_one_line_and_status_2(device: Device, model: Path, tmp_path: Path, mistake: str) -> None:
    photo, output = tmp_path / "photo.jpg", tmp_path / "sunset.png"
    write_photo(photo, SIZE, SIZE)
    text = tmp_path / "text.jpg"
    text.write_text("not a picture\n")
    arguments = {
        "no model": (tmp_path / "missing.onnx", photo, output),
        "not a model": (text, photo, output),
        "damaged model": (damaged(model, tmp_path), photo, output),
        "no photo": (model, tmp_path / "missing.jpg", output),
        "not a photo": (model, text, output),
        "no folder": (model, photo, tmp_path / "nowhere/sunset.png"),
    }[mistake]
    before = sorted(tmp_path.rglob("*"))
    done = device.run("-m", "export.edge", *arguments)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_slim_python_is_not_this_one(device: Device) -> None:
    done = device.run("-c", "import sys; print(sys.prefix)")
    assert Path(done.stdout.strip()) == device.folder / "slim"
    assert Path(sys.prefix) != device.folder / "slim"
