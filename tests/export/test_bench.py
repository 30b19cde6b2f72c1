"""The benchmark runs what it says it runs, and its table says what was measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from export import bench, timed
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.pictures.files import open_picture, save_picture
from export.edge.translate import Options, translate
from export.probes import paint_probe


@pytest.fixture(scope="module")
def artifact(make_artifact: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact with float32 alone, of which each line takes a process."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(make_artifact("unet") / "artifact", folder, dirs_exist_ok=True)
    for variant in ("model_fp16.onnx", "model_int8.onnx"):
        (folder / "onnx" / variant).unlink(missing_ok=True)
    return folder


def test_every_line_is_measured_and_written(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "LARGE", (120, 90))
    output = tmp_path / "bench.json"
    words = ["--threads", "1", "--steps", "2", "--rounds", "1", "--pictures", "2", "--no-original"]
    bench.main([str(artifact), *words, "--output", str(output)])
    found = json.loads(output.read_text())
    assert [(line["engine"], line["threads"], line["steps"]) for line in found["lines"]] == [
        ("edge", 1, 2),
        ("torch", 1, 2),
    ]
    for line in found["lines"]:
        assert len(line["costs"]) == 2 and len(line["cold_s"]) == 1
        for cost in line["costs"]:
            # The bundle's sampler, ddpm, calls the network once a step.
            assert cost["network_ms"] == pytest.approx(2 * cost["step_ms"])
            assert 0.0 < cost["network_ms"] < cost["picture_ms"]
            assert cost["outside"] == pytest.approx(1 - cost["network_ms"] / cost["picture_ms"])
    # Without PyTorch a process holds less than with it.
    assert 20.0 < found["lines"][0]["peak_mb"] < found["lines"][1]["peak_mb"]
    said = capsys.readouterr().out
    assert "| fp32, model.onnx, 2 steps | 1 | 1.00 | 1.00 |" in said and "120 x 90 JPEG to JPEG" in said


@pytest.mark.parametrize("engine", timed.ENGINES)
def test_an_engine_draws_and_counts(engine: str, artifact: Path, tmp_path: Path) -> None:
    photo, drawn = tmp_path / "photo.png", tmp_path / "drawn.png"
    save_picture(photo, paint_probe(0, 24))
    model = artifact / ("onnx/model.onnx" if engine == "edge" else "model.safetensors")
    calls, seconds = timed.ENGINES[engine](model, 1, 3)(photo, drawn)
    assert calls == 3 and seconds > 0.0
    if engine == "original":
        assert open_picture(drawn).shape == (24, 24, 3)
        return
    wanted = translate(open_artifact(artifact / "onnx/model.onnx"), paint_probe(0, 24), Options(3)).astype(int)
    assert abs(open_picture(drawn).astype(int) - wanted).max() <= 1


def test_ratios_are_to_float32_with_as_many_threads(artifact: Path) -> None:
    def line(engine: str, threads: int, ms: float) -> bench.Line:
        cost = {"network_ms": 2 * ms, "step_ms": ms, "picture_ms": 4 * ms, "outside": 0.5}
        return bench.Line(engine, "edge", artifact / "onnx/model.onnx", threads, 2, [cost], [0.25], 90.0)

    rows = bench.cost_table([line("a", 1, 10.0), line("b", 1, 20.0), line("a", 2, 5.0), line("b", 2, 2.0)])
    assert [row.split(" | ")[2:4] for row in rows[2:]] == [
        ["1.00", "1.00"],
        ["2.00", "2.00"],
        ["1.00", "1.00"],
        ["0.40", "0.40"],
    ]
    assert "| 20.0 | 80 | 50 % | 0.25 | 90 |" in rows[3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere has no onnx/model.onnx"),
        (["{}", "--threads", "0"], "must each be at least 1"),
        (["{}", "--steps", "0"], r"steps 0 is outside 1"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, artifact: Path) -> None:
    with pytest.raises(UserError, match=said):
        bench.main([word.format(artifact) for word in words])
