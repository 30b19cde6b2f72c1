"""Run an exported model with numpy, Pillow and onnxruntime alone."""
