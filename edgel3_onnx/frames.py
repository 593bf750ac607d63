"""Outputs as pandas frames."""

import os
from typing import TYPE_CHECKING

import numpy as np

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs.arrays import reading
from edgel3_onnx.outputs.dataset import MAGIC
from edgel3_onnx.outputs.record import from_json
from edgel3_onnx.outputs.rows import import_pyarrow

if TYPE_CHECKING:
    import pandas


def embedding_frame(path: str | os.PathLike[str]) -> "pandas.DataFrame":
    """Read an output of :func:`edgel3_onnx.process_file` or of the command line into a frame.

    ``xarray.DataArray(edgel3_onnx.embedding_frame("street.npz"))`` is the same with the dimensions ``timestamp`` and
    ``feature``.

    Parameters
    ----------
    path : path
        A .npz file, a parquet dataset, which is a directory, or a part of one.

    Returns
    -------
    pandas.DataFrame
        A row for each window, indexed by ``timestamp``, in seconds; of a dataset by ``path`` and ``timestamp``. The
        columns are float32 ``e0``, ``e1`` and so on. ``attrs`` has the record of how a .npz was made.

    Raises
    ------
    EdgeL3Error
        If pandas is not installed, or the file cannot be read, is damaged or no such output.

    Examples
    --------
    >>> edgel3_onnx.process_file("examples/street.flac", "embeddings", model_type="micro")
    >>> edgel3_onnx.embedding_frame("embeddings/street.npz").shape
    (56, 64)
    """
    try:
        import pandas
    except ImportError as error:
        raise EdgeL3Error("pandas is not installed: pip install 'edgel3-onnx[pandas]'") from error
    path = os.fspath(path)
    if os.path.isdir(path) or _is_parquet(path):
        return _of_dataset(path)
    with reading(path) as file, np.load(file, allow_pickle=False) as arrays:
        embedding, attrs = arrays["embedding"], from_json(arrays["metadata"].item())
        frame = pandas.DataFrame(embedding, pandas.Index(arrays["timestamps"], name="timestamp"))
    frame.columns = pandas.Index([f"e{k}" for k in range(embedding.shape[1])], name="feature")
    frame.attrs = attrs
    return frame


def _is_parquet(path: str) -> bool:
    with reading(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def _of_dataset(path: str) -> "pandas.DataFrame":
    import pandas

    import_pyarrow()
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["path", "timestamp", "embedding"])
        embedding = table["embedding"].combine_chunks()
        values = embedding.flatten().to_numpy().reshape(len(embedding), embedding.type.list_size)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise EdgeL3Error(f"{path}: is no dataset of edgel3-onnx, or is damaged ({error})") from error
    index = pandas.MultiIndex.from_arrays(
        [table["path"].to_pandas(), table["timestamp"].to_numpy()], names=["path", "timestamp"]
    )
    columns = pandas.Index([f"e{k}" for k in range(values.shape[1])], name="feature")
    return pandas.DataFrame(values, index, columns)
