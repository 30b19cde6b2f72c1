"""The loss on numbers worked out by hand; the weights have their test at the trainer, which uses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from export.edge.errors import UserError
from torch_ref.losses import LOSSES, Losses, LossSample


def sample(output: Tensor, prediction: str = "x0", signal: float = 1.0, noise: float = 1.0) -> LossSample:
    """An output (batch, 1, 1, n) whose target is 0."""
    zero, t = torch.zeros_like(output), torch.zeros(len(output), dtype=torch.int64)
    levels = (torch.full((len(output), 1, 1, 1), level) for level in (signal, noise))
    return LossSample(zero, zero, zero + 1.0, t, zero, output, zero, *levels, prediction)


def parts(config: dict[str, Any], given: LossSample) -> dict[str, float]:
    return {name: float(value) for name, value in Losses(config)(given).items()}


OUTPUT = torch.tensor([1.0, -2.0, 0.0, 3.0]).reshape(2, 1, 1, 2)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    found = parts({"losses": [{"term": "hybrid", "mae_weight": 0.1}]}, sample(OUTPUT))
    assert found == pytest.approx({"mse": 14 / 4, "mae": 6 / 4, "loss": 14 / 4 + 0.1 * 6 / 4})
    twice = {"losses": [{"term": "hybrid", "mae_weight": 0.0}, {"term": "hybrid", "weight": 2, "mae_weight": 1.0}]}
    assert parts(twice, sample(OUTPUT))["loss"] == pytest.approx(3 * 14 / 4 + 2 * 6 / 4)


def test_a_config_from_before_there_were_losses() -> None:
    held = {"diffusion": {"mae_weight": 0.5, "loss_weight": "min_snr", "snr_gamma": 0.25, "prediction": "x0"}}
    now = {"losses": [{"term": "hybrid", "mae_weight": 0.5, "weighting": "min_snr", "snr_gamma": 0.25}]}
    assert parts(held, sample(OUTPUT)) == parts(now, sample(OUTPUT))
    assert parts(held, sample(OUTPUT))["mse"] == pytest.approx(0.25 * 14 / 4)
    assert parts({"diffusion": {}}, sample(OUTPUT)) == parts({"losses": [{"term": "hybrid"}]}, sample(OUTPUT))


@pytest.mark.parametrize(("prediction", "x0_hat"), [("eps", (1.0 - 0.8 * 2) / 0.6), ("x0", 2.0), ("v", 0.6 - 0.8 * 2)])
def test_x0_hat_is_what_the_output_stands_for(prediction: str, x0_hat: float) -> None:
    """x_t is 1, the output 2, the levels 0.6 and 0.8."""
    given = sample(torch.full((1, 1, 1, 1), 2.0), prediction, 0.6, 0.8)
    assert float(given.x0_hat) == pytest.approx(x0_hat)


def test_a_term_of_ones_own() -> None:
    def largest(settings: Any) -> Any:
        return lambda given, generator, aux: (settings["gain"] * given.output.abs().max(), {"top": aux["scale"]})

    LOSSES.add("largest", largest)
    try:
        losses = Losses({"losses": [{"term": "hybrid"}, {"term": "largest", "gain": 3.0, "weight": 0.5}]})
        found = losses(sample(OUTPUT), None, {"scale": torch.tensor(7.0)})
        alone = Losses({"losses": [{"term": "hybrid"}]})(sample(OUTPUT))["loss"]
        assert float(found["loss"] - alone) == pytest.approx(0.5 * 3 * 3) and float(found["top"]) == 7.0
    finally:
        del LOSSES._entries["largest"]


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([{"term": "hybrid", "weighting": "p2"}], "losses.hybrid.weighting is 'p2'"),
        ([{"term": "hybrid", "gamma": 1}], "losses.hybrid.gamma is not a setting"),
        ([{"term": "hybrid", "weight": "2"}], "losses.weight is '2', not a number"),
        ([{"term": "other"}], "config losses.term is 'other': choose one of "),
        ([{}], "config losses.term is None"),
        ([], "a list of loss terms belongs here"),
        ("hybrid", "a list of loss terms belongs here"),
        (["hybrid"], "a list of loss terms belongs here"),
    ],
)
def test_losses_that_cannot_be_made(losses: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Losses({"losses": losses})
