"""The README's first command, from a recording to what the published code gave for it."""

import json
import os
import shutil

import numpy as np
import pytest

from parity import least_cosine, relative_error


@pytest.mark.parametrize("jobs", [1, 2])
def test_published_weights_on_real_recordings(reference, tmp_path, command, jobs):
    entries = [
        entry
        for entry in json.loads((reference / "embeddings" / "index.json").read_text())
        if entry["weights"].startswith("published/") and entry["center"] and entry["hop_size"] == 0.1
    ]
    assert len(entries) >= 5
    for entry in entries:
        shutil.copy(reference / "audio" / entry["audio"], tmp_path)
    args = ["--model-type", "sea", "--emb-dim", "64", "--provider", "cpu", "--jobs", jobs, "-o", tmp_path / "out"]
    environment = {**os.environ, "EDGEL3_ONNX_MIRROR": str(reference / "published")}
    done = command(tmp_path, *args, with_model=False, env=environment)
    assert done.returncode == 0, done.stderr
    for entry in entries:
        expected = np.load(reference / "embeddings" / entry["file"])
        found = np.load(tmp_path / "out" / f"{entry['audio'].rsplit('.', 1)[0]}.npz")
        np.testing.assert_array_equal(found["timestamps"], expected["timestamps"])
        assert relative_error(found["embedding"], expected["embedding"]) <= 1e-4
        assert least_cosine(found["embedding"], expected["embedding"]) >= 0.999999
        assert json.loads(found["metadata"].item())["variant"] == "sea-64"
