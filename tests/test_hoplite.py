"""The model in perch-hoplite: its zoo's protocol, and a database filled by its own worker."""

import numpy as np
import pytest
import soundfile

from edgel3_onnx import get_embedding, load_embedding_model

pytest.importorskip("perch_hoplite")
from ml_collections import config_dict
from perch_hoplite.agile import embed, source_info
from perch_hoplite.db import in_mem_impl
from perch_hoplite.zoo import zoo_interface

from edgel3_onnx.hoplite import EdgeL3HopliteModel

RATE = 16000
CONFIG = config_dict.ConfigDict({"sample_rate": RATE, "hop_size_s": 0.5, "model_type": "micro", "num_threads": 1})


@pytest.fixture(scope="module")
def model():
    return EdgeL3HopliteModel.from_config(CONFIG)


def test_it_keeps_the_zoos_protocol(model):
    assert isinstance(model, zoo_interface.EmbeddingModel)
    assert (model.sample_rate, model.window_size_s, model.hop_size_s) == (RATE, 1.0, 0.5)
    assert model.model is load_embedding_model("micro", num_threads=1)
    audio = np.random.default_rng(0).uniform(-1, 1, 3 * RATE).astype(np.float32)
    outputs = model.embed(audio)
    expected, _ = get_embedding(audio, RATE, model.model, center=False, hop_size=0.5)
    np.testing.assert_array_equal(outputs.embeddings, expected[:, np.newaxis])
    assert outputs.pooled_embeddings("mean", "squeeze").shape == (64,)
    batch = model.batch_embed(np.stack([audio, 0.5 * audio]))
    assert batch.batched
    np.testing.assert_allclose(batch.embeddings[0], outputs.embeddings, rtol=1e-5, atol=1e-4)
    assert batch.embeddings.shape == (2, *outputs.embeddings.shape)


def test_its_worker_fills_a_database(model, tmp_path):
    (tmp_path / "site").mkdir()
    audio = np.random.default_rng(1).uniform(-1, 1, 4 * RATE)
    soundfile.write(tmp_path / "site" / "a.wav", audio, RATE, subtype="FLOAT")
    database = in_mem_impl.InMemoryGraphSearchDB.create(embedding_dim=64)
    sources = source_info.AudioSources((source_info.AudioSourceConfig("site", str(tmp_path), "*/*.wav", 1.0),))
    worker = embed.EmbedWorker(
        audio_sources=sources,
        model_config=embed.ModelConfig("edgel3", 64, CONFIG),
        db=database,
        embedding_model=model,
    )
    worker.process_all()
    stored = database.get_embeddings_batch(database.match_window_ids())
    expected = model.embed(audio.astype(np.float32)).embeddings[:, 0]
    np.testing.assert_allclose(np.sort(stored, 0), np.sort(expected, 0), rtol=1e-4, atol=1e-3)
