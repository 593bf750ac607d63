"""Whatever the chunks, a stream gives what the whole signal gives."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, get_embedding, process_file
from edgel3_onnx.embedding import EmbeddingOptions
from edgel3_onnx.spec import FRONTENDS, NETWORKS, RESAMPLERS
from edgel3_onnx.streaming import EmbeddingStream, WindowStream

# The same images in other batches: the last bits of a product may differ.
TOLERANCE = 1e-5

# One rate that is not resampled for either front end, up, down, and with no small common factor.
RATES = {"sea": [8000, 11025, 44100], "sparse": [48000, 44100]}


def push_all(stream, audio, cuts):
    parts = [stream.push(chunk) for chunk in np.split(audio, sorted({cut % (audio.size + 1) for cut in cuts}))]
    parts.append(stream.flush())
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def assert_same(found, expected):
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0].shape == expected[0].shape
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=TOLERANCE * np.abs(expected[0]).max())


class PassThrough:
    """Stands for a model, where only the windows matter: keeps them as they are."""

    def __init__(self, spec):
        self.spec, self.sample_rate = spec, spec.sample_rate

    def prepare(self, audio, *, hop_length, count):
        return np.lib.stride_tricks.sliding_window_view(audio, self.spec.window_length)[::hop_length][:count].copy()


chunks = st.lists(st.integers(0, 10**6), max_size=8)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 30000),
    cuts=chunks,
    hop_length=st.one_of(st.integers(1500, 20000), st.sampled_from([800, 8000])),
    center=st.booleans(),
    sr=st.sampled_from([6000, 8000, 11025, 44100]),
    batch_size=st.integers(1, 9),
)
@example(samples=1, cuts=[], hop_length=800, center=False, sr=8000, batch_size=1)
@example(samples=30000, cuts=[*range(0, 30000, 500)], hop_length=20000, center=False, sr=8000, batch_size=1)
@example(samples=29999, cuts=[0, 0, 1], hop_length=20000, center=True, sr=8000, batch_size=2)
def test_windows_do_not_depend_on_chunks(resampler, samples, cuts, hop_length, center, sr, batch_size):
    from edgel3_onnx.frontend import resample

    model = PassThrough(FRONTENDS["sea"])
    audio = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    if int(samples * (8000 / sr)) < 1:
        return
    options = EmbeddingOptions(center, (hop_length + 0.5) / 8000, resampler)
    stream = WindowStream(model, sr, options)
    found = []
    for chunk in np.split(audio, sorted({cut % (samples + 1) for cut in cuts})):
        found += stream.feed(chunk, batch_size)
    found += stream.finish(batch_size)
    assert all(len(batch) <= batch_size for batch in found)
    whole = audio if sr == 8000 else resample(audio, sr, 8000, resampler)
    padded = np.concatenate([np.zeros(4000 if center else 0, np.float32), whole])
    total = 1 + -(-max(padded.size - 8000, 0) // hop_length)
    padded = np.concatenate([padded, np.zeros((total - 1) * hop_length + 8000 - padded.size, np.float32)])
    expected = np.stack([padded[k * hop_length :][:8000] for k in range(total)])
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.floats(0.05, 4), cuts=chunks, sr=st.sampled_from(RATES["sea"]), center=st.booleans())
def test_stream_equals_file(tmp_path, sea64, resampler, seconds, cuts, sr, center):
    audio = golden.audio(sr, seconds, 3).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, sr, subtype="FLOAT")
    options = {"hop_size": 0.3, "center": center, "resampler": resampler}
    process_file_quietly(tmp_path / "a.wav", model=sea64, **options)
    with np.load(tmp_path / "a.npz") as arrays:
        expected = arrays["embedding"], arrays["timestamps"]
    assert_same(push_all(EmbeddingStream(sea64, sr, **options), audio, cuts), expected)


def process_file_quietly(*args, **options):
    with warnings.catch_warnings(action="ignore"):
        process_file(*args, **options)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_every_network(models, network, resampler):
    model = models(network)
    rng = np.random.default_rng(8)
    for sr in RATES[NETWORKS[network].frontend]:
        audio = golden.audio(sr, 1.3, 4).astype(np.float32)
        expected = get_embedding(audio, sr, model, hop_size=0.6, resampler=resampler, verbose=0)
        stream = EmbeddingStream(model, sr, 0.6, resampler=resampler)
        assert_same(push_all(stream, audio, rng.integers(0, audio.size, 9)), expected)


def test_latency_is_one_window(sea64):
    """A window's embedding is there with the first sample behind it, less what the resampler looks ahead."""
    stream = EmbeddingStream(sea64, 8000, center=False)
    audio = golden.audio(8000, 3, 1).astype(np.float32)
    counts = [len(stream.push(audio[k : k + 80])[1]) for k in range(0, audio.size, 80)]
    assert np.cumsum(counts)[98:101].tolist() == [0, 1, 1] and sum(counts) == 21
    assert max(counts) == 1


def test_state_does_not_grow(sea64):
    stream = EmbeddingStream(sea64, 44100)
    audio = golden.audio(44100, 1, 1).astype(np.float32)
    for _ in range(30):
        stream.push(audio)
    assert stream.samples == 30 * 44100
    assert stream._windows._held < 2 * 8000  # less than a window and a hop, at the model's rate


def test_integers_and_channels(sea64):
    pcm = np.round(golden.audio(8000, 2, 2) * 32767).astype(np.int16)
    expected = get_embedding(pcm / np.float32(32768), 8000, sea64, verbose=0)
    for array in (pcm, np.stack([pcm, pcm], axis=1)):
        stream = EmbeddingStream(sea64, 8000)
        assert_same(push_all(stream, array, []) if array.ndim == 1 else push_two(stream, array), expected)


def push_two(stream, audio):
    parts = [stream.push(audio[:7000]), stream.push(audio[7000:]), stream.flush()]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def test_bad_samples_leave_the_stream_as_it_was(sea64):
    audio = golden.audio(8000, 2, 2).astype(np.float32)
    stream = EmbeddingStream(sea64, 8000)
    first = stream.push(audio[:9000])
    for bad in (np.array([np.nan]), np.array(["a"]), np.zeros((2, 2, 2)), np.zeros((2, 100))):
        with pytest.raises(EdgeL3ArgumentError):
            stream.push(bad)
    rest = [stream.push(audio[9000:]), stream.flush()]
    found = tuple(np.concatenate(arrays) for arrays in zip(first, *rest, strict=True))
    assert_same(found, get_embedding(audio, 8000, sea64, verbose=0))


@pytest.mark.parametrize("wrong", [{"sr": 0}, {"hop_size": 0}, {"center": 2}, {"resampler": "x"}])
def test_wrong_argument(sea64, wrong):
    with pytest.raises(EdgeL3ArgumentError):
        EmbeddingStream(sea64, **{"sr": 8000, **wrong})


def test_threads_wait_for_each_other(sea64):
    """Four threads push the same chunks: whatever their turns, the signal is the same."""
    chunk = golden.audio(44100, 0.05, 3).astype(np.float32)
    stream = EmbeddingStream(sea64, 44100, 0.05)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: stream.push(chunk), range(80)))
    parts.sort(key=lambda part: part[1][0] if len(part[1]) else -1)
    found = tuple(np.concatenate(arrays) for arrays in zip(*parts, stream.flush(), strict=True))
    assert_same(found, get_embedding(np.tile(chunk, 80), 44100, sea64, hop_size=0.05, verbose=0))


def test_a_window_stream_refuses_a_second_call_until_the_first_is_at_its_end():
    stream = WindowStream(PassThrough(FRONTENDS["sea"]), 8000, EmbeddingOptions())
    batches = stream.feed(np.ones(16000, np.float32), 1)
    next(batches)
    for call in (stream.feed(np.ones(10), 1), stream.finish(1)):
        with pytest.raises(EdgeL3Error, match="in use"), ThreadPoolExecutor(1) as pool:
            pool.submit(list, call).result()
    rest = [*batches, *stream.feed(np.ones(800, np.float32), 1)]
    assert len(rest) == 16


def test_nothing_follows_the_end(sea64):
    for audio in (golden.audio(8000, 2, 2), np.zeros(0)):
        stream = EmbeddingStream(sea64, 8000)
        stream.push(audio)
        stream.flush()
        for call in (lambda stream=stream: stream.push(np.ones(9)), stream.flush):
            with pytest.raises(EdgeL3Error, match="make a new one"):
                call()


def test_a_signal_that_is_too_short_to_end_may_go_on(sea64):
    stream = EmbeddingStream(sea64, 44100)
    stream.push(np.ones(3))
    with pytest.raises(EdgeL3ArgumentError, match="too short"):
        stream.flush()
    stream.push(np.ones(3))
    assert stream.flush()[0].shape == (1, 64)
