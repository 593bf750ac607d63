"""A waveform graph gives what the mel graph gives on the package's own front end, with standard operators only."""

import numpy as np
import pytest

import golden
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.audio import frame
from edgel3_onnx.export.compact import compact, constant_arrays
from edgel3_onnx.export.graph import read_metadata, write_metadata
from edgel3_onnx.export.waveform import add_front_end, mel_bands
from edgel3_onnx.frontend import log_mel
from edgel3_onnx.spec import FRONTENDS, NETWORKS

NATIVE = [case for case in golden.cases() if case["sr"] in (8000, 48000) and case["center"]]


def session(graph):
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("case", NATIVE, ids=lambda case: case["id"])
def test_waveform_graph_has_the_embeddings_of_the_published_code(case, seeded_graph):
    spec = FRONTENDS[NETWORKS[case["network"]].frontend]
    audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"]).astype(np.float32)
    windows = frame(audio, spec, hop_length=int(case["hop_size"] * spec.sample_rate), center=True)
    with np.load(golden.DATA / case["file"]) as stored:
        expected = stored["embedding"]
    graph = compact(add_front_end(seeded_graph(case["network"]).read_bytes()))
    (found,) = session(graph).run(None, {"audio": windows})
    assert found.shape == expected.shape
    # The graph sums 2048 products in float32 per bin; at 48 kHz some bands hold little but the rounding of that.
    tolerance = 1e-4 if spec.name == "sea" else 1e-3
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_waveform_graph_matches_the_front_end_on_silence_and_on_a_faint_window(seeded_graph):
    spec = FRONTENDS["sea"]
    mel = seeded_graph("sea-64").read_bytes()
    noise = np.random.default_rng(0).standard_normal(spec.sample_rate).astype(np.float32)
    windows = np.stack([np.zeros_like(noise), noise, noise * 1e-4, np.where(np.arange(8000) < 200, noise, 0)])
    images = log_mel(windows.reshape(-1), spec, hop_length=spec.sample_rate)
    (expected,) = session(mel).run(None, {"melspectrogram": images})
    (found,) = session(add_front_end(mel)).run(None, {"audio": windows.astype(np.float32)})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found[2], found[1], rtol=0, atol=1e-4 * np.abs(expected).max())  # gain does not matter


@pytest.mark.parametrize("network", ["sea-64", "sparse"])
def test_waveform_graph_is_small_standard_and_described(network, seeded_graph):
    import onnx

    mel = seeded_graph(network).read_bytes()
    spec = FRONTENDS[NETWORKS[network].frontend]
    graph = compact(add_front_end(mel))
    assert len(graph) - len(compact(mel)) < 100_000  # no stored kernels: those take 4 and 17 MB
    model = onnx.load_model_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"STFT", "DFT", "MelWeightMatrix", "HannWindow"}
    assert {node.domain for node in model.graph.node} == {""}
    (value,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    assert (value.name, shape) == ("audio", ["N", spec.sample_rate])
    before, after = (read_metadata(m) for m in (onnx.load_model_from_string(mel), model))
    assert {**before, "kind": "waveform"} == after


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


def test_only_a_mel_graph_takes_a_front_end(seeded_graph):
    import onnx

    waveform = add_front_end(seeded_graph("sea-64").read_bytes())
    with pytest.raises(EdgeL3Error, match="this one has kind 'waveform'"):
        add_front_end(waveform)
    model = onnx.load_model_from_string(waveform)
    del model.metadata_props[:]
    with pytest.raises(EdgeL3Error, match="this one has no metadata"):
        add_front_end(model.SerializeToString())
    write_metadata(model, {"kind": "mel"})
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


def test_compact_leaves_a_dense_graph_as_it_is(seeded_graph):
    graph = seeded_graph("sea-64").read_bytes()
    assert compact(graph) == graph
