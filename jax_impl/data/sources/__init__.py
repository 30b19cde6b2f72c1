"""Where pairs come from: one module a layout, and their registry."""

from jax_impl.data.pairs import Locator, Pair
from jax_impl.data.sources.registry import SOURCES, open_source
from jax_impl.data.sources.source import Layout, Source, make_source

__all__ = ["SOURCES", "Layout", "Locator", "Pair", "Source", "make_source", "open_source"]
