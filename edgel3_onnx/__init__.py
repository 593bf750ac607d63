"""EdgeL3 and SEA audio embeddings through ONNX Runtime, with the names of the package edgel3."""

# ruff: noqa: E402 (the compiled extensions are looked for first, so that a bare checkout says what to do)
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

_FOLDER = Path(__file__).parent
for _stub in _FOLDER.glob("_*.pyi"):  # each stands for an extension
    if importlib.util.find_spec(f"{__name__}.{_stub.stem}") is None:
        raise ImportError(
            f"the compiled extension {__name__}.{_stub.stem} is missing in {_FOLDER}: build it with "
            f"`pip install -e .` in {_FOLDER.parent}, or leave that directory so that the installed package is found"
        )

from edgel3_onnx.citing import cite
from edgel3_onnx.core import get_embedding, get_output_path, process_file
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.frames import embedding_frame
from edgel3_onnx.models import EmbeddingModel, load_embedding_model, load_embedding_model_path
from edgel3_onnx.streaming import EmbeddingStream
from edgel3_onnx.version import __version__

if TYPE_CHECKING:
    from edgel3_onnx.corpora.embed import embed_corpus

__all__ = [
    "EdgeL3ArgumentError",
    "EdgeL3Error",
    "EdgeL3Warning",
    "EmbeddingModel",
    "EmbeddingStream",
    "__version__",
    "cite",
    "embed_corpus",
    "embedding_frame",
    "get_embedding",
    "get_output_path",
    "load_embedding_model",
    "load_embedding_model_path",
    "process_file",
]


def __getattr__(name: str) -> Any:
    if name == "embed_corpus":  # which needs what is slow to import, and is not what most come for
        from edgel3_onnx.corpora.embed import embed_corpus

        return embed_corpus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
