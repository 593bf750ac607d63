"""EdgeL3 and SEA audio embeddings through ONNX Runtime."""

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning

__version__ = "0.1.0"
__all__ = ["EdgeL3ArgumentError", "EdgeL3Error", "EdgeL3Warning", "__version__"]
