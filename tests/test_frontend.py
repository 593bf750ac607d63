"""log_mel against the float64 oracle at every SIMD level, and its arguments."""

import dataclasses
import os
import re
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import golden
import reference_frontend as oracle
from edgel3_onnx import _frontend, frontend
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.spec import FRONTENDS, FrontEndSpec

SEA, SPARSE = FRONTENDS["sea"], FRONTENDS["sparse"]
LEVELS = _frontend.simd_levels()
# dB. The spectrum is double, so what remains is the float32 of decibels of at most some 200: 1.5e-5 each, and
# a difference of two.
TOLERANCE = 5e-5

every_level = pytest.mark.parametrize("level", LEVELS)
every_spec = pytest.mark.parametrize("spec", FRONTENDS.values(), ids=FRONTENDS)


@pytest.fixture
def level(request, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", request.param)
    assert frontend.simd_level() == request.param
    return request.param


def signals(sample_rate: int) -> dict[str, np.ndarray]:
    """One and a third seconds of everything that a front end may meet: float32."""
    n = sample_rate * 4 // 3
    noise = np.random.default_rng(1).uniform(-1, 1, n)
    clicks = np.zeros(n)
    clicks[:: sample_rate // 7] = 1
    natural = golden.audio(sample_rate, 4 / 3, 5)[:n]
    made = {
        "natural": natural,
        "noise": noise,
        "silence": np.zeros(n),
        "clicks": clicks,
        "square": np.sign(np.sin(2 * np.pi * 100.5 / sample_rate * (np.arange(n) + 0.5))),
        "denormal": noise * 1e-40,
        "quiet": noise * 1e-9,
        "huge": noise * 1e38,
        "half": np.where(np.arange(n) < n // 2, noise, 0),
        "constant": np.ones(n),
    }
    return {name: signal.astype(np.float32) for name, signal in made.items()}


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@every_spec
@pytest.mark.parametrize("name", signals(SEA.sample_rate))
def test_agrees_with_the_oracle(level, spec, name):
    audio = signals(spec.sample_rate)[name]
    hop = spec.sample_rate // 3 + 1
    images = frontend.log_mel(audio, spec, hop_length=hop)
    expected = oracle.log_mel(audio, spec, hop)
    assert images.dtype == np.float32
    assert images.shape == expected.shape == (2, 1, spec.n_mels, spec.n_frames)
    assert np.abs(images - expected).max() <= TOLERANCE


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@pytest.mark.parametrize("n_mels", [1, 29, 61, 63])
def test_the_peak_may_be_the_last_value_of_an_image_of_any_size(level, n_mels):
    """Of 51 frames a band: no number of lanes divides it."""
    spec = dataclasses.replace(SEA, n_mels=n_mels)
    seconds = np.arange(SEA.sample_rate) / SEA.sample_rate
    audio = (seconds**8 * np.sin(2 * np.pi * 3980 * seconds)).astype(np.float32)  # rises to the end, and is high
    images = frontend.log_mel(audio, spec, hop_length=SEA.sample_rate)
    expected = oracle.log_mel(audio, spec, SEA.sample_rate)
    assert expected[0, 0].argmax() >= expected[0, 0].size - 3
    assert np.abs(images - expected).max() <= TOLERANCE


@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_the_peak_may_be_in_any_band(level):
    """A tone a second, from 20 Hz to the Nyquist frequency."""
    frequency = np.repeat(np.linspace(20, SEA.sample_rate / 2 - 5, 60), SEA.sample_rate)
    audio = (0.5 * np.sin(2 * np.pi * np.cumsum(frequency / SEA.sample_rate))).astype(np.float32)
    images = frontend.log_mel(audio, SEA, hop_length=SEA.sample_rate)
    assert np.unique(images.max(axis=3)[:, 0].argmax(axis=1)).max() == SEA.n_mels - 1
    np.testing.assert_array_equal(images.max(axis=(1, 2, 3)), 0)
    assert np.abs(images - oracle.log_mel(audio, SEA, SEA.sample_rate)).max() <= TOLERANCE


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 20000), hop=st.integers(1, 9000), center=st.booleans(), data=st.data())
def test_any_length_hop_and_run_of_windows(level, n, hop, center, data):
    total = frontend.num_windows(n, SEA, hop, center)
    start = data.draw(st.integers(0, total - 1), "start")
    count = data.draw(st.integers(1, min(total - start, 3)), "count")
    audio = np.random.default_rng(n).uniform(-1, 1, n).astype(np.float32)
    images = frontend.log_mel(audio, SEA, hop_length=hop, center=center, start=start, count=count)
    expected = oracle.log_mel(audio, SEA, hop, center, start, count)
    assert images.shape == expected.shape
    assert np.abs(images - expected).max() <= TOLERANCE


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n_fft=st.sampled_from([1024, 2048]),
    rate=st.integers(1000, 30000),
    hop=st.integers(100, 30000),
    bands=st.one_of(st.integers(1, 1024), st.just(1024)),
)
def test_any_spec(level, n_fft, rate, hop, bands):
    """Up to the most bands that there is work space for, windows shorter than the FFT, hops of a whole window."""
    spec = FrontEndSpec("any", rate, n_fft, min(hop, rate), min(bands, n_fft // 2))
    audio = golden.audio(rate, 1.5, 1).astype(np.float32)
    images = frontend.log_mel(audio, spec, hop_length=rate // 3 * 2)
    expected = oracle.log_mel(audio, spec, rate // 3 * 2)
    assert images.shape == expected.shape
    assert np.abs(images - expected).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_fft": 512}, "n_fft must be an integer from 1024 to 2048, got 512"),
        ({"n_fft": 1536}, "n_fft=1536 is not available"),
        ({"n_fft": 1024.0}, "n_fft must be an integer from 1024 to 2048, got 1024.0"),
        ({"n_mels": 0}, "n_mels must be an integer from 1 to 512, got 0"),
        ({"n_mels": 6000}, "n_mels must be an integer from 1 to 512, got 6000"),
        ({"n_mels": "64"}, "n_mels must be an integer from 1 to 512, got '64'"),
        ({"n_mels": True}, "n_mels must be an integer from 1 to 512, got True"),
        ({"hop_length": 0}, "hop_length must be an integer from 1 to 8000, got 0"),
        ({"hop_length": 8001}, "hop_length must be an integer from 1 to 8000, got 8001"),
        ({"sample_rate": 0}, "sample_rate must be an integer from 1 to 1000000, got 0"),
        ({"sample_rate": 1 << 31}, "sample_rate must be an integer from 1 to 1000000, got 2147483648"),
        ({"sample_rate": None}, "sample_rate must be an integer from 1 to 1000000, got None"),
        ({"amin": 0.0}, "amin=0.0"),
        ({"amin": 1e-200}, "amin=1e-200"),
        ({"amin": float("nan")}, "amin=nan"),
        ({"amin": "1"}, "amin='1'"),
        ({"top_db": -1}, "top_db=-1"),
        ({"top_db": float("inf")}, "top_db=inf"),
        ({"name": 1}, "name=1"),
    ],
)
def test_a_spec_checks_itself(change, message):
    with pytest.raises(EdgeL3ArgumentError, match=re.escape(message)):
        dataclasses.replace(SEA, **change)


def test_numbers_of_a_spec_become_python_numbers():
    spec = dataclasses.replace(SEA, sample_rate=np.int32(8000), top_db=np.float32(80))
    assert spec == SEA and type(spec.sample_rate) is int and type(spec.top_db) is float


@pytest.mark.parametrize(
    "change",
    [
        {"n_fft": 512},
        {"n_fft": 4096},
        {"n_mels": 0},
        {"n_mels": 513},
        {"n_mels": 6000},
        {"hop_length": 0},
        {"sample_rate": 0},
        {"window_length": 0},
        {"window_length": 1 << 30},
        {"n_frames": 49},
        {"n_frames": 51},
        {"pad_left": -1},
        {"pad_left": 1024},
        {"amin": 0.0},
        {"amin": 0.9e-100},
        {"amin": 1.1},
        {"amin": float("nan")},
        {"top_db": -1.0},
        {"hop_length": 1_000_001, "n_frames": 1},
        {"window_length": 1_000_001, "n_frames": 6251},
    ],
)
def test_the_c_code_refuses_numbers_that_it_was_not_built_for(change):
    """Past FrontEndSpec, which lets none of them through."""
    fields = ["sample_rate", "n_fft", "hop_length", "n_mels", "window_length", "n_frames", "pad_left", "amin", "top_db"]
    numbers = {field: getattr(SEA, field) for field in fields}
    _frontend.MelPlan(types.SimpleNamespace(**numbers), 0)
    with pytest.raises(ValueError, match="not built for"):
        _frontend.MelPlan(types.SimpleNamespace(**numbers | change), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"n_fft": 2048},
        {"n_mels": 1},
        {"n_mels": 512},
        {"pad_left": 0},
        {"pad_left": 1023},
        {"amin": 1e-100},
        {"amin": 1.0},
        {"top_db": 0.0},
        {"hop_length": 1_000_000, "n_frames": 1},
        {"window_length": 1, "n_frames": 1},
        {"window_length": 1_000_000, "n_frames": 6250},
    ],
)
def test_the_c_code_takes_all_numbers_that_it_was_built_for(change):
    fields = ["sample_rate", "n_fft", "hop_length", "n_mels", "window_length", "n_frames", "pad_left", "amin", "top_db"]
    _frontend.MelPlan(types.SimpleNamespace(**{field: getattr(SEA, field) for field in fields} | change), 0)


def test_the_c_code_refuses_arrays_that_are_too_short():
    audio = np.ones(16000, np.float32)
    plan = _frontend.MelPlan(SEA, 0)
    plan.run(audio, np.empty((2, 1, 64, 50), np.float32), 0, 8000, 0)
    for shape in ((2, 1, 64, 49), (2, 1, 63, 50), (1, 0, 64, 50)):
        with pytest.raises(ValueError):
            plan.run(audio, np.empty(shape, np.float32), 0, 8000, 0)
    for lead, hop_length, start in ((-1, 8000, 0), (0, 0, 0), (0, 8000, -1), (0, 1 << 62, 1)):
        with pytest.raises(ValueError, match="not built for"):
            plan.run(audio, np.empty((2, 1, 64, 50), np.float32), lead, hop_length, start)
    with pytest.raises(ValueError, match="not built for"):
        _frontend.MelPlan(SEA, len(LEVELS))


@pytest.mark.parametrize("n", [1, 2, 241, 7999, 8000, 8001, 8159, 8800, 48000, 48001, 52799])
@every_spec
def test_windows_cover_every_sample(n, spec):
    for hop in (1, 160, 801, 4800, 48000):
        for center in (False, True):
            expected = (len(oracle.pad(np.zeros(n), spec, hop, center)) - spec.window_length) // hop + 1
            assert frontend.num_windows(n, spec, hop, center) == expected


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@pytest.mark.parametrize(
    ("spec", "hop"),
    [
        (SEA, 160),
        (SEA, 800),
        (SEA, 1600),
        (SEA, 7840),
        (SEA, 8000),
        (SEA, 801),
        (SPARSE, 9680),
        (SPARSE, 4800),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_window_has_the_same_bits_wherever_and_in_whatever_thread_it_is_computed(level, spec, hop):
    audio = golden.audio(spec.sample_rate, 1.6, 3).astype(np.float32)
    whole = frontend.log_mel(audio, spec, hop_length=hop, center=True)
    alone = [frontend.log_mel(audio, spec, hop_length=hop, center=True, start=k, count=1) for k in range(len(whole))]
    assert np.array_equal(whole, np.concatenate(alone))
    with ThreadPoolExecutor(3) as pool:
        together = pool.map(lambda k: frontend.log_mel(audio, spec, hop_length=hop, center=True, start=k), range(3))
        for k, images in enumerate(together):
            assert np.array_equal(whole[k:], images)
    tail = frontend.log_mel(audio, spec, hop_length=hop, center=True, start=1)
    assert np.array_equal(whole[1:], tail)
    # the same samples as a signal of their own, zeros written out
    padded = oracle.pad(audio, spec, hop, True).astype(np.float32)
    window = padded[hop : hop + spec.window_length]
    assert np.array_equal(whole[1:2], frontend.log_mel(window, spec, hop_length=hop))


@every_spec
def test_gain_does_not_matter(spec):
    audio = signals(spec.sample_rate)["noise"]
    images = frontend.log_mel(audio, spec, hop_length=spec.sample_rate)
    assert np.abs(frontend.log_mel(audio * 64, spec, hop_length=spec.sample_rate) - images).max() <= TOLERANCE


def test_silence_is_zero_everywhere():
    assert not frontend.log_mel(np.zeros(8000, np.float32), SEA, hop_length=800).any()


@pytest.mark.parametrize("level", LEVELS, indirect=True)
@pytest.mark.parametrize("name", ["printer_8k", "sauna_8k", "snap_8k", "guitar_48k", "printer_48k"])
def test_natural_recordings(level, name, reference):
    soundfile = pytest.importorskip("soundfile")
    audio, rate = soundfile.read(reference / "audio" / f"{name}.wav", dtype="float32")
    spec = SEA if rate == SEA.sample_rate else SPARSE
    count = min(frontend.num_windows(len(audio), spec, rate // 2, True), 2)
    images = frontend.log_mel(audio, spec, hop_length=rate // 2, center=True, count=count)
    expected = oracle.log_mel(audio, spec, rate // 2, True, 0, count)
    assert images.min() < -20  # not silence
    assert np.abs(images - expected).max() <= TOLERANCE


def test_tables_are_those_of_the_oracle():
    """A band at a time: the largest value of an image is the band that the oracle says."""
    for spec in FRONTENDS.values():
        matrix = oracle.mel_matrix(spec)
        time = np.arange(spec.window_length) / spec.sample_rate
        for bin_ in range(20, spec.n_fft // 2, spec.n_fft // 10):
            tone = np.sin(2 * np.pi * bin_ * spec.sample_rate / spec.n_fft * time).astype(np.float32)
            image = frontend.log_mel(tone, spec, hop_length=spec.sample_rate)[0, 0]
            expected = oracle.image(tone, spec)
            assert image[:, 20].argmax() == expected[:, 20].argmax() == matrix[bin_].argmax()


@every_level
def test_the_environment_chooses_the_level(level):
    code = (
        "import numpy as np; from edgel3_onnx import frontend; from edgel3_onnx.spec import FRONTENDS;"
        "audio = np.random.default_rng(0).uniform(-1, 1, 9000).astype(np.float32);"
        "images = frontend.log_mel(audio, FRONTENDS['sea'], hop_length=800);"
        "print(frontend.simd_level(), images.sum(dtype=np.float64))"
    )
    environment = {**os.environ, "EDGEL3_ONNX_SIMD": level}
    command = [sys.executable, "-P", "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    name, total = run.stdout.split()
    audio = np.random.default_rng(0).uniform(-1, 1, 9000).astype(np.float32)
    assert name == level
    assert float(total) == pytest.approx(oracle.log_mel(audio, SEA, 800).sum(), rel=1e-6)


@pytest.mark.parametrize("wanted", ["sse9", "AVX2"])
def test_an_unknown_level_is_refused(wanted, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", wanted)
    for call in (
        frontend.simd_level,
        lambda: frontend.log_mel(np.zeros(9, np.float32), SEA, hop_length=1),
        lambda: frontend.resample(np.zeros(99, np.float32), 16000, 8000),
    ):
        with pytest.raises(EdgeL3Error, match=f"EDGEL3_ONNX_SIMD='{wanted}'.*{LEVELS[0]}"):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": np.zeros(8000)}, "audio is float64"),
        ({"audio": [0.0]}, "audio is list"),
        ({"audio": np.zeros((8000, 1), np.float32)}, r"audio has shape \(8000, 1\)"),
        ({"audio": np.zeros(16000, np.float32)[::2]}, "not contiguous"),
        ({"audio": np.zeros(0, np.float32)}, "audio is empty"),
        ({"audio": np.full(8000, np.nan, np.float32)}, r"audio\[0\] is nan"),
        ({"audio": np.append(np.zeros(8, np.float32), np.float32(np.inf))}, r"audio\[8\] is inf"),
        ({"hop_length": 0}, "hop_length must be a positive integer, got 0"),
        ({"hop_length": -1}, "hop_length must be a positive integer, got -1"),
        ({"hop_length": 0.5}, r"hop_length must be a positive integer, got 0\.5"),
        ({"start": -1}, "start must be an integer of at least 0, got -1"),
        ({"start": 1}, "start=1 is beyond the end"),
        ({"count": 0}, "count must be a positive integer, got 0"),
        ({"count": 2}, "count=2 from start=0"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"audio": np.ones(8000, np.float32), "spec": SEA, "hop_length": 800} | change
    with pytest.raises(EdgeL3ArgumentError, match=message):
        frontend.log_mel(arguments.pop("audio"), arguments.pop("spec"), **arguments)


def test_a_hop_beyond_the_end_gives_a_window_of_zeros():
    images = frontend.log_mel(np.append(np.ones(1, np.float32), np.zeros(8000, np.float32)), SEA, hop_length=1 << 80)
    assert images.shape[0] == 2
    assert images[0].any()
    assert not images[1].any()


def test_a_read_only_signal_is_taken():
    audio = np.ones(8000, np.float32)
    audio.flags.writeable = False
    assert frontend.log_mel(audio, SEA, hop_length=800).shape == (1, 1, 64, 50)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a system that keeps to RLIMIT_AS")
def test_too_little_memory_is_a_memory_error():
    code = """
import resource
import numpy as np
from edgel3_onnx import frontend
from edgel3_onnx.spec import FRONTENDS
audio = np.ones(1 << 20, np.float32)
frontend.log_mel(audio, FRONTENDS["sea"], hop_length=800, count=2)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    frontend.log_mel(audio, FRONTENDS["sea"], hop_length=1)
except MemoryError:
    print("MemoryError")
"""
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "MemoryError\n"
