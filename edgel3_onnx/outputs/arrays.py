"""One output for each recording: .npz or .npy, written whole or not at all, and read without trusting them."""

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.atomic import replacing
from edgel3_onnx.embedding import Embeddings
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs.record import Metadata, first_difference, from_json, to_json

FORMATS = ("npz", "npy", "parquet")
Float32 = NDArray[np.float32]

NPY_MAGIC = b"\x93NUMPY"
_MAX_METADATA = 1 << 24  # bytes


def write_npz(path: str | os.PathLike[str], embeddings: Embeddings, metadata: Metadata) -> None:
    """Save the arrays of ``embeddings`` and ``metadata``, a JSON string, as numpy.savez would.

    Raises
    ------
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.
    """
    arrays: dict[str, NDArray[Any]] = {
        "embedding": embeddings.embedding,
        "timestamps": embeddings.timestamps,
        "start_sample": embeddings.start_sample,
        "metadata": np.array(to_json({**metadata, "windows": len(embeddings.embedding)})),
    }
    with replacing(path) as whole, zipfile.ZipFile(whole, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the same embedding gives the same bytes
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def write_npy(path: str | os.PathLike[str], embeddings: Embeddings, metadata: Metadata) -> None:
    """Save the embedding alone; ``metadata`` follows the array as one line of JSON, which numpy.load ignores.

    Raises
    ------
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.
    """
    embedding = np.ascontiguousarray(embeddings.embedding)
    record = {**metadata, "windows": len(embedding), "embedding_crc32": zlib.crc32(embedding.data)}
    header = np.lib.format.header_data_from_array_1_0(embedding)
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(embedding.data)  # numpy's own way of writing it does not say why it failed
        file.write(to_json(record).encode() + b"\n")


WRITERS: Mapping[str, Callable[[str | os.PathLike[str], Embeddings, Metadata], None]] = {
    "npz": write_npz,
    "npy": write_npy,
}


def is_current(path: str, wanted: Metadata) -> bool:
    """Whether ``path`` is a whole output that was made as ``wanted`` says."""
    try:
        metadata = read_record(path)
    except EdgeL3Error:
        return False
    return first_difference(metadata, wanted) is None


def read_record(path: str) -> Metadata:
    """The record of a .npz or .npy file, which is read to its end: its checksums are compared.

    Raises
    ------
    EdgeL3Error
        If the file cannot be read, or is no output of this package, or is damaged.
    """
    with reading(path) as file:
        magic = file.read(len(NPY_MAGIC))
        file.seek(0)
        embedding, metadata = (_read_npy if magic == NPY_MAGIC else _read_npz)(file)
        if len(embedding) != metadata.get("windows"):
            raise ValueError(f"it has {len(embedding)} windows, and says {metadata.get('windows')}")
    return metadata


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open an output, and turn whatever reading it raises into an EdgeL3Error."""
    path = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # NumPy, zipfile and pyarrow raise many kinds for a damaged file
        reason = str(error) or type(error).__name__
        raise EdgeL3Error(f"{path}: is no output of edgel3-onnx, or is damaged ({reason})") from error


def _read_npz(file: IO[bytes]) -> tuple[Float32, Metadata]:
    """All arrays are read, so that the archive's checksums are compared."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no npz archive")
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{member.filename} is compressed or encrypted")
            with archive.open(member) as content:
                arrays[member.filename] = _read_array(content, member.file_size)
                if content.read(1):  # at the end the checksum is compared
                    raise ValueError(f"{member.filename} goes on after its array")
    if not {"embedding.npy", "timestamps.npy", "metadata.npy"} <= arrays.keys():
        raise ValueError("it lacks embedding, timestamps or metadata")
    embedding, timestamps = arrays["embedding.npy"], arrays["timestamps.npy"]
    if embedding.ndim != 2 or timestamps.shape != embedding.shape[:1]:
        raise ValueError(f"it has shapes {embedding.shape} and {timestamps.shape}")
    return embedding, from_json(arrays["metadata.npy"].item())


def _read_npy(file: IO[bytes]) -> tuple[Float32, Metadata]:
    embedding = _read_array(file, os.fstat(file.fileno()).st_size)
    trailer = file.read(_MAX_METADATA)
    if not trailer.endswith(b"\n"):
        raise ValueError("it has no metadata")
    metadata = from_json(trailer)
    if metadata.get("embedding_crc32", (found := zlib.crc32(embedding.data))) != found:  # the first release wrote none
        raise ValueError("its checksum is another")
    return embedding, metadata


def _read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """An array in NumPy's format at the start of ``file``, which has ``size`` bytes: no more memory is taken."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its array has format {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or fortran_order or any(length < 0 for length in shape):
        raise ValueError(f"its array has dtype {dtype} and shape {shape}")
    count = 1
    for length in shape:
        count *= length
    if count * dtype.itemsize > size:
        raise ValueError(f"its array has shape {shape}, more than the file holds")
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ValueError("its array is cut off")
    return np.frombuffer(data, dtype, count).reshape(shape) if count else np.zeros(shape, dtype)
