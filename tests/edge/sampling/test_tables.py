"""Tables as data: there and back, and what a file that means harm may say."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.sampling.loop import final, generate
from export.edge.sampling.table import COLUMNS, Plan
from export.edge.sampling.tables import MOST_CALLS, choose, read_tables, timesteps_of, write_tables
from tests.edge.conftest import MakeModel, bridge

TABLES = {"bridge": {2: bridge(2), 4: bridge(4)}, "bridge-1": {1: bridge(1)}}
TEXT = write_tables(TABLES)


def test_tables_come_back_as_they_were() -> None:
    found = read_tables(TEXT)
    assert {name: list(plans) for name, plans in found.items()} == {"bridge": [2, 4], "bridge-1": [1]}
    for name, plans in TABLES.items():
        for steps, plan in plans.items():
            again = found[name][steps]
            for column in ("t", *COLUMNS):
                np.testing.assert_array_equal(getattr(again, column), getattr(plan, column))
            assert (again.start_from_source, again.start_from_noise, again.source) == (1.0, 0.0, "cond")
            assert again.t.dtype == np.int64
    assert timesteps_of(found) == 100


def test_a_choice_that_is_not_there_names_what_is() -> None:
    assert len(choose(TABLES, "bridge", 4)) == 4
    with pytest.raises(UserError, match="sampler 'ddim' is unknown; choose one of bridge, bridge-1"):
        choose(TABLES, "ddim", 4)
    with pytest.raises(UserError, match="no table of bridge in 3 steps; choose one of 2, 4"):
        choose(TABLES, "bridge", 3)
    with pytest.raises(UserError, match=r"eta 0\.5 belongs to ddim"):
        choose(TABLES, "bridge", 4, 0.5)


def table(**changes: Any) -> str:
    columns = {"t": [9, 0], "x0_from_output": [1.0, 1], "next_from_x0": [0.5, 1.0]} | changes
    return json.dumps({"one": {"2": columns}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "tables are not JSON"),
        ("[" * 100_000, "tables are not JSON"),
        ('{"one": {"1": {"t": [NaN]}}}', "tables are not JSON"),
        ('{"one": {"1": {"t": [1e999]}}}', "tables are not JSON"),
        ('{"one": {}, "one": {}}', "tables are not JSON"),
        ("[]", "not an object of samplers"),
        ("{}", "not an object of samplers"),
        ('{"one": [1]}', "sampler one are not an object of steps"),
        ('{"one": {}}', "sampler one are not an object of steps"),
        (json.dumps({41 * "a": {"1": {}}}), "name the sampler"),
        ('{"o\\nne": {"1": {}}}', "name the sampler"),
        ('{"": {"1": {}}}', "name the sampler"),
        *((json.dumps({"one": {steps: {}}}), "have the steps") for steps in ("0", "-1", "1.5", "01", "1e3", "9999999")),
        ('{"one": {"2": []}}', "in 2 steps: it is no table"),
        ('{"one": {"2": {"x0_from_x": [1]}}}', "in 2 steps: it is no table"),
        (table(t=[]), "its t are no list of whole numbers"),
        (table(t=3), "its t are no list of whole numbers"),
        (table(t=[[1], [2]]), "its t are not finite numbers"),
        (table(t=[1.5, 0]), "its t are no list of whole numbers"),
        (table(t=[-1, 0]), "its t are no list of whole numbers"),
        (table(t=[100_000, 0]), "its t reach 100000"),
        (table(t=[True, False]), "its t are not finite numbers"),
        (table(t=["9", "0"]), "its t are not finite numbers"),
        (table(x0_from_output=[1.0]), "its x0_from_output are not the 2 numbers"),
        (table(noise=[1, 2, 3]), "its noise are not the 2 numbers"),
        (table(noise=None), "its noise are not finite numbers"),
        (table(noise=[10**400, 1]), "tables are not JSON|not finite"),
        (table(start_from_noise=[1.0, 1.0]), "are not single numbers"),
        (table(start_from_source="1"), "its start_from_source are not finite numbers"),
        (table(source=3), "its source is 3"),
        (table(source=""), "its source is ''"),
        (table(next_from_future=[1, 1]), "its column 'next_from_future' is unknown"),
        (json.dumps({"one": {"1": {"t": [0] * (MOST_CALLS + 1)}}}), "more than 100000 rows"),
    ],
    ids=itertools.count(),
)
def test_hostile_tables_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_tables(text)


def test_what_a_table_leaves_out_is_zero() -> None:
    plan = read_tables(table())["one"][2]
    assert not plan.noise.any() and not plan.next_from_previous.any() and plan.noise.shape == (2,)
    assert (plan.start_from_source, plan.start_from_noise, plan.source) == (0.0, 1.0, "cond")


def test_an_artifact_with_tables_samples_by_them(make_model: MakeModel) -> None:
    described = {"tables": TEXT, "alphas_cumprod": None, "sampler": "bridge", "prediction": "target", "clamp": "null"}
    model = open_artifact(make_model(**described))
    assert model.alphas_cumprod is None and model.timesteps == 100 and model.samplers == ("bridge", "bridge-1")
    cond = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    x = cond
    for t, after in ((99, 50), (50, 0)):
        out = model.denoise(x, cond, np.array([t]))
        x = cond + (1 - after / 99) * (out - cond)
    np.testing.assert_allclose(final(generate(model, cond, model.plan(2), 0)), x, atol=1e-6)
    with pytest.raises(UserError, match="no table of bridge in 3 steps; choose one of 2, 4"):
        model.plan(3)
    with pytest.raises(UserError, match="sampler 'ddim' is unknown; choose one of bridge, bridge-1"):
        model.plan(sampler="ddim")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": TEXT}, "has both alphas_cumprod and tables"),
        ({"alphas_cumprod": None}, "lacks the metadata alphas_cumprod"),
        ({"tables": "{}", "alphas_cumprod": None}, "tables are not an object of samplers; export it again"),
        ({"tables": TEXT, "alphas_cumprod": None}, "sampler is 'ddim', not one of bridge, bridge-1"),
        ({"tables": TEXT, "alphas_cumprod": None, "sampler": "bridge-1"}, "no table of bridge-1 in 4 steps"),
        (
            {"tables": table(source="other"), "alphas_cumprod": None, "sampler": "one", "steps": "2"},
            "the source 'other', which the file lacks",
        ),
        ({"tables": " " * 6_400_001, "alphas_cumprod": None}, "tables has more than 6,400,000 characters"),
        ({"tables": TEXT, "alphas_cumprod": None, "prediction": 41 * "x"}, "prediction is"),
    ],
    ids=range(8),
)
def test_metadata_of_tables_are_checked(make_model: MakeModel, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_artifact(make_model(**changes))


def test_numbers_of_numpy_make_a_plan() -> None:
    plan = Plan.from_columns(
        {"t": np.arange(3)[::-1], "noise": (np.float32(1), 2, 0.5)} | {"start_from_noise": np.float64(2)}
    )
    assert plan.noise.dtype == np.float64 and plan.start_from_noise == 2.0 and len(plan) == 3
