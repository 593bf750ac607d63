"""A dataset as one CSV file, for spreadsheets and programs that read no parquet: one row per window.

The dataset is what a run continues and what has the record of how it was made; the table is written from it.
"""

import gzip
import io
import os
from collections.abc import Iterator
from typing import Any

from edgel3_onnx.atomic import remove_abandoned, replacing
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import dataset
from edgel3_onnx.outputs.arrays import reading
from edgel3_onnx.outputs.rows import import_pyarrow

FORMATS = ("csv", "csv.gz")
_COLUMNS = ("path", "start", "end", "channel", "label", "embedding")  # that are read of a dataset
_VALUE = "%.9g"  # as many digits as give a float32 back
_ROWS = 2048  # in memory at a time
_LEVEL = 3  # of gzip: digits of embeddings hardly get smaller at a higher one
_QUOTED = frozenset(',"\r\n')


def table_path(folder: str, format: str) -> str:
    """Where the table of a dataset is: beside its directory, in which readers of parquet want nothing else."""
    return f"{os.path.abspath(folder)}.{format}"


def write_table(folder: str, format: str) -> None:
    """Write the table of a dataset, whole or not at all; none of a dataset without parts.

    Its columns are ``path``, ``start``, ``end`` (seconds of the window), ``channel`` (from 1; empty: their mean),
    ``label`` and ``e0`` to ``e<D-1>``. Rows of one recording stand together.

    Parameters
    ----------
    folder : str
    format : {"csv", "csv.gz"}

    Raises
    ------
    EdgeL3Error
        If a part is damaged or has other columns than the first one, or the table cannot be written: what was there
        before is still there, then.
    """
    parts = dataset.parts(folder)
    if not parts:
        return
    path = table_path(folder, format)
    remove_abandoned(os.path.dirname(path))
    with replacing(path) as whole:
        if format == "csv":
            _write(whole, parts)
        else:
            with gzip.GzipFile("", "wb", _LEVEL, whole, mtime=0) as packed:  # the same rows give the same bytes
                _write(packed, parts)


def _write(file: Any, parts: list[str]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    width = 0
    for part in parts:
        for batch in _batches(part):
            dim = batch.schema.field("embedding").type.list_size
            if not width:
                width = dim
                text.write(",".join([*_COLUMNS[:-1], *(f"e{k}" for k in range(dim))]) + "\n")
            elif dim != width:
                raise EdgeL3Error(f"{part}: has embeddings of {dim} values, those of other parts have {width}")
            text.write("".join(_lines(batch, dim)))
    text.detach()


def _batches(part: str) -> Iterator[Any]:
    import_pyarrow()
    from pyarrow import parquet

    with reading(part) as file:
        rows = parquet.ParquetFile(file, page_checksum_verification=True)
        if missing := set(_COLUMNS) - set(rows.schema_arrow.names):
            raise ValueError(f"it has no columns {', '.join(sorted(missing))}")
        yield from rows.iter_batches(_ROWS, columns=list(_COLUMNS))


def _lines(batch: Any, dim: int) -> Iterator[str]:
    values = batch["embedding"].flatten().to_numpy().reshape(-1, dim)
    line = "%s,%r,%r,%s,%s," + ",".join([_VALUE] * dim) + "\n"  # %r gives times back to the last bit
    known = [batch[name].to_pylist() for name in _COLUMNS[:-1]]
    for path, start, end, channel, label, row in zip(*known, values, strict=True):
        yield line % (_cell(path), start, end, _cell(channel), _cell(label), *row.tolist())


def _cell(value: str | int | None) -> str:
    """``value`` in a CSV; nothing for None."""
    if value is None:
        return ""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.intersection(text) else text
