"""The module of this name in edgel3."""

from edgel3_onnx.exceptions import EdgeL3Warning

__all__ = ["EdgeL3Warning"]
