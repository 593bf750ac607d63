"""One row per window: the columns of tables, whatever file they go to."""

import os
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.gathering import Embeddings
from edgel3_onnx.outputs.columns import numbers, texts
from edgel3_onnx.outputs.record import Metadata


def schema(embedding_dim: int) -> Any:
    """The pyarrow.Schema of a dataset's rows. EdgeL3Error if pyarrow is not installed.

    ``path`` string, ``timestamp`` float64 (seconds, as edgel3 has them), ``start_sample`` int64 (at the model's
    rate), ``start`` and ``end`` float64 (seconds of the window), ``channel`` int16 (from 1; null: their mean),
    ``label`` string, ``recorded_at`` string (ISO 8601 with offset, of the window's start), ``embedding`` fixed-size
    list of float32.
    """
    pyarrow = import_pyarrow()
    return pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("timestamp", pyarrow.float64()),
            ("start_sample", pyarrow.int64()),
            ("start", pyarrow.float64()),
            ("end", pyarrow.float64()),
            ("channel", pyarrow.int16()),
            ("label", pyarrow.string()),
            ("recorded_at", pyarrow.string()),
            ("embedding", pyarrow.list_(pyarrow.float32(), embedding_dim)),
        ]
    )


def table(path: str, embeddings: Embeddings, metadata: Metadata) -> Any:
    """The pyarrow.Table of one recording's windows. ``metadata`` is its record."""
    pyarrow = import_pyarrow()
    windows, dim = embeddings.embedding.shape
    values = numbers(np.ascontiguousarray(embeddings.embedding).reshape(-1))
    channel = embeddings.channel
    return pyarrow.table(
        [
            texts([path_text(path)] * windows),
            numbers(embeddings.timestamps),
            numbers(embeddings.start_sample),
            numbers(embeddings.start),
            numbers(embeddings.end),
            pyarrow.nulls(windows, pyarrow.int16()) if channel is None else numbers(channel),
            texts([None] * windows if embeddings.label is None else embeddings.label),
            texts(clock_times(embeddings, metadata)),
            pyarrow.FixedSizeListArray.from_arrays(values, dim),
        ],
        schema=schema(dim),
    )


def clock_times(embeddings: Embeddings, metadata: Metadata) -> list[str | None]:
    """When each window starts by the recorder's clock, ISO 8601 with microseconds and offset; None if not known."""
    recorded_at = metadata.get("recorded_at")
    if recorded_at is None:
        return [None] * len(embeddings.start)
    began = datetime.fromisoformat(recorded_at)
    return [
        (began + timedelta(seconds=start)).isoformat(timespec="microseconds") for start in embeddings.start.tolist()
    ]


def path_text(path: str) -> str:
    """``path`` as valid UTF-8: bytes of a name that are not become ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def import_pyarrow() -> Any:
    """Raises EdgeL3Error if the extra ``[parquet]`` is not installed."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise EdgeL3Error("parquet needs pyarrow: pip install 'edgel3-onnx[parquet]'") from error
    return pyarrow
