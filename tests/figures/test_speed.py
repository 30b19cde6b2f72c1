"""The speed of `export.edge`, on toy photos: what is measured, and that another checkout takes its turn."""

from __future__ import annotations

import pytest

from export.edge.errors import UserError
from tests.figures.speed import ROOT, main, process, table


@pytest.mark.slow
def test_a_round_of_two_checkouts_fills_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--before", str(ROOT), "--rounds", "1", "--repeats", "1", "--large", "300", "200", "--larger", "80", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "|  | before | now | now / before |" and all(line.count("|") == 5 for line in lines[1:])
    rows = {cells[0]: [float(cell.split()[0]) for cell in cells[1:]] for cells in (
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:])}  # fmt: skip
    assert min(value for row in rows.values() for value in row) > 0.0
    assert 30 < rows["peak memory, larger photo"][1] < 1000
    assert {"large / pillow", "small, cpu", "start, --help, processor"} <= set(rows)


def test_ratios_are_of_one_round() -> None:
    rounds = [[{"a": [1.0, 9.0]}, {"a": [2.0, 10.0]}], [{"a": [10.0]}, {"a": [5.0]}], [{"a": [4.0]}, {"a": [4.0]}]]
    assert table(rounds)[2] == "| a | 5 | 5 | 1.00 (0.75–1.10) |"


def test_a_command_that_fails_is_named() -> None:
    with pytest.raises(
        UserError, match=r"python -m export\.edge none\.png failed in .*: error: photo none\.png does not exist"
    ):
        process(ROOT, ["-m", "export.edge", "none.png", "out.png"])
