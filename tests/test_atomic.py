"""Files that appear whole or not at all."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from conftest import posix_only
from edgel3_onnx import atomic
from edgel3_onnx.exceptions import EdgeL3Error

WRITER = """
import sys
from edgel3_onnx.atomic import PartialFile
partial = PartialFile(sys.argv[1])
partial.open()
partial.file.write(b"half")
partial.file.flush()
print(partial.temporary, flush=True)
sys.stdin.read()
"""


def test_what_a_process_is_writing_stays_and_what_a_killed_one_left_goes(tmp_path):
    """Whatever the process ids are: in two containers they may be the same."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "x")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        temporary = process.stdout.readline().strip()
        atomic.remove_abandoned(tmp_path)
        assert os.listdir(tmp_path) == [os.path.basename(temporary)]
        process.kill()
        process.wait()
        assert os.listdir(tmp_path) == [os.path.basename(temporary)]
        atomic.remove_abandoned(tmp_path)
        assert os.listdir(tmp_path) == []


def test_leftovers_of_the_first_release_are_removed(tmp_path):
    (tmp_path / f".edgel3-onnx-host-{os.getpid()}-0.part").write_bytes(b"half")
    atomic.remove_abandoned(tmp_path)
    assert os.listdir(tmp_path) == []


@posix_only
def test_only_regular_temporary_files_are_removed(tmp_path):
    os.mkfifo(tmp_path / ".edgel3-onnx-0123456789abcdef.part")
    (tmp_path / "precious").write_bytes(b"x")
    (tmp_path / ".edgel3-onnx-fedcba9876543210.part").symlink_to(tmp_path / "precious")
    atomic.remove_abandoned(tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"x"


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "x"
    path.write_bytes(b"before")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step != "write":
        monkeypatch.setattr(os, step, fail)
    with (
        pytest.raises(EdgeL3Error, match=r"x: cannot be written \(No space left on device\)"),
        atomic.replacing(path) as file,
    ):
        file.write(b"after")
        if step == "write":
            fail()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("stop", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["_lock", "_is_at"])
def test_nothing_remains_of_a_file_that_was_just_made(tmp_path, monkeypatch, step, stop):
    def fail(*args):
        assert len(os.listdir(tmp_path)) == 1
        raise stop

    monkeypatch.setattr(atomic, step, fail)
    with pytest.raises(EdgeL3Error if isinstance(stop, OSError) else KeyboardInterrupt):
        atomic.write_bytes(tmp_path / "x", b"data")
    assert os.listdir(tmp_path) == []


def test_folders_are_made(tmp_path, monkeypatch):
    atomic.write_bytes(tmp_path / "new" / "folder" / "x", b"data")
    assert (tmp_path / "new" / "folder" / "x").read_bytes() == b"data"
    monkeypatch.chdir(tmp_path)
    atomic.write_bytes("y", b"data")
    assert (tmp_path / "y").read_bytes() == b"data"
    for path in (tmp_path / "y" / "z", tmp_path / "y" / "below" / "z"):
        with pytest.raises(EdgeL3Error, match=r"z: cannot be written \(Not a directory\)"):
            atomic.write_bytes(path, b"data")


def test_a_file_that_another_process_took_for_abandoned_is_made_again(tmp_path, monkeypatch):
    """Between the two steps that make and lock it."""
    lock, made = atomic._lock, []

    def lock_late(descriptor):
        made.append(descriptor)
        if len(made) == 1:
            os.unlink(tmp_path / os.listdir(tmp_path)[0])
        return False if len(made) == 2 else lock(descriptor)

    monkeypatch.setattr(atomic, "_lock", lock_late)
    with atomic.replacing(tmp_path / "x") as file:
        file.write(b"data")
    assert len(made) == 3 and len(set(made)) == 1  # those before were closed: the descriptor is free again
    assert (tmp_path / "x").read_bytes() == b"data"


@posix_only
def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    import fcntl

    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    atomic.write_bytes(tmp_path / "x", b"data")
    assert os.listdir(tmp_path) == ["x"]


def test_files_reach_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    """And then the names do, those of new folders too."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else ""
        calls.append(os.path.relpath(path, tmp_path) if os.path.isdir(path) else "fsync")
        status = os.fstat(descriptor)  # nothing waits in a buffer of Python's
        assert stat.S_ISDIR(status.st_mode) or status.st_size == len(b"data")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
    atomic.write_bytes(tmp_path / "x", b"data")
    assert calls[:2] == ["fsync", "replace"] and len(calls) == 3
    assert (tmp_path / "x").read_bytes() == b"data"
    if sys.platform == "linux":
        assert calls[2] == "."
        calls.clear()
        atomic.write_bytes(tmp_path / "a" / "b" / "x", b"data")
        assert calls[:2] == ["fsync", "replace"] and sorted(calls[2:]) == [".", "a", "a/b"]
