"""Turn trained weights into one ONNX file, check it, and run it on the edge."""

import os

from export.edge.version import __version__

# onnxruntime 1.29 and later otherwise writes a device id to the home folder and contacts its maker's telemetry host. It
# reads the variable as it is imported, which happens below this package only. A value that the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["__version__"]
