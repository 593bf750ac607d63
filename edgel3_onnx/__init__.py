"""EdgeL3 and SEA audio embeddings through ONNX Runtime, with the names of the package edgel3."""

from edgel3_onnx.core import get_embedding, get_output_path, process_file
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.models import EmbeddingModel, load_embedding_model, load_embedding_model_path
from edgel3_onnx.streaming import EmbeddingStream
from edgel3_onnx.version import __version__

__all__ = [
    "EdgeL3ArgumentError",
    "EdgeL3Error",
    "EdgeL3Warning",
    "EmbeddingModel",
    "EmbeddingStream",
    "__version__",
    "get_embedding",
    "get_output_path",
    "load_embedding_model",
    "load_embedding_model_path",
    "process_file",
]
