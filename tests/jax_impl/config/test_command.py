"""Command lines made from dataclasses: what each kind of field reads, and mistakes in one line that names the flag."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from export.edge.errors import UserError
from export.edge.version import __version__
from jax_impl.config.command import read
from jax_impl.config.fields import ONE_WORD, POSITIONAL
from jax_impl.model.codec import CodecConfig, IdentityCodecConfig

NEEDED = {
    "train": [],
    "sample": ["--run", "a", "--input", "b", "--output", "c"],
    "evaluate": ["--output-dir", "a"],
    "bundle": ["--run", "a", "--output", "b"],
    "doctor": ["a"],
    "prepare": ["a"],
    "bench.training": [],
    "bench.loader": [],
}
"""What each command needs before it can find the mistake."""
FLAG = {
    **dict.fromkeys(NEEDED, "--size"),
    "train": "--train.epochs",
    "sample": "--steps",
    "evaluate": "--data.size",
    "bundle": "--ema-decay",
    "bench.training": "--rounds",
}
"""One flag of each that takes a number."""


def run(name: str, *words: str) -> None:
    importlib.import_module(f"jax_impl.{name}").main([*NEEDED[name], *words])


@pytest.mark.parametrize("name", NEEDED)
def test_a_misspelt_flag_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = FLAG[name] + "z"
    with pytest.raises(UserError) as error:
        run(name, wrong, "3")
    message = str(error.value)
    assert wrong in message and "--help" in message and not set("│╭─\n") & set(message)
    assert f"did you mean {FLAG[name]}?" in message
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", NEEDED)
def test_a_wrong_value_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as error:
        run(name, FLAG[name], "many")
    message = str(error.value)
    assert FLAG[name] in message and "many" in message and not set("│╭─\n") & set(message)
    assert capsys.readouterr() == ("", "")


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UserError, match="missing: --input; unrecognized: --inptu b; did you mean --input"):
        importlib.import_module("jax_impl.sample").main(["--run", "a", "--output", "c", "--inptu", "b"])


@pytest.mark.parametrize("name", NEEDED)
def test_the_version_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        run(name, "--version")
    assert leave.value.code == 0
    assert capsys.readouterr() == (f"dawn2dusk {__version__}\n", "")


@dataclass(frozen=True)
class Part:
    """A part."""

    share: float = 0.5
    """Share of the whole, 0 to 1."""
    on: bool = False
    """Whether 100 % of it is on."""

    def __post_init__(self) -> None:
        if self.share > 1.0:
            raise UserError(f"share is {self.share}: choose 0 to 1")


@dataclass(frozen=True)
class Base:
    """What others have too."""

    place: str = "here"
    """Text of the base class."""
    size: int | None = None
    """Side, pixels."""


@dataclass(frozen=True)
class Args(Base):
    """Every kind of field."""

    place: str = field(default="there", metadata={POSITIONAL: "PLACE"})
    """Name of a place."""
    output: Path = Path("out")
    """File to write."""
    way: Literal["up", "down"] = "up"
    """Direction of the search."""
    levels: tuple[int, ...] = (1, 2)
    """Numbers of the levels."""
    quick: bool = False
    """Search less."""
    codec: CodecConfig = field(default_factory=IdentityCodecConfig, metadata=ONE_WORD)
    """Codec of the search."""
    part: Part = field(default_factory=Part)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("", {}),
        ("--size 8 yonder", {"size": 8, "place": "yonder"}),
        ("yonder --size None", {"place": "yonder"}),
        ("--output=a=b", {"output": Path("a=b")}),
        ("--way down --levels -1 3 --quick", {"way": "down", "levels": (-1, 3), "quick": True}),
        ("--levels", {"levels": ()}),
        ("--codec identity", {}),
        ("--part.share 1 --part.on", {"part": Part(1.0, on=True)}),
        ("--part.on --part.no-on", {}),
    ],
    ids=range(9),
)
def test_each_kind_of_field_reads_its_words(words: str, changes: dict[str, object]) -> None:
    assert read(Args, words.split(), "program") == replace(Args(), **changes)


def test_flags_that_are_left_out_keep_the_values_of_the_default() -> None:
    default = Args(size=3, levels=(), part=Part(0.25, on=True))
    found = read(Args, ["--part.share", "0.125"], "program", default=default)
    assert found == replace(default, part=Part(0.125, on=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size 1.5", "--size: '1.5' is not a whole number; see `program --help`"),
        ("--size", "--size: expected one argument"),
        ("--way left", "--way: 'left' is unknown; choose one of up, down; see"),
        ("--no-quick", "unrecognized: --no-quick; did you mean --quick"),
        ("--part=3", r"unrecognized: --part=3; did you mean --part.on\?"),
        ("a --part.shar 1", r"unrecognized: --part.shar 1; did you mean --part.share\?"),
        ("--part.share 2", "share is 2.0: choose 0 to 1"),
        ("a b", "unrecognized: b"),
        ("--codec none", "codec.codec is 'none': choose one of identity"),
    ],
    ids=range(9),
)
def test_a_mistake_names_what_to_type(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(Args, words.split(), "program")


def test_the_help_is_what_stands_below_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        read(Args, ["--help"], "program")
    assert leave.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "PLACE Name of a place. (default: there)" in words and "Text of the base class" not in words
    assert "--size INT Side, pixels." in words
    assert "--levels [INT ...] Numbers of the levels. (default: 1 2)" in words
    assert "--part.on, --part.no-on Whether 100 % of it is on." in words
    assert "Every kind of field." in words and "part: A part." in words


def test_a_field_that_no_flag_can_have_is_named() -> None:
    wrong = make_dataclass("Wrong", [("table", dict, field(default_factory=dict))])
    with pytest.raises(UserError, match="--table is of type <class 'dict'>"):
        read(wrong, [], "program")
