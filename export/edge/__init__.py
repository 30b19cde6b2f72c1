"""Run an exported model with numpy, Pillow and onnxruntime alone.

`export.edge.load("artifact").translate("photo.jpg").save("sunset.jpg")`. Importing this package imports neither numpy
nor onnxruntime; touching `load` or `Model` does the first, opening a model the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.edge.loading import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from export.edge import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
