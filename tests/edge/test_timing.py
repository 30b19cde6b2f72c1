"""Children answer in lines, and what ends one ends its turns alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from export.edge.timing import Child, Counted, Entrant, GoneError, take_turns

TOY = """
import os
from export.edge.timing import serve

class Toy:
    def __init__(self, job):
        if "fault" in job:
            exec(job["fault"])
        self.facts = {"name": job["name"], "variable": os.environ.get("TOY_VARIABLE")}

    def answer(self, order):
        if "fault" in order:
            exec(order["fault"])
        return {"double": 2 * order["number"]}

serve(Toy)
"""


@pytest.fixture
def environment(tmp_path: Path, root: Path) -> dict[str, str]:
    """Variables with which a child finds the module `toy`."""
    (tmp_path / "toy.py").write_text(TOY)
    return {"PYTHONPATH": os.pathsep.join((str(root), str(tmp_path))), "TOY_VARIABLE": "7"}


def test_a_child_says_its_facts_and_answers(environment: dict[str, str]) -> None:
    with Child("toy", {"name": "é"}, environment) as child:
        assert child.hear() == {"name": "é", "variable": "7"}
        assert [child.ask({"number": number})["double"] for number in (1, 2)] == [2, 4]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise MemoryError", "out of memory"),
        ("raise RuntimeError('RESOURCE_EXHAUSTED: of 9 GB')", "out of memory"),
        ("raise RuntimeError('one line\\nand more')", "one line"),
        ("raise ValueError('no number')", "ValueError: no number"),
        ("os.kill(os.getpid(), 9)", "out of memory"),
        ("os._exit(3)", "it said nothing"),
    ],
)
def test_what_ends_a_child_is_one_line(fault: str, said: str, environment: dict[str, str]) -> None:
    with Child("toy", {"name": "a"}, environment) as child:
        child.hear()
        with pytest.raises(GoneError, match=f"^{said}$"):
            child.ask({"number": 1, "fault": fault})
    with Child("toy", {"name": "a", "fault": fault}, environment) as child, pytest.raises(GoneError, match=f"^{said}$"):
        child.hear()


def test_all_take_turns_and_one_that_is_gone_takes_no_more() -> None:
    @dataclass
    class Racer(Entrant):
        name: str

    turns, shown = [], []

    def turn(one: Racer, number: int) -> None:
        turns.append((number, one.name))
        if turns == [(0, "a"), (0, "b")]:
            raise GoneError("out of memory")

    entrants = [Racer("a"), Racer("b"), Racer("c")]
    take_turns(entrants, 2, turn, lambda done, total: shown.append((done, total)))
    assert turns == [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "c")]
    assert [one.error for one in entrants] == [None, "out of memory", None]
    assert shown == [(done, 6) for done in range(7)]


def test_calls_are_counted() -> None:
    double = Counted(lambda value: 2 * value)
    assert (double(3), double(value=4)) == (6, 8)
    assert double.calls == 2 and double.seconds > 0.0
