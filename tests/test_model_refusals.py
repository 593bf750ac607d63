"""Models that are refused for what was asked of them, or for the graph that was found."""

import dataclasses

import pytest

from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, load_embedding_model, models
from edgel3_onnx.metadata import GraphMetadata


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "micro", "weights": "w.h5"}, "weights cannot be given for model_type 'micro'"),
        ({"model_type": "sea", "emb_dim": 64, "weights": 3}, "weights must be the path of a file or None, got 3"),
        (
            {"model_type": "micro", "provider_options": {"a": None}},
            "provider_options must be a mapping of names to values, got {'a': None}",
        ),
        (
            {"model_type": "micro", "provider_options": "a"},
            "provider_options must be a mapping of names to values, got 'a'",
        ),
    ],
)
def test_arguments(options, message):
    with pytest.raises(EdgeL3ArgumentError) as error:
        load_embedding_model(**options)
    assert str(error.value) == message


@pytest.fixture
def computes_all(monkeypatch):
    """Any precision can be computed here."""
    real = models.open_engine
    monkeypatch.setattr(models, "open_engine", lambda *args, **given: real(*args, **{**given, "precision": "fp32"}))


def test_bf16_is_computed_from_fp32(computes_all, monkeypatch):
    model = load_embedding_model("micro", precision="bf16", num_threads=1)
    assert model.info.precision == "bf16"
    read = GraphMetadata.read.__func__
    monkeypatch.setattr(
        models.GraphMetadata,
        "read",
        classmethod(lambda cls, *args: dataclasses.replace(read(cls, *args), precision="int8")),
    )
    with pytest.raises(EdgeL3Error, match=r"precision bf16 is computed from an fp32 graph, and this one is int8$"):
        load_embedding_model("micro", precision="bf16", num_threads=2)


def test_another_graph_than_the_one_that_was_pickled():
    model = load_embedding_model("micro", num_threads=1)
    rebuild, given = model.__reduce__()
    assert rebuild(*given).info == model.info
    with pytest.raises(EdgeL3Error) as error:
        rebuild(given[0], "0" * 64)
    assert str(error.value) == (
        f"{model.info.path}: is another graph than the one that was pickled (sha256 {'0' * 64})"
    )


def test_a_graph_that_is_gone(tmp_path):
    options = models.ModelOptions.of({"model_type": "micro"})
    with pytest.raises(EdgeL3Error, match=r"none\.onnx: cannot be read \(No such file or directory\)$"):
        models._open(options, tmp_path / "none.onnx")
