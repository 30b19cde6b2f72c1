"""The model card says what the files say, and refuses reports about other weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.edge.errors import UserError
from export.model_card import Facts, card, evaluation_lines, parity_lines, read_report
from export.publish import Outcome
from torch_ref.weights import load_bundle

EVALUATION: dict[str, Any] = {
    "methods": {
        name: {"title": title, "metrics": {"psnr": {"mean": mean, "low": mean - 1, "high": mean + 1}}}
        for name, title, mean in (("model", "model", 21.456), ("copy_input", "copying the input", 10.0))
    },
    "data": {"pairs": 15, "split": "val", "size": 24},
    "interval": "mean and 95 % bootstrap interval over 15 scenes",
    "warnings": ["a scene is in both"],
}
LINE = {
    "level": "a",
    "pair": "JAX · torch",
    "dtype": "float32",
    "measure": "absolute",
    "absolute": 1e-6,
    "relative": 1.0,
}
PARITY: dict[str, Any] = {"lines": [LINE, LINE | {"absolute": 3e-6}], "passed": True}


def test_the_card(exported: tuple[Path, Path]) -> None:
    bundle = load_bundle(exported[0])
    bundle.config["data"]["path"] = "/home/someone/secret/webcam"
    outcomes = [
        Outcome("sampler.onnx", None, None, "largest difference from the host loop 1.0e-07", True),
        Outcome("photo.onnx", None, None, "largest difference from export.edge 1 of 255 levels", True),
    ]
    text = card(bundle, Facts("cc-by-4.0", outcomes, 2e-7, EVALUATION, PARITY))
    assert text.startswith('---\nlicense: "cc-by-4.0"\n')
    for part in (
        "| model | 21.46 (20.46–22.46) |",
        "WARNING: a scene is in both",
        "| a | JAX · torch | float32 | absolute | 2 | 3.0e-06 |",
        "2 comparisons, all within their bounds",
        "called `webcam`",
        "`onnx/sampler.onnx` holds the whole loop",
        "The whole translation in one graph: `onnx/photo.onnx`.",
        "Swift (not run by us):",
    ):
        assert part in text
    assert "someone" not in text


def test_a_card_without_reports_is_honest(exported: tuple[Path, Path]) -> None:
    bundle = load_bundle(exported[0])
    left_out = [Outcome("model_int8.onnx", None, None, "too bad", False)]
    text = card(bundle, Facts("not stated", left_out, 2e-7, None, None))
    for part in (
        'license: "other"\nlicense_name: "not-stated"\n',
        "Not scored against held-out pairs.",
        "`model_int8.onnx` left out: too bad",
        "- Pairs: not stated.",
        "largest difference 2.0e-07",
    ):
        assert part in text
    assert "sampler.onnx" not in text
    assert "photo.onnx" not in text


def test_reports_that_are_not_about_these_weights(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    with pytest.raises(UserError, match=r"--evaluation .* does not exist"):
        read_report(path, "--evaluation", evaluation_lines, "a" * 64)
    for content, message in (
        ("words", "is not JSON"),
        ("[1]", "lacks"),
        ('{"methods": {}}', "lacks"),
        ('{"methods": {"model": {"title": "model"}}}', "lacks 'metrics'"),
        (json.dumps(EVALUATION | {"weights_digest": "b" * 64}), "is about other weights"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_report(path, "--evaluation", evaluation_lines, "a" * 64)
    path.write_text(json.dumps(EVALUATION))
    assert read_report(path, "--evaluation", evaluation_lines, "a" * 64) == EVALUATION
    with pytest.raises(UserError, match="lacks 'lines'"):
        read_report(path, "--parity", parity_lines, "a" * 64)
