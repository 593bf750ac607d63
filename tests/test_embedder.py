"""The class for Ray Data's batches, which needs no Ray: each row as of the functions for one recording or array."""

import numpy as np
import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3ArgumentError, get_embedding, load_embedding_model
from edgel3_onnx.ray import Embedder

OPTIONS = {"model_type": "micro", "num_threads": 1}


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


def test_rows_of_paths(tmp_path, micro):
    for k in range(2):
        soundfile.write(tmp_path / f"{k}.wav", golden.audio(8000, 1.7, k), 8000)
    (tmp_path / "bad.wav").write_bytes(b"")
    paths = np.array([str(tmp_path / name) for name in ("0.wav", "bad.wav", "1.wav")], object)
    batch = {"file": paths, "label": np.array([1, 2, 3])}
    found = Embedder("file", hop_size=0.3, **OPTIONS)(batch)
    assert list(found) == ["file", "label", "embedding", "timestamps", "error"]
    np.testing.assert_array_equal(found["label"], [1, 2, 3])
    assert found["error"].tolist() == [None, "is empty (0 bytes)", None]
    assert found["embedding"][1].shape == (0, micro.embedding_dim) and found["timestamps"][1].shape == (0,)
    for row in (0, 2):
        audio, rate = soundfile.read(paths[row])
        embedding, timestamps = get_embedding(audio, rate, micro, hop_size=0.3, verbose=0)
        np.testing.assert_allclose(found["embedding"][row], embedding, rtol=0, atol=1e-5 * np.abs(embedding).max())
        np.testing.assert_array_equal(found["timestamps"][row], timestamps)


@pytest.mark.parametrize("rates", [16000, [16000, 8000, 16000]], ids=["one", "each"])
def test_rows_of_arrays(micro, rates):
    arrays = [golden.audio(8000, 3.0, 0), golden.audio(8000, 4.5, 1).reshape(-1, 2), golden.audio(8000, 4.4, 2)]
    batch = {"samples": np.empty(3, object)}
    batch["samples"][:] = arrays
    if not isinstance(rates, int):
        batch["rate"] = np.array(rates)
    embedder = Embedder("samples", rates if isinstance(rates, int) else "rate", center=False, **OPTIONS)
    found = embedder(batch)
    assert found["error"].tolist() == [None] * 3
    for row, (samples, rate) in enumerate(zip(arrays, np.broadcast_to(rates, 3), strict=True)):
        embedding, timestamps = get_embedding(samples, float(rate), micro, center=False, verbose=0)
        np.testing.assert_array_equal(found["embedding"][row], embedding)
        np.testing.assert_array_equal(found["timestamps"][row], timestamps)


def test_an_array_that_is_no_audio_is_the_error_of_its_row(micro):
    batch = {"path": np.empty(2, object)}
    batch["path"][:] = [np.zeros((2, 2, 2)), golden.audio(16000, 1.0, 0)]
    found = Embedder(rate=16000, **OPTIONS)(batch)
    assert found["error"][0] is not None and found["error"][1] is None
    with pytest.raises(EdgeL3ArgumentError) as error:
        get_embedding(np.zeros((2, 2, 2)), 16000, micro)
    assert found["error"][0] == str(error.value)
    assert found["embedding"][0].shape == (0, micro.embedding_dim) and found["embedding"][1].shape[0] > 0


def test_an_option_that_nobody_knows():
    with pytest.raises(EdgeL3ArgumentError, match=r"^options must be some of .*\bhop_size\b.*, got hopsize, zoom$"):
        Embedder(zoom=1, hopsize=1)
