"""Outputs as frames, with the real pandas and xarray."""

import numpy as np
import pytest
import soundfile

from edgel3_onnx import EdgeL3Error, embedding_frame, process_file
from edgel3_onnx.cli import run

pandas = pytest.importorskip("pandas")


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(16000), 8000)
    return tmp_path


def test_a_file_becomes_a_frame(recordings):
    process_file(recordings / "a.wav", model_type="micro")
    frame = embedding_frame(recordings / "a.npz")
    arrays = np.load(recordings / "a.npz")
    np.testing.assert_array_equal(frame.to_numpy(), arrays["embedding"])
    np.testing.assert_array_equal(frame.index, arrays["timestamps"])
    assert frame.index.name == "timestamp"
    assert list(frame.columns) == [f"e{k}" for k in range(64)]
    assert set(frame.dtypes) == {np.dtype("float32")}
    assert frame.attrs["variant"] == "micro"
    assert frame.attrs["source"] == "a.wav"


def test_a_frame_becomes_an_xarray(recordings):
    xarray = pytest.importorskip("xarray")
    process_file(recordings / "a.wav", model_type="micro")
    array = xarray.DataArray(embedding_frame(recordings / "a.npz"))
    assert array.dims == ("timestamp", "feature")
    assert array.sel(timestamp=0.5, feature="e3").item() == np.load(recordings / "a.npz")["embedding"][5, 3]


def test_a_dataset_becomes_a_frame(recordings):
    pytest.importorskip("pyarrow")
    paths = [str(recordings / f"{name}.wav") for name in ("a", "b")]
    run(paths, output_dir=str(recordings / "set"), model_type="micro", format="parquet")
    process_file(paths, model_type="micro")
    parts = [path for path in (recordings / "set").iterdir() if path.suffix == ".parquet"]
    for source in (recordings / "set", parts[0]):
        frame = embedding_frame(source)
        assert frame.index.names == ["path", "timestamp"]
        for path in paths:
            own = embedding_frame(path.replace(".wav", ".npz"))
            pandas.testing.assert_frame_equal(frame.loc[path], own)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"PK\x03\x04"])
def test_what_is_no_output_is_an_error(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(EdgeL3Error, match=r"x\.npz: is no (output|dataset) of edgel3-onnx"):
        embedding_frame(tmp_path / "x.npz")


def test_what_is_absent_is_an_error(tmp_path):
    with pytest.raises(EdgeL3Error, match=r"x\.npz: cannot be read \(No such file"):
        embedding_frame(tmp_path / "x.npz")
