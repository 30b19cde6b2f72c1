"""networks.json: what it says is used, what an older folder lacks is known, what is hostile is refused in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.edge.errors import UserError
from export.edge.model.layout import DENOISER, NETWORKS_FILE, model_file, networks, ours, variants, write_networks
from export.edge.model.variants import VARIANTS, Variant

EXACT = {"file": "model.onnx", "bar_db": None, "description": "float32"}


def write(folder: Path, value: Any) -> None:
    (folder / NETWORKS_FILE).write_text(value if isinstance(value, str) else json.dumps(value))


def test_a_variant_that_no_program_knows_is_read_from_the_folder(tmp_path: Path) -> None:
    own = Variant("model_mine.onnx", 12.5, "of my own")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model_mine.onnx").write_bytes(b"")
    (tmp_path / "onnx/model_int8.onnx").write_bytes(b"")  # Not named, so it is no variant of this artifact.
    held = {DENOISER: {"fp32": VARIANTS["fp32"], "mine": own}, "mean": {"fp32": Variant("mean.onnx", None, "")}}
    write_networks(tmp_path, held)
    assert networks(tmp_path) == held
    assert variants(tmp_path) == {"mine": tmp_path / "onnx/model_mine.onnx"}
    assert model_file(tmp_path, "mine").name == "model_mine.onnx"
    assert {"onnx/model_mine.onnx", "onnx/mean.onnx", "onnx/model_int8.onnx", "config.json"} <= set(ours(tmp_path))
    with pytest.raises(UserError, match="has no variant fp32: it has mine"):
        model_file(tmp_path)


def test_a_folder_without_the_file_may_hold_the_three_of_old(tmp_path: Path) -> None:
    assert {name: variant.file for name, variant in networks(tmp_path)[DENOISER].items()} == {
        "fp32": "model.onnx",
        "fp16": "model_fp16.onnx",
        "int8": "model_int8.onnx",
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mine", EXACT | {"file": "../x.onnx"}, r"variant is '\.\./x\.onnx'"),
        ("mine", EXACT | {"file": "/etc/x.onnx"}, "variant is '/etc/x.onnx'"),
        ("mine", EXACT | {"file": "a\\b.onnx"}, "variant is"),
        ("mine", EXACT | {"file": "model.onnx\n"}, "variant is"),
        ("mine", EXACT | {"file": ".onnx"}, "variant is"),
        ("mine", EXACT | {"file": "model.pickle"}, "variant is 'model.pickle'"),
        ("mine", EXACT | {"file": 200 * "x" + ".onnx"}, "of at most 100 letters"),
        ("mine", EXACT | {"file": ["model.onnx"]}, "variant is"),
        ("mine", EXACT | {"file": "Model.onnx"}, "would name a file twice"),
        ("mine", EXACT | {"file": "sampler.onnx"}, r"would name a file twice, sampler\.onnx"),
        (
            "mine",
            EXACT | {"file": "Photo_mine.onnx"},
            r"would name a file twice, sampler\.onnx, sampler_unrolled\.onnx, photo\*\.onnx",
        ),
        ("mine", EXACT | {"file": "a.onnx", "bar_db": "45"}, r"bar of a\.onnx is '45'"),
        ("mine", EXACT | {"file": "a.onnx", "bar_db": True}, r"bar of a\.onnx is True"),
        ("mine", EXACT | {"file": "a.onnx", "description": 500 * "x"}, "at most 100 characters"),
        ("mine", {"file": "a.onnx"}, "'bar_db'"),
        ("mine", "a.onnx", "names no networks as an export does"),
        ("../mine", EXACT | {"file": "a.onnx"}, r"it has the name '\.\./mine'"),
        ("", EXACT | {"file": "a.onnx"}, "it has the name ''"),
        (200 * "x", EXACT | {"file": "a.onnx"}, "it has the name"),
    ],
)
def test_what_is_hostile_is_one_line(name: str, value: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"networks": {DENOISER: {"fp32": EXACT, name: value}}})
    for use in (networks, ours, variants, model_file):
        with pytest.raises(UserError, match=message) as error:
            use(tmp_path)
        assert NETWORKS_FILE in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "value",
    [
        "",
        "[]",
        "{}",
        '{"networks": []}',
        '{"networks": {"denoiser": {}}}',
        '{"networks": {"denoiser": 3}}',
        "\0",
        "[" * 9**6,
    ],
    ids=["empty", "list", "nothing", "no object", "no variant", "number", "control", "deep"],
)
def test_what_is_no_description_is_one_line(value: str, tmp_path: Path) -> None:
    write(tmp_path, value)
    with pytest.raises(UserError, match=f"{NETWORKS_FILE} names no"):
        networks(tmp_path)
