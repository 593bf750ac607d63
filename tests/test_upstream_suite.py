"""What each of edgel3's own 14 tests checks, by its name, through this package. One finds something else: the path of a
model is that of its graph, not of an .h5 file."""

import argparse
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import edgel3_onnx
import golden
from edgel3_onnx import (
    EdgeL3Error,
    EdgeL3Warning,
    cli,
    core,
    get_embedding,
    get_output_path,
    load_embedding_model,
    load_embedding_model_path,
    process_file,
)
from edgel3_onnx.store import cache, registry, weights

SEA = [registry.find_variant("sea", dim) for dim in (512, 256, 128, 64)]
SPARSE = [registry.find_variant(retrain_type=kind, sparsity=s) for kind, s in (("ft", 95.45), ("kd", 53.5))]


@pytest.fixture
def cached(seeded_graph):
    """A function that puts a graph with seeded weights where the one of a published variant belongs."""

    def put(variant):
        name, graph = weights._graph_name(variant.id, "fp32"), seeded_graph(variant.network)
        cache.get_or_make(name, weights._origin_of(variant), graph.read_bytes)
        return variant

    return put


@pytest.fixture
def sea(cached):
    """sea-64 is in the cache: its arguments."""
    cached(SEA[3])
    return {"model_type": "sea", "emb_dim": 64}


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", golden.audio(8000, 2.3, 1), 8000, subtype="FLOAT")
    return tmp_path / "a.wav"


def saved(path):
    with np.load(path) as arrays:
        assert arrays["timestamps"].dtype == np.float64 and arrays["timestamps"].shape == (len(arrays["embedding"]),)
        return arrays["embedding"]


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("value", ["5", 5, 5.0, "5.0", np.int64(5)])
def test_positive_float_and_positive_int(value):
    assert cli.positive_int(value) == 5 and type(cli.positive_int(value)) is int
    assert cli.positive_float(value) == 5.0 and type(cli.positive_float(value)) is float


@pytest.mark.parametrize("value", [0, -1, "-1", "x", None, [], "nan", "inf", float("inf")])
def test_positive_float_and_positive_int_refuse(value):
    for check in (cli.positive_int, cli.positive_float):
        with pytest.raises(argparse.ArgumentTypeError):
            check(value)
    with pytest.raises(argparse.ArgumentTypeError):
        cli.positive_int(2.5)


def test_get_file_list(tmp_path):
    for name in ("b", "a", "sub/c"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    assert cli.get_file_list([str(tmp_path / "in"), str(tmp_path / "in" / "sub" / "c")]) == [
        str(tmp_path / "in" / name) for name in ("a", "b", "sub/c")
    ]
    with pytest.raises(EdgeL3Error, match="no such file"):
        cli.get_file_list([str(tmp_path / "absent")])
    for wrong in ("x.wav", 5, None):
        with pytest.raises(argparse.ArgumentTypeError):
            cli.get_file_list(wrong)


class TestParseArgs:
    def test_defaults(self):
        args = cli.parse_args(["a.wav"])
        assert (args.inputs, args.output_dir, args.suffix) == (["a.wav"], None, None)
        assert (args.model_type, args.emb_dim, args.retrain_type, args.model_sparsity) == ("sparse", 128, "ft", 95.45)
        assert (args.no_centering, args.hop_size, args.quiet) == (False, 0.1, False)

    @pytest.mark.parametrize(
        "line",
        [
            "-o out -x s -mtype sea -e 64 -retrain kd -sp 53.5 -n -t 0.5 -q",
            "--output-dir out --suffix s --model-type sea --emb-dim 64 --retrain-type kd --model-sparsity 53.5 "
            "--no-centering --hop-size 0.5 --quiet",
            "--out out --suf s --model-t sea --emb 64 --retr kd --model-s 53.5 --no-c --hop 0.5 --qui",
        ],
        ids=["short", "long", "abbreviated"],
    )
    def test_everything_given(self, line):
        args = cli.parse_args(["a.wav", "b", *line.split()])
        assert (args.inputs, args.output_dir, args.suffix) == (["a.wav", "b"], "out", "s")
        assert (args.model_type, args.emb_dim, args.retrain_type, args.model_sparsity) == ("sea", 64, "kd", 53.5)
        assert (args.no_centering, args.hop_size, args.quiet) == (True, 0.5, True)


class TestRun:
    @pytest.mark.parametrize("inputs", [None, 5, 1.0, [5], {"a.wav"}])
    def test_refuses_what_is_no_list_of_paths(self, inputs):
        with pytest.raises(EdgeL3Error, match="inputs must be a path or a list of paths"):
            cli.run(inputs)

    @pytest.mark.parametrize("options", [{}, {"existing": "skip"}, {"dry_run": True}, {"jobs": 2}])
    def test_directories_without_recordings_end_the_program(self, tmp_path, capsys, options):
        """Before any model is loaded: there is none here."""
        (tmp_path / "notes.txt").write_text("no audio")
        with pytest.raises(SystemExit) as exit:
            cli.run([str(tmp_path)], report=tmp_path / "report", **options)
        assert exit.value.code == -1
        out, err = capsys.readouterr()
        assert out == f"Edgel3: No WAV files found in {[str(tmp_path)]}. Aborting.\n"
        assert err == f"edgel3-onnx: error: {tmp_path}: has no recordings (sub-folders need --recursive)\n"
        assert '"status": "failed"' in (tmp_path / "report").read_text()

    def test_a_recording_beside_an_empty_directory_is_done(self, recording, sea, tmp_path):
        (tmp_path / "empty").mkdir()
        summary = cli.run([recording, tmp_path / "empty"], tmp_path / "out", **sea)
        assert (summary.done, summary.failed) == (1, 1)

    def test_embeds(self, recording, sea, tmp_path):
        cli.run(str(recording), output_dir=str(tmp_path / "new"), verbose=True, **sea)
        expected = get_embedding(*soundfile.read(recording), load_embedding_model(**sea))[0]
        assert_same(saved(tmp_path / "new" / "a.npz"), expected)


class TestMain:
    @pytest.fixture
    def argv(self, recording, sea, tmp_path, monkeypatch):
        line = ["edgel3", str(recording), "--output-dir", str(tmp_path / "out"), "-mtype", "sea", "-e", "64"]
        monkeypatch.setattr(sys, "argv", line)
        return line[1:]

    def test_main(self, argv, tmp_path):
        assert cli.main() == 0
        assert saved(tmp_path / "out" / "a.npz").shape == (19, 64)

    def test_script_main(self, argv, tmp_path, monkeypatch):
        monkeypatch.delitem(sys.modules, "edgel3_onnx.__main__", raising=False)
        import edgel3_onnx.__main__  # noqa: F401

        assert saved(tmp_path / "out" / "a.npz").shape == (19, 64)

    def test_the_module_run_as_a_program(self, argv, tmp_path):
        command = [sys.executable, "-P", "-m", "edgel3_onnx"]
        assert subprocess.run([*command, *argv, "-q"], check=False, capture_output=True).returncode == 0
        assert saved(tmp_path / "out" / "a.npz").shape == (19, 64)
        for arguments, status in (["absent.wav", "-mtype", "micro"], 1), ([], 2), ([str(tmp_path / "out")], 255):
            assert subprocess.run([*command, *arguments], check=False, capture_output=True).returncode == status


class TestGetEmbedding:
    @pytest.mark.parametrize("variant", [*SEA, SPARSE[0]], ids=lambda variant: variant.id)
    def test_models_by_name_and_given(self, variant, cached):
        cached(variant)
        rate, hop = variant.spec.sample_rate, 0.25
        audio = golden.audio(rate, 1.2, 1)
        name = (variant.model_type, variant.embedding_dim, variant.retrain_type or "ft", variant.sparsity or 95.45)
        embedding, timestamps = get_embedding(audio, rate, None, *name, True, hop, 1)
        np.testing.assert_array_equal(timestamps, np.arange(4) * hop)
        assert embedding.shape == (4, variant.embedding_dim) and embedding.dtype == np.float32
        model = load_embedding_model(*name)
        assert model.info.variant == variant.id
        given, _ = get_embedding(audio, rate, model=model, center=True, hop_size=hop, verbose=0)
        np.testing.assert_array_equal(given, embedding)

    def test_stereo_and_other_rates(self, sea64):
        mono = golden.audio(8000, 2, 1)
        expected, _ = get_embedding(mono, 8000, sea64)
        np.testing.assert_array_equal(get_embedding(np.stack([mono, mono], axis=1), 8000, sea64)[0], expected)
        resampled, _ = get_embedding(np.repeat(mono, 2), 16000, sea64)
        assert resampled.shape == expected.shape and np.isfinite(resampled).all()

    def test_empty(self, sea64):
        with pytest.raises(EdgeL3Error, match="empty audio"):
            get_embedding(np.zeros(0), 8000, sea64)

    @pytest.mark.parametrize(
        ("audio", "message"), [(golden.audio(8000, 0.3, 1), "shorter than the window"), (np.zeros(9000), "all zeros")]
    )
    def test_short_and_silent_audio_warn(self, sea64, audio, message):
        with pytest.warns(EdgeL3Warning, match=message):
            embedding, timestamps = get_embedding(audio, 8000, sea64, center=False, hop_size=1)
        assert np.isfinite(embedding).all() and embedding.shape == (len(timestamps), 64)
        assert timestamps[0] == 0 and len(timestamps) == (1 if audio.any() else 2)

    @pytest.mark.parametrize(("center", "hop_size", "count"), [(True, 0.1, 6), (False, 0.1, 1), (True, 0.2, 4)])
    def test_windows_of_one_second(self, sea64, center, hop_size, count):
        audio = golden.audio(8000, 1, 1)
        for verbose in (0, 1):
            found, _ = get_embedding(audio, 8000, sea64, center=center, hop_size=hop_size, verbose=verbose)
            assert found.shape == (count, 64)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"model": "invalid"},
            {"model_type": "invalid"},
            {"model_type": "sea", "emb_dim": 50},
            {"retrain_type": "invalid"},
            {"retrain_type": 1},
            {"center": "invalid"},
            {"sparsity": 40},
            {"sparsity": -95.45},
            {"sparsity": "invalid"},
            {"hop_size": -1},
            {"hop_size": 0},
            {"verbose": -1},
            {"audio": np.ones((10, 10, 10))},
        ],
        ids=str,
    )
    def test_refuses(self, wrong, cached):
        cached(SPARSE[0])
        (name,) = set(wrong) - {"model_type"} or wrong
        with pytest.raises(EdgeL3Error, match=rf"^{name} "):
            get_embedding(**{"audio": np.ones(48000), "sr": 48000, "verbose": 0, **wrong})


def test_get_output_path():
    assert get_output_path("/in/a.wav", "s.npz", "/out") == "/out/a_s.npz"
    assert get_output_path("/in/a.wav", "s.npz") == "/in/a_s.npz"
    assert get_output_path("/in/a.wav", ".npz") == "/in/a.npz"


def test_process_file(recording, sea, tmp_path):
    process_file(str(recording), output_dir=str(tmp_path / "out"), **sea)
    process_file(str(recording), output_dir=str(tmp_path / "out"), suffix="s", **sea)
    process_file(str(recording), **sea)
    outputs = [tmp_path / "out" / "a.npz", tmp_path / "out" / "a_s.npz", tmp_path / "a.npz"]
    expected = get_embedding(*soundfile.read(recording), **sea)[0]
    for output in outputs:
        assert_same(saved(output), expected)
    (tmp_path / "invalid.wav").write_text("no audio")
    for wrong in ("invalid.wav", "absent.wav"):
        with pytest.raises(EdgeL3Error, match=wrong):
            process_file(tmp_path / wrong, **sea)
        assert not os.path.exists(tmp_path / wrong.replace(".wav", ".npz"))


@pytest.mark.parametrize("frame_len", [50, 49])
def test_center_audio(frame_len):
    audio = np.ones(100)
    np.testing.assert_array_equal(core._center_audio(audio, frame_len), [*[0] * (frame_len // 2), *audio])


@pytest.mark.parametrize(("length", "padded"), [(10, 50), (50, 50), (51, 75), (90, 100), (100, 100)])
def test_pad_audio(length, padded):
    found = core._pad_audio(np.ones(length), 50, 25)
    np.testing.assert_array_equal(found, [*[1] * length, *[0] * (padded - length)])


def test_load_embedding_model_path(cached):
    for variant in (SEA[3], SPARSE[0]):
        cached(variant)
        path = load_embedding_model_path(variant.model_type, 64, "ft", 95.45)
        assert os.path.isfile(path) and os.path.basename(path) == f"{variant.id}.mel.fp32.onnx"
    assert load_embedding_model_path("sea", 64, "kd", 53.5) == load_embedding_model_path("sea", 64)


@pytest.mark.parametrize("variant", [*SEA, *SPARSE], ids=lambda variant: variant.id)
def test_load_embedding_model(variant, cached):
    cached(variant)
    model = load_embedding_model(
        variant.model_type, variant.embedding_dim, variant.retrain_type or "kd", variant.sparsity or 95.45
    )
    assert model.output_shape == (None, variant.embedding_dim)
    assert isinstance(model, edgel3_onnx.EmbeddingModel)
