"""How many frames a second the page's camera tab shows, in Chromium with its own test camera.

`python -m tests.figures.camera artifact --seconds 10` builds the page of an artifact, starts the camera and counts the
frames that are painted: a line for each precision. The test camera gives 30 frames a second of 640 x 480 pixels.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.edge.errors import UserError, run
from export.edge.markdown import table
from export.edge.model.layout import variants
from export.web.build import build_page
from tests.export.web.visit import FLAGS, Visit, served
from tests.figures.counts import check_counts

COUNT = """
    window.frames_painted = 0;
    document.addEventListener('painted', () => { window.frames_painted += 1; }, true);
"""


def processor_seconds() -> float:
    """What the processes that this one started, and those that they started, have taken of the processors."""
    parents, taken = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:  # It has ended.
            continue
        pid = int(path.parent.name)
        parents[pid], taken[pid] = int(values[1]), int(values[11]) + int(values[12])

    def ours(pid: int) -> bool:
        return pid in parents and (parents[pid] == os.getpid() or ours(parents[pid]))

    return sum(ticks for pid, ticks in taken.items() if ours(pid)) / os.sysconf("SC_CLK_TCK")


def rate(visit: Visit, seconds: float) -> tuple[float, float]:
    """Frames a second that the running camera shows, over so many seconds, and processor seconds a second."""
    clock = "[performance.now(), window.frames_painted]"
    visit.page.wait_for_timeout(1000)  # The first frames compile what runs.
    (began, before), taken = visit.page.evaluate(clock), processor_seconds()
    visit.page.wait_for_timeout(1000 * seconds)
    (ended, after), taken = visit.page.evaluate(clock), processor_seconds() - taken
    return 1000 * (after - before) / (ended - began), 1000 * taken / (ended - began)


def measured(browser: Any, address: str, names: Sequence[str], seconds: float) -> list[list[str]]:
    """A row for each precision: its name, frames a second, processors that were busy, and what the page says."""
    visit = Visit(browser, address)
    visit.page.add_init_script(COUNT)
    visit.arrive()
    visit.page.click("#tab-camera")
    rows = []
    for name in names:
        if len(names) > 1:
            visit.choose(variant=name)
        visit.page.click("#live-start")
        visit.page.wait_for_selector("body[data-live=live]")
        frames, busy = rate(visit, seconds)
        rows.append([name, f"{frames:.1f}", f"{busy:.2f}", visit.page.locator("#live-facts").text_content() or ""])
        visit.page.click("#live-stop")
    print(visit.page.locator("#engine").text_content())
    visit.context.close()
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Build, count and print. Raises UserError for an artifact without a model, and where Chromium is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.camera", description=__doc__)
    parser.add_argument("artifact", type=Path, help="the folder that export.to_onnx wrote")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to count for each precision (default 10)")
    arguments = parser.parse_args(argv)
    check_counts(arguments, "seconds", least=0.1)
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("chromium is not installed; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        build_page(arguments.artifact, Path(folder) / "site")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        with served(Path(folder) / "site") as switch:
            rows = measured(browser, switch(True), list(variants(arguments.artifact)), arguments.seconds)
        browser.close()
    print(*table(["precision", "frames a second", "processors busy", "the page says"], rows), sep="\n")
    print(f"Load of the machine, one minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.")


if __name__ == "__main__":
    run(main)
