"""The module of this name in edgel3."""

from edgel3_onnx.exceptions import EdgeL3Error

__all__ = ["EdgeL3Error"]
