"""A corpus and its dataset in a store that is no network: what is taken, what is sent, and what becomes of faults."""

import errno
import io
import os
import tarfile
from functools import partial

import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3Error, embed_corpus, load_embedding_model
from edgel3_onnx.corpora import place
from edgel3_onnx.corpora.inputs import Input, LeftOut, find
from edgel3_onnx.recordings import location
from test_corpora import assert_same_rows, rows

pyarrow = pytest.importorskip("pyarrow")
fs = pytest.importorskip("pyarrow.fs")
from shelf import Shelf  # noqa: E402  # needs pyarrow

BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))
GONE = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


@pytest.fixture(scope="module")
def recordings():
    """Names and contents of what lies in a folder."""
    found = {}
    for k, name in enumerate(["a.wav", "b ä.flac", "sub/c.wav", "sub/deep/d.wav", ".trash/e.wav", "_old/f.wav"]):
        data = io.BytesIO()
        soundfile.write(data, golden.audio(8000, 1.1 + 0.2 * k, k), 8000, format=name.rpartition(".")[2].upper())
        found[name] = data.getvalue()
    return {**found, "bad.wav": b"RIFF", "notes.txt": b"", "b.npz": b"", "sub/more.txt": b""}


@pytest.fixture
def shelf(recordings, monkeypatch):
    monkeypatch.setattr(location.time, "sleep", lambda seconds: None)
    return Shelf({f"bucket/in/{name}": data for name, data in recordings.items()})


@pytest.fixture
def embed(shelf, micro):
    return partial(embed_corpus, model=micro, filesystem=fs.PyFileSystem(shelf))


@pytest.fixture
def on_disk(recordings, tmp_path, micro):
    """The rows of recordings, as they are where these are files."""

    def embed(names):
        for name in names:
            path = tmp_path / "disk" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(recordings[name])
        embed_corpus(tmp_path / "disk", tmp_path / "whole", model=micro)
        return named(rows(tmp_path / "whole"), f"{tmp_path}/disk/")

    return embed


def named(table, folder):
    """Rows whose paths are counted from ``folder``."""
    paths = [path.removeprefix(folder) for path in table["path"].to_pylist()]
    table = table.set_column(table.column_names.index("path"), "path", pyarrow.array(paths))
    return table.sort_by([("path", "ascending"), ("timestamp", "ascending")])


def rows_in(shelf, folder):
    from pyarrow import parquet

    parts = [data for name, data in shelf.objects.items() if name.startswith(f"{folder}/part-")]
    return pyarrow.concat_tables(parquet.read_table(io.BytesIO(data)) for data in parts)


def test_the_rows_are_those_of_files(shelf, embed, on_disk):
    assert (summary := embed("shelf://bucket/in", "shelf://bucket/out")).done == 4
    assert summary.failed == 1
    expected = on_disk(["a.wav", "b ä.flac", "sub/c.wav", "sub/deep/d.wav"])
    assert_same_rows(named(rows_in(shelf, "bucket/out"), "shelf://bucket/in/"), expected)
    assert not [name for name in shelf.objects if name.endswith(".part") or "_attempts" in name]
    again = embed("shelf://bucket/in/", "shelf://bucket/out/", existing="skip")
    assert (again.done, again.skipped, again.failed) == (0, 4, 1)
    flat = embed("shelf://bucket/in", "shelf://bucket/flat", recursive=False)
    assert (flat.done, flat.failed) == (2, 1)


def test_what_is_found_in_a_store_and_what_is_left_out(shelf):
    shelf.objects["bucket/in/sub/z.tiff"] = b""
    shelf.changed["bucket/in/a.wav"] = 7
    for k in range(4):
        shelf.objects[f"bucket/in/sub/more{k}"] = b""
    left_out = LeftOut()
    with location.reached_by(fs.PyFileSystem(shelf)):
        found = list(find(["shelf://bucket/in/", "shelf://bucket/in/a.wav"], left_out, recursive=True))
        (empty,) = find(["shelf://bucket/in/.trash/none"], left_out)
        shelf.folders.add("bucket/empty")
        (nothing,) = find(["shelf://bucket/empty"], left_out, recursive=True)
        (not_deep,) = find(["shelf://bucket"], left_out)
    names = ["a.wav", "b ä.flac", "bad.wav", "sub/c.wav", "sub/deep/d.wav"]
    assert [each.path for each in found] == [
        *(f"shelf://bucket/in/{name}" for name in names),
        "shelf://bucket/in/a.wav",
    ]
    assert [each.sub_folder for each in found] == ["", "", "", "sub", "sub/deep", ""]
    assert found[0].state == (len(shelf.objects["bucket/in/a.wav"]), 7) and found[-1].state is None
    shown = ", ".join(
        f"shelf://bucket/in/{name}" for name in ["notes.txt", *(f"sub/more{k}" for k in (".txt", 0, 1, 2))]
    )
    assert list(left_out.notes()) == [
        f"7 files are left out ({shown}, ...): no suffix of audio; files named one by one are tried"
    ]
    assert empty == Input("shelf://bucket/in/.trash/none")  # a file, as far as anyone knows; opening it will tell
    assert nothing.problem == "has no recordings"
    assert not_deep.problem == "has no recordings (sub-folders need --recursive)"


def test_what_cannot_be_looked_at_is_the_record_of_a_failure(shelf, embed):
    shelf.fails("list", "bucket/in/sub", *[BROKEN] * 5)
    shelf.fails("info", "bucket/none", *[BROKEN] * 5)
    shelf.fails("open", "bucket/in/a.wav", GONE)
    records = {}
    inputs = ["shelf://bucket/in", "shelf://bucket/none", "shelf://bucket/nothing.wav"]
    embed(inputs, "shelf://bucket/out", on_record=lambda record: records.update({record.path: record}))
    assert {path: record.reason for path, record in records.items() if record.status == "failed"} == {
        "shelf://bucket/in/a.wav": "cannot be read (No such file or directory)",
        "shelf://bucket/in/bad.wav": records["shelf://bucket/in/bad.wav"].reason,
        "shelf://bucket/in/sub": "cannot be listed (Input/output error)",
        "shelf://bucket/none": "cannot be read (Input/output error)",
        "shelf://bucket/nothing.wav": "cannot be read (No such file or directory)",
    }
    assert records["shelf://bucket/in/b ä.flac"].status == "done"


def test_a_recording_that_changes_after_it_was_planned_is_no_part_of_the_dataset(shelf, embed, tmp_path):
    shelf.objects["bucket/in/empty.wav"] = b"RIFF"
    embed(["shelf://bucket/in/a.wav", "shelf://bucket/in/empty.wav"], "shelf://bucket/out", plan=tmp_path / "plan")
    shelf.changed["bucket/in/a.wav"] = 2 * 10**9
    records = []
    embed(None, "shelf://bucket/out", plan=tmp_path / "plan", on_record=records.append)
    assert records[0].reason == "has changed since it was planned: its size or its time of change is another"
    shelf.objects["bucket/in/empty.wav"] = b""
    embed("shelf://bucket/in/empty.wav", "shelf://bucket/other", on_record=records.append)
    assert records[-1].reason == "is empty (0 bytes)"


def test_members_of_archives(shelf, embed, recordings, on_disk):
    names = ["a.wav", "sub/c.wav"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in [*names, "notes.txt"]:
            member = tarfile.TarInfo(name)
            member.size = len(recordings[name])
            tar.addfile(member, io.BytesIO(recordings[name]))
    shelf.objects["bucket/A.TAR"] = packed.getvalue()
    shelf.objects["bucket/b.tar"] = packed.getvalue()[:100]
    records = []
    summary = embed(["shelf://bucket/A.TAR", "shelf://bucket/b.tar"], "shelf://bucket/out", on_record=records.append)
    assert (summary.done, summary.failed) == (2, 1)
    assert {each.path: each.reason for each in records} == {
        "shelf://bucket/A.TAR/a.wav": None,
        "shelf://bucket/A.TAR/sub/c.wav": None,
        "shelf://bucket/b.tar": "cannot be read (truncated header)",
    }
    assert_same_rows(named(rows_in(shelf, "bucket/out"), "shelf://bucket/A.TAR/"), on_disk(names))


@pytest.fixture
def store(shelf):
    with location.reached_by(fs.PyFileSystem(shelf)):
        yield place.open_place("shelf://bucket/out/")


def put(store, name, data, folder=""):
    draft = store.draft(folder)
    try:
        with open(draft.path, "wb") as file:
            file.write(data)
        draft.commit(name)
    finally:
        draft.discard()
    assert not os.path.exists(draft.path)


def test_a_file_gets_its_name_when_all_of_it_has_arrived(shelf, store):
    put(store, "_plan/a", b"abc", "_plan")
    assert shelf.objects["bucket/out/_plan/a"] == b"abc" and store.names("_plan") == ["a"]
    assert shelf.asked["move", "bucket/out/_plan/a"] == 1 and shelf.asked["write", "bucket/out/_plan/a"] == 0
    assert shelf.asked["create", "bucket/out/_plan"] == 1
    with store.reading("_plan/a") as file:
        assert file.read() == b"abc"
    assert store.shown("_plan/a") == "shelf://bucket/out/_plan/a" and store.shown("") == "shelf://bucket/out"


def test_where_objects_are_never_shown_in_part_they_are_sent_under_their_names(shelf, store, monkeypatch):
    monkeypatch.setattr(place, "_WHOLE_OBJECTS", ("py::shelf",))
    put(store, "_plan/a", b"abc", "_plan")
    assert shelf.objects["bucket/out/_plan/a"] == b"abc"
    assert {method for method, _ in shelf.asked} == {"write", "info"}  # no folders, and nothing is renamed


def test_what_does_not_arrive_is_sent_again(shelf, store, monkeypatch):
    monkeypatch.setattr(place, "_WHOLE_OBJECTS", ("py::shelf",))
    shelf.fails("write", "bucket/out/a", BROKEN, None)
    shelf.cut["bucket/out/a"] = [1]
    put(store, "a", b"abc")
    assert shelf.objects["bucket/out/a"] == b"abc" and shelf.asked["write", "bucket/out/a"] == 3
    shelf.cut["bucket/out/a"] = [1] * 5
    with pytest.raises(OSError, match="not all of it arrived"):
        put(store, "a", b"abc")


def test_a_store_that_cannot_be_listed_is_no_empty_one(shelf, store):
    assert store.names() == store.names("_plan") == []
    shelf.fails("list", "bucket/out/_plan", *[BROKEN] * 5)
    with pytest.raises(EdgeL3Error, match=r"^shelf://bucket/out/_plan: cannot be listed \(Input/output error\)$"):
        store.names("_plan")


def test_marks_are_put_and_removed(shelf, store):
    store.mark("_attempts/a")
    assert shelf.objects["bucket/out/_attempts/a"] == b"" and store.names("_attempts") == ["a"]
    store.sweep()  # nothing is left half written
    store.remove("_attempts/a")
    assert store.names("_attempts") == []
    store.remove("_attempts/a")  # not there
    assert shelf.asked["delete", "bucket/out/_attempts/a"] == 1
    store.mark("_attempts/b")
    shelf.fails("delete", "bucket/out/_attempts/b", GONE)  # another process was faster
    store.remove("_attempts/b")
    shelf.fails("delete", "bucket/out/_attempts/b", *[BROKEN] * 5)
    with pytest.raises(OSError, match="Input/output error"):
        store.remove("_attempts/b")


def test_a_dataset_that_cannot_be_written_is_a_failure_of_its_files(shelf, embed):
    method = shelf.get_file_info

    def full(paths):
        if any("part-" in path and path.endswith(".part") for path in paths):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return method(paths)

    shelf.get_file_info = full
    records = []
    summary = embed("shelf://bucket/in/a.wav", "shelf://bucket/out", on_record=records.append)
    assert (summary.done, summary.failed) == (0, 1)
    assert records[0].reason.endswith("cannot be written (No space left on device)")
    del shelf.get_file_info
    assert embed("shelf://bucket/in/a.wav", "shelf://bucket/out", existing="skip").done == 1


def test_a_dataset_in_a_store_is_replaced(shelf, embed, on_disk):
    embed("shelf://bucket/in/a.wav", "shelf://bucket/out")
    old = {name for name in shelf.objects if "out/part-" in name}
    with pytest.raises(EdgeL3Error, match="shelf://bucket/out holds a dataset already"):
        embed("shelf://bucket/in/sub/c.wav", "shelf://bucket/out")
    assert embed("shelf://bucket/in/sub/c.wav", "shelf://bucket/out", existing="replace").done == 1
    assert not old & set(shelf.objects)
    assert_same_rows(named(rows_in(shelf, "bucket/out"), "shelf://bucket/in/"), on_disk(["sub/c.wav"]))
