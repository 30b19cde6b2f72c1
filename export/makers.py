"""How each variant of a network is made: the second half of an entry of `export.edge.model.variants.VARIANTS`.

A variant of your own is a module with two calls, loaded with `--plugin`:

    VARIANTS.add("mine", Variant("model_mine.onnx", 40.0, "what it is"))
    MAKERS.add("mine", lambda source: [Candidate(changed(source.copy()), "what was done")])
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from export import precision, sensitivity
from export.edge.model.artifact import Artifact
from export.edge.registry import Registry
from export.precision import Feeds
from export.scoring import visited
from torch_ref.base import Denoiser

LEAST_ERRORS = (0.03, 0.003, 0.0003)
"""Shares of the error from which on a layer stays in float32: the first that lets the pictures pass is taken."""
MOST_KEPT = 0.12
"""Share of the weights that may stay in float32: then the file has at most 0.12 + 0.88 / 4 = 34 % of the size."""
TRIED = 8
"""Calls of the network on which single layers are tried: a few of every stage of the noise."""


@dataclass(frozen=True)
class Exported:
    """What a variant can be made of."""

    graph: onnx.ModelProto
    """The network in float32, with its metadata; not to be changed, see `copy`."""
    model: Artifact
    """The same, opened."""
    network: Denoiser
    """The same, in torch."""
    pictures: Sequence[np.ndarray]
    """Guiding pictures to calibrate on, uint8 (side, side, 3)."""

    def copy(self) -> onnx.ModelProto:
        """The graph, to change."""
        graph = onnx.ModelProto()
        graph.CopyFrom(self.graph)
        return graph

    @cached_property
    def feeds(self) -> list[Feeds]:
        """What the network is given on the way from noise to those pictures."""
        return list(visited(self.model, self.pictures))


@dataclass(frozen=True)
class Candidate:
    """A graph to try."""

    graph: onnx.ModelProto
    """With the inputs and the output of the source's; `export.publish` adds the metadata."""
    note: str
    """What was done, for the model card."""


Maker = Callable[[Exported], Iterable[Candidate]]
"""Candidates, made one by one: the first whose pictures pass the variant's bar is published, none after it is made."""

MAKERS: Registry[Maker] = Registry("maker of a variant")


def make_fp16(source: Exported) -> Iterator[Candidate]:
    """Weights in half precision."""
    yield Candidate(precision.half(source.graph), "for a smaller download: it calculates in float32, as fast as fp32")


def make_int8(source: Exported) -> Iterator[Candidate]:
    """8 bits, with more and more of the layers that lose most by it in float32."""
    few = [source.feeds[i] for i in np.linspace(0, len(source.feeds) - 1, min(TRIED, len(source.feeds))).astype(int)]
    layers = sensitivity.by_error(source.network, few)
    choices = [sensitivity.kept(layers, least, MOST_KEPT) for least in LEAST_ERRORS]
    for kept, _ in itertools.groupby(choices):
        graph = precision.int8(source.graph, source.feeds, kept)
        yield Candidate(graph, f"{', '.join(kept) or 'nothing'} in float32")


MAKERS.add("fp16", make_fp16)
MAKERS.add("int8", make_int8)
