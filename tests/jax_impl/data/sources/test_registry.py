"""Places that no layout fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.jax_impl.data.sources.places import DAWN, find, paint


def test_missing_and_empty_places_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist; name a folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no pairs; put pictures"):
        find(tmp_path)
    for layout, message in (
        ("folders", "no pair of folders"),
        ("side-by-side", "no pictures"),
        ("manifest", "no manifest"),
    ):
        with pytest.raises(UserError, match=message):
            find(tmp_path, layout=layout)
    with pytest.raises(UserError, match=r"data\.layout is 'zip': choose one of auto, "):
        find(tmp_path, layout="zip")


def test_a_lonely_file_or_the_wrong_layout_for_it_is_refused(tmp_path: Path) -> None:
    picture = paint(tmp_path / "x.png", DAWN)
    with pytest.raises(UserError, match="is a file but no manifest"):
        find(picture)
    with pytest.raises(UserError, match="reads a folder"):
        find(picture, layout="folders")
