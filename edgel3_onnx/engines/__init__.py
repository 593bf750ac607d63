"""What runs a network: ONNX Runtime on the provider asked for, or this package's own engine."""
