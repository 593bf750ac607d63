"""A cache that several users share, seen by one whom the system keeps from the others' files."""

import os

import pytest

from conftest import posix_only
from edgel3_onnx.store import cache

pytestmark = posix_only
ORIGIN = {"a": 1}


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A directory with the sticky bit and a graph of another user in it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(folder))
    assert cache.get_or_make("g.onnx", ORIGIN, lambda: b"graph") == folder / "g.onnx"
    folder.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 12345)
    return folder


def test_what_is_whole_is_shared(shared):
    assert cache.get_or_make("g.onnx", ORIGIN, pytest.fail) == shared / "g.onnx"


def test_what_cannot_be_replaced_gets_a_successor_of_ones_own(shared):
    (shared / "g.onnx").write_bytes(b"damaged")
    own = cache.get_or_make("g.onnx", ORIGIN, lambda: b"graph")
    assert own == shared / f"{os.geteuid()}.g.onnx" and own.read_bytes() == b"graph"
    assert (shared / "g.onnx").read_bytes() == b"damaged"
    assert cache.get_or_make("g.onnx", ORIGIN, pytest.fail) == own


def test_a_lock_that_can_be_opened_by_nobody_else_is_not_waited_for(shared, monkeypatch):
    """What cannot be locked is done all the same: the lock only saves work."""
    real = os.open
    name = next(path.name for path in [shared / "h.onnx"])
    asked = []

    def refusing(path, flags, *mode, **options):
        if "h.onnx" in os.fspath(path) and "lock" in os.fspath(path):
            asked.append(flags & (os.O_RDWR | os.O_CREAT))
            if flags & os.O_CREAT:
                raise FileExistsError
            raise PermissionError
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", refusing)
    made = cache.get_or_make(name, ORIGIN, lambda: b"graph")
    assert made.read_bytes() == b"graph" and len(asked) == 3
