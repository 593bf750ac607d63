"""Columns of pyarrow's made without ``pyarrow.array``, which imports pandas wherever it is installed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(values: NDArray[Any]) -> Any:
    """A pyarrow.Array of the numbers (N,), which it shares."""
    import pyarrow

    values = np.ascontiguousarray(values)
    kind = pyarrow.from_numpy_dtype(values.dtype)
    return pyarrow.Array.from_buffers(kind, len(values), [None, pyarrow.py_buffer(values)])


def texts(values: Sequence[str | None]) -> Any:
    """A pyarrow.StringArray; None is null."""
    import pyarrow

    return _variable(pyarrow.string(), [None if value is None else value.encode() for value in values])


def binaries(values: Sequence[bytes | None]) -> Any:
    """A pyarrow.BinaryArray; None is null."""
    import pyarrow

    return _variable(pyarrow.binary(), values)


def _variable(kind: Any, values: Sequence[bytes | None]) -> Any:
    import pyarrow

    there = np.array([value is not None for value in values], bool)
    if not there.any():
        return pyarrow.nulls(len(values), kind)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value or b"") for value in values], out=offsets[1:])
    mask = None if there.all() else pyarrow.py_buffer(np.packbits(there, bitorder="little"))
    data = b"".join(value or b"" for value in values)
    return pyarrow.Array.from_buffers(kind, len(values), [mask, pyarrow.py_buffer(offsets), pyarrow.py_buffer(data)])
