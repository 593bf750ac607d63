"""Files that appear whole or not at all, under their own name only when they are finished and the disk has them."""

import errno
import glob
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from edgel3_onnx.durable import sync_file, sync_folders
from edgel3_onnx.exceptions import EdgeL3Error

_PREFIX, _SUFFIX = ".edgel3-onnx-", ".part"


class PartialFile:
    """A file being written under a temporary name beside the one that it gets when it is whole.

    The temporary name is random, and the file is locked while it is open: what is left of a process that was
    killed can be told from what another process, perhaps in another container, is writing (see
    :func:`remove_abandoned`).

    Parameters
    ----------
    path : path
        The name that it gets.

    Attributes
    ----------
    file : binary file
        To be written to, once it is open.
    temporary : str
        Its name so far.
    folders : set of str
        Directories that have new names in them when it is renamed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.temporary = ""
        self.folders = {os.path.dirname(self.path)}
        self.file: BinaryIO

    def open(self) -> None:
        """Make the file, and its directory if need be. OSError if that fails.

        It is no part of making the object, so that whoever is interrupted meanwhile has something to discard.
        """
        folder = os.path.dirname(self.path)
        if folder and not os.path.isdir(folder):
            self.folders |= _make_folder(folder)
        while True:
            self.temporary = os.path.join(folder, f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
            self.file = open(self.temporary, "xb")  # noqa: SIM115
            if _lock(self.file.fileno()) is not False and _is_at(self.file.fileno(), self.temporary):
                return
            self.file.close()  # removed by another process between the two steps

    def commit(self) -> None:
        """Give the file its name. OSError if that fails; the file that had the name is as it was, then.

        After a power cut the one or the other is there, and the new one if this has returned.
        """
        self.sync()
        self.rename()
        sync_folders(self.folders)

    def sync(self) -> None:
        """Wait until the disk has the file. OSError if that fails."""
        self.file.flush()
        sync_file(self.file.fileno())

    def rename(self) -> None:
        """Give the file its name, when the disk has it. OSError if that fails. ``folders`` are to be synced then."""
        if sys.platform == "win32":
            self.file.close()  # open files cannot be renamed there
        else:  # a network file system says here what it could not write; the lock stays
            os.close(os.dup(self.file.fileno()))
        os.replace(self.temporary, self.path)
        with suppress(OSError):
            self.file.close()

    def discard(self) -> None:
        """Remove the file, if there is one."""
        with suppress(OSError, AttributeError):  # it was not opened
            self.file.close()
        with suppress(OSError):
            os.unlink(self.temporary)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write to that becomes ``path`` if all goes well and is removed otherwise.

    Raises
    ------
    EdgeL3Error
        Instead of an OSError, with ``path`` and the reason. What was at ``path`` before is still there, then.
    """
    partial = PartialFile(path)
    try:
        partial.open()
        yield partial.file
        partial.commit()
    except BaseException as error:
        partial.discard()
        if isinstance(error, OSError):
            raise cannot_be_written(path, error) from error
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all. Raises EdgeL3Error as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(data)


def cannot_be_written(path: str | os.PathLike[str], error: OSError) -> EdgeL3Error:
    """The error for users behind an OSError."""
    reason = os.strerror(error.errno) if error.errno else str(error)  # pyarrow's strerror is a long story
    return EdgeL3Error(f"{os.fspath(path)}: cannot be written ({reason})")


def remove_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed processes left in ``folder``: those that nobody holds locked."""
    pattern = os.path.join(glob.escape(os.fspath(folder) or "."), f"{_PREFIX}*{_SUFFIX}")
    for path in glob.glob(pattern):
        with suppress(OSError):
            if sys.platform == "win32":  # which refuses to remove what is open
                os.unlink(path)
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _lock(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _make_folder(folder: str) -> set[str]:
    """Make a directory and those above it. Returns the directories that have new names in them."""
    parents, missing = set(), folder
    while missing and not os.path.isdir(missing):
        missing = os.path.dirname(missing)
        parents.add(missing)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    return parents


def _lock(descriptor: int) -> bool | None:
    """Lock without waiting: False if somebody else holds the lock, None where there are no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that knows no locks
        return None
    return True


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
