"""The client in C++ and the example of the card make the pictures of `export.edge`; what cannot be used is named."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.photo_card import CPP
from tests.export.clients.conftest import Check, Refused

SOURCE = Path(__file__).parents[3] / "export/clients/cpp"
HEADER = "onnxruntime_cxx_api.h"
PLACES = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/local/include")
CARD = """
#include <iostream>
#include <iterator>
int main(int, char** words) {
  std::istreambuf_iterator<char> first(std::cin), last;
  std::vector<uint8_t> rgb(first, last);
  Ort::Env env;
  Ort::Session session(env, words[1], Ort::SessionOptions());
  const auto made = translate(session, rgb, std::stoll(words[2]), std::stoll(words[3]));
  std::cout.write(reinterpret_cast<const char*>(made.data()), made.size());
}
"""


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the headers, from ONNXRUNTIME_INCLUDE or where a system has it, and that of the library."""
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    places = [Path(place) for place in (os.environ.get("ONNXRUNTIME_INCLUDE", ""), *PLACES) if place]
    include = next((place for place in places if (place / HEADER).is_file()), None)
    if include is None:
        pytest.skip(
            f"{HEADER} is not there: it is in Debian 13's libonnxruntime-dev; ONNXRUNTIME_INCLUDE names its folder"
        )
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    found = next(Path(spec.origin).parent.glob("capi/libonnxruntime.so.*"), None)
    if found is None:
        pytest.skip("this onnxruntime's wheel has no libonnxruntime.so")
    folder = tmp_path_factory.mktemp("library")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # The linker's name, and the one that programs ask for.
        (folder / name).symlink_to(found)
    return include, folder


@pytest.fixture(scope="session")
def client(once: Callable[[str, Callable[[Path], object]], Path], parts: tuple[Path, Path]) -> Path:
    """The program, built as its README says."""
    include, library = parts

    def build(folder: Path) -> None:
        words = [f"-DONNXRUNTIME_INCLUDE={include}", f"-DONNXRUNTIME_LIBRARY={library / 'libonnxruntime.so'}"]
        strict = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"
        for command in (["cmake", "-S", SOURCE, "-B", folder, *words, strict], ["cmake", "--build", folder]):
            subprocess.run(command, check=True, capture_output=True)

    return once("client_cpp", build) / "translate"


def test_its_pictures(client: Path, model: Path, picture: np.ndarray, check: Check, tmp_path: Path) -> None:
    photo = tmp_path / "photo.ppm"
    Image.fromarray(picture).save(photo)
    # As other programs write it, with a comment.
    photo.write_bytes(photo.read_bytes().replace(b"P6\n", b"P6\n# by a camera\n", 1))
    subprocess.run([client, model / "onnx/photo.onnx", photo, tmp_path / "made.ppm"], check=True)
    check(photo, tmp_path / "made.ppm")
    assert not (tmp_path / "made.ppm.half").exists()


def test_what_it_refuses(client: Path, model: Path, picture: np.ndarray, refused: Refused, tmp_path: Path) -> None:
    good, out, graph = tmp_path / "good.ppm", tmp_path / "out.ppm", model / "onnx/photo.onnx"
    Image.fromarray(picture).save(good)
    (tmp_path / "cut.ppm").write_bytes(good.read_bytes()[:-1])
    (tmp_path / "text.ppm").write_text("no photo")
    (tmp_path / "none.ppm").write_text("P6 0 0 255\n")
    (tmp_path / "huge.ppm").write_text("P6 9000000000000000000 9000000000000000000 255\n")
    for name, text in {
        "cut": "is cut short",
        "text": "is no binary PPM file",
        "none": "is no binary PPM file",
        "huge": "has more than 100 million pixels",
        "missing": "cannot be opened",
    }.items():
        refused([client, graph, tmp_path / f"{name}.ppm", out], f"{name}.ppm {text}")
    refused([client, model / "onnx/model.onnx", good, out], "the model takes x_t, not a photo")
    refused([client, good, good, out], "cannot be read (")
    refused([client, model / "none.onnx", good, out], "none.onnx cannot be opened")
    refused([client, graph, good, tmp_path / "none/out.ppm"], "cannot be written")
    refused([client, graph, good, out, "0.5x"], "realism 0.5x is not from 0 to 1")
    refused([client, graph, good], "usage: translate")


def test_the_card(parts: tuple[Path, Path], model: Path, picture: np.ndarray, check: Check, tmp_path: Path) -> None:
    include, library = parts
    (tmp_path / "card.cpp").write_text(CPP + CARD)
    program = tmp_path / "card"
    words = ["g++", "-std=c++17", "-isystem", include, tmp_path / "card.cpp", "-o", program, f"-L{library}"]
    subprocess.run([*words, f"-Wl,-rpath,{library}", "-lonnxruntime"], check=True)
    sides = [str(side) for side in picture.shape[:2]]
    command = [program, model / "onnx/photo.onnx", *sides]
    done = subprocess.run(command, input=picture.tobytes(), check=True, capture_output=True)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    Image.fromarray(np.frombuffer(done.stdout, np.uint8).reshape(picture.shape)).save(tmp_path / "made.png")
    check(tmp_path / "photo.png", tmp_path / "made.png")
