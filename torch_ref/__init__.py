"""The same networks and formulas in PyTorch: the reference for parity, and the way to ONNX.

`torch_ref.from_bundle("model.safetensors")` loads trained weights. Importing this
package does not import torch; touching `from_bundle` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.edge.version import __version__

if TYPE_CHECKING:
    from torch_ref.weights import from_bundle

__all__ = ["__version__", "from_bundle"]


def __getattr__(name: str) -> Any:
    if name == "from_bundle":
        from torch_ref.weights import from_bundle

        return from_bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
