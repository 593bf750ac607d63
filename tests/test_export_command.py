"""The export and verify commands: what they write, what they refuse, what their exit status says."""

import gzip
import hashlib
import json
from importlib import resources

import numpy as np
import onnx
import pytest
import soundfile

import golden
from edgel3_onnx.export import exporter
from edgel3_onnx.export.__main__ import main
from edgel3_onnx.export.verify import Deviation, deviation
from edgel3_onnx.export.verify import main as verify
from edgel3_onnx.metadata import KINDS, PRECISIONS
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store.registry import variants

SEEDS = {"sea-64": 640, "sea-128": 1280, "sea-256": 2560, "sea-512": 5120}


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory):
    """Seeded weights of two variants under their published names, one gzipped; sea-256 is not HDF5."""
    folder = tmp_path_factory.mktemp("weights")
    for name, layout in (("sea-64", "model"), ("sea-128", "weights")):
        variant = variants()[name]
        path = folder / variant.file.removesuffix(".gz")
        golden.write_h5(path, golden.weights(SEEDS[name], variant.network_spec), variant.network, layout)
    data = (folder / "edgel3_sea_ust_audio_emb_64.h5").read_bytes()
    (folder / "edgel3_sea_ust_audio_emb_64.h5").unlink()
    (folder / "edgel3_sea_ust_audio_emb_64.h5.gz").write_bytes(gzip.compress(data, 1))
    (folder / "edgel3_sea_ust_audio_emb_256.h5.gz").write_bytes(b"<html>not found</html>")
    return folder


@pytest.fixture(scope="module")
def exported(weights_dir, tmp_path_factory):
    """The command's output directory and exit status, for one variant that can be exported."""
    out = tmp_path_factory.mktemp("exported")
    return out, main(["--variants", "sea-64", "--out", str(out), "--weights-dir", str(weights_dir)])


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, rate in enumerate((8000, 44100)):
        soundfile.write(folder / f"{number}.wav", golden.audio(rate, 1.7, number) * 0.5, rate)
    return folder


def test_every_kind_and_precision_is_written_with_its_card(exported):
    out, status = exported
    assert status == 0
    stems = [f"sea-64.{kind}.{precision}" for kind in KINDS for precision in PRECISIONS]
    expected = [f"{stem}{suffix}" for stem in stems for suffix in (".md", ".onnx")]
    assert sorted(path.name for path in out.iterdir()) == sorted([*expected, "manifest.json"])


def test_manifest_states_what_the_files_are(exported):
    out, _ = exported
    entries = json.loads((out / "manifest.json").read_text())["graphs"]
    assert len(entries) == 6
    for entry in entries:
        data = (out / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["size"] == len(data)
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        assert entry["opset"] == model.opset_import[0].version == 17
        assert entry["output"] == {"name": "embedding", "dtype": "float32", "shape": ["N", 64]}
        mel = {"name": "melspectrogram", "dtype": "float32", "shape": ["N", 1, 64, 50]}
        waveform = {"name": "audio", "dtype": "float32", "shape": ["N", 8000]}
        assert entry["input"] == (mel if entry["kind"] == "mel" else waveform)
        assert entry["licence"] == "MIT"
        assert entry["calibration"] == ("built-in" if entry["precision"] == "int8" else None)
        least = {"fp32": 0.9999999, "fp16": 0.9999, "int8": 0.98}[entry["precision"]]
        assert least <= entry["deviation"]["least_cosine"] <= 1 + 1e-9
        assert entry["deviation"]["windows"] == 16
        if entry["precision"] == "fp32":
            assert 0 < entry["deviation"]["largest_error"] <= 1e-4


def test_card_says_what_goes_in_and_how_far_it_is_off(exported):
    out, _ = exported
    (entry,) = (
        e for e in json.loads((out / "manifest.json").read_text())["graphs"] if e["file"] == "sea-64.waveform.int8.onnx"
    )
    card = (out / "sea-64.waveform.int8.md").read_text()
    for text in (
        "`audio` float32 [N, 8000]",
        "8000 samples each",
        "1024 samples",
        "int8, calibrated on: built-in",
        f"least cosine {entry['deviation']['least_cosine']:.7f}",
        entry["sha256"],
        entry["source"]["sha256"],
        "MIT",
        "ICASSP 2021",
    ):
        assert text in card
    card = (out / "sea-64.mel.fp32.md").read_text()
    assert "`melspectrogram` float32 [N, 1, 64, 50]" in card
    assert "Made from `edgel3_sea_ust_audio_emb_64.h5.gz`" in card and "imitate" not in card


def test_cards_of_micro_name_the_shipped_graph_and_its_teacher(tmp_path):
    assert main(["--variants", "micro", "--out", str(tmp_path), "--precisions", "fp32", "--kinds", "mel"]) == 0
    shipped = resources.files("edgel3_onnx.onnx_models").joinpath("micro.onnx").read_bytes()
    digest = hashlib.sha256(shipped).hexdigest()
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())["graphs"]
    assert entry["source"] == {"file": "micro.onnx", "sha256": digest}
    assert entry["teacher"]["file"] == variants()["sea-64"].file
    card = " ".join((tmp_path / "micro.mel.fp32.md").read_text().split())
    assert f"Made from `micro.onnx` (sha256 `{digest}`), which comes with edgel3-onnx" in card
    assert f"to imitate `edgel3_sea_ust_audio_emb_64.h5.gz` (sha256 `{entry['teacher']['sha256']}`)" in card


def test_a_failing_variant_is_reported_and_the_others_go_on(weights_dir, tmp_path, capsys):
    arguments = ["--variants", "sea-256", "sea-128", "sea-512", "--out", str(tmp_path), "--precisions", "fp32"]
    assert main([*arguments, "--weights-dir", str(weights_dir)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "sea"))]
    assert len(lines) == 3
    assert lines[0].startswith("error: sea-256: edgel3_sea_ust_audio_emb_256.h5.gz: not a readable HDF5 file")
    assert lines[1] == "sea-128: 2 graphs"
    assert lines[2].startswith("error: sea-512: ") and "edgel3_sea_ust_audio_emb_512.h5: cannot be read" in lines[2]
    files = {entry["file"] for entry in json.loads((tmp_path / "manifest.json").read_text())["graphs"]}
    assert files == {"sea-128.mel.fp32.onnx", "sea-128.waveform.fp32.onnx"}


def test_a_later_export_adds_to_the_manifest(weights_dir, tmp_path):
    source = ["--out", str(tmp_path), "--weights-dir", str(weights_dir), "--kinds", "mel"]
    assert main(["--variants", "sea-64", "--precisions", "fp32,fp16", *source]) == 0
    assert main(["--variants", "sea-128", "--precisions", "fp32", *source]) == 0
    (tmp_path / "sea-64.mel.fp16.onnx").unlink()
    assert main(["--variants", "sea-64", "--precisions", "fp32", *source]) == 0
    files = [entry["file"] for entry in json.loads((tmp_path / "manifest.json").read_text())["graphs"]]
    assert files == ["sea-128.mel.fp32.onnx", "sea-64.mel.fp32.onnx"]


def test_a_graph_beyond_its_limit_is_not_written(weights_dir, tmp_path, capsys, monkeypatch):
    arguments = ["--variants", "sea-64", "--out", str(tmp_path), "--weights-dir", str(weights_dir)]
    for precision, error, cosine, limits in (
        ("fp32", 2e-4, 0.99999999, "largest error 0.0001, least cosine 0.9999"),
        ("fp16", 1e-2, 0.999, "largest error inf, least cosine 0.9999"),
        ("int8", 1e-1, 0.97, "largest error inf, least cosine 0.98"),
        ("int8", float("nan"), float("nan"), "largest error inf, least cosine 0.98"),
    ):
        measured = Deviation(16, error, cosine, cosine)
        monkeypatch.setattr(exporter, "compare", lambda *_, measured=measured: measured)
        assert main([*arguments, "--precisions", precision]) == 1
        message = f"sea-64.mel.{precision}.onnx: too far from its reference (limits: {limits})"
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_weights_of_ones_own_and_own_recordings(weights_dir, recordings, tmp_path):
    own = tmp_path / "mine.h5.gz"
    own.write_bytes((weights_dir / "edgel3_sea_ust_audio_emb_64.h5.gz").read_bytes())
    out = tmp_path / "out"
    arguments = ["--variants", "sea-64", "--out", str(out), "--weights", str(own), "--kinds", "mel"]
    folders = ["--audio", str(recordings), "--calibration", str(recordings)]
    assert main([*arguments, "--precisions", "fp32,int8", *folders]) == 0
    entries = json.loads((out / "manifest.json").read_text())["graphs"]
    assert {entry["deviation"]["recordings"] for entry in entries} == {"recordings in recordings"}
    assert [entry["calibration"] for entry in entries] == [None, "recordings"]


def test_published_files_are_held_to_their_digest(weights_dir, tmp_path, capsys):
    arguments = ["--variants", "sea-64", "--out", str(tmp_path), "--mirror", str(weights_dir)]
    assert main(arguments) == 1
    assert "not the published file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "x"],
        ["--all", "--variants", "sea-64", "--out", "x"],
        ["--variants", "sea-65", "--out", "x"],
        ["--variants", "sea-64", "sea-128", "--out", "x", "--weights", "w.h5"],
        ["--all", "--out", "x", "--weights", "w.h5"],
        ["--all", "--out", "x", "--weights-dir", "d", "--mirror", "m"],
        ["--all", "--out", "x", "--kinds", "mel,image"],
        ["--all", "--out", "x", "--precisions", "int4"],
        ["--all"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_unwritable_output_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--variants", "sea-64", "--out", str(tmp_path / "file" / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_verify_compares_any_two_graphs_of_a_variant(exported, recordings, capsys):
    out, _ = exported
    for graph, least in (("waveform.fp32", 0.9999999), ("mel.int8", 0.98), ("waveform.fp16", 0.9999)):
        a, b = str(out / f"sea-64.{graph}.onnx"), str(out / "sea-64.mel.fp32.onnx")
        assert verify([a, b, "--audio", str(recordings)]) == 0
        words = capsys.readouterr().out.replace(",", "").split()
        assert words[:2] == ["6", "windows:"]
        assert float(words[words.index("least") + 1]) >= least
    assert verify([b, b, "--audio", str(recordings)]) == 0
    assert "largest error 0.00e+00" in capsys.readouterr().out


def test_verify_refuses_in_one_line(exported, recordings, tmp_path, capsys, seeded_graph):
    out, _ = exported
    good = str(out / "sea-64.mel.fp32.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    model = onnx.load(good)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    for other, folder, message in (
        (tmp_path / "broken.onnx", recordings, "not an ONNX graph"),
        (tmp_path / "absent.onnx", recordings, "cannot be read"),
        (tmp_path / "foreign.onnx", recordings, "not exported by this package"),
        (seeded_graph("sparse"), recordings, "other front ends"),
        (seeded_graph("sea-128"), recordings, "embeddings of 128 and 64 values"),
        (good, tmp_path / "absent", "cannot be read"),
    ):
        assert verify([str(other), good, "--audio", str(folder)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_verify_runs_what_may_be_hostile_within_limits(exported, recordings, tmp_path, capsys):
    """A graph that takes 3 GB, in a process that may take one."""
    good = str(exported[0] / "sea-64.mel.fp32.onnx")
    model = onnx.load(good)
    graph, last = model.graph, model.graph.output[0].name
    next(node for node in graph.node if last in node.output).output[0] = "before"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([800_000_000]), "shape"))
    graph.node.append(onnx.helper.make_node("ConstantOfShape", ["shape"], ["large"]))
    graph.node.append(onnx.helper.make_node("ReduceMax", ["large"], ["zero"], keepdims=0))
    graph.node.append(onnx.helper.make_node("Add", ["before", "zero"], [last]))
    onnx.save(model, tmp_path / "large.onnx")
    assert verify([str(tmp_path / "large.onnx"), good, "--audio", str(recordings)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'large.onnx'}: ") and error.count("\n") == 1


def test_deviation_of_known_embeddings():
    expected = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]])
    found = np.array([[3.0, 4.0], [0.0, 0.0], [2.0, 2.0]])
    measured = deviation(found, expected)
    assert measured.windows == 3
    assert measured.largest_error == 0.5
    assert measured.least_cosine == pytest.approx(np.sqrt(0.5))
    assert measured.median_cosine == 1.0
    assert deviation(np.zeros((1, 2)), expected[:1]).least_cosine == 0


def has_sparse_weights(path):
    model = onnx.load(path)
    return bool(model.graph.sparse_initializer) or any(
        attribute.name == "sparse_value" for node in model.graph.node for attribute in node.attribute
    )


def test_sparse_form_is_for_pruned_weights_and_dense_leaves_it_out(exported, tmp_path):
    out, _ = exported
    assert not has_sparse_weights(out / "sea-64.mel.fp32.onnx")
    assert not has_sparse_weights(out / "sea-64.waveform.fp32.onnx")  # the WebGPU build of ONNX Runtime reads no others
    pruned = tmp_path / "pruned.h5"
    golden.write_h5(pruned, golden.weights(9545, NETWORKS["sea-64"], pruned=True), "sea-64")
    source = ["--variants", "sea-64", "--weights", str(pruned), "--precisions", "fp32"]
    assert main([*source, "--out", str(tmp_path / "small")]) == 0
    assert main([*source, "--out", str(tmp_path / "dense"), "--dense"]) == 0
    for kind in KINDS:
        small, dense = (tmp_path / form / f"sea-64.{kind}.fp32.onnx" for form in ("small", "dense"))
        assert has_sparse_weights(small) and not has_sparse_weights(dense)
        assert small.stat().st_size < 0.3 * dense.stat().st_size


@pytest.mark.slow
def test_all_20_variants_export_in_fp32(tmp_path, capsys):
    weights = tmp_path / "weights"
    weights.mkdir()
    published = [variant for variant in variants().values() if not variant.packaged]
    by_network = {name: golden.weights(3, network, name == "sparse") for name, network in NETWORKS.items()}
    for number, variant in enumerate(published):
        layout = ("weights", "model")[number % 2]
        golden.write_h5(
            weights / variant.file.removesuffix(".gz"), by_network[variant.network], variant.network, layout
        )
    out = tmp_path / "out"
    assert main(["--all", "--out", str(out), "--weights-dir", str(weights), "--precisions", "fp32"]) == 0
    entries = json.loads((out / "manifest.json").read_text())["graphs"]
    assert len(entries) == 2 * len(variants())
    for entry in entries:
        if entry["variant"].startswith("sparse"):
            assert entry["size"] <= 3_000_000
