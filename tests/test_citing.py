"""What ``cite`` prints."""

import gc
import re
from pathlib import Path

import pytest

from edgel3_onnx import EdgeL3ArgumentError, __version__, cite, load_embedding_model

KEYS = {
    "sea": ["srivastava2021sea"],
    "sparse": ["kumari2019edgel3"],
    "micro": ["edgel3onnx", "srivastava2021sea"],
}


def printed(capsys) -> list[str]:
    """The keys of the entries, each of which must have its braces closed and a title, authors and a year or version."""
    entries = [entry for entry in re.split(r"\n(?=@)", capsys.readouterr().out) if entry]
    for entry in entries:
        assert entry.count("{") == entry.count("}") > 0
        assert entry.rstrip().endswith("}")
        assert {"title", "author"} < set(re.findall(r"^  (\w+) *= \{", entry, re.M))
    return [re.match(r"@\w+\{(\w+),\n", entry)[1] for entry in entries]


@pytest.mark.parametrize("model_type", KEYS)
def test_by_name(capsys, model_type):
    cite(model_type)
    assert printed(capsys) == KEYS[model_type]


def test_a_loaded_model(capsys, sea64):
    cite(sea64)
    assert printed(capsys) == KEYS["sea"]


def test_the_models_in_use(capsys, monkeypatch):
    monkeypatch.setattr("edgel3_onnx.models._in_use", {})
    cite()
    assert printed(capsys) == ["edgel3onnx", "srivastava2021sea", "kumari2019edgel3"]
    micro = load_embedding_model("micro")
    cite()
    assert printed(capsys) == KEYS["micro"]
    del micro
    gc.collect()


def test_the_citation_file_has_this_version():
    text = (Path(__file__).parents[1] / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {__version__}\n" in text


@pytest.mark.parametrize("model", ["sea-64", 64])
def test_anything_else_is_an_error(model):
    with pytest.raises(EdgeL3ArgumentError, match="model must be one of micro, sea, sparse, got"):
        cite(model)
