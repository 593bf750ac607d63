"""Embeddings on disk: written whole or not at all, each with the record of how it was made."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.atomic import replacing
from edgel3_onnx.exceptions import EdgeL3Error

FORMATS = ("npz", "npy", "parquet")
# What decides whether an output that exists is the one wanted. Versions and the provider are recorded too, but do
# not count: they change the numbers only within the tolerance that is documented.
IDENTITY = (
    "variant",
    "weights_sha256",
    "precision",
    "resampler",
    "hop_size",
    "center",
    "source",
    "source_bytes",
    "source_mtime_ns",
)
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Metadata = dict[str, Any]


def write_npz(path: str | os.PathLike[str], embedding: Float32, timestamps: Float64, metadata: Metadata) -> None:
    """Save ``embedding``, ``timestamps`` and ``metadata``, a JSON string, as numpy.savez would.

    Raises
    ------
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.
    """
    arrays: dict[str, NDArray[Any]] = {
        "embedding": embedding,
        "timestamps": timestamps,
        "metadata": np.array(_to_json({**metadata, "windows": len(embedding)})),
    }
    with replacing(path) as whole, zipfile.ZipFile(whole, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the same embedding gives the same bytes
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def write_npy(path: str | os.PathLike[str], embedding: Float32, timestamps: Float64, metadata: Metadata) -> None:
    """Save ``embedding`` alone; ``metadata`` follows the array as one line of JSON, which numpy.load ignores.

    Raises
    ------
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.
    """
    trailer = _to_json({**metadata, "windows": len(embedding)}).encode() + b"\n"
    header = np.lib.format.header_data_from_array_1_0(embedding)
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(embedding.data)  # numpy's own way of writing it does not say why it failed
        file.write(trailer)


WRITERS: Mapping[str, Callable[[str | os.PathLike[str], Float32, Float64, Metadata], None]] = {
    "npz": write_npz,
    "npy": write_npy,
}


def is_current(path: str, wanted: Metadata) -> bool:
    """Whether ``path`` is a whole output that was made as ``wanted`` says, by all of IDENTITY."""
    try:
        embedding, metadata = (_read_npy if path.endswith(".npy") else _read_npz)(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    return len(embedding) == metadata.get("windows") and is_same(metadata, wanted)


def is_same(metadata: Metadata, wanted: Metadata) -> bool:
    """Whether two records agree in all of IDENTITY."""
    return all(metadata.get(key) == wanted[key] for key in IDENTITY)


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """The record of how an output was made: .npz, .npy, or a part of a parquet dataset.

    Raises
    ------
    EdgeL3Error
        If the file cannot be read, or is no output of this package.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            magic = file.read(6)
        if magic.startswith(b"PAR1"):
            from edgel3_onnx.outputs.dataset import read_sources

            return {"sources": read_sources(Path(path))}
        return (_read_npy if magic == b"\x93NUMPY" else _read_npz)(path)[1]
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise EdgeL3Error(f"{path}: is no output of edgel3-onnx, or is damaged ({error})") from error


def _read_npz(path: str) -> tuple[Float32, Metadata]:
    """All arrays are read, so that the archive's checksums are compared."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no npz archive")
    with np.load(path, allow_pickle=False) as arrays:
        if "metadata" not in arrays:
            raise ValueError("it has no metadata")
        embedding, timestamps, metadata = arrays["embedding"], arrays["timestamps"], arrays["metadata"]
    if embedding.ndim != 2 or timestamps.shape != embedding.shape[:1]:
        raise ValueError(f"it has shapes {embedding.shape} and {timestamps.shape}")
    return embedding, _from_json(metadata.item())


def _read_npy(path: str) -> tuple[Float32, Metadata]:
    with open(path, "rb") as file:
        embedding: Float32 = np.lib.format.read_array(file, allow_pickle=False)
        trailer = file.read()
    if not trailer.endswith(b"\n"):
        raise ValueError("it has no metadata")
    return embedding, _from_json(trailer)


def _to_json(metadata: Metadata) -> str:
    return json.dumps(metadata, sort_keys=True)


def _from_json(text: str | bytes) -> Metadata:
    metadata = json.loads(text)
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no JSON object")
    return metadata


def open_text(path: str | os.PathLike[str]) -> IO[str]:
    """Open a log for writing. Raises EdgeL3Error if that fails."""
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise EdgeL3Error(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from error
