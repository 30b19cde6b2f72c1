"""Numbers that measure nothing are refused by every tool, in one line, before anything is done."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from export.edge.errors import UserError, run

BUNDLE = ("--bundle", "none.safetensors")
OUTPUT = ("--output", "out")
QUALITY = ("seed", "--data", "none", "--size", "64", "--seconds", "1", "--batch", "4", *OUTPUT)


@pytest.mark.parametrize(
    ("tool", "words", "refused"),
    [
        ("speed", (), "--rounds 0"),
        ("speed", (), "--repeats -1"),
        ("speed", (), "--threads -1"),
        ("speed", (), "--large 0 300"),
        ("ablation", ("none", *OUTPUT), "--epochs 0"),
        ("ablation", ("none", *OUTPUT), "--minutes nan"),
        ("starting", ("none", *BUNDLE, *OUTPUT), "--batch 0"),
        ("starting", ("none", *BUNDLE, *OUTPUT), "--pairs 3 0"),
        ("sun", ("none",), "--scenes 0"),
        ("detail", ("none", "--output", "out.png"), "--scenes 1"),
        ("likeness", ("none",), "--size 0"),
        ("engines", ("none", "--work", "work"), "--size 0"),
        ("camera", ("none",), "--seconds 0"),
        ("alignment", ("none",), "--strangers -1"),
        ("accelerator.ceilings", OUTPUT, "--matrix 0"),
        ("accelerator.repeats", OUTPUT, "--batch 0"),
        ("accelerator.throughput", ("seed", *OUTPUT), "--rounds 0"),
        ("accelerator.throughput", ("seed", *OUTPUT), "--seconds inf"),
        ("accelerator.quality", QUALITY, "--batch 0"),
        ("accelerator.__main__", OUTPUT, "--minutes -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_named(
    tool: str, words: tuple[str, ...], refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module(f"tests.figures.{tool}").main
    flag, *numbers = refused.split()
    with pytest.raises(UserError, match=rf"{flag} is (-1|0|1|nan|inf|0\.0|-1\.0): choose at least [012.]+$"):
        main([*words, flag, *numbers])
    assert not list(tmp_path.iterdir())


def test_a_tool_ends_with_one_line_and_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from tests.figures.speed import main

    for words, line in (
        (["--rounds", "0"], "error: --rounds is 0: choose at least 1\n"),
        (
            ["--before", str(tmp_path)],
            f"error: --before {tmp_path} holds no export/edge; name the folder of a checkout\n",
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            run(lambda words=words: main(words))
        assert ended.value.code == 2 and capsys.readouterr() == ("", line)
