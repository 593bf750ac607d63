"""Resampling against the float64 transcription of resampy 0.2.2, and block by block against one shot."""

import numpy as np
import pytest

import reference_frontend as oracle
from edgel3_onnx import frontend
from edgel3_onnx.exceptions import EdgeL3ArgumentError

POLYPHASE = [(44100, 8000), (44100, 48000), (22050, 8000), (11025, 48000), (96000, 8000), (768000, 8000)]
DIRECT = [(44056, 8000), (11025.3, 8000)]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


@pytest.mark.parametrize(("sr_orig", "sr_new"), POLYPHASE + DIRECT)
def test_kaiser_best_agrees_with_the_oracle(sr_orig, sr_new):
    audio = noise(int(sr_orig) // 8 + 1)
    resampled = frontend.resample(audio, sr_orig, sr_new)
    expected = oracle.resample(audio, sr_orig, sr_new)
    assert resampled.dtype == np.float32
    assert resampled.shape == expected.shape
    assert np.abs(resampled - expected).max() < 1e-6


@pytest.mark.parametrize("method", ["kaiser_best", "soxr"])
@pytest.mark.parametrize(("sr_orig", "sr_new"), [(44100, 8000), (11025, 48000), (8000, 8000), (44056, 8000)])
def test_blocks_give_the_same_bits_as_one_shot(method, sr_orig, sr_new):
    audio = noise(30011)
    whole = frontend.resample(audio, sr_orig, sr_new, method)
    assert whole.shape == (int(len(audio) * (sr_new / sr_orig)),)
    resampler = frontend.Resampler(sr_orig, sr_new, method)
    for size in (1, 7, 1024, 20000):
        blocks = [resampler.push(audio[k : k + size]) for k in range(0, len(audio), size)]
        assert np.array_equal(np.concatenate([*blocks, resampler.flush()]), whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((noise(9), 0, 8000), "sr_orig=0"),
        ((noise(9), 44100, float("nan")), "sr_new=nan"),
        ((noise(9), 44100, 8000, "linear"), "method='linear'"),
        ((noise(9), 768000, 1000), "512 times"),
        ((noise(9), 96000, 8000), "too few"),
        ((np.zeros(9), 44100, 8000), "audio is float64"),
        ((np.full(900, np.inf, np.float32), 44100, 8000), r"\[0\] is inf"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(EdgeL3ArgumentError, match=message):
        frontend.resample(*arguments)
