"""The page's JavaScript uses nothing that iOS Safari or Firefox lack, or looks first; by MDN's published data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.export.web.compatibility import (
    BROWSERS,
    FEATURES,
    GUARDED,
    OLDEST,
    OURS,
    TABLE,
    extract,
    has,
    names,
    number,
    source,
    written,
)

KNOWN = json.loads(TABLE.read_text())


def test_comments_and_strings_are_no_code() -> None:
    code = "a.one(); // b.two\n/* c.three\n d.four */ 'e.five'; this.six; new Seven(); eight(`x ${f.nine}`)"
    assert names(code) == {"one", "Seven", "eight", "nine"}


@pytest.mark.parametrize(
    ("support", "version"),
    [
        ({"version_added": "16.4"}, "16.4"),
        ({"version_added": "≤13"}, "13"),
        ({"version_added": False}, None),
        ({"version_added": "preview"}, None),
        ({"version_added": "5", "version_removed": "7"}, None),
        ([{"version_added": "9", "flags": [{}]}, {"version_added": "8", "prefix": "webkit"}], None),
        ([{"version_added": "9", "prefix": "moz"}, {"version_added": "12"}], "12"),
        ({}, None),
    ],
)
def test_what_is_behind_a_flag_or_gone_is_lacking(support: object, version: str | None) -> None:
    assert has(support) == version


@pytest.mark.parametrize("browser", list(OLDEST))
def test_nothing_is_used_that_a_browser_lacks(browser: str) -> None:
    assert tuple(KNOWN["features"]) == FEATURES, f"make the table again, as {extract.__module__} says"
    place, oldest = BROWSERS.index(browser), number(OLDEST[browser])
    lacking = names(source()) & {*KNOWN["lacking"][browser]} - OURS
    newer = {path.split(".")[-1] for path, first in KNOWN["features"].items() if number(first[place]) > oldest}
    assert lacking | newer <= GUARDED.keys()


def test_a_name_is_lacking_where_no_interface_has_it() -> None:
    def entry(*first: str | bool, **members: object) -> dict[str, Any]:
        support = {browser: {"version_added": v} for browser, v in zip(BROWSERS, first, strict=True)}
        return {"__compat": {"support": support}, **members}

    both, one, none = entry("1", "2", "3"), entry(False, "2", "3"), entry(False, False, False)
    api: dict[str, Any] = {}
    for path in FEATURES:
        at = api
        for step in path.split("."):
            at = at.setdefault(step, entry("1", "2", "3"))
    api["A"] = entry("1", "2", "3", shown=one, hidden=none)
    api["B"] = entry(False, "2", "3", shown=both, other_static=one)
    data = {"__meta": {"version": "0"}, "api": api, "javascript": {"builtins": {}}, "webassembly": {"api": {}}}
    table = extract(data)
    assert table["lacking"] == {"safari_ios": ["B", "other"], "firefox": []}
    assert json.loads(written(table)) == json.loads(json.dumps(table))


@pytest.mark.parametrize("name", list(GUARDED))
def test_the_code_looks_before_it_uses(name: str) -> None:
    assert re.search(GUARDED[name], source())


def test_the_page_of_docs_names_these_browsers(root: Path) -> None:
    text = (root / "docs/page.md").read_text()
    assert f"Safari {OLDEST['safari_ios']}" in text and f"Firefox {OLDEST['firefox']}" in text
