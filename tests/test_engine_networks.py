"""This package's networks on the native engine: against ONNX Runtime, and from audio against the published code."""

import itertools

import numpy as np
import pytest

import golden
from edgel3_onnx import _engine, get_embedding, load_embedding_model
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines.native import NativeEngine
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store.registry import find_variant
from edgel3_onnx.store.weights import embedding_model_path
from parity import least_cosine, relative_error

# Of each window's largest value: the sums of float32 products are added in another order.
DENSE_TOLERANCE, PRUNED_TOLERANCE = 5e-6, 1e-5
# Against the published code, as in test_parity.py: random pruned weights are deep in their own noise floor.
GOLDEN_TOLERANCE, PRUNED_GOLDEN_TOLERANCE, RESAMPLED_PRUNED_GOLDEN_TOLERANCE = 1e-4, 1e-3, 3e-3
LEVELS = pytest.mark.parametrize("level", _engine.levels())


@pytest.fixture(scope="module")
def graph_of(seeded_graph):
    def graph(name):
        return embedding_model_path(find_variant("micro", 64)) if name == "micro" else seeded_graph(name)

    return graph


def images(network, n):
    """Levels as the front end gives them: at most 0 dB, at least -80."""
    return np.random.default_rng(0).uniform(-80, 0, (n, 1, network.rows, network.cols)).astype(np.float32)


def assert_equals_onnx_runtime(path, engine, network, n, tolerance):
    import onnxruntime

    batch = images(network, n)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: batch})
    found = engine.run(batch)
    assert (np.abs(found - expected).max(1) / np.abs(expected).max(1)).max() <= tolerance
    assert least_cosine(found, expected) >= 0.9999999


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "sparse"] + ["micro"])
@LEVELS
def test_dense_networks_equal_onnx_runtime(level, name, graph_of, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    network = read_network(graph_of(name))
    assert_equals_onnx_runtime(graph_of(name), NativeEngine(network, 1), network, 3, DENSE_TOLERANCE)


@pytest.mark.parametrize("method", ["taps", "winograd"])
@LEVELS
def test_the_pruned_network_equals_onnx_runtime(level, method, graph_of, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    network = read_network(graph_of("sparse"))
    assert_equals_onnx_runtime(graph_of("sparse"), NativeEngine(network, 2, method), network, 1, PRUNED_TOLERANCE)


def test_a_large_batch_of_the_pruned_network(graph_of):
    """Its own size, so that channels come in several blocks."""
    network = read_network(graph_of("sparse"))
    engine = NativeEngine(network, 2)
    assert engine.method == "taps"
    assert_equals_onnx_runtime(graph_of("sparse"), engine, network, 17, PRUNED_TOLERANCE)


@pytest.mark.parametrize("name", ["sea-64", "micro"])
@LEVELS
def test_the_same_bits_for_any_batch_and_threads(level, name, graph_of, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    network = read_network(graph_of(name))
    batch = images(network, 17)
    expected = NativeEngine(network, 1).run(batch)
    for threads, n in itertools.product((1, 2, 3, 4), (1, 3, 17)):
        assert np.array_equal(NativeEngine(network, threads).run(batch[:n]), expected[:n])


def check_golden(case, path, level, monkeypatch, tolerance):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    model = load_embedding_model(case["kind"], case.get("emb_dim") or 512, weights=path, provider="native")
    audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"])
    found, timestamps = get_embedding(
        audio, case["sr"], model, center=case["center"], hop_size=case["hop_size"], verbose=0
    )
    expected = np.load(golden.DATA / case["file"])
    np.testing.assert_array_equal(timestamps, expected["timestamps"])
    assert relative_error(found, expected["embedding"]) <= tolerance
    assert least_cosine(found, expected["embedding"]) >= 0.999999


@pytest.mark.filterwarnings("ignore:Provided audio is shorter:edgel3_onnx.EdgeL3Warning")
@pytest.mark.parametrize("case", [c for c in golden.cases() if c["kind"] == "sea"], ids=lambda case: case["id"])
@LEVELS
def test_golden_dense(level, case, seeded_graph, monkeypatch, tmp_path):
    path = tmp_path / f"{level}.onnx"  # of its own, so that the model is loaded anew
    path.write_bytes(seeded_graph(case["network"]).read_bytes())
    check_golden(case, path, level, monkeypatch, GOLDEN_TOLERANCE)


@pytest.mark.filterwarnings("ignore:Provided audio is shorter:edgel3_onnx.EdgeL3Warning")
@pytest.mark.parametrize("case", [c for c in golden.cases() if c["kind"] == "sparse"], ids=lambda case: case["id"])
@LEVELS
def test_golden_pruned(level, case, seeded_graph, monkeypatch, tmp_path):
    path = tmp_path / f"{level}.onnx"
    path.write_bytes(seeded_graph("sparse").read_bytes())
    resampled = case["sr"] != 48000
    tolerance = RESAMPLED_PRUNED_GOLDEN_TOLERANCE if resampled else PRUNED_GOLDEN_TOLERANCE
    check_golden(case, path, level, monkeypatch, tolerance)
