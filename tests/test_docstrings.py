"""Every public name's docstring: numpydoc's checks, and its examples, which run."""

import doctest
import importlib
import inspect
import shutil
from pathlib import Path

import numpy
import pytest

import edgel3_onnx

validation = pytest.importorskip("numpydoc.validate")

MODULES = {
    "labels": ["Region", "read_regions", "write_audacity", "write_csv", "write_raven"],
    "ray": ["Embedder"],
    "sklearn": ["EdgeL3Transformer"],
    "hear": ["load_model", "get_timestamp_embeddings", "get_scene_embeddings", "HearModel"],
    "mteb": ["EdgeL3Encoder"],
    "hoplite": ["EdgeL3HopliteModel"],
}
LEFT_OUT = {"SA01", "ES01"}  # "see also", and a longer explanation, where there is nothing to say


def names() -> list[str]:
    found = [f"edgel3_onnx.{name}" for name in edgel3_onnx.__all__ if name != "__version__"]
    for module, members in MODULES.items():
        try:
            importlib.import_module(f"edgel3_onnx.{module}")
        except ImportError:  # its package is not installed: .ci/run adapters has it
            continue
        found += [f"edgel3_onnx.{module}.{member}" for member in members]
    for name in list(found):
        module, _, member = name.rpartition(".")
        value = getattr(importlib.import_module(module), member)
        if inspect.isclass(value):
            own = {key: each for key, each in vars(value).items() if not key.startswith("_")}
            public = (property, classmethod)
            found += [
                f"{name}.{key}" for key, each in own.items() if inspect.isfunction(each) or isinstance(each, public)
            ]
    return found


@pytest.mark.parametrize("name", names())
def test_it_says_all_that_numpydoc_asks_for(name):
    errors = validation.validate(name)["errors"]
    assert [(code, what) for code, what in errors if code not in LEFT_OUT] == []


@pytest.mark.parametrize("name", names())
@pytest.mark.filterwarnings("ignore::edgel3_onnx.EdgeL3Warning")  # some examples embed zeros
def test_its_examples_are_true(name, tmp_path, monkeypatch):
    (tmp_path / "examples").mkdir()
    shutil.copy(Path(__file__).parents[1] / "examples" / "street.flac", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    validator = validation.Validator(validation.get_doc_object(validation.Validator._load_obj(name)))
    module = importlib.import_module(getattr(validator.code_obj, "__module__", None) or "edgel3_onnx")
    known = {**vars(module), "edgel3_onnx": edgel3_onnx, "numpy": numpy}
    known["model"] = edgel3_onnx.load_embedding_model("micro")
    test = doctest.DocTestParser().get_doctest(inspect.cleandoc(validator.raw_doc), known, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert report == []
