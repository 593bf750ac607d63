"""get_embedding: what counts as audio, what is refused and in which words, batches, lists."""

import concurrent.futures
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgel3_onnx
import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning, get_embedding
from edgel3_onnx.core import _center_audio, _pad_audio
from edgel3_onnx.embedding import ahead, embed
from parity import relative_error

SR = 8000
AUDIO = golden.audio(SR, 2.37, 11).astype(np.float32)


def embedding_of(audio, model, sr=SR, **options):
    return get_embedding(audio, sr, model, **{"verbose": 0, "hop_size": 0.25, **options})[0]


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0), "Got empty audio"),
        (np.zeros((0, 2)), "Got empty audio"),
        (np.zeros((10, 2, 2)), "audio must have shape (samples,) or (samples, channels), got (10, 2, 2)"),
        (np.float64(3), "audio must have shape (samples,) or (samples, channels), got ()"),
        (np.ones((2, SR)), "got (2, 8000), which looks transposed: pass audio.T"),
        (np.array(["a", "b"]), "audio must be an array of float or integer samples, got dtype <U1"),
        (np.ones(SR, complex), "got dtype complex128"),
        (np.ones(SR, bool), "got dtype bool"),
        (np.array([0.0, np.nan, 1.0]), "audio has 1 NaN or infinite samples of 3, the first at index 1"),
        (np.array([0.0, 1.0, -np.inf]), "audio has 1 NaN or infinite samples of 3, the first at index 2"),
        (np.array([1e300, 0.0]), "audio has 1 NaN or infinite samples of 2"),
        (np.array([[0.0, np.inf], [0.0, 0.0]]), "audio has 1 NaN or infinite samples of 2"),
    ],
)
def test_bad_audio_is_refused(audio, message, sea64):
    with pytest.raises(EdgeL3ArgumentError) as caught:
        embedding_of(audio, sea64)
    assert message in str(caught.value)


@pytest.mark.parametrize("sr", [0, -8000, np.nan, np.inf, "8000", None, True])
def test_bad_rates_are_refused(sr, sea64):
    with pytest.raises(EdgeL3ArgumentError, match="sr must be a positive number of Hz, got"):
        embedding_of(AUDIO, sea64, sr=sr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_size": 0}, "hop_size must be a positive number of seconds, got 0"),
        ({"hop_size": -0.1}, "hop_size must be a positive number of seconds, got -0.1"),
        ({"hop_size": 0.0001}, "hop_size must be at least one sample (1/8000 s), got 0.0001"),
        ({"hop_size": np.nan}, "hop_size must be a positive number of seconds, got nan"),
        ({"hop_size": "0.1"}, "hop_size must be a positive number of seconds, got '0.1'"),
        ({"hop_size": 1e308}, "got 1e+308, more than 1e+09"),
        ({"center": 2}, "center must be True or False, got 2"),
        ({"verbose": 2}, "verbose must be True or False, got 2"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"resampler": "sinc"}, "resampler must be one of kaiser_best, soxr, got 'sinc'"),
    ],
)
def test_bad_options_are_refused(options, message, sea64):
    with pytest.raises(EdgeL3ArgumentError) as caught:
        embedding_of(AUDIO, sea64, **options)
    assert message in str(caught.value)


def test_a_model_of_something_else_is_refused():
    with pytest.raises(EdgeL3ArgumentError, match=r"model must come from load_embedding_model, got .* type str"):
        get_embedding(AUDIO, SR, "sea")


def test_audio_that_resampling_would_leave_nothing_of_is_refused(sea64):
    with pytest.raises(EdgeL3ArgumentError, match="audio is too short: 1 samples at 48000 Hz"):
        embedding_of(np.ones(1), sea64, sr=48000)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int8, np.uint8])
def test_integer_pcm_gives_the_embedding_of_its_float_copy(dtype, sea64):
    info = np.iinfo(dtype)
    middle = (info.max + info.min + 1) // 2
    scale = (float(info.max) - info.min + 1) / 2
    pcm = np.round(AUDIO.astype(np.float64) * (scale - 1) + middle).astype(dtype)
    as_float = (pcm.astype(np.float64) - middle) / scale
    np.testing.assert_array_equal(embedding_of(pcm, sea64), embedding_of(as_float, sea64))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_float_dtypes_agree(dtype, sea64):
    audio = AUDIO.astype(np.float16)
    np.testing.assert_array_equal(embedding_of(audio.astype(dtype), sea64), embedding_of(audio, sea64))


def test_non_contiguous_arrays_give_the_embedding_of_their_copies(sea64):
    expected = embedding_of(AUDIO, sea64)
    wide = np.zeros((AUDIO.size, 3), np.float32)
    wide[:, 1] = AUDIO
    np.testing.assert_array_equal(embedding_of(wide[:, 1], sea64), expected)
    np.testing.assert_array_equal(embedding_of(AUDIO[::-1].copy()[::-1], sea64), expected)
    np.testing.assert_array_equal(embedding_of(AUDIO.tolist(), sea64), expected)


def test_channels_are_averaged(sea64):
    other = golden.audio(SR, 2.37, 14)
    stereo = np.stack([AUDIO, other], axis=1)
    np.testing.assert_array_equal(embedding_of(stereo, sea64), embedding_of(stereo.mean(axis=1), sea64))
    np.testing.assert_array_equal(embedding_of(np.asfortranarray(stereo), sea64), embedding_of(stereo, sea64))


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64])
def test_channels_are_averaged_as_in_double_precision(sea64, dtype, channels):
    rng = np.random.default_rng(channels)
    if np.dtype(dtype).kind == "f":
        audio = rng.uniform(-1, 1, (SR, channels)).astype(dtype)
        mean = audio.astype(np.float64).mean(axis=1)
    else:
        limits = np.iinfo(dtype)
        audio = rng.integers(limits.min, limits.max, (SR, channels), dtype, endpoint=True)
        audio[0], audio[1] = limits.min, limits.max  # sums beyond the type's own range
        half = (int(limits.max) - int(limits.min) + 1) // 2
        mean = (audio.astype(np.float64) - (half if limits.min == 0 else 0)).mean(axis=1) / half
    np.testing.assert_array_equal(embedding_of(audio, sea64), embedding_of(mean.astype(np.float32), sea64))


def test_silence_and_short_audio_warn_and_are_embedded(sea64):
    with pytest.warns(EdgeL3Warning, match="all zeros"):
        assert np.isfinite(embedding_of(np.zeros(2 * SR), sea64)).all()
    with pytest.warns(EdgeL3Warning, match="shorter than the window of 1 second"):
        assert embedding_of(AUDIO[:100], sea64, center=False).shape == (1, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedding_of(AUDIO, sea64)


@given(n=st.integers(1, 20000), hop_size=st.floats(0.2, 1.7), center=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_windows_are_those_of_the_padded_signal(sea64, n, hop_size, center):
    """T and the timestamps follow from the published centring and padding, and so does the last window."""
    audio = np.resize(AUDIO, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeL3Warning)
        embedding, timestamps = get_embedding(audio, SR, sea64, center=center, hop_size=hop_size, verbose=0)
        hop_length = int(hop_size * SR)
        padded = _pad_audio(_center_audio(audio, SR) if center else audio, SR, hop_length)
        assert len(embedding) == 1 + (padded.size - SR) // hop_length
        np.testing.assert_array_equal(timestamps, np.arange(len(embedding)) * hop_size)
        last = embedding_of(padded[(len(embedding) - 1) * hop_length :], sea64, center=False)
    assert last.shape == (1, 64)
    assert relative_error(embedding[-1:], last) <= 1e-5


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_does_not_change_the_embedding(batch_size, sea64):
    assert relative_error(embedding_of(AUDIO, sea64, batch_size=batch_size), embedding_of(AUDIO, sea64)) <= 1e-5


def test_a_list_of_arrays_gives_lists(sea64):
    arrays = [AUDIO, golden.audio(16000, 1.3, 13), AUDIO[:9000]]
    embeddings, timestamps = get_embedding(arrays, [SR, 16000, SR], sea64, hop_size=0.25, verbose=0, batch_size=4)
    for array, sr, embedding, times in zip(arrays, [SR, 16000, SR], embeddings, timestamps, strict=True):
        expected, expected_times = get_embedding(array, sr, sea64, hop_size=0.25, verbose=0)
        assert relative_error(embedding, expected) <= 1e-5
        np.testing.assert_array_equal(times, expected_times)
    assert len(get_embedding([AUDIO, AUDIO], SR, sea64, verbose=0)[0]) == 2
    with pytest.raises(EdgeL3ArgumentError, match="one rate or one per array: got 3 for 2"):
        get_embedding([AUDIO, AUDIO], [SR] * 3, sea64)


def test_threads_share_a_model(sea64):
    expected = embedding_of(AUDIO, sea64)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: embedding_of(AUDIO, sea64), range(8)):
            assert relative_error(found, expected) <= 1e-5


class Counting:
    """Stands for a model: the embedding of a window is its first value. Remembers the sizes of the batches."""

    embedding_dim = 1

    def __init__(self):
        self.sizes = []

    def predict(self, batch):
        self.sizes.append(len(batch))
        return batch[:, :1].copy()


@given(signals=st.lists(st.lists(st.integers(0, 7), max_size=4), max_size=6), batch_size=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_signals_share_batches_and_keep_their_order(signals, batch_size):
    values = iter(np.arange(1000, dtype=np.float32))
    data = [[np.array([[next(values)] for _ in range(k)], np.float32).reshape(k, 1) for k in s] for s in signals]
    model = Counting()
    found = list(embed(model, data, batch_size))
    assert len(found) == len(data)
    for embedding, portions in zip(found, data, strict=True):
        np.testing.assert_array_equal(embedding, np.concatenate([*portions, np.zeros((0, 1), np.float32)]))
    assert all(size == batch_size for size in model.sizes[:-1])


def test_reading_ahead_hands_on_the_error_and_stops_with_its_reader():
    def failing():
        yield 1
        raise OSError("gone")

    reader = ahead(failing())
    assert next(reader) == 1
    with pytest.raises(OSError, match="gone"):
        next(reader)

    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    reader = ahead(endless())
    next(reader)
    reader.close()
    assert closed == [True]


def test_importing_brings_in_nothing_heavy():
    heavy = ["onnx", "onnxruntime", "h5py", "tensorflow", "keras", "soundfile", "tqdm", "pyarrow", "av", "torch"]
    code = f"import sys, edgel3_onnx; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_public_names_are_edgel3s():
    from edgel3_onnx import core, models

    assert edgel3_onnx.get_embedding is core.get_embedding
    assert edgel3_onnx.process_file is core.process_file
    assert edgel3_onnx.get_output_path is core.get_output_path
    assert callable(models.load_embedding_model) and callable(models.load_embedding_model_path)
    assert issubclass(EdgeL3ArgumentError, EdgeL3Error)
