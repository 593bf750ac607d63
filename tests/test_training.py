"""The training code, and the graph that it made."""

import json
import struct
import sys
import zipfile
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import golden
import micro_golden
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.spec import FRONTENDS

ROOT = Path(__file__).parents[1]
# Behind the installed package, which the sources beside `training` must not shadow.
sys.path.append(str(ROOT))

from training import sources  # noqa: E402
from training.architecture import ARCHITECTURE, EMBEDDING_DIM, describe  # noqa: E402
from training.classify import file_classes, folder, name_prefix, repeated_accuracy  # noqa: E402
from training.dataset import natural_windows  # noqa: E402
from training.graph import OUTPUT, build  # noqa: E402
from training.metrics import agreement, cosine, neighbour_agreement  # noqa: E402
from training.synth import KINDS  # noqa: E402
from training.windows import LENGTH, WindowMaker, images  # noqa: E402


def session(graph: bytes):
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def random_layers(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    channels = [1, *(layer.filters for layer in ARCHITECTURE)]
    return [
        (
            (rng.standard_normal((b, a, 3, 3)) * np.sqrt(2 / (9 * a))).astype(np.float32),
            (0.05 * rng.standard_normal(b)).astype(np.float32),
        )
        for a, b in pairwise(channels)
    ]


def recording(seed: int, seconds: float = 3.0, package: str = "p") -> sources.Recording:
    return sources.Recording(package, f"{seed}.wav", golden.audio(8000, seconds, seed).astype(np.float32))


# The shipped graph


@pytest.fixture(scope="module")
def micro():
    import onnx

    return onnx.load(OUTPUT)


def test_the_shipped_graph_is_small():
    assert OUTPUT.stat().st_size <= 700_000


def test_the_shipped_graph_has_the_mel_interface(micro):
    (entry,), (result,) = micro.graph.input, micro.graph.output
    shape = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    assert (entry.name, shape) == ("melspectrogram", ["N", 1, 64, 50])
    assert (result.name, [d.dim_param or d.dim_value for d in result.type.tensor_type.shape.dim]) == (
        "embedding",
        ["N", 64],
    )
    assert (micro.opset_import[0].version, micro.ir_version) == (17, 8)
    assert all(not tensor.external_data for tensor in micro.graph.initializer)


def test_the_shipped_graph_says_what_it_is(micro):
    (prop,) = (p for p in micro.metadata_props if p.key == "edgel3_onnx")
    metadata = json.loads(prop.value)
    assert (metadata["variant"], metadata["kind"], metadata["precision"]) == ("micro", "mel", "fp32")
    assert metadata["frontend"] == asdict(FRONTENDS["sea"])
    assert metadata["network"] == {"student_of": "sea-64", "embedding_dim": 64, "architecture": describe()}


def test_the_shipped_weights_fit_the_architecture_table(micro):
    shapes = {tensor.name: tuple(tensor.dims) for tensor in micro.graph.initializer}
    channels = 1
    for k, layer in enumerate(ARCHITECTURE, start=1):
        assert shapes[f"conv{k}.weight"] == (layer.filters, channels, 3, 3)
        assert shapes[f"conv{k}.bias"] == (layer.filters,)
        channels = layer.filters
    # Multiples of 8: what ONNX Runtime's blocked convolutions are fast at.
    assert all(layer.filters % 8 == 0 for layer in ARCHITECTURE)


@pytest.mark.parametrize("case", micro_golden.CASES, ids=lambda case: case.path.stem)
def test_the_shipped_graph_gives_its_golden_embeddings(case):
    found = micro_golden.embed(case)
    with np.load(case.path) as stored:
        wanted = stored["embedding"]
    assert found.shape == wanted.shape
    # Float32 sums in another order on another CPU: 1e-4 of the largest value leaves a margin of 10.
    np.testing.assert_allclose(found, wanted, atol=1e-4 * wanted.max(), rtol=0)


def test_int8_agrees_with_fp32():
    graph = OUTPUT.read_bytes()
    pictures, _ = natural_windows([recording(seed) for seed in range(4)], 2000, 20)
    fp32, int8 = (session(data).run(None, {"melspectrogram": pictures})[0] for data in (graph, quantize(graph, "int8")))
    assert np.median(cosine(fp32, int8)) > 0.995
    assert cosine(fp32, int8).min() > 0.97


def test_student_approximates_the_teacher_on_recordings_never_trained_on(reference):
    """The published embeddings of SEA-64 at its own rate, where no resampler stands between."""
    import soundfile

    cases = [
        case
        for case in json.loads((reference / "embeddings" / "index.json").read_text())
        if "sea_ust_audio_emb_64" in case["weights"] and case["sr"] == 8000 and case["center"]
    ]
    assert cases
    graph = session(OUTPUT.read_bytes())
    similar = []
    for case in cases:
        audio, rate = soundfile.read(reference / "audio" / case["audio"], dtype="float32")
        assert rate == 8000
        pictures, _ = natural_windows([sources.Recording("r", case["audio"], audio)], int(case["hop_size"] * 8000), 999)
        found = graph.run(None, {"melspectrogram": pictures})[0]
        with np.load(reference / "embeddings" / case["file"]) as published:
            similar.append(cosine(found, published["embedding"]))
    assert np.median(np.concatenate(similar)) > 0.98


# The graph writer


def reference_forward(layers, image):
    """The architecture by definition, float64, for one image (64, 50)."""
    x = (image / 40 + 1)[None]
    outputs = []
    for layer, (weight, bias) in zip(ARCHITECTURE, layers, strict=True):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        x = np.einsum("oikl,ihwkl->ohw", weight.astype(np.float64), patches, optimize=True) + bias[:, None, None]
        if layer.skip:
            x = x + outputs[-layer.skip]
        x = np.maximum(x, 0) if layer.activation == "relu" else x / (1 + np.exp(-x))
        outputs.append(x)
        if layer.pool:
            height, width = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).max(axis=(2, 4))
    return x.max(axis=(1, 2))


def test_the_written_graph_computes_the_architecture():
    layers = random_layers(3)
    pictures = np.random.default_rng(4).uniform(-80, 0, (2, 1, 64, 50)).astype(np.float32)
    found = session(build(layers, "t.h5.gz", "0" * 64)).run(None, {"melspectrogram": pictures})[0]
    wanted = np.stack([reference_forward(layers, picture[0].astype(np.float64)) for picture in pictures])
    np.testing.assert_allclose(found, wanted, atol=1e-5 * wanted.max(), rtol=0)


def test_the_same_weights_give_the_same_bytes():
    assert build(random_layers(5), "t", "0") == build(random_layers(5), "t", "0")


# Sources


def test_each_package_has_one_role_and_enough_are_held_out():
    packages = [source.package for source in sources.SOURCES]
    assert len(packages) == len(set(packages))
    roles = {
        role: {s.package for s in sources.SOURCES if s.role == role}
        for role in ("train", "validation", "held-out", "unseen")
    }
    assert sum(map(len, roles.values())) == len(packages)
    assert roles["validation"]
    assert "sonic-pi-samples" in roles["held-out"]
    assert len(roles["held-out"]) >= 3


def test_the_model_card_names_the_network():
    assert f"`{describe()}`" in OUTPUT.with_suffix(".md").read_text()


def test_the_model_card_lists_every_source():
    card = OUTPUT.with_suffix(".md").read_text()
    for source in sources.SOURCES:
        assert f"| {source.package} | {source.role} | {source.content} | {source.licence} |" in card


def test_training_uses_no_copyleft_software_licence():
    for source in sources.SOURCES:
        if source.role == "train":
            free = ("MIT", "BSD", "CC0", "public domain", "CC-BY", "GFDL", "LGPL-2.1 or MPL", "Artistic", "Clarified")
            assert all(word.startswith(free) for word in source.licence.split(", ")), source


def test_decoding_reads_wav_files_containers_and_soundfonts(tmp_path, monkeypatch):
    import soundfile

    root = tmp_path / "package"
    root.mkdir()
    audio = golden.audio(8000, 1.0, 7).astype(np.float32)
    soundfile.write(root / "a.wav", audio, 8000, subtype="FLOAT")
    soundfile.write(root / "b_desc.wav", audio, 8000)
    soundfile.write(root / "silent.wav", np.zeros(8000), 8000)
    (root / "noise.txt").write_text("not audio")
    riff = (root / "a.wav").read_bytes()
    (root / "box.cat").write_bytes(b"name\0" + riff + b"name\0" + riff)
    with zipfile.ZipFile(root / "game.zip", "w") as archive:
        archive.writestr("z/2.wav", riff)
        archive.writestr("z/1.WAV", riff)
        archive.writestr("z/readme.txt", "not audio")
    samples = (audio * 32767).astype("<i2")
    header = struct.pack("<20sIIIIIBbHH", b"note", 0, len(samples), 0, 0, 8000, 60, 0, 0, 1)
    right = struct.pack("<20sIIIIIBbHH", b"right", 0, len(samples), 0, 0, 8000, 60, 0, 0, 2)
    end = struct.pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    records = header + right + end
    (root / "c.sf2").write_bytes(
        b"RIFF0000sfbk" + b"smpl" + struct.pack("<I", samples.nbytes) + samples.tobytes()
        + b"shdr" + struct.pack("<I", len(records)) + records
    )  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "_unpack", lambda package: root)
    monkeypatch.setattr(sources, "SOURCES", (sources.Source("p", "train", "MIT", "x", exclude="_desc"),))
    for attempt in range(2):  # decoded, then from the cache
        found = {item.name: item.audio for item in sources.recordings("train")}
        assert list(found) == [
            "a.wav",
            "box.cat#0",
            "box.cat#1",
            "c.sf2#0-note",
            "game.zip/z/1.WAV",
            "game.zip/z/2.wav",
        ], attempt
    for value in found.values():
        np.testing.assert_allclose(value, audio, atol=2 / 32768)


# Windows


def test_windows_depend_on_the_seed_alone_and_are_valid():
    maker = WindowMaker([recording(1), recording(2, 0.2, "q")])
    first, again, other = (
        np.stack([maker.draw(rng) for _ in range(60)])
        for rng in (np.random.default_rng(1), np.random.default_rng(1), np.random.default_rng(2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first.shape, first.dtype) == ((60, LENGTH), np.float32)
    assert np.isfinite(first).all()
    assert np.abs(first).max() <= 1.02  # rounding to a few bits may go past 1
    # Zero padding as centring and short files give it occurs.
    assert any((window[:400] == 0).all() and window.any() for window in first)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_synthetic_sounds_are_finite_and_differ(kind):
    sounds = [kind(np.random.default_rng(seed), np.arange(LENGTH) / 8000) for seed in range(5)]
    assert all(sound.shape == (LENGTH,) and np.isfinite(sound).all() and sound.any() for sound in sounds)
    assert not np.array_equal(sounds[0], sounds[1])


def test_images_of_separate_windows_do_not_see_each_other():
    windows = np.stack([recording(seed, 1.0).audio for seed in range(3)])
    together = images(windows)
    assert together.shape == (3, 1, 64, 50)
    for k in range(3):
        np.testing.assert_array_equal(together[k], images(windows[k : k + 1])[0])


def test_natural_windows_are_spread_over_each_file():
    pictures, files = natural_windows([recording(1, 5.0), recording(2, 0.5)], 2000, 6)
    assert np.bincount(files).tolist() == [6, 1]
    assert pictures.shape == (7, 1, 64, 50)


# Metrics


def test_agreement_of_equal_and_of_opposite_embeddings():
    wanted = np.random.default_rng(0).uniform(0, 1, (50, 64))
    assert all(value == pytest.approx(1) for value in agreement(wanted, wanted).values())
    mirrored = agreement(2 * wanted.mean(axis=0) - wanted, wanted)
    assert mirrored["centred_median"] == pytest.approx(-1)
    assert mirrored["cosine_median"] < 1


def test_neighbours_are_sought_in_other_files_only():
    # Two clusters; each file has a window in both, so the nearest in the same file would be useless.
    wanted = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1], [1, 0.02], [0.02, 1]], float)
    files = np.array([0, 0, 1, 1, 2, 2])
    assert neighbour_agreement(wanted, wanted, files, top=1) == 1
    assert neighbour_agreement(wanted[[2, 1, 0, 3, 4, 5]], wanted, files, top=1) < 1


def test_neighbours_as_near_for_the_teacher_as_its_last_count():
    # 16 windows that are the same for the teacher; which of them are its first five is chance.
    rng = np.random.default_rng(0)
    wanted = np.concatenate([np.tile([0.3, 0.1, 0.2], (16, 1)), rng.uniform(0, 1, (8, 3))])
    found = wanted.copy()
    found[:16] += 0.001 * rng.standard_normal((16, 3))
    assert neighbour_agreement(found, wanted, np.arange(24)) == 1
    assert neighbour_agreement(np.roll(found, 8, axis=0), wanted, np.arange(24)) < 1


def test_classes_come_from_paths_and_small_ones_are_left_out():
    paths = [f"x/bd_{k}.flac" for k in range(4)] + [f"y/misc_{k}.flac" for k in range(3)] + ["y/bd_9_a.flac"]
    chosen, labels = file_classes([name_prefix(path) for path in paths])
    assert chosen.tolist() == [0, 1, 2, 3, 7]
    assert labels.tolist() == [0] * 5
    chosen, labels = file_classes([folder(path) for path in paths])
    assert chosen.tolist() == list(range(8))
    assert labels.tolist() == [0] * 4 + [1] * 4


def test_the_classifier_learns_what_can_be_learnt():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 12)
    separate = np.eye(3)[labels] + 0.1 * rng.standard_normal((36, 3))
    assert repeated_accuracy(separate, labels) > 0.95
    assert repeated_accuracy(rng.standard_normal((36, 3)), labels) < 0.6


# What needs PyTorch


def test_the_exported_graph_equals_the_trained_module():
    torch = pytest.importorskip("torch", reason="needs the extra [training]")
    from training.student import Student

    torch.manual_seed(0)
    student = Student(torch.linspace(0.5, 20, EMBEDDING_DIM))
    for norm in student.norms:
        torch.nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    pictures = torch.empty(3, 1, 64, 50).uniform_(-80, 0)
    with torch.no_grad():
        wanted = student.eval()(pictures).amax(dim=(2, 3)).numpy()
    graph = build(student.folded(), "t", "0")
    found = session(graph).run(None, {"melspectrogram": pictures.numpy()})[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * wanted.max(), rtol=0)


def test_muon_orthogonalises_and_descends():
    torch = pytest.importorskip("torch", reason="needs the extra [training]")
    from training.muon import Muon, orthogonalised

    torch.manual_seed(0)
    for shape in ((16, 144), (64, 20)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert 0.3 < values.min() <= values.max() < 1.3
    target, weight = torch.randn(8, 4, 3, 3), torch.zeros(8, 4, 3, 3, requires_grad=True)
    optimizer = Muon([weight], lr=0.02)
    for _ in range(300):
        weight.grad = None
        ((weight - target) ** 2).sum().backward()
        optimizer.step()
    assert ((weight - target) ** 2).mean() < 0.1 * (target**2).mean()


def test_the_losses_vanish_only_for_the_teachers_maps():
    torch = pytest.importorskip("torch", reason="needs the extra [training]")
    from training.distill import losses

    torch.manual_seed(0)
    wanted = torch.rand(6, 64, 8, 6)
    mean, deviation = wanted.amax(dim=(2, 3)).mean(dim=0) - 0.1, torch.rand(64) + 0.5
    assert all(value == pytest.approx(0, abs=1e-5) for value in losses(wanted, wanted, mean, deviation, 3.0))
    main, maps = losses(wanted.flip(0), wanted, mean, deviation, 1.0)
    assert main > 0.01 and maps > 0.01


def test_the_neighbour_loss_vanishes_where_the_student_ranks_others_as_the_teacher_does():
    torch = pytest.importorskip("torch", reason="needs the extra [training]")
    from training.distill import neighbour_loss

    torch.manual_seed(0)
    wanted, others = torch.rand(6, 64), torch.rand(20, 64)
    assert neighbour_loss(3 * wanted, wanted, (2 * others, others), 0.01) == pytest.approx(0, abs=1e-5)
    assert neighbour_loss(wanted.flip(0), wanted, (others, others), 0.01) > 0.1
    found = wanted.flip(0).requires_grad_()
    neighbour_loss(found, wanted, (others, others), 0.01).backward()
    assert (found.grad * (wanted - found)).sum() < 0  # towards the teacher's


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra [training]")
    from training.distill import Data, Recipe, Run

    rng = np.random.default_rng(0)
    data = object.__new__(Data)
    data.images = rng.uniform(-80, 0, (12, 1, 64, 50)).astype(np.float16)
    data.maps = rng.uniform(0, 1, (12, 64, 8, 6)).astype(np.float16)
    data.mean, data.deviation = torch.zeros(64), torch.ones(64)
    recipe, device = Recipe(steps=20, batch=4, neighbours_from=0, remembered=8), torch.device("cpu")
    whole = Run(recipe, data, device)
    for _ in range(3):
        whole.advance(data, device)
    whole.save(tmp_path / "checkpoint.pt")
    wanted = whole.advance(data, device)
    resumed = Run(recipe, data, device)
    resumed.load(tmp_path / "checkpoint.pt")
    assert resumed.advance(data, device) == pytest.approx(wanted, rel=1e-3)
    assert resumed.step == 4
    assert torch.equal(resumed.memory[1], whole.memory[1]) and resumed.memory.shape == (2, 8, 64)


def test_a_run_never_goes_on_from_a_checkpoint_of_another_recipe_or_network(monkeypatch):
    pytest.importorskip("torch", reason="needs the extra [training]")
    from training import distill

    mine = distill.checkpoint_path(distill.Recipe())
    assert mine == distill.checkpoint_path(distill.Recipe())
    assert mine != distill.checkpoint_path(distill.Recipe(seed=99))
    monkeypatch.setattr(distill, "describe", lambda: "8 relu")
    assert mine != distill.checkpoint_path(distill.Recipe())
