"""One embedding for many windows, whatever the batches; embeddings of length 1."""

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgel3_onnx import get_embedding, process_file
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.labels import Region
from edgel3_onnx.pooling import Pool, normalized

FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
RATE = 8000
POOLS = ["mean", "max", "mean+std"]


def pooled(rows, kind):
    wide = rows.astype(np.float64)
    if kind == "max":
        return rows.max(axis=0)
    return wide.mean(axis=0) if kind == "mean" else np.concatenate([wide.mean(axis=0), wide.std(axis=0)])


def signal(seconds=4, channels=2):
    return (0.1 * np.random.default_rng(5).standard_normal((int(RATE * seconds), channels))).astype(np.float32)


def load(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 60)),
    kind=st.sampled_from(POOLS),
    scale=st.sampled_from([1e-30, 1.0, 1e6]),
)
@settings(max_examples=100, deadline=None)
def test_portions_of_rows_do_not_matter(seed, count, cuts, kind, scale):
    rows = (np.random.default_rng(seed).standard_normal((count, 7)) * scale + 100 * scale).astype(np.float32)
    whole, portions = Pool(kind, 7), Pool(kind, 7)
    whole.add(rows)
    for part in np.split(rows, sorted(min(cut, count) for cut in cuts)):
        portions.add(part)
    np.testing.assert_array_equal(whole.result(), portions.result())
    assert whole.result().dtype == np.float32 and whole.count == portions.count == count
    np.testing.assert_allclose(whole.result(), pooled(rows, kind), rtol=1e-6, atol=1e-12 * scale)


def test_sums_are_in_double_precision():
    pool = Pool("mean+std", 1)
    pool.add(np.full((1, 1), 2.0**25, np.float32))
    for _ in range(100):
        pool.add(np.ones((1000, 1), np.float32))
    expected = np.concatenate([[2.0**25], np.ones(100_000)])
    np.testing.assert_allclose(pool.result(), [expected.mean(), expected.std()], rtol=1e-7)


@given(
    kind=st.sampled_from(POOLS),
    batch_size=st.integers(1, 40),
    channels=st.sampled_from(["mix", "each"]),
    offset=st.sampled_from([0.0, 1.3]),
    normalize=st.sampled_from([None, "l2"]),
)
@FEW
def test_a_pooled_recording_is_one_row(kind, batch_size, channels, offset, normalize, sea64, tmp_path):
    audio = signal()
    soundfile.write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    common = {"model": sea64, "hop_size": 0.25, "channels": channels, "offset": offset}
    process_file(tmp_path / "a.wav", **common, pool=kind, normalize=normalize, batch_size=batch_size, verbose=False)
    found = load(tmp_path / "a.npz")
    windows, _ = get_embedding(audio, RATE, verbose=0, **common)
    expected = np.array([pooled(rows, kind) for rows in windows.reshape(-1, windows.shape[-2], 64)])
    if normalize:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found["embedding"], expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found["start"], offset)
    np.testing.assert_array_equal(found["timestamps"], offset)
    np.testing.assert_array_equal(found["end"], 4.0)
    again, times = get_embedding(audio, RATE, verbose=0, **common, pool=kind, normalize=normalize)
    np.testing.assert_array_equal(again.reshape(found["embedding"].shape), found["embedding"])
    np.testing.assert_array_equal(times, [offset])


@pytest.mark.parametrize("kind", POOLS)
def test_regions_are_pooled_one_by_one(kind, sea64, tmp_path):
    audio = signal()
    soundfile.write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    regions = [Region(None, 2, 3, "b"), Region(None, 0, 2.5, "a"), Region(None, 2, 3, "c")]
    process_file(tmp_path / "a.wav", model=sea64, hop_size=0.25, regions=regions, pool=kind, verbose=False)
    found = load(tmp_path / "a.npz")
    assert found["label"].tolist() == ["b", "a", "c"]
    assert found["start"].tolist() == [2, 0, 2] and found["end"].tolist() == [3, 2.5, 3]
    for row, region in zip(found["embedding"], regions, strict=True):
        arguments = {"offset": region.start, "duration": region.end - region.start, "pool": kind}
        expected, _ = get_embedding(audio, RATE, sea64, hop_size=0.25, verbose=0, **arguments)
        np.testing.assert_array_equal(row, expected[0])


def test_length_one_and_zeros_stay_zeros(sea64):
    rows = np.array([[3, 4], [0, 0], [1e-30, 0], [3e38, 3e38]], np.float32)
    np.testing.assert_allclose(normalized(rows, "l2"), [[0.6, 0.8], [0, 0], [1, 0], [0.5**0.5] * 2], rtol=1e-7)
    embedding, _ = get_embedding(signal(), RATE, sea64, verbose=0, hop_size=0.25, normalize="l2")
    plain, _ = get_embedding(signal(), RATE, sea64, verbose=0, hop_size=0.25)
    np.testing.assert_allclose(np.linalg.norm(embedding.astype(np.float64), axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(embedding * np.linalg.norm(plain, axis=1, keepdims=True), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("pool", "median"), ("pool", None), ("normalize", "l1"), ("normalize", 1)])
def test_what_is_no_pooling(name, value, sea64):
    with pytest.raises(EdgeL3ArgumentError, match=f"{name} must be one of .*, got {value!r}"):
        get_embedding(signal(), RATE, sea64, verbose=0, **{name: value})
