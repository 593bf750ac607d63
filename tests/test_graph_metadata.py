"""What a graph says of itself, with one thing in it changed: refused, and the error says what it was."""

import json
import re

import pytest

from edgel3_onnx import EdgeL3Error, load_embedding_model
from edgel3_onnx.metadata import KEY, GraphMetadata


@pytest.fixture(scope="module")
def custom():
    import onnx

    model = load_embedding_model("micro", num_threads=1)
    return {each.key: each.value for each in onnx.load(model.info.path).metadata_props}


def test_what_is_written_is_what_is_read(custom):
    metadata = GraphMetadata.read(custom, "a.onnx")
    assert metadata.kind in ("mel", "waveform") and metadata.precision == "fp32"
    assert GraphMetadata.read(metadata.write(), "a.onnx") == metadata
    assert GraphMetadata.read({}, "a.onnx") is None


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (["kind"], "image", "'image' is none of mel, waveform"),
        (["precision"], "bf16", "'bf16' is none of fp32, int8, fp16"),  # which is computed, and never stored
        (["variant"], 3, "3 is not a text"),
        (["source", "file"], None, "None is not a text"),
        (["source", "sha256"], ["a"], "is not a text"),
        (["exporter"], 1.5, "1.5 is not a text"),
        (["calibration"], {"a": 1}, "is not a text"),
        (["filters"], 8, "filters are 8"),
        (["filters"], [8, 0], "filters are [8, 0]"),
        (["filters"], [8, True], "filters are [8, True]"),
        (["filters"], [8.0], "filters are [8.0]"),
        (["source"], None, "TypeError"),
        (["network"], 3, "TypeError"),
    ],
)
def test_what_is_of_another_kind_is_damage(custom, keys, value, reason):
    data = json.loads(custom[KEY])
    inner = data
    for name in keys[:-1]:
        inner = inner[name]
    inner[keys[-1]] = value
    with pytest.raises(
        EdgeL3Error, match=r"^a\.onnx: graph metadata is damaged \(.*\); export the graph anew$"
    ) as error:
        GraphMetadata.read({KEY: json.dumps(data)}, "a.onnx")
    assert re.search(re.escape(reason), str(error.value))


def test_what_may_be_left_out(custom):
    data = json.loads(custom[KEY])
    data.pop("filters", None)
    data.pop("calibration", None)
    data["variant"] = None
    metadata = GraphMetadata.read({KEY: json.dumps(data)}, "a.onnx")
    assert (metadata.filters, metadata.calibration, metadata.variant) == (None, None, None)
