"""Resampling against the float64 transcription of resampy 0.2.2, and block by block against one shot."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import golden
import reference_frontend as oracle
from edgel3_onnx import _frontend, frontend
from edgel3_onnx.exceptions import EdgeL3ArgumentError

LEVELS = _frontend.simd_levels()
# Up and down; a few phases, many, and any number; one table entry per sample, or nearly.
RATES = [(44100, 8000), (44100, 48000), (22050, 8000), (11025, 48000), (96000, 8000), (768000, 8000), (8000, 44100)]
RATES += [(44056, 8000), (11025.3, 8000), (7999.9, 48000), (47999, 48000), (48000, 47999.5), (511000, 1000)]


@pytest.fixture
def level(request, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", request.param)
    return request.param


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


@functools.cache
def noise_and_oracle(sr_orig: float, sr_new: float) -> tuple[np.ndarray, np.ndarray]:
    audio = noise(min(int(5000 * sr_orig / sr_new), 60000))
    return audio, oracle.resample(audio, sr_orig, sr_new)


def assert_rounded_once(resampled: np.ndarray, expected: np.ndarray) -> None:
    """resampled is the float64 result rounded to float32, but for what sums in another order may move."""
    rounded = expected.astype(np.float32)
    assert resampled.dtype == np.float32
    assert resampled.shape == rounded.shape
    assert np.mean(resampled == rounded) >= 0.99  # measured: all
    assert (np.abs(resampled - rounded) <= np.spacing(np.abs(rounded))).all()


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@pytest.mark.parametrize(("sr_orig", "sr_new"), RATES)
def test_kaiser_best_is_float64_rounded_once(level, sr_orig, sr_new):
    audio, expected = noise_and_oracle(sr_orig, sr_new)
    assert_rounded_once(frontend.resample(audio, sr_orig, sr_new), expected)


@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_what_the_filter_nearly_removes_is_rounded_once_too(level):
    """Loud sound above the new Nyquist frequency and a quiet one below it: 60 dB less comes out than goes in."""
    time = np.arange(8820) / 44100
    audio = (np.sin(2 * np.pi * 9000 * time) + 1e-3 * np.cos(2 * np.pi * 443.21 * time)).astype(np.float32)
    assert_rounded_once(frontend.resample(audio, 44100, 8000), oracle.resample(audio, 44100, 8000))


@pytest.mark.parametrize(("sr_orig", "sr_new"), RATES)
def test_levels_with_fused_operations_give_the_same_bits(sr_orig, sr_new, monkeypatch):
    audio = noise(30011)
    found = {}
    for name in LEVELS:
        monkeypatch.setenv("EDGEL3_ONNX_SIMD", name)
        found[name] = frontend.resample(audio, sr_orig, sr_new)
    baseline = found.pop("baseline")
    for resampled in found.values():
        assert np.array_equal(resampled, found[LEVELS[-1]])
        assert np.mean(resampled == baseline) >= 0.999  # products that are rounded move a float64 sum by its last bits


def test_the_oracle_gives_the_recorded_numbers_of_resampy():
    """tests/data/resampy.npz: resampy 0.2.2 itself on golden.audio(sr_orig, 0.05, 7)."""
    recorded = np.load(golden.DATA.parent / "resampy.npz")
    for name in recorded.files:
        sr_orig, sr_new = (int(rate) for rate in name.split("_"))
        audio = golden.audio(sr_orig, 0.05, 7)
        assert np.abs(oracle.resample(audio, sr_orig, sr_new) - recorded[name]).max() < 1e-7
        resampled = frontend.resample(audio.astype(np.float32), sr_orig, sr_new)
        assert np.abs(resampled - recorded[name]).max() < 2e-7  # audio is rounded to float32


def test_the_published_drift_of_the_time_is_reproduced():
    """resampy adds up the time, errors included, which after 40 s are far more than an output's rounding."""
    n, start = 44100 * 40, 44100 * 40 - 2000
    audio = np.zeros(n, np.float32)
    audio[start:] = noise(2000)
    tail = frontend.resample(audio, 44100, 48000)[-1000:]
    expected = oracle.resample(audio, 44100, 48000, first=int(n * (48000 / 44100)) - 1000)
    assert_rounded_once(tail, expected)


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


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rates=st.sampled_from([*RATES, (8000, 48000), (16000, 16000)]),
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=6),
    method=st.sampled_from(["kaiser_best", "soxr"]),
)
def test_any_blocks(level, rates, sizes, method):
    audio = noise(sum(sizes))
    resampler = frontend.Resampler(*rates, method)
    blocks = np.split(audio, np.cumsum(sizes)[:-1])
    joined = np.concatenate([*map(resampler.push, blocks), resampler.flush()])
    expected_length = int(len(audio) * (float(rates[1]) / rates[0]))
    assert joined.shape == (expected_length,)
    if expected_length:
        assert np.array_equal(joined, frontend.resample(audio, *rates, method))


def test_a_long_signal_needs_bounded_memory():
    """What push returns keeps up with what it got: nothing piles up."""
    resampler = frontend.Resampler(44100, 8000)
    received = returned = 0
    for _ in range(50):
        received += 4410
        returned += len(resampler.push(noise(4410)))
        assert received * 8000 / 44100 - returned < 80


def test_soxr_keeps_a_tone():
    time = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    resampled = frontend.resample(tone, 44100, 8000, "soxr")
    expected = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    assert np.abs(resampled - expected)[200:-200].max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((noise(9), 0, 8000), "sr_orig=0"),
        ((noise(9), -1, 8000), "sr_orig=-1"),
        ((noise(9), "44100", 8000), "sr_orig='44100'"),
        ((noise(9), 44100, float("nan")), "sr_new=nan"),
        ((noise(9), 44100, 8000, "linear"), "method='linear'"),
        ((noise(9), 768000, 1000), "above 512 times"),
        ((noise(9), 8000, 4096001), "above 512 times"),
        ((noise(9), 5e-324, 8000), "above 512 times"),
        ((noise(9), 5e-324, 8000, "soxr"), "above 512 times"),
        ((noise(9), 1 << 1024, 8000), "sr_orig="),
        ((noise(9), 96000, 8000), "too few"),
        ((np.zeros(9), 44100, 8000), "audio is float64"),
        ((np.zeros((9, 1), np.float32), 44100, 8000), "shape"),
        ((noise(18)[::2], 44100, 8000), "not contiguous"),
        ((np.full(900, np.inf, np.float32), 44100, 8000), r"\[0\] is inf"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(EdgeL3ArgumentError, match=message):
        frontend.resample(*arguments)


def test_the_c_code_refuses_ratios_and_arrays_that_it_was_not_built_for():
    """Past Resampler, which lets none of them through."""
    for ratio in (0.0, 1 / 513, 513.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not built for"):
            _frontend.KaiserFilter(ratio, 0)
    with pytest.raises(ValueError, match="not built for"):
        _frontend.KaiserFilter(0.5, len(LEVELS))
    resampler = _frontend.KaiserResampler(_frontend.KaiserFilter(0.5, 0))
    with pytest.raises(ValueError, match="not built for"):
        resampler.process(noise(1000), True, np.empty(499, np.float32))
    assert resampler.process(noise(1000), True, np.empty(500, np.float32)) == 500


@pytest.mark.parametrize("method", ["kaiser_best", "soxr"])
def test_threads_wait_for_each_other(method):
    """Eight threads push the same blocks: whatever their turns, the signal is the same."""
    block = noise(5000)
    resampler = frontend.Resampler(44100, 8000, method)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: resampler.push(block), range(400)))
    length = sum(map(len, parts)) + len(resampler.flush())
    assert length == int(400 * 5000 * (8000 / 44100))
    whole = frontend.resample(np.tile(block, 400), 44100, 8000, method)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(whole[: sum(map(len, parts))]))
