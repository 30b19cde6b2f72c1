"""A whole translation in one graph makes the pictures of `export.edge`, in onnxruntime and onnxruntime-web."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from export import photo_graph, publish, sampler_graph, verify
from export.edge.__main__ import main as edge
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.metadata import LATER_KEYS
from export.edge.model.photo import open_photo_graph
from export.edge.model.sealed import seal
from export.edge.pictures.arrays import FITS
from export.edge.pictures.files import open_picture, save_picture
from export.edge.sampling.noise import normal
from export.edge.translate import Options, translate
from tests.edge.conftest import SLIDER, graph, metadata
from tests.export.graphs import SHAPES, photo

Once = Callable[[str, Callable[[Path], object]], Path]


def write_model(folder: Path, changes: Mapping[str, str | None]) -> None:
    """The model of tests/edge with these changes of its metadata, and its photo.onnx, in the folder `onnx`."""
    (folder / "onnx").mkdir()
    model = graph()
    held = {key: value for key, value in (metadata(**LATER_KEYS) | dict(changes)).items() if value is not None}
    onnx.helper.set_model_props(model, held)
    publish.write(folder / "onnx/model.onnx", model)
    publish.write(folder / "onnx/photo.onnx", photo_graph.build(sampler_graph.build(model)))


@pytest.fixture(scope="module")
def model(once: Once) -> Path:
    """An artifact folder, which nobody may change."""
    return once("photo_model", lambda folder: write_model(folder, {}))


@pytest.fixture(scope="module")
def session(model: Path) -> onnxruntime.InferenceSession:
    """Its photo.onnx as a stranger opens it."""
    return onnxruntime.InferenceSession(model / "onnx/photo.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("fit", FITS)
def test_it_makes_the_pictures_of_the_edge(fit: str, tmp_path: Path) -> None:
    changes = {"fit": fit, "threshold": "0.9", "sampler": "dpmpp", "spacing": "logsnr"}
    write_model(tmp_path, changes if fit == "letterbox" else {"fit": fit})
    made, wanted = open_photo_graph(tmp_path, 1), open_artifact(tmp_path, 1)
    for height, width in SHAPES:
        picture = photo(height, width)
        found = made.translate(picture).astype(int)
        assert np.abs(found - translate(wanted, picture)).max() <= 2, f"{height} x {width}"
        assert height * width < 9 or np.abs(found - picture).mean() > 5


def test_realism_is_an_input_where_the_model_has_a_slider(tmp_path: Path) -> None:
    write_model(tmp_path, SLIDER)
    made, wanted, picture = open_photo_graph(tmp_path, 1), open_artifact(tmp_path, 1), photo(50, 70)
    assert made.slider and publish.photo_difference(tmp_path, "fp32", [picture]) <= 2
    found = {realism: made.translate(picture, realism=realism).astype(int) for realism in (None, 0.0, 0.4, 1.0)}
    for realism, one in found.items():
        assert np.abs(one - translate(wanted, picture, Options(realism=realism))).max() <= 2
    np.testing.assert_array_equal(found[None], found[1.0])
    assert np.abs(found[0.0] - found[1.0]).mean() > 2
    save_picture(tmp_path / "photo.png", picture)
    words = [str(tmp_path), str(tmp_path / "photo.png"), str(tmp_path / "out.png"), "--graph", "--realism"]
    edge([*words, "0.4"])
    np.testing.assert_array_equal(open_picture(tmp_path / "out.png"), found[0.4])
    with pytest.raises(UserError, match="realism 2 is outside"):
        edge([*words, "2"])


def test_a_realism_without_a_slider_is_refused(model: Path) -> None:
    with pytest.raises(UserError, match="needs a model that was trained with"):
        open_photo_graph(model, 1).translate(photo(9, 9), realism=0.5)


def test_noise_is_that_of_seed_0_or_what_is_given(model: Path) -> None:
    picture = photo(150, 200)
    made, wanted = open_photo_graph(model, 1), open_artifact(model, 1)
    pictures = [made.translate(picture, seed) for seed in (0, 5, 2**64 - 1)]
    for seed, found in zip((0, 5, 2**64 - 1), pictures, strict=True):
        assert np.abs(found.astype(int) - translate(wanted, picture, seed=seed)).max() <= 2
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 2
    # More numbers than are needed are passed over, the first ones count.
    long = made.session.run(None, {"photo": picture, "noise": normal(5, 0, (10**5,))})[0]
    np.testing.assert_array_equal(long, pictures[1])


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (np.zeros((0, 5, 3), np.uint8), 0),
        (np.zeros((5, 0, 3), np.uint8), 0),
        (np.zeros((5, 5, 4), np.uint8), 0),
        (np.zeros((5, 5), np.uint8), 0),
        (np.zeros((5, 5, 3), np.float32), 0),
        (np.zeros((5, 5, 3), np.uint8), 7),
    ],
    ids=["no rows", "no columns", "four channels", "grey", "floats", "too little noise"],
)
def test_what_it_cannot_take_is_an_error(
    given: np.ndarray, numbers: int, session: onnxruntime.InferenceSession
) -> None:
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        session.run(None, {"photo": given, "noise": np.zeros(numbers, np.float32)})
    # And the session goes on.
    assert session.run(None, {"photo": photo(9, 7), "noise": np.zeros(0, np.float32)})[0].shape == (9, 7, 3)


def test_it_stands_alone_and_old_runtimes_read_it(model: Path) -> None:
    made = onnx.load(model / "onnx/photo.onnx")
    assert made.ir_version <= 10  # onnxruntime 1.18
    assert [(o.domain, o.version <= 18) for o in made.opset_import] == [("", True)]
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*made.graph.input, *made.graph.output)
    }
    assert shapes == {"photo": ["height", "width", 3], "noise": ["numbers"], "picture": ["height", "width", 3]}
    # onnxruntime-web overrides no defaults: nothing that is given has one.
    assert not {value.name for value in made.graph.input} & {tensor.name for tensor in made.graph.initializer}
    held = {entry.key: entry.value for entry in made.metadata_props}
    assert (held["format"], held["detail"], held["steps"]) == ("dawn2dusk-photo", "transfer", "4")
    assert held["reduction"].startswith("lanczos3")
    # A square of 32 pixels, and eight times as many for the widest photo, each three numbers.
    noise = 4 * 3 * 8 * 32 * 32
    assert len(made.SerializeToString()) < noise + len(onnx.load(model / "onnx/model.onnx").SerializeToString()) + 2**18


def test_the_reference_evaluator_makes_the_same(tmp_path: Path) -> None:
    """That of the onnx package, which shares no code with onnxruntime; for a small photo and a smaller one."""
    write_model(tmp_path, {"size": "8", "steps": "1"})
    evaluator = ReferenceEvaluator(str(tmp_path / "onnx/photo.onnx"))
    for picture in (photo(20, 30), photo(5, 4)):
        (found,) = evaluator.run(None, {"photo": picture, "noise": np.zeros(0, np.float32)})
        assert np.abs(np.asarray(found).astype(int) - translate(open_artifact(tmp_path), picture)).max() <= 2


def test_it_has_codecs_other_networks_and_their_variants(two_networks: Path) -> None:
    folder = two_networks / "artifact"
    assert (folder / "onnx/photo.onnx").is_file()
    for path in (folder / "onnx").glob("*.onnx"):
        made = onnx.load(path)
        names = [value.name for value in (*made.graph.input, *made.graph.output)]
        assert [name for name in names if name not in made.doc_string] == [], path.name
    picture = photo(90, 70)
    made, wanted = open_photo_graph(folder, 1), open_artifact(folder, 1)
    options = Options(made.steps, made.sampler)
    for seed in (0, 3):
        found = made.translate(picture, seed).astype(int)
        assert np.abs(found - translate(wanted, picture, options, seed=seed)).max() <= 2


def test_the_command_translates_by_it(model: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", photo(77, 130))
    for name, words in (("a", []), ("b", ["--graph"])):
        edge([str(model), str(tmp_path / "photo.png"), str(tmp_path / f"{name}.png"), "--seed", "3", *words])
    first, second = (open_picture(tmp_path / f"{name}.png").astype(int) for name in "ab")
    assert np.abs(first - second).max() <= 2
    (tmp_path / "photos").mkdir()
    shutil.copy(tmp_path / "photo.png", tmp_path / "photos")
    edge([str(model / "onnx/photo.onnx"), str(tmp_path / "photos"), str(tmp_path / "sunsets"), "--graph"])
    assert [path.name for path in (tmp_path / "sunsets").iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "3"], r"--steps 3 cannot be had with --graph"),
        (["--detail", "enlarge"], r"--detail enlarge cannot be had with --graph"),
        (["--film", "a.gif"], r"--film a\.gif cannot be had with --graph"),
        (["--tile"], r"--tile own cannot be had with --graph"),
        (["--variant", "int8"], r"no onnx/photo_int8\.onnx for --graph: it has fp32; .* --photo int8"),
    ],
)
def test_what_the_command_refuses(words: list[str], message: str, model: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", photo(9, 7))
    with pytest.raises(UserError, match=message):
        edge([str(model), str(tmp_path / "photo.png"), str(tmp_path / "out.png"), "--graph", *words])
    assert not (tmp_path / "out.png").exists()


def test_another_file_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has the format 'dawn2dusk 1', expected dawn2dusk-photo 1; .* leave out --graph"
    ):
        open_photo_graph(model / "onnx/model.onnx")
    with pytest.raises(UserError, match=r"or a file photo.*with --graph"):
        open_artifact(model / "onnx/photo.onnx")
    made = onnx.load(model / "onnx/photo.onnx")
    for entry in made.metadata_props:
        if entry.key == "size":
            entry.value = "-3"
    (tmp_path / "photo.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(UserError, match="damaged"):
        open_photo_graph(tmp_path / "photo.onnx")
    seal(tmp_path / "photo.onnx")
    with pytest.raises(UserError, match="lacks or mangles metadata"):
        open_photo_graph(tmp_path / "photo.onnx")


def test_one_that_makes_other_pictures_is_found(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "artifact"))
    verify.check_photo_graphs(folder, 32)
    assert "photo.onnx: largest difference from export.edge" in capsys.readouterr().out
    monkeypatch.setattr(photo_graph, "start_noise", lambda seed, shape: normal(1, 0, shape))
    outcome = publish.publish_photo(folder / "onnx", "fp32", None, None, None, [photo(60, 80)])
    assert not outcome.published and "of 255 levels" in outcome.note
    assert not (folder / "onnx/photo.onnx").exists()
    none = publish.publish_photo(folder / "onnx", "int8", None, None, None, [])
    assert none.note == "there is no model_int8.onnx to put in it"
    publish.write(
        folder / "onnx/photo.onnx", photo_graph.build(sampler_graph.build(onnx.load(folder / "onnx/model.onnx")))
    )
    with pytest.raises(UserError, match="makes other pictures than"):
        verify.check_photo_graphs(folder, 32)


def test_memory_is_that_of_strips(model: Path, tmp_path: Path) -> None:
    """A photo of 12 megapixels, 36 MB, in a process of its own, takes less than seven times as much."""
    script = (
        "import sys, resource, numpy as np, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "run = lambda *s: session.run(None, {'photo': np.zeros((*s, 3), np.uint8), 'noise': np.zeros(0, np.float32)})\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run(40, 30); before = peak(); run(4000, 3000); print(peak() - before)\n"
    )
    words = [sys.executable, "-c", script, str(model / "onnx/photo.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 7 * 36_000
