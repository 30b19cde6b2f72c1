"""Bad input ends in one line, exit status 2, and leaves nothing half-written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import to_onnx
from export.edge import __main__ as edge
from export.edge.errors import run
from jax_impl import bundle, doctor, sample, train
from jax_impl.data.loader import load
from jax_impl.training.checkpoint import FOLDER, find_fault, list_checkpoints
from tests.end_to_end.test_whole_path import SMALL
from torch_ref import convert


def picture(path: Path, size: tuple[int, int] = (24, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 60).convert("RGB").save(path)
    return path


def huge_png(path: Path) -> None:
    """A header that promises 20,000 × 20,000 pixels in a file of a few bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )


def no_pairs(d: Path) -> None:
    (d / "data").mkdir()


def one_sided(d: Path) -> None:
    picture(d / "data/A/1.png")
    (d / "data/B").mkdir()


def truncated(d: Path) -> None:
    picture(d / "data/A/1.jpg", (200, 200))
    whole = picture(d / "data/B/1.jpg", (200, 200))
    whole.write_bytes(whole.read_bytes()[:3000])


def text_as_jpg(d: Path) -> None:
    picture(d / "data/A/1.jpg")
    (d / "data/B").mkdir()
    (d / "data/B/1.jpg").write_text("not a picture at all")


def bomb(d: Path) -> None:
    picture(d / "data/A/1.png")
    huge_png(d / "data/B/1.png")


def single_pixel(d: Path) -> None:
    picture(d / "data/A/1.png", (1, 1))
    picture(d / "data/B/1.png", (1, 1))


def empty_manifest(d: Path) -> None:
    (d / "data").mkdir()
    (d / "data/pairs.csv").write_text("")


def escaping_manifest(d: Path) -> None:
    picture(d / "outside.png")
    picture(d / "data/in.png")
    (d / "data/pairs.csv").write_text("source,target\nin.png,../outside.png\n")


@pytest.mark.parametrize(
    ("prepare", "part"),
    [
        (lambda d: None, "does not exist"),
        (no_pairs, "no pairs"),
        (one_sided, "1.png"),
        (truncated, "1.jpg"),
        (text_as_jpg, "1.jpg"),
        (bomb, "20000"),
        (single_pixel, "too small"),
        (empty_manifest, "pairs.csv"),
        (escaping_manifest, "outside"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_training_data(
    prepare: Callable[[Path], None], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    words = ["tiny", "--data.path", str(tmp_path / "data"), "--data.size", "32", "--output-dir", str(tmp_path / "run")]
    line = failing_line(lambda: train.main(words), capsys)
    assert part.lower() in line.lower()
    assert sorted(tmp_path.rglob("*")) == before


def failing_line(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a command that must end with status 2."""
    with pytest.raises(SystemExit) as exit_:
        run(main)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (train.main, ["tiny", "--data.size", "100"]),
        (train.main, ["--resume", "--output-dir", "{d}/none"]),
        (bundle.main, ["--run", "{d}/none", "--output", "{d}/m.safetensors"]),
        (sample.main, ["--run", "{d}/none", "--input", "{d}/p.png", "--output", "{d}/o.png"]),
        (to_onnx.main, ["{d}/none.safetensors", "--output", "{d}/artifact"]),
        (to_onnx.main, ["{d}/p.png", "--output", "{d}/artifact"]),
        (to_onnx.main, ["{d}/p.png", "--output", "{d}/no/such/artifact"]),
        (convert.main, ["{d}/p.png", "{d}/m.pth"]),
        (edge.main, ["{d}/none.onnx", "{d}/p.png", "{d}/o.png"]),
        (edge.main, ["{d}/p.png", "{d}/p.png", "{d}/o.png"]),
        (edge.main, ["{d}/p.png", "{d}/p.png", "{d}/no/o.png"]),
        (edge.main, ["{d}/p.png", "{d}/p.png", "{d}/o.png", "--steps", "0"]),
        (doctor.main, ["{d}/none"]),
    ],
)
def test_commands(
    main: Callable[[list[str]], None], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "p.png")
    before = sorted(tmp_path.rglob("*"))
    failing_line(lambda: main([word.format(d=tmp_path) for word in words]), capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_sizes_that_are_no_multiple_of_anything_are_handled(tmp_path: Path) -> None:
    for i, size in enumerate([(33, 47), (101, 19), (50, 50)]):
        picture(tmp_path / f"data/A/{i}.png", size)
        picture(tmp_path / f"data/B/{i}.png", size)
    pairs = load(train.parse(["tiny", "--data.path", str(tmp_path / "data"), "--data.size", "32"]).data, "train")
    assert pairs.cond.shape[1:] == (32, 32, 3)
    assert pairs.cond.dtype == np.uint8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where the system lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs privileges that this user lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_while_saving(small_disk: Path) -> None:
    words = [
        *("tiny", *SMALL, "--data.synthetic-pairs", "8", "--data.synthetic-val-pairs", "2", "--train.epochs", "9"),
        *("--train.checkpoint-every", "1", "--train.keep-checkpoints", "99", "--train.sample-every", "0"),
    ]
    command = [sys.executable, "-m", "jax_impl.train", *words, "--output-dir", str(small_disk / "run")]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    run = small_disk / "run"
    (run / "training_loss.png").unlink(missing_ok=True)
    found = list_checkpoints(run)
    assert found, "the checkpoints from before the disk was full are gone"
    assert [find_fault(one) for one in found] == [None] * len(found)
    there = {path.name for path in (run / FOLDER).iterdir()}
    assert there == {name for one in found for name in (one.folder.name, one.manifest.name)}
