"""Videos: translated frames with their times and sound, what is broken in the middle, and what is refused whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed (the extra video)")

from export.edge.errors import UserError  # noqa: E402
from export.edge.model.artifact import open_artifact  # noqa: E402
from export.edge.pictures.files import save_picture  # noqa: E402
from export.edge.translate import translate  # noqa: E402
from export.video import main  # noqa: E402
from export.video_file import EXACT  # noqa: E402
from tests.export.films import write_film  # noqa: E402
from tests.export.graphs import photo  # noqa: E402
from tests.export.test_photo_graph import write_model  # noqa: E402


@pytest.fixture
def model(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return once("photo_model", lambda folder: write_model(folder, {})) / "onnx/model.onnx"


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24", interpolation=EXACT) for frame in film.decode(video=0)])


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as film:
        return [bytes(packet) for packet in film.demux(audio=0) if packet.size]


def like(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two pictures are the same but for what the encoder loses: grain, and the colours of single pixels."""
    difference = found.astype(float) - wanted
    return bool(np.abs(difference).mean() < 6 and np.abs(difference.mean(axis=(0, 1))).max() < 1.5)


def moving(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [np.roll(photo(height, width), 3 * place, axis=1) for place in range(count)]


def test_frames_times_and_sound(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_film(tmp_path / "in.mkv", moving(6), times=[0, 1, 2, 5, 6, 9]), tmp_path / "out.mp4"
    main([str(model), str(source), str(out), "--smoothing", "0"])
    assert capsys.readouterr().out.startswith(f"{out}: 6 frames in ")
    opened, made = open_artifact(model), frames(out)
    for found, given in zip(made, frames(source), strict=True):
        assert like(found, translate(opened, given)) and not like(found, given)
    with av.open(str(out)) as film:
        assert [round(10 * frame.time) for frame in film.decode(video=0)] == [0, 1, 2, 5, 6, 9]
    assert sound(out) == sound(source) != []
    main([str(model), str(source), str(tmp_path / "mute.webm"), "--no-sound"])
    with av.open(str(tmp_path / "mute.webm")) as film:
        assert [stream.type for stream in film.streams] == ["video"]
    assert len(frames(tmp_path / "mute.webm")) == 6


def test_a_still_scene_stays_still(model: Path, tmp_path: Path) -> None:
    source, out = write_film(tmp_path / "in.mp4", [photo(48, 64)] * 12), tmp_path / "out.mp4"
    main([str(model), str(source), str(out)])
    change = np.abs(np.diff(frames(out).astype(float), axis=0))
    assert change.mean(axis=(1, 2, 3)).max() < 1.0


def test_odd_sides_become_even_and_turned_frames_upright(model: Path, tmp_path: Path) -> None:
    plain = write_film(tmp_path / "odd.mkv", moving(2, 41, 63), codec="ffv1", form="bgr0", sound=None)
    main([str(model), str(plain), str(tmp_path / "odd.mp4")])
    made = frames(tmp_path / "odd.mp4")
    assert made.shape == (2, 42, 64, 3)
    assert np.abs(made[:, :, -1].astype(int) - made[:, :, -2]).mean() < 5
    turned = write_film(tmp_path / "turned.mp4", moving(1), turned=90, sound=None)
    main([str(model), str(turned), str(tmp_path / "upright.mp4")])
    (made,) = frames(tmp_path / "upright.mp4")
    wanted = translate(open_artifact(model), np.ascontiguousarray(np.rot90(frames(turned)[0])))
    assert like(made, wanted) and not like(made, wanted[::-1, ::-1])


def test_a_broken_frame_is_left_out(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_film(tmp_path / "in.mp4", moving(8), codec="png", form="rgb24", sound=None)
    with av.open(str(source)) as film:
        packet = [packet for packet in film.demux(video=0) if packet.size][4]
        place, size = packet.pos, packet.size
    data = bytearray(source.read_bytes())
    data[place : place + size] = bytes(size)
    source.write_bytes(data)
    main([str(model), str(source), str(tmp_path / "out.mp4")])
    said = capsys.readouterr()
    assert "7 frames in" in said.out
    assert f"note: 1 frames of {source} cannot be read and are left out" in said.err
    assert len(frames(tmp_path / "out.mp4")) == 7


def test_what_is_no_video_leaves_nothing(model: Path, tmp_path: Path) -> None:
    whole = write_film(tmp_path / "whole.mp4", moving(3), codec="png", form="rgb24")
    (tmp_path / "text.mp4").write_text("no video, " * 100)
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{whole}\n#EXT-X-ENDLIST\n")
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:3000])
    with av.open(str(tmp_path / "tone.mkv"), "w") as film, av.open(str(whole)) as other:
        tone = film.add_stream_from_template(other.streams.audio[0])
        for packet in other.demux(audio=0):
            if packet.dts is not None:
                packet.stream = tone
                film.mux(packet)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as film:
        for packet in film.demux(video=0):
            if packet.size:
                data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    (tmp_path / "dead.mp4").write_bytes(data)
    out = tmp_path / "out.mp4"
    out.write_text("of before")
    before = sorted(tmp_path.iterdir())
    for name, message in {
        "text.mp4": r"text\.mp4 cannot be read \(",
        "list.m3u8": r"list\.m3u8 cannot be read \(",
        "cut.mp4": r"cut\.mp4 cannot be read \(",
        "tone.mkv": r"tone\.mkv has no pictures",
        "dead.mp4": r"dead\.mp4 has no frame that can be read",
        "none.mp4": r"none\.mp4 does not exist",
    }.items():
        with pytest.raises(UserError, match=message):
            main([str(model), str(tmp_path / name), str(out)])
    assert sorted(tmp_path.iterdir()) == before and out.read_text() == "of before"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{d}/in.mp4", "{d}/out.gif"], r"out\.gif: \.gif suffix is not known; use \.mp4"),
        (["{d}/in.mp4", "{d}/in.mp4"], "is the video itself"),
        (["{d}/in.mp4", "{d}/none/out.mp4"], "does not exist; create it"),
        (["{d}/in.mp4", "{d}/out.mp4", "--smoothing", "-1"], "--smoothing -1.0 is outside 0"),
        (["{d}/in.mp4", "{d}/out.mp4", "--smoothing", "nan"], "--smoothing nan is outside 0"),
        (["{d}/in.mp4", "{d}/out.mp4", "--seed", "-1"], "--seed -1 is outside"),
        (["{d}/in.mp4", "{d}/out.mp4", "--threads", "0"], "--threads 0 is less than 1"),
        (["{d}/in.mp4", "{d}/out.mp4", "--steps", "1000"], "steps 1000"),
        (["{d}/in.mp4", "{d}/out.webm"], "sound of the kind aac cannot be copied into webm .*--no-sound"),
    ],
)
def test_what_the_command_refuses(words: list[str], message: str, model: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "in.mp4", moving(2))
    before = (tmp_path / "in.mp4").read_bytes()
    with pytest.raises(UserError, match=message):
        main([str(model), *(word.format(d=tmp_path) for word in words)])
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    assert (tmp_path / "in.mp4").read_bytes() == before


def test_a_picture_is_no_video(model: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", photo(48, 64))
    with pytest.raises(UserError, match=r"photo\.png cannot be read"):
        main([str(model), str(tmp_path / "photo.png"), str(tmp_path / "out.mp4")])
