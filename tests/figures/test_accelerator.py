"""The measurements of an accelerator, tried on a processor: limits, going on, and a page that claims nothing more."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.figures.accelerator import page
from tests.figures.accelerator.__main__ import choose, main
from tests.figures.accelerator.cases import FULL, TOY, Case, Dataset, all_cases
from tests.figures.accelerator.runner import RECORD, groups, read_record, run_cases

SCENES = (Dataset("scenes", "synthetic"),)


def sleeping(name: str, limit: float) -> Case:
    """A case that never ends by itself."""
    return Case(name, ("timeit", "-n", "1", "-r", "1", "import time; time.sleep(600)"), limit)


def writing(name: str, folder: Path) -> Case:
    """A case that writes a result and ends."""
    write = f"pathlib.Path({str(folder / name / 'result.json')!r}).write_text('[1]')"
    return Case(name, ("timeit", "-n", "1", "-r", "1", "-s", "import pathlib", write), 60.0)


def test_an_outcome_is_kept_for_each_case_and_none_is_run_twice(tmp_path: Path) -> None:
    broken = Case("broken", ("timeit", "-n", "1", "-r", "1", "1 / 0"), 60.0)
    cases = [writing("good", tmp_path), broken, sleeping("endless", 0.5)]
    record = run_cases(cases, tmp_path, 120.0, lambda line: None)
    assert record == read_record(tmp_path)
    assert record["good"]["status"] == "measured" and record["good"]["result"] == [1]
    assert record["broken"]["status"] == "failed" and "ZeroDivisionError" in record["broken"]["said"]
    assert record["endless"]["status"] == "failed" and "over its limit" in record["endless"]["said"]
    before = {name: outcome["seconds"] for name, outcome in record.items()}
    again = run_cases(cases, tmp_path, 120.0, lambda line: None)
    assert {name: outcome["seconds"] for name, outcome in again.items()} == before


def test_what_the_end_of_the_time_cuts_off_is_run_again(tmp_path: Path) -> None:
    said: list[str] = []
    case = sleeping("long", 600.0)
    record = run_cases([case, writing("next", tmp_path)], tmp_path, 16.0 - 15.0, said.append)
    assert record == {} and said == ["left out for want of time: long", "left out for want of time: next"]
    (tmp_path / RECORD).write_text(json.dumps({"next": {"status": "cut off", "seconds": 1.0}}))
    assert run_cases([writing("next", tmp_path)], tmp_path, 60.0, said.append)["next"]["status"] == "measured"


def test_cases_that_run_together_are_neighbours_of_one_kind() -> None:
    cases = all_cases(FULL, SCENES)
    assert [case.name for group in groups(cases) for case in group] == [case.name for case in cases]
    together = [group for group in groups(cases) if len(group) > 1]
    assert [{case.name.split("/")[0] for case in group} for group in together] == [{"preset"}]


def test_it_is_stopped_and_goes_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.figures.accelerator", "--toy", "--output", str(tmp_path), "--only"]
    with subprocess.Popen([*words, "ceilings", "deterministic"], text=True, stdout=subprocess.PIPE) as process:
        begun = tmp_path / "deterministic" / "log"
        while not begun.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert read_record(tmp_path)["ceilings"]["status"] == "measured"
    # What it had begun has ended with it.
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running
    first = read_record(tmp_path)["ceilings"]
    main(["--toy", "--output", str(tmp_path), "--only", "ceilings"])
    found = read_record(tmp_path)
    assert found["ceilings"] == first
    lines = "\n".join(page.page(found))
    assert f"measured on {first['date']}" in lines.lower() and "- `deterministic`: not measured\n" in lines


def test_a_page_of_nothing_says_of_every_figure_that_it_was_not_measured(tmp_path: Path) -> None:
    lines = list(page.page({}))
    names = [case.name for case in all_cases(FULL, page.DATASETS) if case.name != "ceilings"]
    assert [line for line in lines if "not measured" in line] == [f"- `{name}`: not measured" for name in names]
    with pytest.raises(UserError, match="holds no record"):
        page.main([str(tmp_path), str(tmp_path / "page.md")])


@pytest.mark.slow
def test_everything_runs_on_a_processor(tmp_path: Path) -> None:
    main(["--toy", "--minutes", "30", "--output", str(tmp_path)])
    record = read_record(tmp_path)
    assert set(record) == {case.name for case in all_cases(TOY, SCENES)}
    assert {name: outcome["said"] for name, outcome in record.items() if outcome["status"] != "measured"} == {}
    (case,) = record["throughput/4"]["result"]
    assert [way["error"] for way in case["ways"]] == [None, None]
    assert all(len(way["step_seconds"]) == TOY.rounds for way in case["ways"]) and case["top"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--minutes is 0: choose a value above 0"):
        main(["--minutes", "0", "--output", str(tmp_path)])
    with pytest.raises(UserError, match="--only speed names no case; choose from ceilings"):
        choose(all_cases(TOY, SCENES), "all", ["speed"])
