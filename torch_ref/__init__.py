"""The same networks and formulas in PyTorch: the reference for parity, and the way to ONNX.

`torch_ref.UNet.from_bundle("model.safetensors")` loads trained weights. Importing this
package does not import torch; touching `UNet` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.edge.version import __version__

if TYPE_CHECKING:
    from torch_ref.base import UNet

__all__ = ["UNet", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "UNet":
        from torch_ref.base import UNet

        return UNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
