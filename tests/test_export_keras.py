"""Route B, through Keras and tf2onnx, which read the weights with other code, agrees with route A and with the golden
embeddings."""

import gzip
import hashlib
import importlib.util
import json
import sys

import numpy as np
import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, models
from edgel3_onnx.audio import frame
from edgel3_onnx.export import keras_to_onnx
from edgel3_onnx.export.__main__ import main
from edgel3_onnx.export.convert import h5_to_onnx
from edgel3_onnx.export.convert.calibration import log_mel_images
from edgel3_onnx.export.convert.check import check_graph
from edgel3_onnx.spec import FRONTENDS, NETWORKS

needs_tensorflow = pytest.mark.skipif(
    not (importlib.util.find_spec("tensorflow") and importlib.util.find_spec("tf2onnx")),
    reason="needs TensorFlow and tf2onnx: pip install '.[export-tf]'",
)


def run(graph, batch):
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    return session.run(None, {value.name: batch})[0]


def _rel(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@needs_tensorflow
@pytest.mark.parametrize(
    ("network", "layout"),
    [
        ("sea-64", "model"),
        ("sparse", "weights"),
        *(pytest.param(name, "weights", marks=pytest.mark.slow) for name in ("sea-128", "sea-256", "sea-512")),
    ],
)
def test_both_routes_and_kinds_agree_with_the_published_code(network, layout, tmp_path):
    spec, rate = FRONTENDS[NETWORKS[network].frontend], FRONTENDS[NETWORKS[network].frontend].sample_rate
    case = next(c for c in golden.cases() if c["network"] == network and c["sr"] == rate and c["center"])
    golden.write_h5(
        tmp_path / "w.h5", golden.weights(case["weights_seed"], NETWORKS[network], case["pruned"]), network, layout
    )
    data = (tmp_path / "w.h5").read_bytes()
    source = {"source_file": "w.h5", "source_sha256": hashlib.sha256(data).hexdigest()}
    route_a = h5_to_onnx.convert(data, NETWORKS[network], **source)
    route_b = keras_to_onnx.convert(data, NETWORKS[network], **source)
    waveform = keras_to_onnx.convert(data, NETWORKS[network], kind="waveform", **source)
    for graph in (route_b, waveform):
        check_graph(graph, NETWORKS[network], "route B")

    audio = golden.audio(rate, case["seconds"], case["audio_seed"]).astype(np.float32)
    windows = frame(audio, spec, hop_length=int(case["hop_size"] * rate), center=True)[:6]
    with np.load(golden.DATA / case["file"]) as stored:
        expected = stored["embedding"][:6]
    images = log_mel_images(windows, spec)
    tolerance = 1e-4 if spec.name == "sea" else 1e-3  # see test_h5_to_onnx
    assert _rel(run(route_a, images), expected) <= tolerance
    assert _rel(run(route_b, images), expected) <= tolerance
    assert _rel(run(waveform, windows), expected) <= tolerance
    assert _rel(run(route_b, images), run(route_a, images)) <= 1e-5  # the same image: only the network's sums differ


@needs_tensorflow
def test_networks_are_built_under_their_published_names():
    for network, rate, dim in (
        (keras_to_onnx.construct_ust_specialized_audio_network(128), 8000, 128),
        (models._construct_ust_specialized_audio_network(512), 8000, 512),
        (models._construct_sparsified_audio_network(), 48000, 512),
    ):
        assert network.input_shape == (None, 1, rate)
        assert network.output_shape == (None, dim)
    names = [layer.name for layer in network.layers]
    assert "audio_embedding_layer" in names
    with pytest.raises(EdgeL3ArgumentError, match="emb_dim must be one of 512, 256, 128, 64, got 100"):
        keras_to_onnx.construct_ust_specialized_audio_network(100)


@needs_tensorflow
@pytest.mark.parametrize("construct", models.MODELS.values(), ids=models.MODELS)
class TestANetworkWithoutWeights:
    """What edgel3 gives to those who train: a front end that computes, and kernels that are drawn."""

    def test_its_front_end_is_ours(self, construct):
        import keras

        network = construct()
        rate = network.input_shape[2]
        windows = golden.audio(rate, 3, 1).astype(np.float32).reshape(3, 1, rate)
        front_end = keras.Model(network.input, network.get_layer("melspectrogram").output)
        found = front_end.predict(windows, verbose=0)
        spec = next(spec for spec in FRONTENDS.values() if spec.sample_rate == rate)
        expected = log_mel_images(windows[:, 0], spec)  # (N, 1, n_mels, n_frames), in dB
        np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), rtol=0, atol=2e-3)
        embedding = network.predict(windows, verbose=0)
        assert embedding.shape == (3, network.output_shape[1])
        assert (embedding.std(0) > 0).mean() > 0.5  # most of the values tell the windows apart

    def test_its_kernels_are_drawn_and_regularised_as_published(self, construct):
        network = construct(trainable=False, nonsense=1)  # keyword arguments are ignored, as published
        kernels = [layer.kernel.numpy() for layer in network.layers if hasattr(layer, "kernel")]
        assert len(kernels) == len(network.losses) == 8
        for kernel, loss in zip(kernels, network.losses, strict=True):
            assert float(loss) == pytest.approx(1e-5 * np.square(kernel, dtype=np.float64).sum(), rel=1e-4)
        for kernel in kernels[2:]:  # of 9216 and more values
            assert kernel.std() == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:3])), rel=0.05)
        assert not np.array_equal(kernels[4], construct().get_weights()[-1])
        front_end = network.get_layer("melspectrogram")
        assert not front_end.trainable_weights and len(front_end.weights) == 3

    def test_it_is_saved_and_loaded_whole(self, construct, tmp_path):
        import keras

        network = construct()
        network.save(tmp_path / "network.keras")
        windows = golden.audio(network.input_shape[2], 1, 2).astype(np.float32)[None, None]
        found = keras.saving.load_model(tmp_path / "network.keras").predict(windows, verbose=0)
        np.testing.assert_allclose(found, network.predict(windows, verbose=0), rtol=1e-5, atol=1e-6)


@needs_tensorflow
def test_keras_loads_the_published_weights(reference, tmp_path):
    """By its own load_weights, from the published file: the published embeddings come out."""
    file = reference / "published" / "edgel3_sea_ust_audio_emb_64.h5.gz"
    (tmp_path / "published.h5").write_bytes(gzip.decompress(file.read_bytes()))
    network = models._construct_ust_specialized_audio_network(emb_dim=64)
    network.load_weights(tmp_path / "published.h5")
    cases = json.loads((reference / "embeddings" / "index.json").read_text())
    cases = [case for case in cases if case["weights"].endswith(file.name) and case["audio"].endswith("_8k.wav")]
    cases = [case for case in cases if case["hop_size"] == 0.25]
    assert len(cases) == 3
    for case in cases:
        audio, _ = soundfile.read(reference / "audio" / case["audio"], dtype="float32")
        spec, hop_length = FRONTENDS["sea"], int(case["hop_size"] * case["sr"])
        windows = frame(audio, spec, hop_length=hop_length, center=case["center"])
        found = network.predict(windows[:, np.newaxis], verbose=0)
        with np.load(reference / "embeddings" / case["file"]) as stored:
            assert _rel(found, stored["embedding"]) <= 1e-5


@needs_tensorflow
def test_the_command_takes_route_b(tmp_path):
    golden.write_h5(tmp_path / "w.h5", golden.weights(640, NETWORKS["sea-64"]), "sea-64")
    arguments = ["--variants", "sea-64", "--out", str(tmp_path / "out"), "--weights", str(tmp_path / "w.h5")]
    assert main([*arguments, "--route", "tf"]) == 0
    assert len(list((tmp_path / "out").glob("*.onnx"))) == 6


@needs_tensorflow
def test_weights_that_keras_refuses_are_reported_in_one_line(tmp_path):
    golden.write_h5(tmp_path / "w.h5", golden.weights(640, NETWORKS["sea-64"]), "sea-64")
    source = {"source_file": "w.h5", "source_sha256": ""}
    for data in ((tmp_path / "w.h5").read_bytes(), b"not HDF5"):
        with pytest.raises(EdgeL3Error, match=r"^w.h5: Keras cannot load these weights \([^\n]+\)$"):
            keras_to_onnx.convert(data, NETWORKS["sea-128"], **source)


def test_without_tensorflow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delitem(sys.modules, "edgel3_onnx.export.keras_network", raising=False)
    for construct in (keras_to_onnx.construct_sparsified_audio_network, models._construct_sparsified_audio_network):
        with pytest.raises(EdgeL3Error, match=r"pip install 'edgel3-onnx\[export-tf\]'"):
            construct()
