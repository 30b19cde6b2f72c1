"""Train and sample paired image-to-image diffusion models in JAX.

`jax_impl.fit("photos")` trains and returns a `Run`. Importing this package does not import JAX; touching `fit`, `Run`
or `Callback` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.edge.version import __version__

if TYPE_CHECKING:
    from jax_impl.api import Callback, Run, fit

__all__ = ["Callback", "Run", "__version__", "fit"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from jax_impl import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
