"""Columns for pyarrow, against pyarrow.array."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import golden
from edgel3_onnx.outputs.columns import as_numpy, binaries, numbers, texts

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
        np.testing.assert_array_equal(as_numpy(found), some)
        np.testing.assert_array_equal(as_numpy(pyarrow.chunked_array([found, found])), np.concatenate([some, some]))


RUN = """
import sys
from edgel3_onnx import embed_corpus, load_embedding_model
for _ in range(2):
    embed_corpus(sys.argv[1], sys.argv[2], model=load_embedding_model("micro"), existing="skip")
print([name for name in ("pandas",) if name in sys.modules])
"""


def test_a_run_does_not_import_pandas(tmp_path):
    """Which takes longer than all the rest of a small run, and 40 MB in each process."""
    soundfile.write(tmp_path / "a.wav", golden.audio(8000, 1, 0), 8000)
    (tmp_path / "pandas.py").touch()  # as if it were installed
    command = [sys.executable, "-c", RUN, str(tmp_path / "a.wav"), str(tmp_path / "set")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr
