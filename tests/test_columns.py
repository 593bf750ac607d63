"""Columns for pyarrow, against pyarrow.array."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgel3_onnx.outputs.columns import binaries, numbers, texts

pyarrow = pytest.importorskip("pyarrow")


@given(st.lists(st.one_of(st.none(), st.text())))
def test_texts_and_bytes(values):
    found = texts(values)
    found.validate(full=True)
    assert found.equals(pyarrow.array(values, pyarrow.string()))
    values = [None if value is None else value.encode() for value in values]
    assert binaries(values).equals(pyarrow.array(values, pyarrow.binary()))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i8"])
def test_numbers(dtype):
    values = np.arange(20).astype(dtype)
    for some in (values, values[::2], values[3:3]):
        found = numbers(some)
        found.validate(full=True)
        assert found.equals(pyarrow.array(some))
