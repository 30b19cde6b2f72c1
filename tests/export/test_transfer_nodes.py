"""The nodes that carry a result to the photo's own pixels do what `export.edge.detail` does."""

from __future__ import annotations

import numpy as np
import pytest

from export.edge.detail import change_of_colour
from export.edge.pictures.arrays import to_float, working
from export.edge.recolour import apply
from export.edge.sampling.noise import normal
from export.graph_nodes import Nodes
from export.graph_values import Value
from export.resize_nodes import Sides
from export.transfer_nodes import applied
from export.transfer_nodes import change_of_colour as change_nodes
from tests.export.graphs import opened, photo


@pytest.mark.parametrize("grain", [0.0, 1.0], ids=["smooth", "grain"])
def test_the_change_of_colour_is_that_of_the_edge(grain: float) -> None:
    nodes = Nodes(prefix="photo.")
    given, guide, result = (
        Value(nodes, name, kind) for name, kind in (("photo", np.uint8), ("guide", np.float32), ("result", np.float32))
    )
    large, small = given.shape(), guide.shape()
    change = change_nodes(guide, result)
    made = applied(change, Sides(small[1], small[2]), given, Sides(large[0], large[1]))
    inputs = {"photo": given, "guide": guide, "result": result}
    session = opened(nodes, inputs, {"change": change, "picture": made})
    for height, width in ((240, 320), (333, 77), (5, 900), (800, 700)):
        picture = photo(height, width)
        inner = to_float(working(picture, 24, "crop", 8))
        changed = np.clip(0.7 * inner[..., ::-1] + grain * normal(1, 0, inner.shape), -1.0, 1.0).astype(np.float32)
        wanted = change_of_colour(inner, changed)
        planes = [np.ascontiguousarray(values.transpose(2, 0, 1)) for values in (inner, changed)]
        found, drawn = session.run(None, dict(zip(inputs, (picture, *planes), strict=True)))
        np.testing.assert_allclose(found.transpose(1, 0, 2, 3)[:, :, :3], wanted[:, :, :3], rtol=0, atol=2e-3)
        assert np.abs(drawn.astype(int) - apply(wanted, picture)).max() <= 1
