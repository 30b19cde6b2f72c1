"""The Python examples of the README and the pages run as they stand, on an artifact of a tiny network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[str]:
    """The examples of a page that translate a photo with `export.edge`."""
    return [code for code in CODE.findall(page.read_text(encoding="utf-8")) if "export.edge" in code]


@pytest.mark.parametrize("page", ["README.md", "docs/api.md", "docs/deploying.md"])
def test_example_translates_a_photo(
    page: str, root: Path, make_artifact: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = examples(root / page)
    (tmp_path / "artifact").symlink_to(make_artifact("unet") / "artifact")
    photo = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
    with Image.open(tmp_path / "sunset.jpg") as made:
        assert made.size == (32, 24)
