"""log_mel against the float64 oracle, and its arguments."""

import numpy as np
import pytest

import reference_frontend as oracle
from edgel3_onnx import frontend
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.spec import FRONTENDS

SEA, SPARSE = FRONTENDS["sea"], FRONTENDS["sparse"]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


@pytest.mark.parametrize("spec", FRONTENDS.values(), ids=FRONTENDS)
@pytest.mark.parametrize("center", [False, True])
def test_agrees_with_the_oracle(spec, center):
    audio = noise(int(1.7 * spec.sample_rate))
    hop = spec.sample_rate // 3
    images = frontend.log_mel(audio, spec, hop_length=hop, center=center)
    expected = oracle.log_mel(audio, spec, hop, center)
    assert images.dtype == np.float32
    assert images.shape == expected.shape == (len(images), 1, spec.n_mels, spec.n_frames)
    assert len(images) == frontend.num_windows(len(audio), spec, hop, center)
    assert np.abs(images - expected).max() < 1e-4


def test_runs_and_threads_give_the_same_bits():
    audio = noise(3 * 8000 + 5)
    whole = frontend.log_mel(audio, SEA, hop_length=800, center=True)
    assert np.array_equal(frontend.log_mel(audio, SEA, hop_length=800, center=True, num_threads=3), whole)
    for start, count in ((0, 1), (7, 9), (len(whole) - 1, 1)):
        part = frontend.log_mel(audio, SEA, hop_length=800, center=True, start=start, count=count)
        assert np.array_equal(part, whole[start : start + count])


def test_silence_is_zero_everywhere():
    assert not frontend.log_mel(np.zeros(8000, np.float32), SEA, hop_length=800).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": np.zeros(8000)}, "audio is float64"),
        ({"audio": [0.0]}, "audio is list"),
        ({"audio": np.zeros((8000, 1), np.float32)}, r"audio has shape \(8000, 1\)"),
        ({"audio": np.zeros(16000, np.float32)[::2]}, "not contiguous"),
        ({"audio": np.zeros(0, np.float32)}, "audio is empty"),
        ({"audio": np.full(8000, np.nan, np.float32)}, r"audio\[0\] is nan"),
        ({"hop_length": 0}, "hop_length=0"),
        ({"hop_length": -1}, "hop_length=-1"),
        ({"hop_length": 0.5}, "hop_length=0.5"),
        ({"start": -1}, "start=-1"),
        ({"start": 1}, "start=1 is beyond the end"),
        ({"count": 0}, "count=0"),
        ({"count": 2}, "count=2 from start=0"),
        ({"num_threads": 0}, "num_threads=0"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"audio": noise(8000), "spec": SEA, "hop_length": 800} | change
    with pytest.raises(EdgeL3ArgumentError, match=message):
        frontend.log_mel(arguments.pop("audio"), arguments.pop("spec"), **arguments)
