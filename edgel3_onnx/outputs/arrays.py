"""One output for each recording: .npz or .npy, written whole or not at all, and read without trusting them."""

import math
import os
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.gathering import Embeddings
from edgel3_onnx.outputs.record import Metadata, first_difference, from_json, to_json
from edgel3_onnx.recordings.location import is_local, open_binary

FORMATS = ("npz", "npy", "parquet", "csv", "csv.gz")  # the first two: one output for each recording
Float32 = NDArray[np.float32]

NPY_MAGIC = b"\x93NUMPY"
# Of each array how its dtype begins, and its number of dimensions; those of the first release, and all there may be.
_ARRAYS = {"embedding": ("<f4", 2), "timestamps": ("<f8", 1), "metadata": ("<U", 0), "start_sample": ("<i8", 1)}
_ARRAYS |= {"start": ("<f8", 1), "end": ("<f8", 1), "channel": ("<i2", 1), "label": ("<U", 1)}
_REQUIRED = {"embedding", "timestamps", "metadata"}
_MAX_METADATA = 1 << 24  # characters
_MAX_REASON = 200  # characters of what a library says about a damaged file
_BLOCK = 1 << 20  # bytes read at a time


def write_npz(whole: BinaryIO, embeddings: Embeddings, metadata: Metadata) -> None:
    """Write the arrays of ``embeddings`` and ``metadata``, a JSON string, as numpy.savez would."""
    arrays: dict[str, NDArray[Any]] = {
        "embedding": embeddings.embedding,
        "timestamps": embeddings.timestamps,
        "start_sample": embeddings.start_sample,
        **_columns(embeddings, metadata),
        "metadata": np.array(to_json({**metadata, "windows": len(embeddings.embedding)})),
    }
    with zipfile.ZipFile(whole, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the same embedding gives the same bytes
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _columns(embeddings: Embeddings, metadata: Metadata) -> dict[str, NDArray[Any]]:
    """What tells rows apart that are not simply the windows of one recording."""
    columns: dict[str, NDArray[Any]] = {}
    if metadata.get("part") is not None or metadata.get("pool", "none") != "none" or embeddings.channel is not None:
        columns = {"start": embeddings.start, "end": embeddings.end}
    if embeddings.channel is not None:
        columns["channel"] = embeddings.channel
    if embeddings.label is not None:
        columns["label"] = np.array([label or "" for label in embeddings.label], np.str_)
    return columns


def write_npy(file: BinaryIO, embeddings: Embeddings, metadata: Metadata) -> None:
    """Write the embedding alone; ``metadata`` follows the array as one line of JSON, which numpy.load ignores."""
    embedding = np.ascontiguousarray(embeddings.embedding)
    record = {**metadata, "windows": len(embedding), "embedding_crc32": zlib.crc32(embedding.data)}
    header = np.lib.format.header_data_from_array_1_0(embedding)
    np.lib.format.write_array_header_1_0(file, header)
    file.write(embedding.data)  # numpy's own way of writing it does not say why it failed
    file.write(to_json(record).encode() + b"\n")


WRITERS: Mapping[str, Callable[[BinaryIO, Embeddings, Metadata], None]] = {
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
        windows, metadata = (_read_npy if magic == NPY_MAGIC else _read_npz)(file)
        if windows != metadata.get("windows"):
            raise ValueError(f"it has {windows} windows, and says {metadata.get('windows')}")
    return metadata


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open an output, and turn whatever reading it raises into an EdgeL3Error."""
    path = os.fspath(path)
    try:
        if is_local(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with open_binary(path) as file:
            yield file
    except Exception as error:  # NumPy, zipfile and pyarrow raise many kinds for a damaged file
        if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own has none
            raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
        reason = " ".join(str(error).split())[:_MAX_REASON] or type(error).__name__
        raise EdgeL3Error(f"{path}: is no output of edgel3-onnx, or is damaged ({reason})") from error


def _read_npz(file: IO[bytes]) -> tuple[int, Metadata]:
    """How many windows there are, and the record. All is read, so that the archive's checksums are compared."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no npz archive")
    with zipfile.ZipFile(file) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if len(members) < len(archive.infolist()) or not _REQUIRED <= members.keys() <= _ARRAYS.keys():
            raise ValueError(f"it has other arrays than {', '.join(_ARRAYS)}")
        shapes: dict[str, tuple[int, ...]] = {}
        for name, member in members.items():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{member.filename} is compressed or encrypted")
            with archive.open(member) as content:
                shapes[name], dtype = _read_header(content, name)
                blocks = _blocks(content, math.prod(shapes[name]) * dtype.itemsize)
                if name == "metadata":
                    text = np.frombuffer(b"".join(blocks), dtype)[0].item()
                else:
                    deque(blocks, 0)
                if content.read(1):  # at the end the checksum is compared
                    raise ValueError(f"{member.filename} goes on after its array")
    windows = shapes["embedding"][0]
    if any(shape != (windows,) for name, shape in shapes.items() if name not in ("embedding", "metadata")):
        raise ValueError(f"its arrays have the shapes {shapes}")
    return windows, from_json(text)


def _read_npy(file: IO[bytes]) -> tuple[int, Metadata]:
    """As :func:`_read_npz`."""
    shape, dtype = _read_header(file, "embedding")
    checksum = 0
    for block in _blocks(file, math.prod(shape) * dtype.itemsize):
        checksum = zlib.crc32(block, checksum)
    trailer = file.read(_MAX_METADATA)
    if not trailer.endswith(b"\n"):
        raise ValueError("it has no metadata")
    metadata = from_json(trailer)
    unwritten = None if "graph_sha256" in metadata else checksum  # the first release wrote neither
    if metadata.get("embedding_crc32", unwritten) != checksum:
        raise ValueError("its checksum is another")
    return shape[0], metadata


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array in NumPy's format that begins here, if it is what ``name`` must be."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its array has format {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    kind, dimensions = _ARRAYS[name]
    if not dtype.str.startswith(kind) or len(shape) != dimensions or fortran_order or min(shape, default=0) < 0:
        raise ValueError(f"{name} has dtype {dtype} and shape {shape}")
    if name == "metadata" and dtype.itemsize > 4 * _MAX_METADATA:
        raise ValueError(f"its metadata has {dtype.itemsize} bytes")
    return shape, dtype


def _blocks(file: IO[bytes], count: int) -> Iterator[bytes]:
    """The next ``count`` bytes, without taking much memory: what a header says may be anything."""
    while count:
        block = file.read(min(count, _BLOCK))
        if not block:
            raise ValueError("its array is cut off")
        count -= len(block)
        yield block
