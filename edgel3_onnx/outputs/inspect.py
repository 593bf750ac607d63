"""What an output says of itself, whatever its format."""

import os

from edgel3_onnx.outputs.arrays import read_record, reading
from edgel3_onnx.outputs.dataset import MAGIC, read_sources
from edgel3_onnx.outputs.record import Metadata


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """The record of how an output was made: .npz, .npy, or a part of a parquet dataset.

    Raises
    ------
    EdgeL3Error
        If the file cannot be read, or is no output of this package.
    """
    path = os.fspath(path)
    with reading(path) as file:
        magic = file.read(len(MAGIC))
    return {"sources": read_sources(path)} if magic == MAGIC else read_record(path)
