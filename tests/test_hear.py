"""The HEAR API, checked by HEAR's own validator."""

# ruff: noqa: E402 (what may be absent is looked for first)
import numpy as np
import pytest

from edgel3_onnx import EdgeL3ArgumentError, get_embedding, load_embedding_model

torch = pytest.importorskip("torch")
validate = pytest.importorskip("hearvalidator.validate")

from edgel3_onnx import hear


def sounds(rate: int, seconds: float, count: int = 2) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.uniform(-1, 1, (count, int(seconds * rate))).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["micro", "sea-64", "sparse-ft-95.45"])
def test_hears_own_validator(seeded_graph, name):
    network = {"sea-64": "sea-64", "sparse-ft-95.45": "sparse"}.get(name)
    path = f"{name}={seeded_graph(network)}" if network else name
    validate.ValidateModel("edgel3_onnx.hear", path)()


@pytest.fixture(scope="module")
def model():
    return hear.load_model()


@pytest.mark.parametrize("seconds", [0.6, 1.0, 1.01, 2.0, 3.74])
def test_timestamps_reach_the_end(model, seconds):
    audio = sounds(model.sample_rate, seconds)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.shape == (*timestamps.shape, 64)
    assert (embeddings.dtype, timestamps.dtype) == (torch.float32, torch.float32)
    assert timestamps[0, 0] == 0
    assert abs(timestamps[0, -1] - 1000 * seconds) <= 2 * 50
    np.testing.assert_allclose(np.diff(timestamps), 50, atol=1e-3)


def test_a_timestamp_is_the_middle_of_its_window(model):
    rate = model.sample_rate
    audio = sounds(rate, 3)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    at = 30  # 1.5 s
    assert timestamps[1, at] == 1500
    window, _ = get_embedding(audio[1].numpy(), rate, model.model, center=True, hop_size=0.05)
    np.testing.assert_allclose(embeddings[1, at], window[at], rtol=1e-4, atol=1e-4)


def test_a_scene_is_the_mean_of_its_windows(model):
    audio = sounds(model.sample_rate, 2)
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.dtype == torch.float32
    for sound, scene in zip(audio.numpy(), scenes, strict=True):
        windows, _ = get_embedding(sound, model.sample_rate, model.model, center=False, hop_size=0.25)
        np.testing.assert_allclose(scene, windows.astype(np.float64).mean(0), rtol=1e-5, atol=1e-4)


def test_rates_are_those_of_hear(models):
    assert hear.HearModel(models("sparse")).sample_rate == 48000
    assert hear.HearModel(models("sea-128")).sample_rate == 16000


def test_weights_of_ones_own(seeded_graph):
    path = seeded_graph("sea-64")
    assert hear.load_model(f"sea-64={path}").model is load_embedding_model("sea", 64, weights=path)


def test_an_unknown_model_is_an_error():
    with pytest.raises(EdgeL3ArgumentError, match=r"must begin with one of sea-64, .*, got 'vggish'"):
        hear.load_model("vggish")


def test_a_single_sound_needs_its_axis(model):
    with pytest.raises(EdgeL3ArgumentError, match=r"shape \(sounds, samples\), got \(16000,\)"):
        hear.get_scene_embeddings(sounds(16000, 1)[0], model)
