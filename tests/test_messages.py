"""The page of refusals: as the code has them, and what a command really says is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import open_picture
from jax_impl.config.data import AugmentConfig, DataConfig
from jax_impl.data.sources import open_source
from tests.messages import GAP, GROUPS, messages, page, rows, split


def test_the_page_is_what_the_code_says(root: Path) -> None:
    assert (root / "docs/messages.md").read_text(encoding="utf-8") == page(), (
        "run `python -m tests.messages docs/messages.md`"
    )


def test_every_group_has_messages_and_nearly_all_have_a_remedy() -> None:
    counts = {heading: len(rows(heading)) for heading in GROUPS}
    assert min(counts.values()) > 5 and sum(counts.values()) > 300
    bare = sum(not remedy for heading in GROUPS for _, remedy in rows(heading))
    assert bare < 0.15 * sum(counts.values())


def test_what_is_said_in_a_run_is_listed(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "x.png").write_bytes(b"no picture")
    refused = (
        ("Reading pairs", lambda: open_source(DataConfig(path=str(tmp_path / "none")))),
        ("Reading pairs", lambda: open_source(DataConfig(path=str(tmp_path)))),
        ("Reading and writing pictures and files", lambda: open_picture(tmp_path / "x.png")),
        ("Naming settings", lambda: AugmentConfig(hue=2.0)),
        ("Naming settings", lambda: DataConfig(size=3)),
    )
    for heading, act in refused:
        with pytest.raises(UserError) as caught:
            act()
        listed = [pattern for row in rows(heading) if (pattern := _pattern(*row)).fullmatch(str(caught.value))]
        assert listed, str(caught.value)


def _pattern(cause: str, remedy: str) -> re.Pattern[str]:
    parts = [".*".join(map(re.escape, text.split(GAP))) for text in (cause, remedy)]
    return re.compile("(; |: ).*".join(parts) if remedy else f"{parts[0]}.*")


def test_texts_with_names_and_choices_are_read() -> None:
    source = """
def f(path, n):
    what = f"{path} holds"
    many = "s" if n else ""
    raise UserError(f"{what} {n!r} thing{many}, too many: choose fewer" + hint())

def g():
    require(x > 0, "data.size", x, "choose 1 or more")
"""
    assert list(messages(source)) == [
        f"{GAP} holds {GAP} things, too many: choose fewer{GAP}",
        f"data.size is {GAP}; choose 1 or more",
    ]
    assert split(f"{GAP} is a: b; do {GAP}") == (f"{GAP} is a: b", f"do {GAP}")
    assert split(f"{GAP} is none: choose one") == (f"{GAP} is none", "choose one")
    assert split(f"no end; {GAP}") == ("no end", "")
