"""Weight files of the user's own: converted once, used where they are, refused if they do not fit."""

import gzip
import os

import onnx
import pytest

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.export.convert import check
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store import weights
from store import cached_names, metadata


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["own.h5.gz", "OWN.H5", "no extension"])
def test_own_hdf5_is_converted_once_per_content(seeded, published, tmp_path, compressed, name):
    own = tmp_path / name
    own.write_bytes(published if compressed else seeded)
    path = weights.convert_file(str(own), "sea-64")
    assert path.parent == weights.cache_dir()
    assert metadata(path)["variant"] is None and metadata(path)["source"]["file"] == name
    before = path.stat().st_mtime_ns
    assert weights.convert_file(own, "sea-64") == path and path.stat().st_mtime_ns == before


def test_own_hdf5_gives_the_graph_of_the_published_one(mirror, variant):
    own = onnx.load(weights.convert_file(mirror / variant.file, "sea-64"))
    theirs = onnx.load(weights.embedding_model_path(variant))
    assert own.graph == theirs.graph


def test_changed_own_file_is_converted_anew(tmp_path):
    own = tmp_path / "own.h5"
    paths = set()
    for seed in (1, 2):
        golden.write_h5(own, golden.weights(seed, NETWORKS["sea-64"]), "sea-64")
        paths.add(weights.convert_file(own, "sea-64"))
    assert len(paths) == 2


def test_own_file_of_another_architecture_is_refused(mirror, variant):
    with pytest.raises(EdgeL3Error, match=variant.file):
        weights.convert_file(mirror / variant.file, "sea-128")
    assert cached_names() == set()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"weights: .*own\.h5: cannot be read \(No such file or directory\)"),
        (b"", r"weights: .*own\.h5 is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"own\.h5"),
        (b"\x1f\x8b truncated", r"own\.h5"),
        (b"text", r"own\.h5"),
    ],
)
def test_unreadable_own_file_is_refused(tmp_path, content, reason):
    own = tmp_path / "own.h5"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(EdgeL3Error, match=reason):
        weights.convert_file(own, "sea-64")


def test_own_file_of_another_type_or_network_is_refused(tmp_path):
    own = tmp_path / "weights.pt"
    own.write_bytes(b"PK")
    with pytest.raises(EdgeL3ArgumentError, match=r"weights\.pt is neither Keras HDF5 \(\.h5, \.h5\.gz\) nor ONNX"):
        weights.convert_file(own, "sea-64")
    with pytest.raises(EdgeL3ArgumentError, match=r"network_name must be one of sea-64, .*, got 'sea'"):
        weights.convert_file(own, "sea")
    with pytest.raises(EdgeL3ArgumentError, match=r"weights: .*: not a regular file but a directory"):
        weights.convert_file(tmp_path, "sea-64")


def test_own_graph_is_checked_once_per_content(seeded_graph, tmp_path, monkeypatch):
    own, copy = tmp_path / "own.onnx", tmp_path / "copy.onnx"
    own.write_bytes(seeded_graph("sea-64").read_bytes())
    copy.write_bytes(own.read_bytes())
    (weights.cache_dir() / "file").touch()
    with monkeypatch.context() as unwritable:
        unwritable.setenv("EDGEL3_ONNX_CACHE", str(weights.cache_dir() / "file" / "cache"))
        assert weights.convert_file(own, "sea-64") == own
    assert weights.convert_file(own, "sea-64") == own
    calls = []
    monkeypatch.setattr(check, "check_file", lambda *arguments: calls.append(arguments) or "fp32")
    assert weights.convert_file(copy, "sea-64") == copy and calls == []
    weights.convert_file(copy, "sea-128")  # another network is another question
    copy.write_bytes(own.read_bytes() + b"\0")
    weights.convert_file(copy, "sea-64")
    monkeypatch.setattr(weights, "__version__", "0.0")
    weights.convert_file(copy, "sea-64")
    assert len(calls) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_refused_without_reading_them(tmp_path):
    pipe = tmp_path / "own.h5"
    os.mkfifo(pipe)
    with pytest.raises(EdgeL3ArgumentError, match=r"weights: .*own\.h5: not a regular file but a pipe$"):
        weights.convert_file(pipe, "sea-64")
    with pytest.raises(EdgeL3ArgumentError, match=r"weights: /dev/zero: not a regular file but a device or socket$"):
        weights.convert_file("/dev/zero", "sea-64")


def test_compression_bomb_and_large_file_are_refused(tmp_path):
    bomb = tmp_path / "own.h5.gz"
    bomb.write_bytes(gzip.compress(bytes(257 << 20), 1))
    with pytest.raises(EdgeL3Error, match=r"own\.h5\.gz: more than the 268435456 bytes allowed when unpacked"):
        weights.convert_file(bomb, "sea-64")
    with open(bomb, "wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(EdgeL3ArgumentError, match=r"own\.h5\.gz: more than the 268435456 bytes allowed$"):
        weights.convert_file(bomb, "sea-64")


def test_own_graph_is_used_where_it_is(mirror, variant, tmp_path):
    own = tmp_path / "own.onnx"
    own.write_bytes(weights.embedding_model_path(variant).read_bytes())
    assert weights.convert_file(own, "sea-64") == own
    half = weights.convert_file(own, "sea-64", "fp16")
    assert half.parent == weights.cache_dir() and metadata(half)["precision"] == "fp16"
    own_half = tmp_path / "half.onnx"
    own_half.write_bytes(half.read_bytes())
    assert weights.convert_file(own_half, "sea-64", "fp16") == own_half
    with pytest.raises(EdgeL3Error, match=r"own\.onnx"):
        weights.convert_file(own, "sea-128")
    own.write_bytes(b"text")
    with pytest.raises(EdgeL3Error, match=r"own\.onnx"):
        weights.convert_file(own, "sea-64")


def test_there_are_three_precisions(tmp_path):
    """Which is found out before the file is looked at."""
    with pytest.raises(EdgeL3ArgumentError, match="precision must be one of fp32, int8, fp16, got 'int4'"):
        weights.convert_file(tmp_path / "absent.h5", "sea-64", "int4")


def test_pruned_weights_take_little_room(tmp_path):
    own = tmp_path / "own.h5"
    golden.write_h5(own, golden.weights(9545, NETWORKS["sparse"], pruned=True), "sparse")
    assert weights.convert_file(own, "sparse").stat().st_size <= 3e6
