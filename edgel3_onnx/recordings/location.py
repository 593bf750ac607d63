"""Where recordings lie: files of this machine, objects of a store in the network, members of a tar archive.

A location is a string: a path; ``scheme://...``, of which pyarrow.fs and fsspec open what they know; or what ``member``
makes of an archive, so that a member is found without reading what lies before it.
"""

import io
import os
import re
import threading
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, TypeVar

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]*)/?(.*)", re.DOTALL)  # of more letters than a drive has
_MEMBER = re.compile(r"(.*)::(\d+)\+(\d+)::(.*)", re.DOTALL)
_BLOCK = 2**21  # bytes read from a store at a time
_BLOCKS = 4  # of them held
_RECENT = 2  # objects whose blocks are held
_FRESH = 20.0  # seconds for which they are taken to be as they were
_TRIES, _PAUSE = 5, 0.2  # at a store, and seconds before the second try, twice as many before the next
T = TypeVar("T")


def is_uri(location: str) -> bool:
    return _URI.fullmatch(location) is not None


def is_local(location: str) -> bool:
    """Whether it is a file of this machine and no part of one."""
    return not is_uri(location) and _MEMBER.fullmatch(location) is None


def absolute(location: str) -> str:
    """The same location from whatever directory."""
    return location if is_uri(location) else os.path.abspath(location)


def joined(folder: str, location: str) -> str:
    """A location that is counted from ``folder``."""
    return location if is_uri(location) else os.path.join(folder, location)


def shown(location: str) -> str:
    """A location as users know it: a member is below its archive."""
    match = _MEMBER.fullmatch(location)
    return f"{match[1]}/{match[4]}" if match else location


def state(location: str) -> tuple[int, int]:
    """Size in bytes, and time of change in ns. OSError if there is no such file."""
    if match := _MEMBER.fullmatch(location):
        return int(match[3]), state(match[1])[1]
    if not is_uri(location):
        status = os.stat(location)
        return status.st_size, status.st_mtime_ns
    found = _object(location)
    return found.size, found.modified


def open_binary(location: str) -> BinaryIO:
    """A file object with ``name``, read from anywhere. OSError if that fails."""
    if match := _MEMBER.fullmatch(location):
        return _buffered(_Slice(open_binary(match[1]), int(match[2]), int(match[3])), location)
    if is_uri(location):
        return _buffered(_Remote(_object(location)), location)
    return open(location, "rb")


def members(archive: str) -> Iterator[tuple[str, str]]:
    """Name and location of each file in a tar archive. EdgeL3Error if it cannot be read, or not to its end."""
    import tarfile

    try:
        with open_binary(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if member.isreg() and not member.issparse():
                    yield member.name, f"{archive}::{member.offset_data}+{member.size}::{member.name}"
                tar.members = []  # type: ignore[attr-defined]  # else it would keep them all
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes it for the end, without a word
                raise tarfile.ReadError(f"damaged behind {tar.offset} bytes")
    except (OSError, tarfile.TarError) as error:
        raise EdgeL3Error(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


_given: list[Any] = []  # the pyarrow filesystem of each block of reached_by that has not ended; all are the same


@contextmanager
def reached_by(filesystem: Any) -> Iterator[None]:
    """Let ``filesystem`` serve all URIs in the block, in all threads: one of pyarrow's or fsspec's. None: as ever.

    Raises
    ------
    EdgeL3ArgumentError
        If it is none, or another block of this process has another one.
    """
    if filesystem is None:
        yield
        return
    store = _as_pyarrow(filesystem)
    with _recent_lock:
        if any(store != other for other in _given):
            raise EdgeL3ArgumentError("filesystem must be that of the other runs of this process, got another one")
        _given.append(store)
        _recent.clear()
    try:
        yield
    finally:
        with _recent_lock:
            _given.pop()
            _recent.clear()


def _as_pyarrow(filesystem: Any) -> Any:
    try:
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise EdgeL3Error("filesystem needs pyarrow: pip install 'edgel3-onnx[parquet]'") from error
    if isinstance(filesystem, fs.FileSystem):
        return filesystem
    if not hasattr(filesystem, "_strip_protocol"):
        raise EdgeL3ArgumentError(f"filesystem must be one of pyarrow's or fsspec's, got {filesystem!r}")
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem))


def _base(store: Any, scheme: str, host: str) -> str:
    """Where a URI's host is in a filesystem that was given."""
    fsspec = getattr(getattr(store, "handler", None), "fs", None)
    if fsspec is not None:
        return str(fsspec._strip_protocol(f"{scheme}://{host}"))
    return "/" if store.type_name in ("hdfs", "local") else host.partition("@")[0]


@lru_cache(64)
def _store(scheme: str, host: str) -> tuple[Any, str]:
    """A pyarrow filesystem, and what to put in front of paths there."""
    import pyarrow
    from pyarrow import fs

    try:
        store, base = fs.FileSystem.from_uri(f"{scheme}://{host}/")
        return store, base
    except pyarrow.ArrowInvalid as unknown:
        try:
            import fsspec

            found, base = fsspec.core.url_to_fs(f"{scheme}://{host}")
        except (ImportError, ValueError) as error:
            raise EdgeL3Error(f"{scheme}://: is known to neither pyarrow nor fsspec ({error})") from unknown
        return fs.PyFileSystem(fs.FSSpecHandler(found)), str(base)


def resolve(location: str) -> tuple[Any, str]:
    """The pyarrow filesystem of a URI, and the path there. EdgeL3Error if there is none, or it needs pyarrow."""
    match = _URI.fullmatch(location)
    assert match is not None
    try:
        if _given:
            store, base = _given[0], _base(_given[0], match[1], match[2])
        else:
            store, base = _store(match[1], match[2])
    except ModuleNotFoundError as error:
        raise EdgeL3Error(f"{match[1]}:// needs pyarrow: pip install 'edgel3-onnx[parquet]'") from error
    return store, f"{base.rstrip('/')}/{match[3]}" if match[3] else base


def persistent(action: Callable[[], T]) -> T:
    """What ``action`` gives, tried again where a store or the network fails. OSError when it does not get better."""
    for number in range(_TRIES - 1):
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(_PAUSE * 2**number)
    return action()


class _Positioned(io.RawIOBase):
    """A file of ``size`` bytes that can be read at any place."""

    size = 0
    _at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = (0, self._at, self.size)[whence] + offset
        if target < 0:
            raise OSError(22, os.strerror(22))
        self._at = target
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._at, min(len(buffer), self.size - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    @abstractmethod
    def _read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on."""


class _Slice(_Positioned):
    """A stretch of another file."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self.size = file, offset, size

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(self._offset + offset)
        return self._file.read(max(length, 0))

    def close(self) -> None:
        self._file.close()
        super().close()


class _Object:
    """An object of a store, read in large blocks; what fails is tried again. OSError if it is not there."""

    def __init__(self, location: str) -> None:
        from pyarrow import fs

        self._filesystem, self._path = resolve(location)
        info = persistent(lambda: self._filesystem.get_file_info(self._path))
        if info.type is not fs.FileType.File:
            raise FileNotFoundError(2, os.strerror(2), location)
        self.size, self.modified = int(info.size), int(info.mtime_ns or 0)
        self.until = time.monotonic() + _FRESH
        self._file: Any = None
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def block(self, number: int) -> bytes:
        with self._lock:
            if number not in self._blocks:
                self._blocks[number] = persistent(lambda: self._fetch(number))
                if len(self._blocks) > _BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(number)
            return self._blocks[number]

    def _fetch(self, number: int) -> bytes:
        wanted = min(_BLOCK, self.size - number * _BLOCK)
        try:
            if self._file is None:
                self._file = self._filesystem.open_input_file(self._path)
            block = bytes(self._file.read_at(wanted, number * _BLOCK))
        except OSError:
            self._file = None  # the connection may be the reason
            raise
        if len(block) < wanted:
            raise OSError(5, f"{len(block)} of {wanted} bytes arrived")
        return block


_recent: OrderedDict[str, _Object] = OrderedDict()  # a recording is opened several times in a row
_recent_lock = threading.Lock()


def _object(location: str) -> _Object:
    with _recent_lock:
        found = _recent.pop(location, None)
        if found is None or found.until < time.monotonic():
            found = _Object(location)
        _recent[location] = found
        if len(_recent) > _RECENT:
            _recent.popitem(last=False)
    return found


class _Remote(_Positioned):
    """An object of a store as a file."""

    def __init__(self, found: _Object) -> None:
        self._object, self.size = found, found.size

    def _read(self, offset: int, length: int) -> bytes:
        if length <= 0:
            return b""
        number, begin = divmod(offset, _BLOCK)
        return self._object.block(number)[begin : begin + length]


class _Named(io.BufferedReader):
    name = ""


def _buffered(raw: _Positioned, location: str) -> BinaryIO:
    file = _Named(raw, 2**16)
    file.name = location
    return file
