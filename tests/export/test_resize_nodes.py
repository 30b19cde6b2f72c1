"""The nodes that bring a photo to a network's size do what Pillow does, to the last level."""

from __future__ import annotations

import numpy as np
import pytest

from export.edge.pictures.arrays import FITS, resize, working
from export.graph_nodes import Nodes
from export.graph_values import Value
from export.resize_nodes import Extent, Sides, planned, resized
from export.resize_nodes import working as working_nodes
from tests.export.graphs import SHAPES, opened, photo


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("size", "multiple"), [(24, 8), (20, 16)])
def test_the_working_picture_is_that_of_the_edge(fit: str, size: int, multiple: int) -> None:
    nodes = Nodes(prefix="photo.")
    given = Value(nodes, "photo", np.uint8)
    sides = given.shape()
    own = Sides(sides[0], sides[1])
    made = working_nodes(given, own, planned(own, size, fit, multiple), fit)
    session = opened(nodes, {"photo": given}, {"working": made})
    for height, width in SHAPES:
        picture = photo(height, width)
        (found,) = session.run(None, {"photo": picture})
        np.testing.assert_array_equal(found, working(picture, size, fit, multiple), err_msg=f"{height} x {width}")


def test_a_small_picture_is_enlarged_and_reduced_as_by_pillow() -> None:
    nodes = Nodes(prefix="photo.")
    given, wanted = Value(nodes, "photo", np.uint8), Value(nodes, "sides", np.int64)
    sides = given.shape()
    made = resized(given, Extent(Sides(sides[0], sides[1])), Sides(wanted[0], wanted[1]))
    session = opened(nodes, {"photo": given, "sides": wanted}, {"resized": made})
    for (height, width), to in zip(SHAPES, reversed(SHAPES), strict=True):
        picture = photo(height, width)
        (found,) = session.run(None, {"photo": picture, "sides": np.array(to)})
        np.testing.assert_array_equal(found, resize(picture, *to), err_msg=f"{height} x {width} to {to}")
