"""Model sources: each file turns a name into a described model and an ONNX file."""
