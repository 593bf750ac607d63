"""The generator of seeded weights and audio gives what the published code was given."""

import numpy as np
import pytest

import golden
from edgel3_onnx.spec import NETWORKS


@pytest.mark.parametrize("case", golden.cases(), ids=lambda c: c["id"])
def test_generated_audio_has_the_recorded_digest(case):
    generated = golden.audio(case["sr"], case["seconds"], case["audio_seed"])
    assert golden.digest([generated]) == case["audio_sha256"]


@pytest.mark.parametrize("name", NETWORKS)
def test_generated_weights_have_the_recorded_digest(name):
    case = next(c for c in golden.cases() if c["network"] == name)
    arrays = golden.weights(case["weights_seed"], NETWORKS[name], case["pruned"])
    assert golden.digest(arrays) == case["weights_sha256"]
    if case["pruned"]:
        kernels = [a for a in arrays if a.ndim == 4]
        zeros = sum(np.count_nonzero(a == 0) for a in kernels) / sum(a.size for a in kernels)
        assert round(100 * zeros, 2) == 95.75
