"""A cache that two users share: neither fails because of what the other does."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edgel3_onnx import EdgeL3Error
from edgel3_onnx.store import cache

# In a process that becomes another user once all is imported: the content of the graph that get_or_make gives, which is
# b"other" if it makes one.
OTHER = """
import fcntl, os, sys
from edgel3_onnx.store import cache
os.setgroups([]); os.setgid(65534); os.setuid(65534)
cache.LOCK_TIMEOUT_S = 20
print(cache.get_or_make("a.onnx", {"format": int(sys.argv[1])}, lambda: b"other").read_bytes().decode())
"""

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user"
)


@pytest.fixture(params=[0o777, 0o1777], ids=["plain", "sticky"])
def shared(request, monkeypatch):
    """A cache directory that every user can write to; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(request.param)
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(folder))
    old = os.umask(0o077)
    yield folder
    os.umask(old)
    shutil.rmtree(folder)


def as_other_user(format_number):
    return subprocess.Popen([sys.executable, "-P", "-c", OTHER, str(format_number)], stdout=-1, stderr=-1, text=True)


def result(process):
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.strip()


def own(format_number, make=lambda: b"mine"):
    return cache.get_or_make("a.onnx", {"format": format_number}, make).read_bytes()


@needs_root
def test_another_user_waits_for_the_first_and_takes_its_graph(shared):
    started, may_finish = threading.Event(), threading.Event()

    def make():
        started.set()
        assert may_finish.wait(30)
        return b"mine"

    thread = threading.Thread(target=own, args=(1, make))
    thread.start()
    assert started.wait(10)
    other = as_other_user(1)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(2)
    may_finish.set()
    thread.join()
    assert result(other) == "mine"
    assert {path.name for path in shared.iterdir()} <= {"a.onnx", "a.onnx.json", "a.onnx.lock"}


@needs_root
def test_what_another_user_left_does_not_stop_anybody(shared):
    (shared / "a.onnx.lock").touch(0o600)  # of one who was killed, before locks could be read by others
    (shared / ".edgel3-onnx-0123456789abcdef.part").touch(0o600)
    assert result(as_other_user(1)) == "other"
    assert own(1) == b"other"


@needs_root
def test_after_an_upgrade_another_user_makes_the_graph_anew(shared):
    assert own(1) == b"mine"
    assert result(as_other_user(1)) == "mine"
    assert result(as_other_user(2)) == "other"  # this one has another version
    assert result(as_other_user(2)) == "other"
    # The sticky bit had the other one write under another name; what now lies under the common one serves both.
    expected = "mine" if shared.stat().st_mode & stat.S_ISVTX else "other"
    assert own(2).decode() == result(as_other_user(2)) == expected


def test_files_can_be_read_by_whoever_can_read_the_directory(shared):
    own(1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.iterdir()}
    assert modes == {"a.onnx": 0o644, "a.onnx.json": 0o644}
    shared.chmod(0o700)
    own(2)
    assert {stat.S_IMODE(path.stat().st_mode) for path in shared.iterdir()} == {0o600}


@pytest.mark.parametrize("target", ["absent", "present"])
def test_the_lock_does_not_follow_a_planted_link(shared, tmp_path, target):
    victim = tmp_path / "victim"
    if target == "present":
        victim.write_text("precious")
    (shared / "a.onnx.lock").symlink_to(victim)
    assert own(1) == b"mine"
    assert victim.exists() == (target == "present")
    assert (shared / "a.onnx.lock").is_symlink()


@needs_root
def test_a_cache_that_may_only_be_read_is_used_and_named_where_that_is_not_enough(shared):
    own(1)
    shared.chmod(0o755)
    assert result(as_other_user(1)) == "mine"
    other = as_other_user(2)
    assert (
        f"EdgeL3Error: a.onnx is not in the cache directory {shared}, which cannot be written to"
        in (other.communicate(timeout=60)[1])
    )
    assert other.returncode == 1


def test_who_makes_a_graph_without_its_lock_fails_like_others(shared):
    (shared / "a.onnx.lock").symlink_to("nowhere")

    def fail():
        raise EdgeL3Error("no graph")

    with pytest.raises(EdgeL3Error, match=r"^no graph$"):
        own(1, fail)
