"""The model card's JavaScript turns a photo into its translation with onnxruntime-web, without a line of ours."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from export.photo_card import example
from tests.export.test_photo_card import PICTURE, check, folder, slider

__all__ = ["folder", "slider"]


def test_javascript(node: str, folder: Path, slider: bool, onnxruntime_web: Path) -> None:
    with tarfile.open(onnxruntime_web) as package:
        for member in package.getmembers():
            if "/dist/ort" in member.name and member.name.endswith((".min.mjs", ".wasm", "threaded.mjs")):
                package.extract(member, folder, filter="data")
    where = "./package/dist/ort.wasm.min.mjs"
    ask = (
        f"import {{ readFileSync, writeFileSync }} from 'node:fs';\nimport * as settings from '{where}';\n"
        "settings.env.wasm.numThreads = 1;\nconst { translate } = await import('./card.mjs');\n"
        f"const made = await translate(new Uint8Array(readFileSync('rgb')), {PICTURE.shape[0]}, {PICTURE.shape[1]});\n"
        "console.log(JSON.stringify(Array.from(made)));\n"
    )
    (folder / "rgb").write_bytes(PICTURE.tobytes())
    # onnxruntime-web takes addresses, and no paths.
    code = example("JavaScript", slider).replace(
        "'onnx/photo.onnx'", "(await import('node:fs')).readFileSync('onnx/photo.onnx')"
    )
    (folder / "card.mjs").write_text(code.replace("onnxruntime-node", where))
    (folder / "ask.mjs").write_text(ask)
    done = subprocess.run([node, "ask.mjs"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(np.array(json.loads(done.stdout)).reshape(PICTURE.shape), folder)
