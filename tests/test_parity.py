"""The embeddings are those of the published edgel3 0.2.1 code on TensorFlow 2.15."""

import json
from statistics import median

import numpy as np
import pytest
import soundfile

import golden
from edgel3_onnx import get_embedding, load_embedding_model
from parity import distance, least_cosine, relative_error

# Recordings of less than a second are among the data.
pytestmark = pytest.mark.filterwarnings("ignore:Provided audio is shorter:edgel3_onnx.EdgeL3Warning")

# A sparse network of random weights is deep in its own noise floor: float32 sums in another order move it by 1e-3.
LIMITS = {"sea": 1e-4, "sparse": 1e-3, "sparse resampled": 3e-3}


def limit(model, sr):
    return LIMITS[model.spec.name if model.spec.name == "sea" or sr == model.sample_rate else "sparse resampled"]


def check(model, found, expected, sr):
    embedding, timestamps = found
    assert embedding.dtype == np.float32 and timestamps.dtype == np.float64
    np.testing.assert_array_equal(timestamps, expected["timestamps"])
    assert relative_error(embedding, expected["embedding"]) <= limit(model, sr)
    assert least_cosine(embedding, expected["embedding"]) >= 0.999999


@pytest.mark.parametrize("case", golden.cases(), ids=lambda case: case["id"])
def test_golden(case, seeded_graph):
    """Seeded weights of all five networks, seeded audio at native and other rates."""
    model_type, emb_dim = ("sparse", 128) if case["kind"] == "sparse" else ("sea", case["emb_dim"])
    model = load_embedding_model(model_type, emb_dim, weights=seeded_graph(case["network"]))
    audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"])
    found = get_embedding(audio, case["sr"], model, center=case["center"], hop_size=case["hop_size"], verbose=0)
    check(model, found, np.load(golden.DATA / case["file"]), case["sr"])


def test_published_weights_on_recordings(reference, monkeypatch):
    """Every recording of the reference, with published SEA-64 and synthetic sparse weights."""
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", str(reference / "published"))
    entries = json.loads((reference / "embeddings" / "index.json").read_text())
    assert len(entries) >= 26
    for entry in entries:
        if entry["weights"].startswith("published/"):
            model = load_embedding_model("sea", 64)
        else:
            model = load_embedding_model("sparse", weights=reference / entry["weights"])
        (path,) = [p for p in (reference / "audio").iterdir() if p.name == entry["audio"]]
        audio, sr = soundfile.read(path)
        assert sr == entry["sr"]
        found = get_embedding(audio, sr, model, center=entry["center"], hop_size=entry["hop_size"], verbose=0)
        check(model, found, np.load(reference / "embeddings" / entry["file"]), sr)


def test_published_embeddings_at_odd_rates(reference, monkeypatch):
    """Natural sounds at 6 to 48 kHz, mono and stereo, of odd lengths, at hops that divide nothing.

    What is resampled upwards has nothing above its old Nyquist frequency but the rounding of samples, and in the
    published code that of its float32 spectrum: 160 dB below the maximum, where a sparse network of random weights
    sees it.
    """
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", str(reference / "published"))
    sparse = "edgel3_ft_audio_sparsity_95.45"
    models = {
        "edgel3_sea_ust_audio_emb_64": load_embedding_model("sea", 64),
        sparse: load_embedding_model("sparse", weights=reference / "synthetic" / f"{sparse}.h5.gz"),
    }
    published = np.load(reference / "rates" / "published.npz")
    entries = json.loads((reference / "rates" / "index.json").read_text())
    assert len(entries) >= 51
    distances = []
    for entry in entries:
        model, sr = models[entry["weights"]], entry["sr"]
        audio = np.load(reference / "rates" / entry["audio"])["audio"]
        embedding, timestamps = get_embedding(
            audio, sr, model, center=entry["center"], hop_size=entry["hop_size"], verbose=0
        )
        expected = published[entry["key"]]
        np.testing.assert_array_equal(timestamps, published[f"{entry['key']}__t"])
        if model.spec.name == "sea":
            assert relative_error(embedding, expected) <= (1e-3 if sr == 6000 else 1e-4), entry
        elif sr == model.sample_rate:
            assert relative_error(embedding, expected) <= 4e-3, entry
        else:
            distances.append(distance(embedding, expected))
    assert len(distances) >= 5
    assert median(distances) <= 1.5e-3
