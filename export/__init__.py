"""Turn trained weights into one ONNX file, check it, and run it on the edge."""

from export.edge.version import __version__

__all__ = ["__version__"]
