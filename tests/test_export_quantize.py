"""int8 and fp16 graphs stay close to fp32, and the built-in calibration is the same everywhere."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.export.convert import calibration
from edgel3_onnx.export.convert.calibration import log_mel_images
from edgel3_onnx.export.convert.compact import compact
from edgel3_onnx.export.convert.graph import read_metadata, write_metadata
from edgel3_onnx.export.convert.h5_to_onnx import convert_file
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.export.recordings import calibration_of, read_windows, split_windows
from edgel3_onnx.export.verify import deviation
from edgel3_onnx.spec import FRONTENDS, NETWORKS

SEA = FRONTENDS["sea"]


def session(graph, threads=0):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def measure(graph, reference, images):
    found, expected = (session(g).run(None, {"melspectrogram": images})[0] for g in (graph, reference))
    assert found.dtype == np.float32
    return deviation(found.astype(np.float64), expected.astype(np.float64))


@pytest.fixture(scope="module")
def int8(seeded_graph):
    return quantize(seeded_graph("sea-64").read_bytes(), "int8")


@pytest.fixture(scope="module")
def images():
    return log_mel_images(calibration.verification_windows(SEA), SEA)


def test_int8_graph_is_small_valid_and_close(int8, seeded_graph, images):
    import onnx

    fp32 = seeded_graph("sea-64").read_bytes()
    assert len(int8) <= 450_000
    model = onnx.load_model_from_string(int8)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.key for entry in model.metadata_props] == ["edgel3_onnx"]
    before = read_metadata(onnx.load_model_from_string(fp32), "x")
    assert read_metadata(model, "x") == dataclasses.replace(before, precision="int8", calibration="built-in")
    found = measure(int8, fp32, images)
    assert found.median_cosine >= 0.999
    assert found.least_cosine >= 0.98


def test_int8_weights_use_seven_bits_and_one_scale_per_channel(int8):
    import onnx
    from onnx import numpy_helper

    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(int8).graph.initializer}
    weights = {name: array for name, array in tensors.items() if array.ndim == 4}
    assert weights["conv1.weight"].dtype == np.float32  # left as it was
    quantised = [array for name, array in weights.items() if not name.startswith("conv1.")]
    assert len(quantised) == 7
    for array in quantised:
        assert array.dtype == np.int8
        assert np.abs(array.astype(int)).max() <= 64
    scales = [array for name, array in tensors.items() if name.startswith("conv8.weight") and "scale" in name]
    assert [len(scale) for scale in scales] == [64]


def test_int8_is_the_same_each_time(int8, seeded_graph):
    assert quantize(seeded_graph("sea-64").read_bytes(), "int8") == int8


def test_int8_of_a_compact_graph_is_that_of_the_graph(int8, seeded_graph):
    assert quantize(compact(seeded_graph("sea-64").read_bytes()), "int8") == int8


@pytest.mark.parametrize("network", ["sea-64", "sparse"])
def test_fp16_graph_is_half_as_large_valid_and_close(network, seeded_graph):
    import onnx

    fp32 = seeded_graph(network).read_bytes()
    fp16 = quantize(compact(fp32), "fp16")
    assert len(fp16) < 0.51 * len(fp32)
    model = onnx.load_model_from_string(fp16)
    onnx.checker.check_model(model, full_check=True)
    assert read_metadata(model, "x").precision == "fp16"
    spec = FRONTENDS[NETWORKS[network].frontend]
    sounds = calibration.verification_windows(spec)[: 16 if network == "sea-64" else 3]
    assert measure(fp16, fp32, log_mel_images(sounds, spec)).least_cosine >= 0.9999


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_front_end_stays_fp32_in_a_small_waveform_graph(precision, int8, seeded_graph):
    windows = calibration.verification_windows(SEA)
    mel = int8 if precision == "int8" else quantize(seeded_graph("sea-64").read_bytes(), "fp16")
    graph = compact(add_front_end(mel))
    assert precision != "int8" or len(graph) <= 450_000
    (expected,) = session(mel).run(None, {"melspectrogram": log_mel_images(windows, SEA)})
    (found,) = session(graph).run(None, {"audio": windows})
    # The two front ends agree to 1e-6, but a value at the edge between two of 256 steps may fall on either side.
    least = 0.999 if precision == "int8" else 0.9999
    assert deviation(found.astype(float), expected.astype(float)).least_cosine >= least
    for batch in (1, 7, 64):
        assert session(graph).run(None, {"audio": np.resize(windows, (batch, 8000))})[0].shape == (batch, 64)


LOUDNESS = [0.03502, 0.276, 0.11041, 0.33977, 0.0013, 0.25471, 0.06027, 0.15362, 0.12791, 0.28443, 0.08983, 0.35357]
LOUDNESS += [0.00151, 0.2943, 0.10615, 0.35366]  # root mean squares of the first sixteen
SAMPLES = [0.0371, -0.4448, 0.0481, 0.2102, 0.0016, -0.3549, 0.0011, 0.0, 0.0312, -0.0571, 0.0626, 0.0546, 0.0006]
SAMPLES += [0.0129, 0.0, -0.4105]  # one of each


def test_the_built_in_sounds_stay_what_they_are():
    """Each int8 graph that there is was calibrated on them."""
    sounds = np.stack([calibration._sound(8000, index) for index in range(16)])
    assert sounds.shape == (16, 8000) and sounds.dtype == np.float32
    np.testing.assert_array_equal(sounds * 32768, np.round(sounds * 32768))
    np.testing.assert_allclose(np.sqrt((sounds.astype(float) ** 2).mean(axis=1)), LOUDNESS, rtol=0, atol=2e-5)
    np.testing.assert_allclose(sounds[np.arange(16), 4000 + 31 * np.arange(16)], SAMPLES, rtol=0, atol=1e-4)
    assert np.abs(sounds).max() == 1
    built_in = calibration.built_in(SEA)
    assert built_in.name == "built-in" and built_in.images.shape == (32, 1, 64, 50)
    np.testing.assert_array_equal(built_in.images[:16], log_mel_images(sounds, SEA))
    others = calibration.verification_windows(SEA)
    assert others.shape == (16, 8000)
    np.testing.assert_array_equal(others, [calibration._sound(8000, index) for index in range(32, 48)])


def test_calibration_with_recordings_names_them(seeded_graph, tmp_path):
    import onnx
    import soundfile

    folder = tmp_path / "street"
    folder.mkdir()
    noise = np.random.default_rng(0).standard_normal(20000) * 0.1
    soundfile.write(folder / "a.wav", noise, 16000)
    soundfile.write(folder / "b.flac", np.stack([noise, noise]).T, 8000)
    (folder / "notes.txt").write_text("not audio")
    chosen = calibration_of(folder, SEA)
    assert chosen.images.shape == (2 + 4, 1, 64, 50)
    graph = quantize(seeded_graph("sea-64").read_bytes(), "int8", chosen)
    assert read_metadata(onnx.load_model_from_string(graph), "x").calibration == "street"


def test_calibration_without_recordings_is_refused(tmp_path):
    with pytest.raises(EdgeL3Error, match="no recordings in it"):
        calibration_of(tmp_path, SEA)
    with pytest.raises(EdgeL3Error, match="absent: cannot be read"):
        calibration_of(tmp_path / "absent", SEA)
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(EdgeL3Error, match=r"broken.wav: cannot be read"):
        calibration_of(tmp_path, SEA)


def test_windows_cover_a_recording():
    audio = np.arange(1, 12001, dtype=np.float32)
    windows = split_windows(audio, SEA, 0.5)
    assert windows.shape == (2, 8000)
    np.testing.assert_array_equal(windows[1], audio[4000:])
    longer = split_windows(audio[:8001], SEA, 0.5)
    assert longer.shape == (2, 8000)
    assert longer[1, 4000] == 8001 and not longer[1, 4001:].any()


def test_what_cannot_be_quantised_is_refused(int8, seeded_graph):
    import onnx

    fp32 = seeded_graph("sea-64").read_bytes()
    with pytest.raises(EdgeL3ArgumentError, match="precision must be int8 or fp16, got 'int4'"):
        quantize(fp32, "int4")
    with pytest.raises(EdgeL3Error, match="this one is mel int8"):
        quantize(int8, "fp16")
    with pytest.raises(EdgeL3Error, match="this one is waveform fp32"):
        quantize(add_front_end(fp32), "int8")
    model = onnx.load_model_from_string(fp32)
    del model.metadata_props[:]
    with pytest.raises(EdgeL3Error, match="metadata of this package"):
        quantize(model.SerializeToString(), "int8")


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_small_graph_that_says_it_is_fp32_is_refused(precision, int8):
    import onnx

    model = onnx.load_model_from_string(int8)
    write_metadata(model, dataclasses.replace(read_metadata(model, "x"), precision="fp32", calibration=None))
    with pytest.raises(EdgeL3Error, match=rf"^this graph cannot be made {precision} \(.*\)$"):
        quantize(model.SerializeToString(), precision)


def test_fp16_refuses_weights_out_of_range(seeded_graph):
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model_from_string(seeded_graph("sea-64").read_bytes())
    for tensor in model.graph.initializer:
        if tensor.name == "conv3.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(64, 1e5, np.float32), tensor.name))
    with pytest.raises(EdgeL3Error, match=r"conv3\.bias has values beyond the range of fp16"):
        quantize(model.SerializeToString(), "fp16")


@pytest.fixture(scope="module")
def published(reference):
    path = reference / "published" / "edgel3_sea_ust_audio_emb_64.h5.gz"
    windows = np.concatenate([w for _, w in read_windows(reference / "audio", SEA)])
    return convert_file(path, NETWORKS["sea-64"]), log_mel_images(windows, SEA)


def test_published_sea64_in_int8_and_fp16_on_recordings(published):
    fp32, images = published
    int8 = quantize(fp32, "int8")
    assert len(int8) <= 450_000
    found = measure(int8, fp32, images)
    assert found.windows > 100
    assert found.median_cosine >= 0.999
    assert found.least_cosine >= 0.98
    assert measure(quantize(fp32, "fp16"), fp32, images).least_cosine >= 0.9999


@pytest.mark.slow  # as a timing: what else the machine does must not fail a change
def test_int8_is_twice_as_fast_on_a_cpu_with_vnni(published):
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    if "vnni" not in flags:
        pytest.skip("needs an x86 CPU with VNNI")
    fp32, images = published
    sessions = {name: session(graph, threads=1) for name, graph in (("fp32", fp32), ("int8", quantize(fp32, "int8")))}
    best = dict.fromkeys(sessions, np.inf)
    for _ in range(15):  # alternating, so that both see the same machine; the best of each, so that load does not count
        for name, runner in sessions.items():
            start = time.perf_counter()
            runner.run(None, {"melspectrogram": images[:16]})
            best[name] = min(best[name], time.perf_counter() - start)
    assert best["fp32"] >= 2 * best["int8"], f"int8 is only {best['fp32'] / best['int8']:.2f} times as fast"
