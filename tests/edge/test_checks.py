"""What can be refused before anything is opened is refused at once (what is refused: test_main.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

CODE = """
import json, sys, threading
from export.edge.__main__ import main
from export.edge.errors import UserError
began = []
threading.Thread.start = lambda self, start=threading.Thread.start: (began.append(self.name), start(self))
for words in json.load(sys.stdin):
    try:
        main(words)
    except UserError as error:
        print(error)
print(*began, *(name for name in ("numpy", "PIL", "onnxruntime") if name in sys.modules))
"""
"""Says what is refused and, in the last line, which threads were started and which large modules loaded."""


def test_nobody_waits_for_a_model_where_the_words_are_wrong(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model, photo, folder = make_model(), tmp_path / "photo.png", tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(photo)
    photo_in_it = folder / "a.png"
    photo_in_it.write_bytes(photo.read_bytes())
    refused: dict[tuple[object, ...], str] = {
        (photo, tmp_path / "none/a.png"): "does not exist; create it with",
        (model, photo, tmp_path / "none/a.png"): "does not exist; create it with",
        (model, photo, "a.bmp"): "use .png",
        (model, photo, photo): "is the photo itself",
        (model, photo, folder): "use .png",
        (model, folder, folder): "is the folder of the photos itself",
        (model, folder, tmp_path / "a.png"): "names one picture for a folder of photos",
        (model, tmp_path / "none.png", tmp_path / "a.png"): "none.png does not exist",
        (tmp_path / "none.onnx", photo, tmp_path / "a.png"): "none.onnx does not exist",
        (model, photo, tmp_path / "a.png", "--invented", tmp_path / "a.png"): "are the same file",
        (model, photo, tmp_path / "a.png", "--invented", photo): "is the photo itself",
        (model, photo, tmp_path / "a.png", "--steps", 0): "--steps 0 is less than 1",
    }
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = json.dumps([[str(word) for word in given] for given in refused])
    done = subprocess.run([sys.executable, "-c", CODE], input=words, capture_output=True, text=True, check=True)
    *errors, last = done.stdout.splitlines()
    assert len(errors) == len(refused)
    for error, wanted in zip(errors, refused.values(), strict=True):
        assert wanted in error
    assert last == ""
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
