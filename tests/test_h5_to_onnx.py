"""Weights in the published HDF5 layouts become graphs with the published embeddings; others are refused."""

import gzip
import hashlib
import json
import re

import numpy as np
import pytest

import edgel3_onnx
import golden
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.export.convert import graph as graph_module
from edgel3_onnx.export.convert.compact import constant_arrays
from edgel3_onnx.export.convert.graph import read_metadata
from edgel3_onnx.export.convert.h5_to_onnx import convert, main
from edgel3_onnx.export.convert.hdf5 import read_weights
from edgel3_onnx.export.convert.source import decompress
from edgel3_onnx.frontend import log_mel
from edgel3_onnx.spec import FRONTENDS, NETWORKS
from edgel3_onnx.store.registry import variants

SEA = NETWORKS["sea-64"]
NAMES = {"source_file": "weights.h5", "source_sha256": "ab" * 32}


def run(graph, batch):
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


@pytest.fixture
def h5(tmp_path):
    """A function that returns the seeded sea-64 weights as HDF5, after ``edit`` has changed the open file."""

    def make(edit=None, network="sea-64", layout="weights"):
        import h5py

        path = tmp_path / "made.h5"
        golden.write_h5(path, golden.weights(640, NETWORKS[network], pruned=network == "sparse"), network, layout)
        if edit:
            with h5py.File(path, "r+") as file:
                edit(file)
        return path.read_bytes()

    return make


@pytest.mark.parametrize(
    "case",
    [case for case in golden.cases() if case["sr"] in (8000, 48000)],
    ids=lambda case: case["id"],
)
def test_graph_has_the_embeddings_of_the_published_code(case, seeded_graph):
    spec = FRONTENDS[NETWORKS[case["network"]].frontend]
    audio = golden.audio(case["sr"], case["seconds"], case["audio_seed"]).astype(np.float32)
    hop = int(case["hop_size"] * spec.sample_rate)
    images = log_mel(audio, spec, hop_length=hop, center=case["center"])
    with np.load(golden.DATA / case["file"]) as stored:
        expected = stored["embedding"]
    found = run(seeded_graph(case["network"]).read_bytes(), images)
    assert found.shape == expected.shape
    # Both sides sum in float32, in another order; at 48 kHz some bands hold little but that.
    tolerance = 1e-4 if spec.name == "sea" else 1e-3
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", list(variants()))
def test_every_published_variant_converts(name, tmp_path):
    variant = variants()[name]
    if variant.packaged:
        pytest.skip("comes as a graph")
    network = variant.network_spec
    share = (variant.sparsity or 0) / 100
    # The same random numbers for every variant of a network: only what is pruned differs.
    arrays = _arrays(variant.network)
    if share:
        arrays = [_prune(a, share) if a.ndim == 4 and a.shape[2] > 1 else a for a in arrays]
    layout = "model" if variant.retrain_type == "kd" else "weights"
    golden.write_h5(tmp_path / "made.h5", arrays, variant.network, layout)
    data = (tmp_path / "made.h5").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    graph = convert(data, network, variant=name, source_file=variant.file, source_sha256=digest)

    import onnx

    model = onnx.load_model_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    metadata = read_metadata(model, "x")
    assert metadata.variant == name
    assert (metadata.source_file, metadata.source_sha256) == (variant.file, digest)
    assert metadata.exporter == edgel3_onnx.__version__
    kernels = [a for a in constant_arrays(model.graph).values() if a.ndim == 4]
    assert [k.shape[0] for k in kernels] == list(network.filters) == metadata.filters
    zeros = sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels)
    assert zeros == pytest.approx(share, abs=2e-3)


_cache = {}


def _arrays(network):
    if network not in _cache:
        _cache[network] = golden.weights(7, NETWORKS[network])
    return _cache[network]


def _prune(kernel, share):
    flat = np.abs(kernel).reshape(-1)
    threshold = np.partition(flat, int(share * flat.size))[int(share * flat.size)]
    return np.where(np.abs(kernel) < threshold, 0, kernel).astype(np.float32)


@pytest.mark.parametrize("network", ["sea-512", "sparse"])
@pytest.mark.parametrize("batch", [1, 7, pytest.param(64, marks=pytest.mark.slow)])
def test_graph_runs_at_any_batch_size(network, batch, seeded_graph):
    spec = FRONTENDS[NETWORKS[network].frontend]
    rng = np.random.default_rng(0)
    images = rng.uniform(-80, 0, (batch, 1, spec.n_mels, spec.n_frames)).astype(np.float32)
    graph = seeded_graph(network).read_bytes()
    one_by_one = np.concatenate([run(graph, image[None]) for image in (images[0], images[-1])])
    together = run(graph, images)
    assert together.shape == (batch, NETWORKS[network].embedding_dim)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[[0, -1]], one_by_one, rtol=0, atol=1e-5 * np.abs(together).max())


def test_both_layouts_give_the_same_graph(h5):
    assert convert(h5(layout="weights"), SEA, **NAMES) == convert(h5(layout="model"), SEA, **NAMES)


def test_dead_channels_are_removed_without_a_trace(h5, monkeypatch):
    def kill(file):
        def dataset(layer, index):
            return file[layer][layer][f"w{index}:0"]

        for layer, norm, channel, beta in (
            ("conv2d_15", "batch_normalization_18", 3, -1.0),  # silent: no weights, negative bias
            ("conv2d_15", "batch_normalization_18", 5, 1.0),  # constant, not silent: zero padding makes it matter
            ("conv2d_18", "batch_normalization_21", 0, -1.0),
        ):
            for index in (0, 1):
                values = dataset(layer, index)[()]
                values[..., channel] = 0
                dataset(layer, index)[...] = values
            for index, value in ((1, beta), (2, 0.0)):
                values = dataset(norm, index)[()]
                values[channel] = value
                dataset(norm, index)[...] = values
        unread = dataset("conv2d_17", 0)[()]
        unread[:, :, 7, :] = 0  # nobody reads channel 7 of convolution 3
        dataset("conv2d_17", 0)[...] = unread

    data = h5(kill)
    removed = convert(data, SEA, **NAMES)
    monkeypatch.setattr(graph_module, "remove_dead_channels", lambda convs: convs)
    complete = convert(data, SEA, **NAMES)
    images = np.random.default_rng(1).uniform(-80, 0, (5, 1, 64, 50)).astype(np.float32)
    expected = run(complete, images)
    np.testing.assert_allclose(run(removed, images), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert _filters(complete) == list(SEA.filters)
    assert _filters(removed) == [32, 31, 63, 64, 127, 128, 64, 64]


def _filters(graph):
    import onnx

    return read_metadata(onnx.load_model_from_string(graph), "x").filters


def test_a_convolution_keeps_a_channel_even_if_all_are_dead():
    weight, bias = np.zeros((3, 1, 3, 3), np.float32), np.zeros(3, np.float32)
    after = np.ones((2, 3, 3, 3), np.float32), np.ones(2, np.float32)
    (first, _), (second, _) = graph_module.remove_dead_channels([(weight, bias), after])
    assert first.shape == (1, 1, 3, 3)
    assert second.shape == (2, 1, 3, 3)


def _set(layer, index, value):
    def edit(file):
        dataset = file[layer][layer][f"w{index}:0"]
        values = dataset[()]
        values.reshape(-1)[1 if values.size > 1 else 0] = value
        dataset[...] = values

    return edit


def _replace(layer, index, array):
    def edit(file):
        group = file[layer][layer]
        del group[f"w{index}:0"]
        group.create_dataset(f"w{index}:0", data=array)

    return edit


def _rename(change):
    def edit(file):
        file.attrs["layer_names"] = change(file.attrs["layer_names"].astype("S").tolist())

    return edit


def _drop(layer):
    return _rename(lambda names: [name for name in names if name != layer.encode()])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("conv2d_15", 0, np.nan), r"layer 5, 'conv2d_15' \(convolution 2\): 1 weights are NaN or infinite"),
        (_set("batch_normalization_16", 2, np.inf), r"layer 2, 'batch_normalization_16' .*NaN or infinite"),
        (
            _replace("conv2d_20", 1, np.zeros(63, np.float32)),
            r"layer 15, 'conv2d_20', does not fit: expected convolution 7 of shape "
            r"\(3, 3, 128, 64\) \+ \(64,\), found \(3, 3, 128, 64\) \+ \(63,\)",
        ),
        (
            _replace("conv2d_20", 1, np.zeros(64, np.int32)),
            r"layer 15, 'conv2d_20' \(convolution 7\): expected floating-point weights, found int32",
        ),
        (_drop("conv2d_17"), r"layer 9, 'batch_normalization_20', does not fit: expected convolution 4 of shape"),
        (
            _drop("batch_normalization_24"),
            r"layer 18 is missing: expected BatchNormalization 8 of shape .*found 17 layers .* instead of 18",
        ),
        (
            _rename(lambda names: [*names, b"conv2d_14"]),
            r"layer 19, 'conv2d_14', is one too many: expected 18 layers with weights, found 19",
        ),
        (lambda file: file.attrs.pop("layer_names"), r"no attribute 'layer_names'"),
        (lambda file: file.pop("conv2d_19"), r"not a readable HDF5 file of Keras weights \(.*conv2d_19"),
        (_set("batch_normalization_17", 3, -1.0), r"layer 4, 'batch_normalization_17' .*variance is negative"),
    ],
)
def test_unfit_weights_are_refused_by_layer(h5, edit, message):
    with pytest.raises(EdgeL3Error, match=message) as caught:
        convert(h5(edit), SEA, **NAMES)
    assert str(caught.value).startswith("weights.h5: ")
    assert "\n" not in str(caught.value)


def test_weights_of_another_front_end_are_refused_at_the_first_layer(h5):
    with pytest.raises(EdgeL3Error, match=r"layer 1, 'melspectrogram_2', does not fit: expected front end of shape"):
        convert(h5(network="sparse"), SEA, **NAMES)


def _hamming(file):
    for index in (0, 1):
        kernels = file["melspectrogram_2"]["melspectrogram_2"][f"w{index}:0"]
        samples = np.arange(kernels.shape[0])
        hann, hamming = (a - (1 - a) * np.cos(2 * np.pi * samples / len(samples)) for a in (0.5, 0.54))
        ratio = np.where(hann > 0, hamming / np.where(hann > 0, hann, 1), 0)
        kernels[...] = (kernels[()] * ratio.reshape(-1, 1, 1, 1)).astype(np.float32)


def _scaled_band(file):
    bands = file["melspectrogram_2"]["melspectrogram_2"]["w2:0"]
    bands[:, 20] = bands[:, 20] * 1.001


def _one_kernel_value(file):
    kernels = file["melspectrogram_2"]["melspectrogram_2"]["w1:0"]
    kernels[517, 0, 0, 300] = kernels[517, 0, 0, 300] + 1e-5


@pytest.mark.parametrize(
    ("edit", "matrix", "least", "most"),
    [
        (_hamming, "real DFT kernels", 0.04, 0.08),
        (_scaled_band, "mel bands", 1e-4, 1e-3),
        (_one_kernel_value, "imaginary DFT kernels", 0.9e-5, 1.1e-5),
    ],
)
def test_weights_made_for_another_front_end_are_refused_by_how_much_it_differs(h5, edit, matrix, least, most):
    message = (
        r"^weights\.h5: layer 1, 'melspectrogram_2' \(front end\): made for another front end: its ([a-zDFT ]+) differ "
        r"from those of 'sea' by (\S+) of the largest value \(allowed: 1e-06\)$"
    )
    with pytest.raises(EdgeL3Error, match=message) as caught:
        convert(h5(edit), SEA, **NAMES)
    found, difference = re.match(message, str(caught.value)).groups()
    assert found == matrix and least <= float(difference) <= most


def test_front_ends_of_published_and_synthetic_files_are_this_package_s(reference):
    files = {
        "published/edgel3_sea_ust_audio_emb_64.h5.gz": "sea-64",
        "synthetic/edgel3_sea_ust_audio_emb_128.h5.gz": "sea-128",
        "synthetic/edgel3_ft_audio_sparsity_95.45.h5.gz": "sparse",
    }
    for file, network in files.items():
        data = decompress((reference / file).read_bytes(), file)
        assert len(read_weights(data, NETWORKS[network], file).convs) == 8


def test_weights_of_another_size_are_refused_at_the_first_layer_that_differs(h5):
    with pytest.raises(EdgeL3Error, match=r"layer 15, 'conv2d_20'.*\(3, 3, 128, 128\) .*found \(3, 3, 128, 64\)"):
        convert(h5(), NETWORKS["sea-128"], **NAMES)


@pytest.mark.parametrize("data", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_not_hdf5_is_refused(data):
    with pytest.raises(EdgeL3Error, match=r"^weights.h5: not a readable HDF5 file of Keras weights \([^\n]*\)$"):
        convert(data, SEA, **NAMES)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_hdf5_is_refused(h5, share):
    data = h5()
    with pytest.raises(EdgeL3Error, match=r"^weights.h5: not a readable HDF5 file"):
        convert(data[: int(share * len(data))], SEA, **NAMES)


SECRET = b"a file of this machine that is nobody's business" * 200


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


def _bias(file):
    return file["conv2d_14"]["conv2d_14"]


def _external_storage(secret):
    def edit(file):
        del _bias(file)["w1:0"]
        _bias(file).create_dataset("w1:0", (32,), np.float32, external=[(str(secret), 0, 128)])

    return edit


def _external_link(secret):
    def edit(file):
        import h5py

        with h5py.File(secret, "w") as other:
            other["w"] = np.ones(32, np.float32)
        del _bias(file)["w1:0"]
        _bias(file)["w1:0"] = h5py.ExternalLink(str(secret), "w")

    return edit


def _external_group(secret):
    def edit(file):
        import h5py

        with h5py.File(secret, "w") as other:
            file.copy(file["conv2d_14"], other, "conv2d_14")
        del file["conv2d_14"]
        file["conv2d_14"] = h5py.ExternalLink(str(secret), "conv2d_14")

    return edit


def _soft_link(secret):
    def edit(file):
        import h5py

        _bias(file).move("w1:0", "elsewhere")
        _bias(file)["w1:0"] = h5py.SoftLink("elsewhere")

    return edit


def _virtual_dataset(secret):
    def edit(file):
        import h5py

        with h5py.File(secret, "w") as other:
            other["w"] = np.ones(32, np.float32)
        layout = h5py.VirtualLayout((32,), np.float32)
        layout[:] = h5py.VirtualSource(str(secret), "w", (32,))
        del _bias(file)["w1:0"]
        _bias(file).create_virtual_dataset("w1:0", layout)

    return edit


def _huge_chunks(secret):
    def edit(file):
        del _bias(file)["w1:0"]
        options = {"maxshape": (None,), "chunks": (1 << 28,), "compression": "gzip"}
        _bias(file).create_dataset("w1:0", (32,), np.float32, **options)

    return edit


def _many_names(secret):
    def edit(file):
        import h5py

        file.attrs.create("layer_names", np.full(2000, b"conv2d_14"), dtype=h5py.string_dtype())

    return edit


@pytest.mark.parametrize(
    ("make_edit", "message"),
    [
        (_external_storage, r"layer 3, 'conv2d_14' \(convolution 1\): its weights are in another file"),
        (_external_link, r"'w1:0' in '/conv2d_14/conv2d_14' is a link elsewhere"),
        (_external_group, r"'conv2d_14' in '/' is a link elsewhere"),
        (_soft_link, r"'w1:0' in '/conv2d_14/conv2d_14' is a link elsewhere"),
        (_virtual_dataset, r"layer 3, 'conv2d_14' \(convolution 1\): its weights are in another file"),
        (_huge_chunks, r"layer 3, .*: 32 weights are stored in chunks of 268435456"),
        (_many_names, r"'/' has layer_names of shape \(2000,\)"),
    ],
)
def test_weights_from_outside_the_file_and_bombs_are_refused(h5, secret, make_edit, message):
    with pytest.raises(EdgeL3Error, match=rf"^weights\.h5: {message}$"):
        convert(h5(make_edit(secret)), SEA, **NAMES)


def test_gzip_is_unpacked_and_other_data_returned_as_they_are():
    data = bytes(range(256)) * 100
    assert decompress(gzip.compress(data), "x") == data
    assert decompress(data, "x") == data


@pytest.mark.parametrize("damage", [lambda d: d[:-5], lambda d: d[:200] + bytes(20) + d[220:], lambda d: d[:3]])
def test_damaged_gzip_is_refused(damage):
    data = gzip.compress(np.random.default_rng(0).bytes(2000))
    with pytest.raises(EdgeL3Error, match=r"^w.h5.gz: truncated or corrupt gzip file"):
        decompress(damage(data), "w.h5.gz")


def test_unpacking_stops_at_the_size_cap():
    bomb = gzip.compress(bytes(3 << 20))
    assert len(decompress(bomb, "x", max_bytes=3 << 20)) == 3 << 20
    for data in (bomb, bytes(3 << 20)):
        with pytest.raises(EdgeL3Error, match=r"^x: .*3145727 bytes allowed|^x: .*3145727 allowed"):
            decompress(data, "x", max_bytes=(3 << 20) - 1)


def test_command_line_writes_the_graph(h5, tmp_path):
    source, output = tmp_path / "own.h5.gz", tmp_path / "out.onnx"
    source.write_bytes(gzip.compress(h5(layout="model")))
    assert main([str(source), str(output), "--model-type", "sea", "--emb-dim", "64"]) == 0
    import onnx

    metadata = read_metadata(onnx.load(output), "x")
    assert metadata.variant is None
    assert metadata.source_file == "own.h5.gz"
    assert metadata.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata.frontend == FRONTENDS["sea"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made.h5", "out.onnx", "own.h5.gz"]


def test_command_line_reports_in_one_line(tmp_path, capsys):
    source = tmp_path / "own.h5"
    source.write_bytes(b"no")
    for arguments in ([str(source), str(tmp_path / "x.onnx")], [str(tmp_path / "absent.h5"), "x.onnx"]):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "x.onnx").exists()


def test_unwritable_output_is_reported(h5, tmp_path, capsys):
    source = tmp_path / "own.h5"
    source.write_bytes(h5())
    output = source / "x.onnx"
    assert main([str(source), str(output), "--model-type", "sea", "--emb-dim", "64"]) == 1
    assert capsys.readouterr().err == f"error: {output}: cannot be written (Not a directory)\n"


def test_published_sea64_has_the_published_embeddings(reference):
    data = (reference / "published" / "edgel3_sea_ust_audio_emb_64.h5.gz").read_bytes()
    graph = convert(decompress(data, "x"), SEA, **NAMES)
    spec = FRONTENDS["sea"]
    import soundfile

    checked = 0
    for entry in json.loads((reference / "embeddings" / "index.json").read_text()):
        if "sea" in entry["weights"] and entry["sr"] == spec.sample_rate:
            audio, _ = soundfile.read(reference / "audio" / entry["audio"], dtype="float32")
            hop = int(entry["hop_size"] * spec.sample_rate)
            found = run(graph, log_mel(audio, spec, hop_length=hop, center=entry["center"]))
            with np.load(reference / "embeddings" / entry["file"]) as stored:
                expected = stored["embedding"]
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
            checked += 1
    assert checked >= 6
