"""Videos as files, through PyAV: frames as arrays, upright and in RGB, translated and encoded; sound as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from export.edge.disk.files import atomic_file, check_input_file
from export.edge.errors import UserError
from export.edge.model import likeness
from export.edge.model.artifact import Artifact
from export.edge.pictures.arrays import resize
from export.edge.progress import Progress
from export.edge.steady import Seen, Steady, translate_frame

QUALITY = {"libx264": {"crf": "18"}, "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"}}
READABLE = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,gif,h264,hevc,ivf,y4m,yuv4mpegpipe"
)
"""What FFmpeg may read: no playlists, which name other files, and no texts, which it would show as pictures."""
EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without these, pictures that are read are darker by a level."""
SPACES = {
    **dict.fromkeys((5, 6), Colorspace.ITU601),
    **dict.fromkeys((9, 10), Colorspace.BT2020),
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
}
"""How colours are stored, by the codes of ITU-T H.273, table 4."""
LARGE = 720
"""Rows from which on a video that does not say so has the colours of ITU-R BT.709; a smaller one those of BT.601."""
HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions for a higher range of brightness (ITU-T H.273, table 3)."""
_USUAL_RATE = 25


@dataclass
class Film:
    """A video that is read, and what became of it so far."""

    path: Path
    container: Any
    pictures: Any
    """Its stream of pictures."""
    sounds: Sequence[Any]
    lost: int = 0
    """Frames that could not be read."""
    ending: str = ""
    """Why it ended before its end."""

    @property
    def rate(self) -> Any:
        """Frames a second, a fraction."""
        return self.pictures.average_rate or _USUAL_RATE

    @property
    def expected(self) -> int:
        """How many frames there seem to be; 0 where nothing says so."""
        length = self.container.duration or 0
        return self.pictures.frames or int(length / av.time_base * self.rate)


@contextlib.contextmanager
def opened(path: Path, sound: bool = True) -> Iterator[Film]:
    """The video in a file. Raises UserError for a file that is missing, is no video or has no pictures."""
    check_input_file(path, "video")
    limits = {"format_whitelist": READABLE, "protocol_whitelist": "file"}
    with refusing(f"video {path} cannot be read", "give a whole MP4, MOV, MKV, WebM or AVI file"):
        container = av.open(f"file:{path}", options=limits)
    with container:
        shown = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not shown:
            raise UserError(f"video {path} has no pictures; give a file that has, not sound alone")
        shown[0].thread_type = "AUTO"
        yield Film(path, container, shown[0], container.streams.audio if sound else ())


@contextlib.contextmanager
def refusing(what: str, remedy: str, *also: type[Exception]) -> Iterator[None]:
    """Turn errors of FFmpeg, and others that are named, into a UserError of one line."""
    try:
        yield
    except (av.error.FFmpegError, *also) as error:
        raise UserError(f"{what} ({getattr(error, 'strerror', None) or error}); {remedy}") from error


def parts(film: Film) -> Iterator[Any]:
    """The frames of a video and the packets of its sound, in the order in which they are stored.

    What cannot be decoded is counted and left out.
    """
    packets = film.container.demux(film.pictures, *film.sounds)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            film.ending = error.strerror or str(error)
            packet = None
        if packet is None:
            return
        if packet.stream is not film.pictures:
            yield packet
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            film.lost += 1
            continue
        whole = [frame for frame in frames if not frame.is_corrupt]
        film.lost += len(frames) - len(whole)
        yield from whole


def upright(frame: av.VideoFrame) -> np.ndarray:
    """The picture of a frame, uint8 (height, width, 3), turned as it is to be shown."""
    pixels = frame.to_ndarray(format="rgb24", src_colorspace=space(frame), interpolation=EXACT)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def space(frame: av.VideoFrame) -> Colorspace:
    """How the colours of a frame are stored."""
    usual = Colorspace.ITU709 if frame.height >= LARGE else Colorspace.ITU601
    return SPACES.get(frame.colorspace, usual)


class Writer:
    """A video that is written. Its first picture says how large it is, so it begins with that."""

    def __init__(self, container: Any, codec: str, film: Film) -> None:
        self.container, self.codec, self.film = container, codec, film
        self.pictures: Any = None
        self.sounds: dict[int, Any] = {}
        self.waiting: list[Any] = []
        self.last = -1
        self.count = 0

    def add_sound(self, packet: Any) -> None:
        """A packet of sound, as it is."""
        if self.pictures is None:
            self.waiting.append(packet)
        elif packet.dts is not None:
            packet.stream = self.sounds[packet.stream.index]
            self.container.mux(packet)

    def add_picture(self, pixels: np.ndarray, like: av.VideoFrame) -> None:
        """A picture, uint8 (height, width, 3), with the time of a frame, or later where that is not after the last."""
        stream = self.pictures or self._begin(pixels, like)
        below, right = stream.height - pixels.shape[0], stream.width - pixels.shape[1]
        pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=space(like), dst_color_range=ColorRange.MPEG)
        step = max(1, round(1 / (self.film.rate * self.film.pictures.time_base)))
        self.last = max(self.last + 1, self.last + step if like.pts is None else like.pts)
        frame.pts, frame.time_base = self.last, self.film.pictures.time_base
        self.container.mux(stream.encode(frame))
        self.count += 1

    def _begin(self, pixels: np.ndarray, like: av.VideoFrame) -> Any:
        """Open the streams; that of the pictures."""
        film = self.film
        stream = self.container.add_stream(self.codec, rate=film.rate, options=QUALITY[self.codec])
        # Encoders need even sides.
        stream.height, stream.width = (side + side % 2 for side in pixels.shape[:2])
        stream.pix_fmt, context = "yuv420p", stream.codec_context
        context.time_base = film.pictures.time_base
        context.colorspace, context.color_range = space(like), ColorRange.MPEG
        context.color_primaries, context.color_trc = like.color_primaries, like.color_trc
        if film.pictures.sample_aspect_ratio is not None and like.rotation % 180 == 0:
            context.sample_aspect_ratio = film.pictures.sample_aspect_ratio
        for sound in film.sounds:
            what = f"sound of the kind {sound.codec_context.name} cannot be copied into {self.container.format.name}"
            with refusing(what, "write .mkv, or leave the sound out with --no-sound", ValueError):
                self.sounds[sound.index] = self.container.add_stream_from_template(sound)
        self.pictures = stream
        self.container.start_encoding()
        for packet in self.waiting:
            self.add_sound(packet)
        self.waiting.clear()
        return stream

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self.pictures is not None:
            self.container.mux(self.pictures.encode())


def translate_video(
    model: Artifact, film: Film, output: Path, form: tuple[str, str], how: Steady, progress: Progress
) -> int:
    """Translate a film into a file, which appears whole or not at all; the number of frames that it holds.

    form: the container and the encoder of its pictures, as FFmpeg calls them. Raises UserError for a film without a
    frame, and as `translate_frame` does.
    """
    kind, codec = form
    before: Seen | None = None
    sides = (0, 0)
    with atomic_file(output) as temporary:
        with (
            refusing(f"video {output} cannot be written", "choose another place or kind of file"),
            av.open(str(temporary), "w", format=kind) as container,
        ):
            writer = Writer(container, codec, film)
            progress.update(0, film.expected)
            for part in parts(film):
                if isinstance(part, av.Packet):
                    writer.add_sound(part)
                    continue
                picture = upright(part)
                if writer.count == 0:
                    sides = picture.shape[:2]
                    _remark(model, film, part, picture, progress)
                picture = resize(picture, *sides)  # A film may change its size.
                moment = writer.count / float(film.rate) if part.time is None else part.time
                made, before = translate_frame(model, picture, moment, before, how)
                writer.add_picture(made, part)
                progress.update(writer.count, max(writer.count, film.expected))
            writer.finish()
        if writer.count == 0:
            raise UserError(f"video {film.path} has no frame that can be read; give a whole copy of it")
    return writer.count


def _remark(model: Artifact, film: Film, frame: av.VideoFrame, picture: np.ndarray, progress: Progress) -> None:
    """Say what there is to say of a first frame."""
    if frame.color_trc in HDR:
        progress.say(
            f"note: {film.path.name} is HDR ({HDR[frame.color_trc]}), which is not converted: expect pale colours"
        )
    if note := likeness.describe(film.path.name, model.unlikeness(picture)):
        progress.say(f"note: {note}")
