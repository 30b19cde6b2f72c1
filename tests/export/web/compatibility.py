"""Which browsers have what the page's JavaScript uses, by the data that MDN publishes.

    npm pack @mdn/browser-compat-data
    python -m tests.export.web.compatibility mdn-browser-compat-data-*.tgz

writes compatibility.json: the version of each browser that first had each of FEATURES, and the names of a browser's
interface that Chromium has and another lacks. The data is in the public domain (CC0).
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from export.edge.errors import UserError, run
from export.web import runtime

TABLE = Path(__file__).with_name("compatibility.json")
STATIC = Path(runtime.__file__).parent / "static"
BROWSERS = ("safari_ios", "firefox", "chrome")
FEATURES = (
    "AbortController", "Crypto.getRandomValues",
    "EventTarget.addEventListener.options_parameter.options_signal_parameter", "HTMLCanvasElement.captureStream",
    "HTMLImageElement.decode", "HTMLVideoElement.requestVideoFrameCallback", "MediaDevices.getUserMedia",
    "MediaRecorder", "Navigator.canShare", "Navigator.gpu",
    "Navigator.mediaDevices", "Navigator.serviceWorker", "Navigator.share", "OffscreenCanvas",
    "OffscreenCanvas.convertToBlob", "OffscreenCanvas.getContext.2d_context", "SubtleCrypto.digest",
    "WEBGL_debug_renderer_info", "WebGL2RenderingContext", "Worker.Worker.ecmascript_modules", "createImageBitmap",
    "crossOriginIsolated", "structuredClone",
)  # fmt: skip
"""Of the data's `api`: what a module uses of interfaces whose names alone say too little."""
OLDEST = {"safari_ios": "16.4", "firefox": "114"}
"""What docs/page.md promises."""
GUARDED = {
    "requestVideoFrameCallback": r"if \(video\.requestVideoFrameCallback\)",
    "gpu": r"if \(!navigator\.gpu\)",
    "requestAdapter": r"navigator\.gpu\?\.requestAdapter",
    "isFallbackAdapter": r"adapter\.info\?\.isFallbackAdapter \?\?",
    "canShare": r"navigator\.canShare\?\.",
    "share": r"navigator\.share && ",
    "MediaRecorder": r"if \(!self\.MediaRecorder \|\|",
    "captureStream": r"\|\| !HTMLCanvasElement\.prototype\.captureStream\)",
    "mediaDevices": r"mediaDevices\?\.",
    "serviceWorker": r"if \(!serviceWorker\) return",
    # Without these two the words in the code have no effect.
    "imageSmoothingQuality": r"context\.imageSmoothingQuality = ",
    "OverconstrainedError": r"OverconstrainedError: ",
}
"""What a browser may lack, with the words in the code that look before it is used."""
OURS = frozenset({"clamp", "first", "lock", "memory", "run", "turn", "variant", "watch"})
"""Names of the page's own that are also names of something that some browser lacks."""


def source() -> str:
    """All of the page's JavaScript."""
    return "\n".join(path.read_text() for path in sorted([*(STATIC / "app").glob("*.js"), STATIC / "sw.js"]))


def names(code: str) -> set[str]:
    """What JavaScript takes from others: members, classes and functions that are called; not comments, not strings."""
    code = re.sub(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*|'(?:[^'\\\n]|\\.)*'", " ", code, flags=re.DOTALL)
    members, classes = re.findall(r"(?<!this)\.([a-zA-Z_]\w*)", code), re.findall(r"\b[A-Z]\w+", code)
    return {*members, *classes, *re.findall(r"(?<![.\w])([a-z]\w*)\(", code)}


def has(support: Any) -> str | None:
    """The version of a browser that first had a feature as it is today, without a prefix and without a flag."""
    for statement in support if isinstance(support, list) else [support]:
        added = statement.get("version_added")
        if (
            isinstance(added, str)
            and added != "preview"
            and not statement.keys() & {"flags", "prefix", "version_removed"}
        ):
            return added.lstrip("≤")
    return None


def versions(feature: dict[str, Any]) -> list[str | None]:
    """For each of BROWSERS."""
    return [has(feature["__compat"]["support"].get(browser, {})) for browser in BROWSERS]


def number(version: str | None) -> tuple[float, ...]:
    """Versions in their order; none is the last."""
    return (float("inf"),) if version is None else tuple(map(float, version.split(".")))


def interfaces(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a script can name: (name, entry) of each interface, global and member."""
    for part in (data["api"], data["javascript"]["builtins"], data["webassembly"]["api"]):
        for name, entry in part.items():
            if name != "__compat" and "__compat" in entry:
                yield name, entry
            members = entry.items() if isinstance(entry, dict) else ()
            known = ((member.removesuffix("_static"), inner) for member, inner in members if member != "__compat")
            yield from ((member, inner) for member, inner in known if "__compat" in inner)


def extract(data: dict[str, Any]) -> dict[str, Any]:
    """The table; a name that several interfaces have is lacking where none of a browser's has it."""
    found: dict[str, list[str | None]] = {}
    for name, entry in interfaces(data):
        both = zip(found.get(name, [None] * len(BROWSERS)), versions(entry), strict=True)
        found[name] = [min(pair, key=number) for pair in both]
    # What Chromium lacks, the tests in it would find.
    lacking = {
        browser: sorted(
            name for name, first in found.items() if first[place] is None and first[-1] and name.isidentifier()
        )
        for place, browser in enumerate(BROWSERS[:-1])
    }
    features = {}
    for path in FEATURES:
        entry = data["api"]
        for step in path.split("."):
            if step not in entry:
                raise UserError(f"feature {path} is not in this data; look for its name there")
            entry = entry[step]
        features[path] = versions(entry)
    return {"version": data["__meta"]["version"], "features": features, "lacking": lacking}


def written(table: dict[str, Any]) -> str:
    """The table as JSON in lines that can be compared."""
    return fill(json.dumps(table), 118, break_long_words=False, break_on_hyphens=False) + "\n"


def main() -> None:
    """Write the table from a package of npm. Raises UserError for what is none."""
    (package,) = sys.argv[1:]
    with tarfile.open(package) as archive:
        file = archive.extractfile("package/data.json")
        if file is None:
            raise UserError(f"{package} holds no package/data.json; get it with `npm pack @mdn/browser-compat-data`")
        TABLE.write_text(written(extract(json.load(file))))


if __name__ == "__main__":
    run(main)
