"""What the tests of the weight store look at."""

import json
from pathlib import Path

import onnx

from edgel3_onnx.store import weights


def metadata(path: Path) -> dict:
    model = onnx.load(path)
    return json.loads({entry.key: entry.value for entry in model.metadata_props}["edgel3_onnx"])


def cached_names() -> set[str]:
    return {path.name for path in weights.cache_dir().iterdir()}
