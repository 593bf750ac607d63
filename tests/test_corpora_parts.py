"""Parts of the recordings of a dataset: planned, streamed, gone on with, and told from other parts."""

import numpy as np
import pytest
import soundfile

import edgel3_onnx
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, get_embedding
from edgel3_onnx.labels import Region, write_csv

parquet = pytest.importorskip("pyarrow.parquet")

RATE = 8000


@pytest.fixture(scope="module")
def micro():
    return edgel3_onnx.load_embedding_model("micro")


@pytest.fixture
def corpus(tmp_path):
    """Three recordings of 4, 5 and 6 s, the last in stereo."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for k, name in enumerate("abc"):
        audio = rng.normal(0, 0.1, ((4 + k) * RATE, 1 + k // 2))
        soundfile.write(folder / f"{name}.wav", audio, RATE, subtype="FLOAT")
    return folder


def rows(folder, name):
    table = parquet.read_table(folder).to_pandas()
    return table[table["path"].str.endswith(f"{name}.wav")].reset_index(drop=True)


def embedding(table):
    return np.stack(table["embedding"].to_numpy())


@pytest.mark.parametrize("workers", [1, 2])
def test_offset_and_duration(corpus, tmp_path, micro, workers):
    out = tmp_path / "out"
    summary = edgel3_onnx.embed_corpus(corpus, out, model=micro, offset=1.05, duration=1.5, workers=workers)
    assert (summary.done, summary.failed) == (3, 0)
    for name in "abc":
        audio, rate = soundfile.read(corpus / f"{name}.wav", dtype="float32")
        whole, timestamps = get_embedding(audio, rate, micro, verbose=0)
        inside = (timestamps >= 1.05) & (timestamps < 2.55)
        found = rows(out, name)
        np.testing.assert_array_equal(embedding(found), whole[inside])
        np.testing.assert_array_equal(found["timestamp"], timestamps[inside])


def test_regions_leave_out_what_has_none(corpus, tmp_path, micro):
    table = tmp_path / "regions.csv"
    write_csv(table, [Region("a.wav", 0.0, 1.0, "wren"), Region("c.wav", 2.0, 3.0, "owl"), Region("c.wav", 1.0, 2.5)])
    out = tmp_path / "out"
    summary = edgel3_onnx.embed_corpus(corpus, out, model=micro, regions=table, options={"pool": "mean"})
    assert (summary.done, summary.skipped, summary.failed) == (2, 0, 0)
    assert len(rows(out, "b")) == 0
    found = rows(out, "c")
    assert found["label"].fillna("").tolist() == ["owl", ""] and found["start"].tolist() == [2.0, 1.0]
    audio, rate = soundfile.read(corpus / "c.wav", dtype="float32")
    whole, timestamps = get_embedding(audio, rate, micro, verbose=0)
    mean = whole[(timestamps >= 2) & (timestamps < 3)].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(embedding(found)[0], mean, rtol=1e-6)


def test_it_goes_on_with_the_same_parts_only(corpus, tmp_path, micro):
    out = tmp_path / "out"
    edgel3_onnx.embed_corpus(corpus / "a.wav", out, model=micro, duration=2.0)
    summary = edgel3_onnx.embed_corpus(corpus, out, model=micro, duration=2.0, existing="skip")
    assert (summary.done, summary.skipped) == (2, 1)
    for other in ({}, {"duration": 3.0}, {"offset": 1.0, "duration": 2.0}):
        with pytest.raises(EdgeL3Error, match="other parts of the recordings"):
            edgel3_onnx.embed_corpus(corpus, out, model=micro, existing="skip", **other)


def test_a_plan_knows_its_parts(corpus, tmp_path, micro):
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    edgel3_onnx.embed_corpus(corpus, out, model=micro, offset=2.0, plan=plan)
    with pytest.raises(EdgeL3Error, match="other parts of the recordings"):
        edgel3_onnx.embed_corpus(None, out, model=micro, plan=plan)
    summary = edgel3_onnx.embed_corpus(None, out, model=micro, offset=2.0, plan=plan)
    assert summary.done == 3 and rows(out, "a")["timestamp"].min() >= 2.0


def test_a_region_outside_fails_and_the_others_are_there(corpus, tmp_path, micro):
    regions = [Region("a.wav", 1.0, 2.0, "in"), Region("a.wav", 100.0, 101.0, "out")]
    records = []
    summary = edgel3_onnx.embed_corpus(corpus, tmp_path / "out", model=micro, regions=regions, on_record=records.append)
    assert (summary.done, summary.failed) == (0, 1) and "the other parts are done" in records[0].reason
    assert set(rows(tmp_path / "out", "a")["label"]) == {"in"}


def test_regions_are_checked_as_elsewhere(corpus, tmp_path, micro):
    for wrong in (Region("a.wav", 2.0, 1.0), Region("a.wav", -1.0, 1.0)):
        with pytest.raises(EdgeL3ArgumentError, match="regions must have 0 <= start <= end"):
            edgel3_onnx.embed_corpus(corpus, tmp_path / "out", model=micro, regions=[wrong])


def test_channels_of_a_dataset(corpus, tmp_path, micro):
    out = tmp_path / "out"
    edgel3_onnx.embed_corpus(corpus, out, model=micro, options={"channels": "each", "normalize": "l2"})
    found = rows(out, "c")
    audio, rate = soundfile.read(corpus / "c.wav", dtype="float32")
    for number in (1, 2):
        one = found[found["channel"] == number]
        expected, _ = get_embedding(audio[:, number - 1], rate, micro, verbose=0, normalize="l2")
        np.testing.assert_array_equal(embedding(one), expected)
