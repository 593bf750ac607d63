"""A drop-in for edgel3: its signatures, and what people who come from it, Keras and openl3 do with a model."""

import copy
import gc
import inspect
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import soundfile

import edgel3_onnx
import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning, cli, core, get_embedding, models, process_file
from edgel3_onnx import load_embedding_model as load
from edgel3_onnx.outputs.inspect import read_metadata

AUDIO = golden.audio(8000, 2.3, 1).astype(np.float32)
MODEL = "model_type emb_dim retrain_type sparsity"
PUBLISHED = {  # edgel3 0.2.1, in order
    edgel3_onnx.get_embedding: f"audio sr model {MODEL} center hop_size verbose",
    edgel3_onnx.process_file: "filepath output_dir suffix model model_type emb_dim sparsity center hop_size verbose",
    edgel3_onnx.get_output_path: "filepath suffix output_dir",
    edgel3_onnx.load_embedding_model: MODEL,
    edgel3_onnx.load_embedding_model_path: MODEL,
    cli.run: f"inputs output_dir suffix {MODEL} center hop_size verbose",
    core._center_audio: "audio frame_len",
    core._pad_audio: "audio frame_len hop_len",
    cli.positive_float: "value",
    cli.positive_int: "value",
    cli.get_file_list: "input_list",
}
DEFAULTS = {
    "model_type": "sparse",
    "emb_dim": 128,
    "retrain_type": "ft",
    "sparsity": 95.45,
    "center": True,
    "hop_size": 0.1,
    "output_dir": None,
    "suffix": None,
    "model": None,
}


@pytest.mark.parametrize("function", PUBLISHED, ids=lambda function: function.__qualname__)
def test_signatures_begin_with_the_published_ones(function):
    """Position by position; what edgel3 lacks can be given by name only."""
    parameters = list(inspect.signature(function).parameters.values())
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_position == PUBLISHED[function].split()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[len(by_position) :])
    if function is not core.get_output_path:
        assert all(p.default == DEFAULTS[p.name] for p in parameters if p.name in DEFAULTS)


def test_positional_calls_of_process_file_mean_what_they_did(tmp_path, sea64):
    soundfile.write(tmp_path / "a.wav", AUDIO, 8000, subtype="FLOAT")
    process_file(tmp_path / "a.wav", tmp_path, "s", sea64, "sea", 64, 95.45, False, 0.25, False)
    with np.load(tmp_path / "a_s.npz") as arrays:
        expected = get_embedding(AUDIO, 8000, sea64, center=False, hop_size=0.25, verbose=0)[0]
        np.testing.assert_allclose(arrays["embedding"], expected, rtol=0, atol=1e-5 * expected.max())


def test_modules_and_constants_of_edgel3():
    from edgel3_onnx import edgel3_exceptions, edgel3_warnings, version

    assert edgel3_exceptions.EdgeL3Error is EdgeL3Error and edgel3_warnings.EdgeL3Warning is EdgeL3Warning
    assert version.version == edgel3_onnx.__version__ and version.version.startswith(version.short_version)
    assert (core.L3_TARGET_SR, core.SEA_TARGET_SR) == (48000, 8000)
    assert models.MODELS.keys() == {"sparse", "sea"}


class TestModel:
    def test_shapes_and_repr(self, sea64):
        assert sea64.input_shape == (None, 1, 8000) and sea64.output_shape == (None, 64)
        assert "sea-64" in repr(sea64) and "8000 Hz" in repr(sea64) and "CPUExecutionProvider" in repr(sea64)

    @pytest.mark.parametrize("shape", [(5, 8000), (5, 1, 8000)])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
    def test_predict_takes_windows(self, sea64, shape, dtype):
        audio = golden.audio(8000, 5, 3).reshape(5, 8000) * 0.9
        windows = (audio * 32767).astype(dtype) if dtype == "int16" else audio.astype(dtype)
        expected = np.concatenate(
            [get_embedding(row, 8000, sea64, center=False, hop_size=1, verbose=0)[0] for row in windows]
        )
        for options in ({}, {"verbose": 1}, {"batch_size": 2}):
            found = sea64.predict(windows.reshape(shape), **options)
            assert found.shape == (5, 64) and found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.zeros((2, 7999)), r"x must have shape \(N, 8000\)"),
            (np.zeros(8000), r"x must have shape"),
            (np.zeros((2, 2, 8000)), r"x must have shape"),
            (np.zeros((1, 8000), np.int64), "at most 32 bits"),
            (np.full((1, 8000), np.nan), "x has 8000 NaN"),
            (np.zeros((1, 8000), str), "x must be an array of float or integer samples"),
            (np.zeros((2, 64, 50, 1), np.float32), r"or come from prepare, got \(2, 64, 50, 1\)"),
            (np.zeros((2, 1, 64, 51), np.float32), r"or come from prepare, got \(2, 1, 64, 51\)"),
        ],
    )
    def test_predict_refuses_other_arrays(self, sea64, x, message):
        with pytest.raises(EdgeL3ArgumentError, match=message):
            sea64.predict(x)

    def test_predict_takes_images(self, sea64):
        images = sea64.prepare(AUDIO, hop_length=8000)
        np.testing.assert_array_equal(sea64.predict(images.astype(np.float64)), sea64.predict(images))

    def test_no_windows(self, sea64):
        assert sea64.predict(np.zeros((0, 8000))).shape == (0, 64)

    @pytest.mark.parametrize("described", [True, False])  # by this package's metadata, or only by its input
    def test_waveform_graphs_predict_windows_too(self, seeded_graph, tmp_path, sea64, described):
        import onnx

        from edgel3_onnx.export.convert.waveform import add_front_end

        graph = onnx.load_model_from_string(add_front_end(seeded_graph("sea-64").read_bytes()))
        if not described:
            del graph.metadata_props[:]
        (tmp_path / "w.onnx").write_bytes(graph.SerializeToString())
        model = load("sea", 64, weights=tmp_path / "w.onnx")
        windows = golden.audio(8000, 3, 3).reshape(3, 8000)
        expected = sea64.predict(windows)
        assert model.info.kind == "waveform"
        np.testing.assert_allclose(model.predict(windows), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        found = get_embedding(AUDIO, 8000, model, verbose=0)[0]
        expected = get_embedding(AUDIO, 8000, sea64, verbose=0)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    def test_pickles_as_what_it_was_loaded_from(self, seeded_graph, tmp_path):
        path = tmp_path / "g.onnx"
        shutil.copy(seeded_graph("sea-64"), path)
        model = load("sea", 64, weights=path, num_threads=1)
        data = pickle.dumps(model)
        assert len(data) < 10_000 and pickle.loads(data) is model
        expected = get_embedding(AUDIO, 8000, model, verbose=0)[0]
        code = "import pickle, sys, numpy as np; m = pickle.load(open(sys.argv[1], 'rb')); "
        code += "np.save(sys.argv[2], m.predict(np.load(sys.argv[3])))"
        (tmp_path / "m.pickle").write_bytes(data)
        np.save(tmp_path / "x.npy", AUDIO[None, :8000])
        names = [tmp_path / name for name in ("m.pickle", "y.npy", "x.npy")]
        subprocess.run([sys.executable, "-P", "-c", code, *names], check=True, cwd="/")
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(AUDIO[None, :8000]))
        assert len(expected)
        shutil.copy(seeded_graph("sea-128"), path)
        with pytest.raises(EdgeL3Error):
            pickle.loads(data)

    def test_copies_are_itself_even_without_its_graph(self, seeded_graph, tmp_path):
        path = tmp_path / "g.onnx"
        shutil.copy(seeded_graph("sea-64"), path)
        model = load("sea", 64, weights=path, num_threads=1)
        path.unlink()
        assert copy.copy(model) is model and copy.deepcopy({"model": model})["model"] is model

    def test_one_object_while_in_use_and_freed_afterwards(self, seeded_graph):
        graphs = [seeded_graph(name) for name in ("sea-64", "sea-128", "sea-256")]
        many = [load("sea", dim, weights=g, num_threads=n) for g, dim in zip(graphs, (64, 128, 256), strict=True)
                for n in (1, 2, 3)]  # fmt: skip
        again = [load("sea", dim, weights=g, num_threads=n) for g, dim in zip(graphs, (64, 128, 256), strict=True)
                 for n in (1, 2, 3)]  # fmt: skip
        assert all(a is b for a, b in zip(many, again, strict=True)) and len(set(map(id, many))) == 9
        freed = weakref.ref(many[1])
        del many, again
        gc.collect()
        assert freed() is None

    def test_threads_that_load_at_once_get_one_object(self, seeded_graph):
        start, found = threading.Barrier(8), []

        def work():
            start.wait()
            found.append(load("sea", 64, weights=seeded_graph("sea-64"), num_threads=1))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8 and len(set(map(id, found))) == 1

    def test_numpy_numbers_and_onnxruntimes_names(self, seeded_graph, sea64):
        model = load("sea", np.int64(64), weights=seeded_graph("sea-64"), num_threads=np.int32(1), provider="CPUExecutionProvider")  # fmt: skip # noqa: E501
        assert model.providers == ["CPUExecutionProvider"]
        options = {"batch_size": np.int64(3), "center": np.True_, "hop_size": np.float32(0.25), "verbose": np.int8(0)}
        found = get_embedding(AUDIO, np.int64(8000), model, **options)[0]
        expected = get_embedding(AUDIO, 8000, sea64, hop_size=0.25, verbose=0)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    @pytest.mark.parametrize("options", [{"a": []}, {1: "x"}, 5, [("a", "b")]])
    def test_provider_options_that_are_none(self, options):
        with pytest.raises(EdgeL3ArgumentError, match="provider_options must be a mapping"):
            load("sea", 64, provider_options=options)


class TestProcessFile:
    @pytest.fixture
    def recordings(self, tmp_path):
        for k in range(3):
            soundfile.write(tmp_path / f"{k}.wav", golden.audio(8000, 1.5 + k, k), 8000, subtype="FLOAT")
        return [tmp_path / f"{k}.wav" for k in range(3)]

    def test_a_list_is_each_of_its_files(self, recordings, tmp_path, sea64):
        process_file(recordings, tmp_path / "out", model=sea64)
        for path in recordings:
            audio, sr = soundfile.read(path, dtype="float32")
            expected = get_embedding(audio, sr, sea64, verbose=0)[0]
            with np.load(tmp_path / "out" / f"{path.stem}.npz") as arrays:
                np.testing.assert_allclose(arrays["embedding"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    def test_bad_ones_do_not_keep_the_others_from_being_done(self, recordings, tmp_path, sea64):
        (tmp_path / "bad.wav").write_bytes(b"RIFF")
        files = [tmp_path / "bad.wav", *recordings, tmp_path / "absent.wav"]
        with pytest.raises(EdgeL3Error, match=r"2 of 5 files failed:\n  .*bad.wav: .*\n  .*absent.wav: cannot be read"):
            process_file(files, tmp_path / "out", model=sea64)
        assert sorted(os.listdir(tmp_path / "out")) == ["0.npz", "1.npz", "2.npz"]

    def test_two_files_with_one_output_are_refused(self, tmp_path, sea64):
        with pytest.raises(EdgeL3ArgumentError, match="would both be saved as"):
            process_file([tmp_path / "a.wav", tmp_path / "a.flac"], model=sea64)

    @pytest.mark.parametrize("wrong", [5, [5], None, {"a.wav"}])
    def test_what_is_no_path(self, wrong, sea64):
        with pytest.raises(EdgeL3ArgumentError, match="filepath must be a path or a list of paths"):
            process_file(wrong, model=sea64)

    def test_overwrite_false_keeps_what_was_made_alike_and_refuses_the_rest(self, recordings, sea64):
        path, output = recordings[0], recordings[0].with_suffix(".npz")
        process_file(path, model=sea64)
        before = output.stat().st_mtime_ns
        process_file(path, model=sea64, overwrite=False)
        assert output.stat().st_mtime_ns == before
        with pytest.raises(EdgeL3Error, match=r"0\.npz exists and was made otherwise; overwrite=True replaces it"):
            process_file(path, model=sea64, hop_size=0.5, overwrite=False)
        assert output.stat().st_mtime_ns == before
        process_file(path, model=sea64, hop_size=0.5)
        assert read_metadata(output)["hop_size"] == 0.5


class TestIdentity:
    """--skip-existing keeps an output only if it was made by the same graph, the same way, from the same file."""

    @pytest.fixture
    def made(self, tmp_path, sea64):
        soundfile.write(tmp_path / "a.wav", AUDIO, 8000)
        process_file(tmp_path / "a.wav", model=sea64)
        return tmp_path / "a.wav"

    def skipped(self, path, model):
        before = path.with_suffix(".npz").stat().st_ino
        try:
            process_file(path, model=model, overwrite=False)
        except EdgeL3Error:
            return False
        assert path.with_suffix(".npz").stat().st_ino == before
        return True

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("variant", "sea-128"),
            ("graph_sha256", "0" * 64),
            ("precision", "int8"),
            ("resampler", "soxr"),
            ("hop_size", 0.25),
            ("center", False),
            ("source", "b.wav"),
            ("source_bytes", 7),
            ("source_mtime_ns", 7),
        ],
    )
    def test_each_field_counts(self, made, sea64, field, value):
        assert self.skipped(made, sea64)
        output = made.with_suffix(".npz")
        with np.load(output) as arrays:
            kept = dict(arrays)
        metadata = json.loads(kept["metadata"].item())
        assert field in metadata
        for changed in ({**metadata, field: value}, {name: metadata[name] for name in metadata if name != field}):
            np.savez(output, **{**kept, "metadata": np.array(json.dumps(changed))})
            assert not self.skipped(made, sea64)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("channels", "each"),
            ("pool", "mean"),
            ("normalize", "l2"),
            ("time_pattern", "%Y%m%d_%H%M%S"),
            ("time_zone", "UTC"),
            ("part", [[0.0, 1.0]]),
            ("raw", "s16le,8000,1"),
        ],
    )
    def test_each_field_of_later_versions_counts_and_may_be_absent(self, made, sea64, field, value):
        output = made.with_suffix(".npz")
        with np.load(output) as arrays:
            kept = dict(arrays)
        metadata = json.loads(kept["metadata"].item())
        assert field in metadata
        absent = {name: metadata[name] for name in metadata if name != field}
        for changed, is_kept in ((absent, True), ({**metadata, field: value}, False)):
            np.savez(output, **{**kept, "metadata": np.array(json.dumps(changed))})
            assert self.skipped(made, sea64) is is_kept

    @pytest.mark.parametrize("field", ["version", "onnxruntime", "provider", "source_sha256"])
    def test_versions_and_origin_do_not(self, made, sea64, field):
        output = made.with_suffix(".npz")
        with np.load(output) as arrays:
            kept = dict(arrays)
        metadata = {**json.loads(kept["metadata"].item()), field: "other"}
        np.savez(output, **{**kept, "metadata": np.array(json.dumps(metadata))})
        assert self.skipped(made, sea64)

    def test_an_edited_graph_is_another_model(self, made, seeded_graph, tmp_path):
        import onnx

        path = tmp_path / "g.onnx"
        shutil.copy(seeded_graph("sea-64"), path)
        assert self.skipped(made, load("sea", 64, weights=path))
        graph = onnx.load(path)
        (bias,) = (t for t in graph.graph.initializer if t.name == "conv8.bias")
        values = onnx.numpy_helper.to_array(bias) + 1
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(graph, path)  # the metadata, and so the origin, are as before
        assert not self.skipped(made, load("sea", 64, weights=path))

    def test_micro_is_named_by_its_own_graph(self, tmp_path):
        import hashlib

        model = load("micro")
        soundfile.write(tmp_path / "a.wav", AUDIO, 8000)
        process_file(tmp_path / "a.wav", model=model)
        metadata = read_metadata(tmp_path / "a.npz")
        assert metadata["graph_sha256"] == hashlib.sha256(model.info.path.read_bytes()).hexdigest()
        assert metadata["source_sha256"] != metadata["graph_sha256"]


class TestTimestamps:
    HOP = 1 / 3  # 2666 samples of 8000: 0.083 ms lost a window

    def test_they_are_the_published_ones_and_the_exact_start_is_written_too(self, tmp_path, sea64):
        audio = golden.audio(8000, 9.5, 1)
        soundfile.write(tmp_path / "a.wav", audio, 8000, subtype="FLOAT")
        process_file(tmp_path / "a.wav", model=sea64, hop_size=self.HOP)
        with np.load(tmp_path / "a.npz") as arrays:
            embedding, timestamps, start = arrays["embedding"], arrays["timestamps"], arrays["start_sample"]
        np.testing.assert_array_equal(timestamps, np.arange(len(embedding)) * self.HOP)
        np.testing.assert_array_equal(start, np.arange(len(embedding)) * 2666 - 4000)
        at = start[20]
        alone = sea64.predict(audio.astype(np.float32)[None, at : at + 8000])
        np.testing.assert_allclose(embedding[20:21], alone, rtol=0, atol=1e-5 * embedding.max())

    @pytest.mark.parametrize(("windows", "warned"), [(2001, False), (2003, True)])
    def test_a_warning_once_the_drift_passes_half_a_hop(self, windows, warned, sea64):
        """1/3 s is 2666.67 samples: after 2000 windows the loss is 0.1667 s, half a hop."""
        from edgel3_onnx.embedding import EmbeddingOptions, drift_warning

        assert (drift_warning(windows, sea64, EmbeddingOptions(hop_size=self.HOP)) is not None) == warned
        assert drift_warning(10**9, sea64, EmbeddingOptions(hop_size=0.1)) is None

    def test_who_warns(self, tmp_path, sea64):
        """A hop of 1.9 samples, of which 1 is taken: over half a hop after two windows."""
        audio = np.ones(8003, np.float32)
        with pytest.warns(EdgeL3Warning, match=r"windows start every 1 samples at 8000 Hz: the last timestamp is"):
            get_embedding(audio, 8000, sea64, center=False, hop_size=1.9 / 8000, verbose=0)
        soundfile.write(tmp_path / "a.wav", audio * 0.5, 8000)
        with pytest.warns(EdgeL3Warning, match=r"a\.wav: timestamps are multiples of hop_size"):
            process_file(tmp_path / "a.wav", model=sea64, center=False, hop_size=1.9 / 8000)
        stream = edgel3_onnx.EmbeddingStream(sea64, 8000, 1.9 / 8000, center=False)
        with pytest.warns(EdgeL3Warning, match="timestamps are multiples of hop_size") as caught:
            stream.push(audio)
            stream.push(audio[:5])
        assert len(caught) == 1


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(9000, np.int64),
        (AUDIO * 32767).astype(np.int64),
        np.zeros(9000, np.uint64),
        [0, 1000, -1000] * 4000,
        [[1, 2], [3, 4]] * 4000,
    ],
)
def test_integers_whose_full_scale_nobody_knows_are_refused(audio, sea64):
    with pytest.raises(EdgeL3ArgumentError, match=r"at most 32 bits.*astype\(numpy\.int16\)\), or floating point"):
        get_embedding(audio, 8000, sea64, verbose=0)
    with pytest.raises(EdgeL3ArgumentError, match="at most 32 bits"):
        edgel3_onnx.EmbeddingStream(sea64, 8000).push(audio)


def test_a_huge_hop_takes_no_memory(tmp_path, sea64):
    import tracemalloc

    soundfile.write(tmp_path / "a.wav", AUDIO, 8000)
    tracemalloc.start()
    process_file(tmp_path / "a.wav", model=sea64, hop_size=1e6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    expected = get_embedding(AUDIO, 8000, sea64, hop_size=1e6, verbose=0)[0]
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["embedding"].shape == expected.shape == (2, 64)
        np.testing.assert_allclose(arrays["embedding"], expected, rtol=0, atol=1e-3 * expected.max())
