"""The loss on numbers worked out by hand; its weights have their test at the trainer, which uses them."""

from __future__ import annotations

import pytest
import torch

from export.edge.errors import UserError
from torch_ref.loss import hybrid_loss, loss_weight


def test_the_loss_is_the_sum_of_its_terms() -> None:
    output, wanted = torch.tensor([1.0, -1.0, 0.0, 3.0]), torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert float(hybrid_loss(output, wanted, 0.0)[0]) == pytest.approx(14 / 4)
    assert [float(v) for v in hybrid_loss(output, wanted, 0.1)] == pytest.approx([14 / 4 + 0.1 * 6 / 4, 14 / 4, 6 / 4])


def test_a_weight_scales_each_picture() -> None:
    output, weight = torch.tensor([[1.0], [-3.0]]), torch.tensor([[2.0], [0.5]])
    loss, mse, mae = (float(v) for v in hybrid_loss(output, torch.zeros(2, 1), 0.1, weight))
    assert (mse, mae) == pytest.approx(((2 * 1 + 0.5 * 9) / 2, (2 * 1 + 0.5 * 3) / 2))
    assert loss == pytest.approx(mse + 0.1 * mae)


def test_an_unknown_weight_is_refused() -> None:
    with pytest.raises(UserError, match="'p2'"):
        loss_weight("p2", "eps", torch.ones(1), torch.ones(1), 5.0)
