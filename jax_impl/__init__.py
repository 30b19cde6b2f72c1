"""Train and sample paired image-to-image diffusion models in JAX."""

from export.edge.version import __version__

__all__ = ["__version__"]
