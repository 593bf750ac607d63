"""Recordings in a store that is no network: what it is asked, what is tried again, and what is said when that fails."""

import errno
import io
import os
import random
import sys
import tarfile
import types

import pytest

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.recordings import location

pyarrow = pytest.importorskip("pyarrow")
fs = pytest.importorskip("pyarrow.fs")
from shelf import Shelf  # noqa: E402  # needs pyarrow

DATA = random.Random(3).randbytes(1000)
LATER = 5 * 10**9
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


class Clock:
    """In place of the module time: nobody waits."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(location, "time", clock)
    return clock


@pytest.fixture
def shelf():
    """A store that serves all URIs, with the object shelf://bucket/a."""
    shelf = Shelf({"bucket/a": DATA})
    with location.reached_by(fs.PyFileSystem(shelf)):
        yield shelf


def read(uri):
    with location.open_binary(uri) as file:
        return file.read()


def test_an_object_is_asked_for_once_though_it_is_opened_several_times(shelf):
    assert location.state("shelf://bucket/a") == (1000, 10**9)
    for _ in range(3):
        with location.open_binary("shelf://bucket/a") as file:
            assert file.name == "shelf://bucket/a" and file.read() == DATA and file.read() == b""
    assert shelf.asked == {("info", "bucket/a"): 1, ("open", "bucket/a"): 1, ("read", "bucket/a"): 1}


def test_a_change_is_seen_when_what_is_known_has_become_old(shelf, clock):
    assert read("shelf://bucket/a") == DATA
    shelf.objects["bucket/a"], shelf.changed["bucket/a"] = b"new", LATER
    clock.now = 19.9
    assert location.state("shelf://bucket/a") == (1000, 10**9) and read("shelf://bucket/a") == DATA
    clock.now = 20.1
    assert location.state("shelf://bucket/a") == (3, LATER) and read("shelf://bucket/a") == b"new"


def test_of_several_objects_the_last_two_are_known(shelf):
    shelf.objects |= {"bucket/b": b"b", "bucket/c": b"c"}
    for name in ("a", "b", "a", "c", "a"):
        assert read(f"shelf://bucket/{name}") == shelf.objects[f"bucket/{name}"]
    assert [shelf.asked["info", f"bucket/{name}"] for name in "abc"] == [1, 1, 1]
    read("shelf://bucket/b")
    assert shelf.asked["info", "bucket/b"] == 2


def test_what_is_given_ends_with_its_block(shelf):
    read("shelf://bucket/a")
    with location.reached_by(fs.PyFileSystem(shelf)):  # another object, the same store
        read("shelf://bucket/a")
    assert shelf.asked["info", "bucket/a"] == 2
    with (
        pytest.raises(EdgeL3ArgumentError, match="must be that of the other runs of this process, got another one"),
        location.reached_by(fs.PyFileSystem(Shelf())),
    ):
        pass
    with location.reached_by(None):
        assert read("shelf://bucket/a") == DATA


def test_a_large_object_is_read_in_blocks_of_which_the_last_used_are_held(shelf, monkeypatch):
    monkeypatch.setattr(location, "_BLOCK", 100)

    def reads():
        return shelf.asked["read", "bucket/a"]

    with location.open_binary("shelf://bucket/a") as file:
        raw = file.raw
        assert file.seekable() and file.readable() and not file.writable()
        assert raw.read(10) == DATA[:10] and raw.read(90) == DATA[10:100] and reads() == 1
        raw.seek(250)
        assert raw.tell() == 250 and raw.read(100) == DATA[250:300] and raw.tell() == 300 and reads() == 2
        raw.seek(-5, io.SEEK_END)
        assert raw.read(100) == DATA[995:] and raw.read(1) == b"" and reads() == 3
        raw.seek(-895, io.SEEK_CUR)
        assert raw.read(5) == DATA[105:110] and reads() == 4
        raw.seek(0)
        assert raw.read(1) == DATA[:1] and reads() == 4  # held, and now the last used
        raw.seek(300)
        assert raw.read(1) == DATA[300:301] and reads() == 5
        for at, count in [(0, 5), (100, 5), (900, 5), (200, 6), (900, 6), (300, 7)]:  # for 200 another went
            raw.seek(at)
            assert raw.read(1) == DATA[at : at + 1] and reads() == count, at
        raw.seek(1001)
        assert raw.read(1) == b""
        with pytest.raises(OSError, match="Invalid argument"):
            raw.seek(-1)
        assert raw.tell() == 1001
        file.seek(0)
        assert file.read() == DATA


@pytest.mark.parametrize("method", ["info", "open", "read"])
def test_what_fails_is_tried_again_after_longer_and_longer(shelf, clock, method):
    shelf.fails(method, "bucket/a", *[BROKEN] * 4)
    assert read("shelf://bucket/a") == DATA
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6]
    assert shelf.asked[method, "bucket/a"] == 5
    assert shelf.asked["open", "bucket/a"] == (1 if method == "info" else 5)  # what broke is not read on


@pytest.mark.parametrize("method", ["info", "open", "read"])
def test_what_goes_on_failing_is_the_error_that_it_was(shelf, clock, method):
    shelf.fails(method, "bucket/a", *[BROKEN] * 5)
    with pytest.raises(OSError, match="Input/output error"):
        read("shelf://bucket/a")
    assert len(clock.pauses) == 4
    assert read("shelf://bucket/a") == DATA  # another time it may be well


def test_what_is_not_there_is_not_waited_for(shelf, clock):
    for name in ("nothing", ""):  # a folder is no file
        with pytest.raises(FileNotFoundError) as error:
            location.state(f"shelf://bucket/{name}")
        assert error.value.filename == f"shelf://bucket/{name}"
    assert location.state("shelf://bucket/a") == (1000, 10**9)
    del shelf.objects["bucket/a"]  # between the look at it and its reading
    with pytest.raises(FileNotFoundError):
        read("shelf://bucket/a")
    assert not clock.pauses


def test_an_object_that_becomes_shorter_is_no_end_of_file(shelf, clock):
    shelf.fails("read", "bucket/a", DATA[:400], DATA[:999])
    assert read("shelf://bucket/a") == DATA and len(clock.pauses) == 2
    clock.now = 100
    location.state("shelf://bucket/a")
    shelf.objects["bucket/a"] = DATA[:600]
    with pytest.raises(OSError, match="600 of 1000 bytes arrived"):
        read("shelf://bucket/a")


def archive(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    return packed.getvalue()


def test_members_of_an_archive_in_a_store(shelf):
    files = {"x/one.wav": DATA, "empty.flac": b"", "name::with+colons": b"abc"}
    shelf.objects["bucket/a.tar"], shelf.changed["bucket/a.tar"] = archive(files), LATER
    found = dict(location.members("shelf://bucket/a.tar"))
    assert list(found) == list(files)
    for name, member in found.items():
        assert location.is_uri(member) and not location.is_local(member)
        assert location.shown(member) == f"shelf://bucket/a.tar/{name}"
        assert location.state(member) == (len(files[name]), LATER)
        assert read(member) == files[name]
    with location.open_binary(found["x/one.wav"]) as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == DATA[-10:] and file.tell() == 1000


@pytest.mark.parametrize(
    ("end", "found", "reason"),
    [
        (300, [], "truncated header"),
        (600, ["one.wav"], "unexpected end of data"),
        (1536 + 1, ["one.wav"], "damaged behind 1536 bytes"),
        (1536 + 511, ["one.wav"], "damaged behind 1536 bytes"),
        (2100, ["one.wav", "two.wav"], "unexpected end of data"),
        (3072, ["one.wav", "two.wav"], None),  # as some write it: without the zeros at the end
        (4000, ["one.wav", "two.wav"], None),
    ],
)
def test_an_archive_that_breaks_off_gives_what_came_before(shelf, tmp_path, end, found, reason):
    data = archive({"one.wav": DATA, "two.wav": DATA})[:end]
    (tmp_path / "a.tar").write_bytes(data)
    shelf.objects["bucket/a.tar"] = data
    for where in (str(tmp_path / "a.tar"), "shelf://bucket/a.tar"):
        assert all_of(where) == (found, reason and f"cannot be read ({reason})")


def test_an_archive_with_a_damaged_header_gives_what_came_before(shelf):
    data = bytearray(archive({"one.wav": DATA, "two.wav": DATA, "three.wav": DATA}))
    data[1536] ^= 1  # in a name
    shelf.objects["bucket/a.tar"] = bytes(data)
    assert all_of("shelf://bucket/a.tar") == (["one.wav"], "cannot be read (damaged behind 1536 bytes)")


def all_of(archive):
    """The names of the members, and what is said where there are no more."""
    names = []
    try:
        for name, _ in location.members(archive):
            names.append(name)
    except EdgeL3Error as error:
        return names, str(error)
    return names, None


def test_an_archive_that_cannot_be_read(shelf):
    with pytest.raises(EdgeL3Error, match=r"^cannot be read \(No such file or directory\)$"):
        list(location.members("shelf://bucket/none.tar"))
    shelf.fails("read", "bucket/a", *[BROKEN] * 5)
    with pytest.raises(EdgeL3Error, match=r"^cannot be read \(Input/output error\)$"):
        list(location.members("shelf://bucket/a"))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("shelf://bucket", "bucket"),
        ("shelf://bucket/", "bucket"),
        ("shelf://container@account/a/b", "container/a/b"),
        ("shelf://b/a\nc", "b/a\nc"),
    ],
)
def test_paths_in_a_store_that_was_given(shelf, uri, path):
    store, found = location.resolve(uri)
    assert found == path and store.handler is shelf


def test_a_filesystem_of_this_machine_has_no_hosts(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    with location.reached_by(fs.LocalFileSystem()):
        assert read(f"any://host{tmp_path}/a") == DATA
        assert location.resolve("any://host")[1] == "/"
    below = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "b").write_bytes(b"below")
    with location.reached_by(below):
        assert read("any://bucket/b") == b"below"


class Directory:
    """What pyarrow and this package want of a filesystem of fsspec's, whose URIs have a protocol of their own."""

    protocol = "dir"

    def __init__(self, files):
        self.files = files

    def _strip_protocol(self, path):
        return path.replace("dir://", "/root/", 1)

    def info(self, path):
        if path not in self.files:
            raise FileNotFoundError(path)
        return {"size": len(self.files[path]), "type": "file", "mtime": None}

    def isfile(self, path):
        return path in self.files

    def open(self, path, mode):
        return io.BytesIO(self.files[path])


def test_a_filesystem_of_fsspec_says_itself_where_a_uri_leads():
    with location.reached_by(Directory({"/root/host/a": DATA})):
        assert location.resolve("dir://host/a")[1] == "/root/host/a"
        assert location.state("dir://host/a") == (1000, 0)  # it does not say when
        assert read("dir://host/a") == DATA


def test_what_is_no_filesystem():
    with (
        pytest.raises(EdgeL3ArgumentError, match=r"^filesystem must be one of pyarrow's or fsspec's, got 'local'$"),
        location.reached_by("local"),
    ):
        pass


@pytest.fixture
def forgotten():
    """No store is known from before, and none is afterwards."""
    location._store.cache_clear()
    yield
    location._store.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_uris_that_pyarrow_knows(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    assert read(f"file://{tmp_path}/a") == DATA
    assert location.state(f"file://{tmp_path}/a") == (1000, os.stat(tmp_path / "a").st_mtime_ns)


@pytest.mark.usefixtures("forgotten")
def test_uris_that_only_fsspec_knows(monkeypatch):
    def url_to_fs(url):
        if not url.startswith("dir://"):
            raise ValueError(f"Protocol not known: {url}")
        return Directory({"/root/host/a": DATA}), "/root/host"

    monkeypatch.setitem(sys.modules, "fsspec", types.SimpleNamespace(core=types.SimpleNamespace(url_to_fs=url_to_fs)))
    assert read("dir://host/a") == DATA
    with pytest.raises(EdgeL3Error) as error:
        location.resolve("nowhere://host/a")
    assert str(error.value) == (
        "nowhere://: is known to neither pyarrow nor fsspec (Protocol not known: nowhere://host)"
    )


@pytest.mark.usefixtures("forgotten")
def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(EdgeL3Error, match=r"^nowhere://: is known to neither pyarrow nor fsspec \(.*fsspec"):
        location.resolve("nowhere://host/a")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EdgeL3Error, match=r"^shelf:// needs pyarrow: pip install 'edgel3-onnx\[parquet\]'$"):
        location.resolve("shelf://host/a")
    with (
        pytest.raises(EdgeL3Error, match=r"^filesystem needs pyarrow: pip install 'edgel3-onnx\[parquet\]'$"),
        location.reached_by(Directory({})),
    ):
        pass
