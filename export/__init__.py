"""Turn trained weights into one ONNX file, check it, and run it on the edge."""
