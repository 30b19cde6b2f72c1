"""Mistakes on the command lines of JAX: one line that names the flag, with tyro's errors as data and without."""

from __future__ import annotations

import importlib

import pytest

from export.edge.errors import UserError
from export.edge.version import __version__
from jax_impl.config import command

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


@pytest.fixture(params=["data", "text"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the message comes from: tyro's data, or the text it prints where a version offers none."""
    if request.param == "text":
        monkeypatch.setattr(command, "on_parse_error", None)
    return request.param


@pytest.mark.parametrize("name", NEEDED)
def test_a_misspelt_flag_is_one_line(name: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = FLAG[name] + "z"
    with pytest.raises(UserError) as error:
        run(name, wrong, "3")
    message = str(error.value)
    assert wrong in message and "--help" in message and not set("│╭─\n") & set(message)
    assert f"did you mean {FLAG[name]}?" in message or source == "text"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", NEEDED)
def test_a_wrong_value_is_one_line(name: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as error:
        run(name, FLAG[name], "many")
    message = str(error.value)
    assert FLAG[name] in message and "many" in message and not set("│╭─\n") & set(message)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("source")
def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UserError, match="--input"):
        importlib.import_module("jax_impl.sample").main(["--run", "a", "--output", "c"])


@pytest.mark.parametrize("name", NEEDED)
def test_the_version_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        run(name, "--version")
    assert leave.value.code == 0
    assert capsys.readouterr() == (f"dawn2dusk {__version__}\n", "")
