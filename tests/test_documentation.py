"""The documentation's links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)\)")


def pages(root: Path) -> list[Path]:
    """Every page that a reader may open."""
    return [*root.glob("*.md"), *(root / "docs").rglob("*.md")]


def test_links_between_files_lead_to_files(root: Path) -> None:
    broken, count = [], 0
    for page in pages(root):
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            place, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            count += 1
            file = page.parent / place if place else page
            if not file.exists():
                broken.append(f"{page.relative_to(root)}: {target}")
            elif anchor and anchor not in anchors(file):
                broken.append(f"{page.relative_to(root)}: {target} has no such heading")
    assert count > 20
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as hosting sites make them."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
