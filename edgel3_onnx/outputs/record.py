"""The record of an output: how its embeddings were made, and by what a later run tells whether it is the one wanted."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.parts import Parts
from edgel3_onnx.recordings import decode
from edgel3_onnx.version import __version__

Metadata = dict[str, Any]

# How embeddings were made, and from what. Versions and the provider are recorded too, but do not count: they change
# the numbers only within the tolerance that is documented.
_GRAPH = ("variant", "graph_sha256", "precision")
MANNER = (*_GRAPH, "resampler", "hop_size", "center", "channels", "pool", "normalize", "time_pattern", "time_zone")
SOURCE = ("source", "source_bytes", "source_mtime_ns", "part")
_DEFAULTS = {"channels": "mix", "pool": "none"}  # of what the records of earlier versions do not have; others: None


def manner(model: EmbeddingModel, options: EmbeddingOptions) -> Metadata:
    """How embeddings are made: what every output of a run has in common."""
    onnxruntime = sys.modules.get("onnxruntime")  # absent where this package's own engine runs
    return {
        "package": "edgel3-onnx",
        "version": __version__,
        "onnxruntime": None if onnxruntime is None else onnxruntime.__version__,
        "provider": model.providers[0],
        "variant": model.info.variant,
        "graph_sha256": model.info.graph_sha256,
        "source_sha256": model.info.source_sha256,
        "precision": model.info.precision,
        "resampler": options.resampler,
        "hop_size": options.hop_size,
        "hop_length": options.hop_length(model),
        "center": options.center,
        "channels": options.channels,
        "pool": options.pool,
        "normalize": options.normalize,
    }


def source(path: str, parts: Parts | None = None) -> Metadata:
    """What tells one recording from another without reading it: its name, the size and time of its file, and its parts.

    Where these cannot be had, they are None: opening the file will fail and say why, or nothing may be saved.
    """
    try:
        status = os.stat(path)
    except OSError:
        size = modified = None
    else:
        size, modified = status.st_size, status.st_mtime_ns
    return {"source": os.path.basename(path), "source_bytes": size, "source_mtime_ns": modified, **part(parts)}


def part(parts: Parts | None) -> Metadata:
    """What parts of a recording were embedded; None: all of it."""
    return {"part": None if parts is None else parts.record()}


def has_source(metadata: Metadata) -> bool:
    """Whether a record says what its recording was: without that, it is no record of an output."""
    return metadata["source_bytes"] is not None


def first_difference(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first of MANNER and SOURCE in which two records differ; None if they agree in all that ``wanted`` has."""
    for name in (*MANNER, *SOURCE):
        if name in wanted and record.get(name, _DEFAULTS.get(name)) != wanted[name]:
            return name
    if not record.get("complete", True) and record.get("decoder") != decode.decoders_at_hand():
        return "decoder"  # another may decode more of it
    return "raw" if record.get("raw") not in (None, wanted.get("raw")) else None


def to_json(metadata: Metadata) -> str:
    return json.dumps(metadata, sort_keys=True)


def from_json(text: str | bytes) -> Metadata:
    """ValueError unless ``text`` is a JSON object."""
    metadata = json.loads(text)
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no JSON object")
    return metadata
