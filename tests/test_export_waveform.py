"""A waveform graph gives what the mel graph gives on the package's own front end, with standard operators only."""

import dataclasses

import numpy as np
import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.audio import frame
from edgel3_onnx.export.convert.compact import compact, constant_arrays
from edgel3_onnx.export.convert.graph import read_metadata
from edgel3_onnx.export.convert.h5_to_onnx import convert
from edgel3_onnx.export.convert.kernels import check_kernels, dft_kernels, mel_bands
from edgel3_onnx.export.convert.source import decompress
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.frontend import log_mel, resample
from edgel3_onnx.spec import FRONTENDS, NETWORKS
from parity import least_cosine, relative_error

# Against the published code, which sums in float32 itself: resampling leaves bands that hold little but the rounding
# of that.
LIMITS = {"sea": 1e-4, "sparse": 1e-3, "sparse resampled": 3e-3}


def session(graph):
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def both_ways(mel, windows, spec):
    """Embeddings of windows (n, sample_rate) from the waveform graph, and from the mel graph on log_mel's images."""
    images = log_mel(windows.reshape(-1).astype(np.float32), spec, hop_length=spec.sample_rate)
    (expected,) = session(mel).run(None, {"melspectrogram": images})
    (found,) = session(add_front_end(mel)).run(None, {"audio": windows.astype(np.float32)})
    return found, expected


@pytest.mark.parametrize("case", golden.cases(), ids=lambda case: case["id"])
def test_waveform_graph_has_the_embeddings_of_the_published_code(case, seeded_graph):
    spec = FRONTENDS[NETWORKS[case["network"]].frontend]
    audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"]).astype(np.float32)
    native = spec.name == "sea" or case["sr"] == spec.sample_rate
    if case["sr"] != spec.sample_rate:
        audio = resample(audio, case["sr"], spec.sample_rate)
    windows = frame(audio, spec, hop_length=int(case["hop_size"] * spec.sample_rate), center=case["center"])
    with np.load(golden.DATA / case["file"]) as stored:
        expected = stored["embedding"]
    graph = compact(add_front_end(seeded_graph(case["network"]).read_bytes()))
    (found,) = session(graph).run(None, {"audio": windows})
    assert found.shape == expected.shape
    assert relative_error(found, expected) <= LIMITS[spec.name if native else "sparse resampled"]


@pytest.mark.parametrize("sr", [8000, 44100])
def test_waveform_graph_resolves_what_resampling_leaves_above_a_recordings_bandwidth(sr, seeded_graph):
    """Some bands are 150 dB below the loudest there: a plain float32 sum is off by 4e-4 and more."""
    spec = FRONTENDS["sparse"]
    audio = resample(golden.audio(sr, 2.0, 1).astype(np.float32), sr, spec.sample_rate)
    found, expected = both_ways(seeded_graph("sparse").read_bytes(), audio.reshape(2, -1), spec)
    assert relative_error(found, expected) <= 1e-4


def test_waveform_graph_matches_the_front_end_on_recordings(reference):
    """Random weights in the published layout; recordings at 48 kHz, and resampled from 44.1 and 8 kHz."""
    spec, network = FRONTENDS["sparse"], NETWORKS["sparse"]
    weights = decompress((reference / "synthetic" / "edgel3_ft_audio_sparsity_95.45.h5.gz").read_bytes(), "weights")
    mel = convert(weights, network, source_file="weights", source_sha256="0" * 64)
    assert len(compact(add_front_end(mel))) <= 3_000_000
    windows = []
    for path in sorted((reference / "audio").iterdir()):
        audio, sr = soundfile.read(path, dtype="float32", always_2d=True)
        audio = audio.mean(axis=1)
        audio = audio if sr == spec.sample_rate else resample(audio, sr, spec.sample_rate)
        windows.append(frame(audio, spec, hop_length=spec.sample_rate, center=False)[0])
    assert len(windows) >= 13
    found, expected = both_ways(mel, np.stack(windows), spec)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one[None], other[None]) <= 1e-3
    assert least_cosine(found, expected) >= 0.999999


def test_waveform_graph_matches_the_front_end_on_silence_and_on_a_faint_window(seeded_graph):
    spec = FRONTENDS["sea"]
    mel = seeded_graph("sea-64").read_bytes()
    noise = np.random.default_rng(0).standard_normal(spec.sample_rate).astype(np.float32)
    windows = np.stack([np.zeros_like(noise), noise, noise * 1e-4, np.where(np.arange(8000) < 200, noise, 0)])
    found, expected = both_ways(mel, windows, spec)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found[2], found[1], rtol=0, atol=1e-4 * np.abs(expected).max())  # gain does not matter


@pytest.mark.parametrize("network", ["sea-64", "sparse"])
def test_waveform_graph_is_small_standard_and_described(network, seeded_graph):
    import onnx

    mel = seeded_graph(network).read_bytes()
    spec = FRONTENDS[NETWORKS[network].frontend]
    graph = compact(add_front_end(mel))
    assert len(graph) - len(compact(mel)) < 100_000  # no stored matrices: those take 1 and 3 MB
    model = onnx.load_model_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"STFT", "DFT", "MelWeightMatrix", "HannWindow"}
    assert {node.domain for node in model.graph.node} == {""}
    (value,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    assert (value.name, shape) == ("audio", ["N", spec.sample_rate])
    before, after = (read_metadata(m, "x") for m in (onnx.load_model_from_string(mel), model))
    assert dataclasses.replace(before, kind="waveform") == after


@pytest.mark.parametrize("batch", [1, 7, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", ["sea-64", pytest.param("sparse", marks=pytest.mark.slow)])
def test_waveform_graph_runs_at_any_batch_size(network, batch, seeded_graph):
    rate = FRONTENDS[NETWORKS[network].frontend].sample_rate
    windows = np.random.default_rng(0).standard_normal((batch, rate)).astype(np.float32)
    runner = session(add_front_end(seeded_graph(network).read_bytes()))
    (together,) = runner.run(None, {"audio": windows})
    (last,) = runner.run(None, {"audio": windows[-1:]})
    assert together.shape == (batch, NETWORKS[network].embedding_dim)
    np.testing.assert_allclose(together[-1:], last, rtol=0, atol=1e-4 * np.abs(last).max())


def test_mel_bands_equal_the_oracle():
    for spec in FRONTENDS.values():
        np.testing.assert_allclose(mel_bands(spec), golden.mel_matrix(spec), rtol=0, atol=1e-8)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", ["sea", "sparse"])
def test_stored_matrices_may_differ_by_rounding_only(name, number):
    spec = FRONTENDS[name]
    stored = [matrix.astype(np.float32) for matrix in (*dft_kernels(spec), mel_bands(spec))]
    at = np.unravel_index(np.abs(stored[number]).argmax(), stored[number].shape)
    stored[number][at] *= 1 + 8e-7
    check_kernels(stored, spec, "x.h5")
    stored[number][at] *= 1 + 8e-7
    what = ["real DFT kernels", "imaginary DFT kernels", "mel bands"][number]
    with pytest.raises(EdgeL3Error, match=rf"x\.h5: made for another front end: its {what} differ .* by 1\.[5-9]e-06"):
        check_kernels(stored, spec, "x.h5")


def test_only_a_mel_graph_takes_a_front_end(seeded_graph):
    import onnx

    waveform = add_front_end(seeded_graph("sea-64").read_bytes())
    with pytest.raises(EdgeL3Error, match="this one has kind 'waveform'"):
        add_front_end(waveform)
    model = onnx.load_model_from_string(waveform)
    del model.metadata_props[:]
    with pytest.raises(EdgeL3Error, match="this one has no metadata"):
        add_front_end(model.SerializeToString())
    with pytest.raises(EdgeL3Error, match="not an ONNX graph"):
        add_front_end(waveform[:1000])


def test_compact_graph_has_the_same_weights_and_is_smaller(seeded_graph):
    import onnx

    graph = seeded_graph("sparse").read_bytes()
    small = compact(graph)
    assert len(small) <= 3_000_000 < len(graph)
    before, after = (constant_arrays(onnx.load_model_from_string(g).graph) for g in (graph, small))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    images = np.random.default_rng(0).uniform(-80, 0, (1, 1, 256, 199)).astype(np.float32)
    (a,), (b,) = (session(g).run(None, {"melspectrogram": images}) for g in (graph, small))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("nonzero", "is_sparse"), [(0, False), (1, True), (33, True), (34, False), (100, False)])
def test_what_takes_fewer_bytes_is_stored(nonzero, is_sparse):
    """Of a hundred values in 4 bytes each, against those that are not zero in 4 and an index in 8."""
    import onnx
    from onnx import helper, numpy_helper

    array = np.zeros((10, 10), np.float32)
    array.reshape(-1)[:nonzero] = np.arange(nonzero) + 1
    add = helper.make_node("Add", ["x", "w"], ["y"])
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [10, 10]) for name in "xy")
    graph = helper.make_graph([add], "g", [x], [y], [numpy_helper.from_array(array, "w")])
    found = onnx.load_model_from_string(compact(helper.make_model(graph).SerializeToString())).graph
    assert [tensor.name for tensor in found.initializer] == ([] if is_sparse else ["w"])
    np.testing.assert_array_equal(constant_arrays(found)["w"], array)


def test_compact_leaves_a_dense_graph_as_it_is(seeded_graph):
    graph = seeded_graph("sea-64").read_bytes()
    assert compact(graph) == graph
