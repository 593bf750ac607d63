"""The sparse engine against ONNX Runtime on the same graph, at every SIMD level."""

import functools
import os
import subprocess
import sys
import threading

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, _sparse, get_embedding, load_embedding_model
from edgel3_onnx.engines.sparse import SparseEngine, faster_than_dense
from edgel3_onnx.engines.sparse_pack import SUFFIX
from edgel3_onnx.export.convert.compact import compact
from edgel3_onnx.spec import NETWORKS
from parity import least_cosine, relative_error

# The sums of float32 products are added in another order; 1e-5 of the largest value is the agreed bound.
TOLERANCE = 1e-5
# Against the published code, as in test_parity.py: random weights are deep in their own noise floor.
GOLDEN_TOLERANCE, RESAMPLED_GOLDEN_TOLERANCE = 1e-3, 3e-3
SMALL = (3, 5, 7, 2, 9, 17, 16, 512)  # channels as after the removal of dead ones, and none a multiple of the tiles


@functools.cache
def layers(filters=SMALL, density=0.15, seed=5):
    """Seeded (weight, bias) per convolution, the first dense."""
    rng = np.random.default_rng(seed)
    result, cin = [], 1
    for number, cout in enumerate(filters):
        weight = rng.standard_normal((cout, cin, 3, 3)) * np.sqrt(2 / (9 * cin))
        if number:
            weight *= (rng.random(weight.shape) < density) / np.sqrt(density)
        result.append((weight.astype(np.float32), (0.1 * rng.standard_normal(cout)).astype(np.float32)))
        cin = cout
    return result


def build(path, convolutions, *, sparse_initializers=False, width=199, relu=range(1, 8), pools=(2, 4, 6), pads=1):
    """Write a mel graph as the package's converter lays it out."""
    tensors = {"scale": np.array([0.05], np.float32), "shift": np.array([2], np.float32)}
    nodes = [helper.make_node("Mul", ["mel", "scale"], ["m"]), helper.make_node("Add", ["m", "shift"], ["a"])]
    last, sparse = "a", []

    def append(operator, name, *inputs, **attributes):
        nonlocal last
        nodes.append(helper.make_node(operator, [last, *inputs], [name], name=name, **attributes))
        last = name

    for number, (weight, bias) in enumerate(convolutions, 1):
        tensors |= {f"w{number}": weight, f"b{number}": bias}
        append("Conv", f"conv{number}", f"w{number}", f"b{number}", kernel_shape=[3, 3], pads=[pads] * 4)
        if number in relu:
            append("Relu", f"relu{number}")
        if number in pools:
            append("MaxPool", f"pool{number}", kernel_shape=[2, 2], strides=[2, 2])
    append("GlobalMaxPool", "pool")
    append("Flatten", "embedding", axis=1)
    if sparse_initializers:
        for name in [name for name in tensors if name[0] == "w"]:
            flat = tensors[name].reshape(-1)
            (index,) = np.nonzero(flat)
            values = numpy_helper.from_array(flat[index], name)
            sparse.append(
                helper.make_sparse_tensor(values, numpy_helper.from_array(index, f"{name}.i"), tensors[name].shape)
            )
            del tensors[name]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["N", 1, 256, width])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", len(convolutions[-1][1])])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        sparse_initializer=sparse,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def images(n, seed=0):
    return (np.random.default_rng(seed).standard_normal((n, 1, 256, 199)) * 20 - 40).astype(np.float32)


def dense(path, batch):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def assert_same(found, expected):
    assert found.shape == expected.shape and found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
    a, b = found.astype(np.float64), expected.astype(np.float64)
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    assert cosine.min() >= 0.9999999


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build(tmp_path_factory.mktemp("small") / "small.onnx", layers())


@pytest.fixture(scope="module")
def expected(small):
    return dense(small, images(3))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("level", _sparse.levels())
def test_equals_onnx_runtime(small, expected, monkeypatch, level, n, threads):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    engine = SparseEngine(small, threads)
    assert engine.providers == ["sparse"] and engine.kind == "mel"
    assert_same(engine.run(images(3)[:n]), expected[:n])


def test_does_not_depend_on_threads_or_batch(small):
    batch = images(5)
    alone = SparseEngine(small, 1).run(batch)
    for threads in (2, 3, 8):
        engine = SparseEngine(small, threads)
        assert np.array_equal(engine.run(batch), alone)
        assert np.array_equal(np.concatenate([engine.run(batch[i : i + 1]) for i in range(5)]), alone)
    assert engine.run(batch[:0]).shape == (0, 512)


def test_concurrent_calls(small):
    engine, batch = SparseEngine(small, 2), images(4)
    alone = [engine.run(batch[i : i + 1]) for i in range(4)]
    results = [None] * 4

    def call(i):
        results[i] = [engine.run(batch[i : i + 1]) for _ in range(10)]

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert all(np.array_equal(result, alone[i]) for result in results[i])


def test_helpers_end_with_the_engine(small):
    before = set(threading.enumerate())
    engine = SparseEngine(small, 4)
    engine.run(images(1))
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 3
    del engine
    for helper_thread in helpers:
        helper_thread.join(10)
        assert not helper_thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_works_on_with_helpers_after_fork(small):
    code = """
import os, sys, threading, numpy as np
from edgel3_onnx.engines.sparse import SparseEngine
engine, images = SparseEngine(sys.argv[1], 3), np.full((2, 1, 256, 199), -40, np.float32)
expected = engine.run(images)
child = os.fork()
if not child:
    for _ in range(2):
        assert np.array_equal(engine.run(images), expected)
    assert sum(t.name == "edgel3-sparse" and t.is_alive() for t in threading.enumerate()) == 2
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(engine.run(images), expected)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-P", "-c", code, small], check=True, timeout=60)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_extreme_densities(tmp_path, density):
    convolutions = [(np.where(np.isfinite(w), w, 0), b) for w, b in layers(density=max(density, 1e-9))]
    path = build(tmp_path / "g.onnx", convolutions)
    assert_same(SparseEngine(path, 1).run(images(1)), dense(path, images(1)))


def test_all_channels_and_golden_density(tmp_path):
    """The network's own size, so that channels come in several blocks: batch 17 on the best level only."""
    arrays = golden.weights(540, NETWORKS["sparse"], True)[4:]
    convolutions = []
    for number in range(8):
        kernel, bias, *rest = arrays[: 6 if number < 7 else 2]
        arrays = arrays[6:]
        if rest:
            gamma, beta, mean, variance = rest
            scale = gamma / np.sqrt(variance + 1e-3)
            kernel, bias = kernel * scale, (bias - mean) * scale + beta
        convolutions.append((np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), bias))
    path = build(tmp_path / "g.onnx", convolutions, sparse_initializers=True)
    batch = images(17)
    assert_same(SparseEngine(path, 2).run(batch), dense(path, batch))
    assert faster_than_dense(path)


@pytest.mark.filterwarnings("ignore:Provided audio is shorter:edgel3_onnx.EdgeL3Warning")
@pytest.mark.parametrize("case", [c for c in golden.cases() if c["kind"] == "sparse"], ids=lambda case: case["id"])
def test_golden(case, seeded_graph):
    """From audio, the embeddings are those of the published code."""
    model = load_embedding_model("sparse", weights=seeded_graph("sparse"), provider="sparse")
    audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"])
    found, timestamps = get_embedding(
        audio, case["sr"], model, center=case["center"], hop_size=case["hop_size"], verbose=0
    )
    expected = np.load(golden.DATA / case["file"])
    np.testing.assert_array_equal(timestamps, expected["timestamps"])
    limit = GOLDEN_TOLERANCE if case["sr"] == model.sample_rate else RESAMPLED_GOLDEN_TOLERANCE
    assert relative_error(found, expected["embedding"]) <= limit
    assert least_cosine(found, expected["embedding"]) >= 0.999999


def test_sparse_initializers(small, tmp_path):
    path = build(tmp_path / "g.onnx", layers(), sparse_initializers=True)
    assert np.array_equal(SparseEngine(path, 1).run(images(1)), SparseEngine(small, 1).run(images(1)))


def test_compact_graph(small, tmp_path):
    """As the exporter stores pruned weights on request."""
    path = tmp_path / "g.onnx"
    path.write_bytes(compact(small.read_bytes()))
    assert b"sparse_value" in path.read_bytes()
    assert np.array_equal(SparseEngine(path, 1).run(images(1)), SparseEngine(small, 1).run(images(1)))


def test_packed_form_is_reused_without_onnx(small):
    SparseEngine(small, 1)
    code = (
        "import sys; from edgel3_onnx.engines.sparse import SparseEngine; "
        f"SparseEngine({str(small)!r}, 1); print('onnx' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "stale", "foreign"])
def test_damaged_packed_form_is_made_anew(tmp_path, damage):
    path = build(tmp_path / "g.onnx", layers())
    alone = SparseEngine(path, 1).run(images(1))
    beside = path.with_name(path.name + SUFFIX)
    good = beside.read_bytes()
    if damage == "stale":
        build(path, layers(seed=6))
    elif damage == "flipped":
        beside.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 255]) + good[len(good) // 2 + 1 :])
    else:
        beside.write_bytes({"empty": b"", "cut": good[:-100], "foreign": b"PK\x03\x04" + b"x" * 99}[damage])
    found = SparseEngine(path, 1).run(images(1))
    assert np.array_equal(found, alone) == (damage != "stale")
    assert_same(found, dense(path, images(1)))
    assert (beside.read_bytes() == good) == (damage != "stale")
    assert sorted(os.listdir(tmp_path)) == ["g.onnx", "g.onnx" + SUFFIX]


def test_folder_that_cannot_be_written(small, tmp_path, monkeypatch):
    path = build(tmp_path / "g.onnx", layers())

    def refuse(*args, **kwargs):
        raise EdgeL3Error("cannot be written")

    monkeypatch.setattr("edgel3_onnx.engines.sparse_pack.write_bytes", refuse)
    assert np.array_equal(SparseEngine(path, 1).run(images(1)), SparseEngine(small, 1).run(images(1)))
    assert os.listdir(tmp_path) == ["g.onnx"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 198}, "input has shape"),
        ({"relu": range(1, 9)}, "'relu8' is Relu, expected GlobalMaxPool"),
        ({"relu": range(2, 8)}, "expected Relu"),
        ({"pools": (2, 4)}, "expected MaxPool"),
        ({"pads": 0}, "has pads"),
        ({"filters": (65, *SMALL[1:])}, "conv1 has 65 output channels"),
        ({"filters": (*SMALL[:7], 256)}, "conv8 has 256 output channels, expected 512"),
        ({"value": np.nan}, "conv4 contain NaN"),
        ({"value": np.inf}, "conv4 contain NaN or infinity"),
    ],
)
def test_other_graphs_are_refused(tmp_path, change, message):
    convolutions = [(w.copy(), b) for w, b in layers(change.pop("filters", SMALL))]
    convolutions[3][0][0, 0, 0, 0] = change.pop("value", 1)
    path = build(tmp_path / "g.onnx", convolutions, **change)
    with pytest.raises(EdgeL3Error, match=message) as caught:
        SparseEngine(path, 1)
    assert str(path) in str(caught.value)
    assert not faster_than_dense(path)


def test_unreadable_graphs(tmp_path):
    with pytest.raises(EdgeL3Error, match="cannot be read"):
        SparseEngine(tmp_path / "absent.onnx")
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(EdgeL3Error, match=r"g\.onnx"):
        SparseEngine(tmp_path / "g.onnx")


def test_arguments(small, monkeypatch):
    engine = SparseEngine(small, 1)
    for wrong in (images(1)[0], images(1)[..., :198], images(1).astype(np.float64)):
        with pytest.raises(EdgeL3ArgumentError, match="images must be float32"):
            engine.run(wrong)
    with pytest.raises(EdgeL3ArgumentError, match="num_threads"):
        SparseEngine(small, 0)
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", "mmx")
    with pytest.raises(EdgeL3Error, match="'mmx' is not available here; choose one of: baseline"):
        SparseEngine(small, 1)
