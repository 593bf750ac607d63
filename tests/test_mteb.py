"""The encoder in a task of MTEB that is made here."""

# ruff: noqa: E402 (what may be absent is looked for first)
import numpy as np
import pytest

from edgel3_onnx import get_embedding, load_embedding_model

mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata

from edgel3_onnx.mteb import EdgeL3Encoder


def sound(kind: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A second of noise (0), of a tone (1) or of clicks (2)."""
    t = np.arange(rate) / rate
    if kind == 0:
        return 0.3 * rng.standard_normal(rate)
    if kind == 1:
        return 0.5 * np.sin(2 * np.pi * rng.uniform(300, 900) * t)
    return 0.8 * (t % rng.uniform(0.1, 0.2) < 0.001)


class TonesAndNoise(AbsTaskClassification):
    """Thirty sounds at two rates to learn from, thirty to tell apart."""

    input_column_name = "audio"
    metadata = TaskMetadata(
        name="TonesAndNoise",
        description="Noise, tones and clicks",
        type="AudioClassification",
        modalities=["audio"],
        main_score="accuracy",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        dataset={"path": "none", "revision": "none"},
        reference=None,
        category="a2c",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    def load_data(self, **options: object) -> None:
        rng = np.random.default_rng(0)
        splits = {}
        for split in ("train", "test"):
            rates = [8000 if k % 2 else 16000 for k in range(30)]
            audio = [{"array": sound(k % 3, rates[k], rng), "sampling_rate": rates[k]} for k in range(30)]
            splits[split] = datasets.Dataset.from_dict({"audio": audio, "label": [k % 3 for k in range(30)]})
        self.dataset, self.data_loaded = datasets.DatasetDict(splits), True


@pytest.mark.slow
def test_a_task_is_solved():
    result = mteb.evaluate(EdgeL3Encoder(), TonesAndNoise(), cache=None)
    scores = result.task_results[0].scores["test"][0]
    print("accuracy", scores["accuracy"])
    assert scores["main_score"] >= 0.95
    assert result.model_name == "edgel3-onnx/micro"


def test_rows_are_means_in_order():
    model = load_embedding_model("micro")
    rng = np.random.default_rng(1)
    arrays = [rng.uniform(-1, 1, 8000 * k).astype(np.float32) for k in (1, 3, 2)]
    batches = [
        {"audio": [{"array": array, "sampling_rate": 8000} for array in part]} for part in (arrays[:2], arrays[2:])
    ]
    batches[1]["audio"][0]["array"] = np.stack([arrays[2], arrays[2]])  # channels first, as decoders of torch have it
    rows = EdgeL3Encoder(model, hop_size=0.5).encode(batches, task_metadata=None, hf_split="", hf_subset="")
    expected = [get_embedding(each, 8000, model, center=False, hop_size=0.5)[0].mean(0) for each in arrays]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)


def test_results_are_filed_under_the_graph():
    model = load_embedding_model("micro")
    meta = EdgeL3Encoder(model).mteb_model_meta
    assert (meta.name, meta.revision) == ("edgel3-onnx/micro", model.info.graph_sha256)
    assert (meta.embed_dim, meta.license, meta.modalities) == (64, "mit", ["audio"])
