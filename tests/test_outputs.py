"""Outputs that are damaged, foreign or hostile: an EdgeL3Error in bounded time and memory, and made anew by a run."""

import errno
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tracemalloc
import types
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3Error, cli, load_embedding_model
from edgel3_onnx.embedding import Embeddings
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs.arrays import is_current, reading, write_npz
from edgel3_onnx.outputs.dataset import FinishedSources
from edgel3_onnx.outputs.inspect import read_metadata
from edgel3_onnx.outputs.record import manner

FORMATS = ["npz", "npy", "parquet"]
MEMORY = 40e6  # bytes that refusing a file may take


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("outputs") / "a.wav"
    soundfile.write(path, golden.audio(8000, 1.7, 3), 8000)
    return path


@pytest.fixture(scope="module")
def whole(recording):
    """The path of an output in each format."""
    outputs = {}
    for format in FORMATS:
        if format == "parquet":
            pytest.importorskip("pyarrow")
        folder = recording.parent / format
        assert cli.run(recording, folder, model_type="micro", format=format).done == 1
        (outputs[format],) = folder.glob("*.*")
    return outputs


def embedding(path):
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path, page_checksum_verification=True)["embedding"].to_pylist()
        return np.array(rows, np.float32)
    loaded = np.load(path)
    return loaded if path.suffix == ".npy" else loaded["embedding"]


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_flipped_bits(whole, format, data):
    """Whatever bit is another, either that is noticed or the embedding is what it was."""
    content = bytearray(whole[format].read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # The parts that say what the rest is are near both ends.
        near = data.draw(st.sampled_from([64, 300, 1500, len(content)]))
        place = data.draw(st.integers(-min(near, len(content)), min(near, len(content)) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = whole[format].with_name(f"damaged.{format}")
    path.write_bytes(content)
    try:
        read_metadata(path)
    except EdgeL3Error as error:
        assert str(path) in str(error) and len(str(error).splitlines()) == 1
        return
    if format == "parquet":  # of which the rows have checksums for whoever reads them
        return
    np.testing.assert_array_equal(embedding(path), embedding(whole[format]))


@pytest.mark.parametrize("format", FORMATS)
def test_truncated(whole, format):
    content = whole[format].read_bytes()
    path = whole[format].with_name(f"truncated.{format}")
    for length in [*range(0, len(content), 97), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        with pytest.raises(EdgeL3Error):
            read_metadata(path)


def record(path):
    found = read_metadata(path)
    return found["sources"][0] if "sources" in found else found


def npz(whole, **arrays):
    """An npz as the given one, with other arrays; None leaves one out."""
    with np.load(whole["npz"]) as archive:
        kept = {**archive, **arrays}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in kept.items() if array is not None})
    return buffer.getvalue()


def npy(array=None, trailer=b'{"windows": 2}\n', *, header=None, version=b"\x01\0"):
    """An npy with any header text."""
    array = np.zeros((2, 3), np.float32) if array is None else array
    if header is None:
        header = repr(np.lib.format.header_data_from_array_1_0(array))
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + array.tobytes() + trailer


def archive_of(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def with_embedding(whole, content, compression=zipfile.ZIP_STORED):
    """The archive with another embedding.npy."""
    with zipfile.ZipFile(whole["npz"]) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return archive_of({**members, "embedding.npy": content}, compression)


def bomb(whole):
    """60 kB that are 60 MB."""
    header = npy(
        np.zeros((0, 64), np.float32), b"", header="{'descr': '<f4', 'fortran_order': False, 'shape': (234375, 64)}"
    )
    return with_embedding(whole, header + bytes(60_000_000), zipfile.ZIP_DEFLATED)


def encrypted(whole):
    """An archive whose directory says that its first member needs a password."""
    data = bytearray(whole["npz"].read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def overlapping(whole):
    """An archive whose directory names one member of 1 MB two thousand times: 2 GB to read."""
    data = archive_of({"embedding.npy": npy(np.zeros((4000, 64), np.float32), b"")})
    end = data.rindex(b"PK\5\6")
    start = data.index(b"PK\1\2")
    entry = bytearray(data[start:end])
    entries = b""
    for k in range(2000):
        entry[-13:] = b"e%08d.npy" % k
        entries += entry
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 2000, 2000, len(entries), start, 0)
    return data[:start] + entries + tail


def lying_sizes(whole):
    """A member whose directory entry says that it has 4 GB, of an array that says so too."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (16777215, 64)}"
    data = with_embedding(whole, npy(header=header))
    at = data.index(b"PK\1\2") + 20
    return data[:at] + struct.pack("<II", 2**32 - 2, 2**32 - 2) + data[at + 8 :]


def foreign_parquet(whole):
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": [1]}), buffer)
    return buffer.getvalue()


def with_sources(sources):
    """A part with one row whose record is ``sources``."""

    def make(whole):
        import pyarrow
        from pyarrow import parquet

        buffer = io.BytesIO()
        text = sources if isinstance(sources, str) else json.dumps(sources)
        parquet.write_table(pyarrow.table({"x": [1]}).replace_schema_metadata({"edgel3_onnx": text}), buffer)
        return buffer.getvalue()

    return make


def with_more(data):
    """The archive with a byte behind the array of each of its members."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive_of({name: archive.read(name) + b"x" for name in archive.namelist()})


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pickles-are-run",)


F4 = "'descr': '<f4', 'fortran_order': False, 'shape':"
OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
ONE = {"embedding": np.zeros((1, 64), np.float32), "timestamps": np.zeros(1), "start_sample": np.zeros(1, np.int64)}
DAMAGE = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"No embedding.\n" * 20,
    "pickle": lambda whole: pickle.dumps(Evil()),
    "pickled npy": lambda whole: npy(np.zeros(1), pickle.dumps(Evil()), header=OBJECTS),
    "pickled member": lambda whole: with_embedding(whole, npy(trailer=pickle.dumps(Evil()), header=OBJECTS)),
    "foreign npy": lambda whole: npy(trailer=b""),
    "npy of numbers that are no object": lambda whole: npy(trailer=b"[1, 2]\n"),
    "npy without a newline": lambda whole: npy(trailer=b'{"windows": 2}'),
    "npy with another count": lambda whole: npy(trailer=b'{"windows": 3}\n'),
    "npy with another checksum": lambda whole: npy(trailer=b'{"windows": 2, "embedding_crc32": 1}\n'),
    "npy of a graph without a checksum": lambda whole: npy(trailer=b'{"windows": 2, "graph_sha256": "0"}\n'),
    "npy of float64": lambda whole: npy(np.zeros((2, 3))),
    "npy of one dimension": lambda whole: npy(np.zeros(2, np.float32)),
    "npy of three dimensions": lambda whole: npy(np.zeros((2, 3, 1), np.float32)),
    "npy of Fortran": lambda whole: npy(header="{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}"),
    "npy of version 2": lambda whole: npy(version=b"\x02\0"),
    "npy of a huge shape": lambda whole: npy(header="{" + F4 + "(2, 99999999999999999999)}"),
    "npy of a shape that is not there": lambda whole: npy(header="{" + F4 + "(2000000000, 3)}"),
    "npy of a negative shape": lambda whole: npy(header="{" + F4 + "(-2, -3)}"),
    "npy whose header does not end": lambda whole: npy(header="{" + F4 + "(2, "),
    "npy whose header is deep": lambda whole: npy(header="(" * 9000),
    "npy whose header is long": lambda whole: npy(header="{" + F4 + "(2, 3)}" + " " * 60000),
    "npy whose header is code": lambda whole: npy(header="__import__('os').mkdir('code-is-run')"),
    "npy whose header is a string": lambda whole: npy(header="'\\N{"),
    "npy whose metadata is deep": lambda whole: npy(trailer=b"[" * 100_000 + b"\n"),
    "npy whose metadata is no text": lambda whole: npy(trailer=b"\xff\xfe\xff\n"),
    "npy with a number of 5000 digits": lambda whole: npy(trailer=b"{" + b'"windows": ' + b"9" * 5000 + b"}\n"),
    "npz without metadata": lambda whole: npz(whole, metadata=None),
    "npz without timestamps": lambda whole: npz(whole, timestamps=None),
    "npz with one more": lambda whole: npz(whole, more=np.zeros(3)),
    "npz with other timestamps": lambda whole: npz(whole, timestamps=np.zeros(3)),
    "npz with other starts": lambda whole: npz(whole, start_sample=np.zeros(3, np.int64)),
    "npz with fewer rows": lambda whole: npz(whole, **ONE),
    "npz of float64": lambda whole: npz(whole, embedding=np.zeros((13, 64))),
    "npz with metadata of bytes": lambda whole: npz(whole, metadata=np.array(b"{}")),
    "npz with metadata of two": lambda whole: npz(whole, metadata=np.array(["{}", "{}"])),
    "npz with metadata that is no JSON": lambda whole: npz(whole, metadata=np.array("{")),
    "npz with metadata that is no object": lambda whole: npz(whole, metadata=np.array("5")),
    "npz with long metadata": lambda whole: npz(whole, metadata=np.array(" " * (2**24 + 1))),
    "compressed npz": bomb,
    "encrypted npz": encrypted,
    "npz with a member two thousand times": overlapping,
    "npz that lies about sizes": lying_sizes,
    "npz whose embedding goes on": lambda whole: with_more(whole["npz"].read_bytes()),
    "no zip at its end": lambda whole: b"PK\5\6" + bytes(18),
    "parquet of another program": foreign_parquet,
    "parquet that is only its magic": lambda whole: b"PAR1" + bytes(8) + b"PAR1",
    "parquet with a footer of 4 GB": lambda whole: b"PAR1" + bytes(100) + b"\xff\xff\xff\xff" + b"PAR1",
    "parquet whose record is no JSON": with_sources("nonsense"),
    "parquet whose record is no list": with_sources({"path": "x"}),
    "parquet whose record has numbers": with_sources([5]),
    "parquet whose paths are no text": with_sources([{"path": [], "windows": 1}]),
    "parquet of a graph without absolute paths": with_sources([{"path": "x", "graph_sha256": "0", "windows": 1}]),
    "parquet with other rows than it says": with_sources([{"path": "x", "absolute_path": "/x", "windows": 2}]),
    "parquet with a count that is no number": with_sources([{"path": "x", "absolute_path": "/x", "windows": "1"}]),
}  # fmt: skip

# What is said of those that this package itself refuses.
ARRAYS = "it has other arrays than embedding, timestamps, metadata, start_sample, start, end, channel, label"
REASONS = {
    "empty": "it is no npz archive",
    "pickled npy": "embedding has dtype object and shape (1,)",
    "pickled member": "embedding has dtype object and shape (1,)",
    "foreign npy": "it has no metadata",
    "npy of numbers that are no object": "its metadata is no JSON object",
    "npy without a newline": "it has no metadata",
    "npy with another count": "it has 2 windows, and says 3",
    "npy with another checksum": "its checksum is another",
    "npy of a graph without a checksum": "its checksum is another",
    "npy of float64": "embedding has dtype float64 and shape (2, 3)",
    "npy of one dimension": "embedding has dtype float32 and shape (2,)",
    "npy of Fortran": "embedding has dtype float32 and shape (2, 3)",
    "npy of version 2": "its array has format (2, 0)",
    "npy of a shape that is not there": "its array is cut off",
    "npy of a negative shape": "embedding has dtype float32 and shape (-2, -3)",
    "npz without metadata": ARRAYS,
    "npz without timestamps": ARRAYS,
    "npz with one more": ARRAYS,
    "npz with other timestamps": "its arrays have the shapes {'embedding': (13, 64), 'timestamps': (3,), ",
    "npz with other starts": "its arrays have the shapes {'embedding': (13, 64), 'timestamps': (13,), ",
    "npz with fewer rows": "it has 1 windows, and says 13",
    "npz with metadata of bytes": "metadata has dtype |S2 and shape ()",
    "npz with metadata of two": "metadata has dtype <U2 and shape (2,)",
    "npz with metadata that is no object": "its metadata is no JSON object",
    "npz with long metadata": "its metadata has 67108868 bytes",
    "compressed npz": "embedding.npy is compressed or encrypted",
    "encrypted npz": "embedding.npy is compressed or encrypted",
    "npz with a member two thousand times": ARRAYS,
    "npz whose embedding goes on": "embedding.npy goes on after its array",
    "no zip at its end": ARRAYS,
    "parquet of another program": "it has no record of this package",
    "parquet whose record is no list": "its record is no list of recordings",
    "parquet with other rows than it says": "it has 1 rows, and says 2",
    "parquet with a count that is no number": "its record is no list of recordings",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_an_error_at_once(whole, tmp_path, monkeypatch, kind, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.npz"
    path.write_bytes(DAMAGE[kind](whole))
    tracemalloc.start()
    with pytest.raises(EdgeL3Error, match=r"x\.npz: is no output of edgel3-onnx, or is damaged \(") as caught:
        read_metadata(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY and len(str(caught.value)) < 400 + len(str(path))
    assert f"or is damaged ({REASONS.get(kind, '')}" in str(caught.value)
    assert cli.main(["--inspect", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"edgel3-onnx: error: {path}: is no output of edgel3-onnx, or is damaged (")
    assert os.listdir(tmp_path) == ["x.npz"]  # nothing in it was run


def test_what_the_damaged_ones_are_made_from_is_whole(whole):
    """Else they might be refused for another reason."""
    assert {record(path)["windows"] for path in whole.values()} == {13}
    path = whole["npz"].with_name("again.npz")
    path.write_bytes(npz(whole))
    assert read_metadata(path) == read_metadata(whole["npz"])
    path.write_bytes(npy())
    assert read_metadata(path) == {"windows": 2}
    path.write_bytes(npz(whole, start_sample=None))  # as the first release wrote them
    assert read_metadata(path)["windows"] == 13
    path.write_bytes(npy(trailer=b'{"windows": 2, "embedding_crc32": %d}\n' % zlib.crc32(bytes(24))))
    assert read_metadata(path)["windows"] == 2
    path.write_bytes(with_sources([{"path": "x", "windows": 1}])(whole))
    assert read_metadata(path) == {"sources": [{"path": "x", "windows": 1}]}


@pytest.mark.parametrize("format", ["npz", "npy"])
def test_a_run_makes_all_of_them_anew(whole, recording, tmp_path, format):
    (tmp_path / "out").mkdir()
    for k, make in enumerate(DAMAGE.values()):
        shutil.copy(recording, tmp_path / f"{k:02}.wav")
        (tmp_path / "out" / f"{k:02}.{format}").write_bytes(make(whole))
    options = {"model_type": "micro", "format": format, "hop_size": 1.0, "existing": "skip"}
    summary = cli.run(tmp_path, tmp_path / "out", **options)
    assert (summary.done, summary.skipped, summary.failed) == (len(DAMAGE), 0, 0)
    for path in (tmp_path / "out").iterdir():
        np.testing.assert_allclose(embedding(path)[:2], embedding(whole[format])[::10], rtol=0, atol=1e-4)
    summary = cli.run(tmp_path, tmp_path / "out", **options)
    assert (summary.done, summary.skipped, summary.failed) == (0, len(DAMAGE), 0)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_dataset_with_such_a_part_is_left_alone(whole, recording, tmp_path, kind, capsys):
    part = tmp_path / "part-0.parquet"
    part.write_bytes(before := DAMAGE[kind](whole))
    for option in ("--skip-existing", "--overwrite"):
        arguments = [str(recording), "--format", "parquet", "-o", str(tmp_path), option, "--model-type", "micro"]
        assert cli.main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{part}: is no output of edgel3-onnx, or is damaged" in line
    assert part.read_bytes() == before and os.listdir(tmp_path) == [part.name]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n lines"), "is no output of edgel3-onnx, or is damaged (two lines)"),
        (ValueError("x" * 300), f"is no output of edgel3-onnx, or is damaged ({'x' * 200})"),
        (KeyError(), "is no output of edgel3-onnx, or is damaged (KeyError)"),
        (OSError("pyarrow's"), "is no output of edgel3-onnx, or is damaged (pyarrow's)"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read (Input/output error)"),
        (OSError(errno.EIO, None), "cannot be read ([Errno 5] None)"),
    ],
)
def test_what_a_library_says_is_told_in_one_short_line(whole, error, reason):
    with pytest.raises(EdgeL3Error) as caught, reading(whole["npz"]):
        raise error
    assert str(caught.value) == f"{whole['npz']}: {reason}"


def test_parquet_without_pyarrow(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EdgeL3Error, match=r"^parquet needs pyarrow: pip install 'edgel3-onnx\[parquet\]'$"):
        read_metadata(whole["parquet"])


@posix_only
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "it is no regular file"),
        (os.mkfifo, "it is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
        (lambda path: path.symlink_to(path.name), "cannot be read"),
        (lambda path: None, "cannot be read"),
    ],
)
def test_what_is_no_file(recording, tmp_path, make, message, capsys):
    path = tmp_path / "a.npz"
    make(path)
    with pytest.raises(EdgeL3Error, match=rf"a\.npz: .*{message}"):
        read_metadata(path)
    status = cli.main([str(recording), "-o", str(tmp_path), "--skip-existing", "--model-type", "micro"])
    if path.is_dir():
        assert status == 1 and "a.npz: cannot be written (Is a directory)" in capsys.readouterr().err
    else:  # the name is free for an output
        assert status == 0 and read_metadata(path)["windows"] == 13


@posix_only
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root reads everything")
def test_unreadable(whole, tmp_path):
    shutil.copy(whole["npz"], path := tmp_path / "a.npz")
    path.chmod(0)
    with pytest.raises(EdgeL3Error, match=r"a\.npz: cannot be read \(Permission denied\)"):
        read_metadata(path)


def test_a_record_that_does_not_say_so_is_of_a_whole_recording(tmp_path):
    """Which no other decoder could decode more of."""
    embeddings = Embeddings(
        np.zeros((1, 2), np.float32), np.zeros(1), np.zeros(1, np.int64), start=np.zeros(1), end=np.ones(1)
    )
    for said, current in (({}, True), ({"complete": True}, True), ({"complete": False}, False)):
        with open(tmp_path / "a.npz", "wb") as file:
            write_npz(file, embeddings, {"model": "x", **said})
        assert is_current(str(tmp_path / "a.npz"), {"model": "x"}) is current


@pytest.mark.parametrize(("module", "version"), [(types.SimpleNamespace(__version__="9.8"), "9.8"), (None, None)])
def test_the_version_of_onnxruntime_is_recorded_where_it_is_in_use(monkeypatch, module, version):
    model = load_embedding_model("micro", provider="native")
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    assert manner(model, EmbeddingOptions())["onnxruntime"] == version


def test_a_record_is_the_same_bytes_whatever_the_order(whole):
    content = whole["npy"].read_bytes()
    names = [name for name, _ in json.loads(content[content.index(b'{"') :], object_pairs_hook=list)]
    assert names == sorted(names) and len(names) > 10


def without(column, whole, folder):
    """A part whose rows have one column less, as earlier versions wrote them."""
    from pyarrow import parquet

    path = folder / "part-earlier.parquet"
    rows = parquet.read_table(whole["parquet"]).drop_columns([column])
    records = {b"edgel3_onnx": parquet.read_metadata(whole["parquet"]).metadata[b"edgel3_onnx"]}
    parquet.write_table(rows.replace_schema_metadata(records), path)
    return str(path)


def test_rows_of_an_earlier_version_are_not_continued(whole, tmp_path):
    (wanted,) = read_metadata(whole["parquet"])["sources"]
    found = FinishedSources("out", [str(whole["parquet"])], wanted)
    assert found.look_up(wanted["absolute_path"], wanted) == (True, None)
    assert found.look_up("/another.wav", wanted) == (False, None)
    is_there, problem = found.look_up(wanted["absolute_path"], {**wanted, "source_bytes": 1})
    assert is_there and problem.startswith("is in the dataset already, made from a file of another size or time")
    with pytest.raises(EdgeL3Error) as caught:
        FinishedSources("out", [without("channel", whole, tmp_path)], wanted)
    assert str(caught.value) == (
        "out was made by an earlier edgel3-onnx, whose rows have no channel: replace it by --overwrite, or name "
        "another directory"
    )
    with pytest.raises(EdgeL3Error, match=r"^out was made with hop_size 0\.1, this run has 0\.2: replace it"):
        FinishedSources("out", [str(whole["parquet"])], {**wanted, "hop_size": 0.2})
