"""Waiting for the disk: what was written is there after a power cut too."""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress


def sync_file(descriptor: int) -> None:
    """Wait until the disk has what was written to a file. OSError if it cannot be had there."""
    if sys.platform == "darwin":  # where fsync leaves it in the memory of the drive
        import fcntl

        with suppress(OSError):  # a drive, or a file system, that knows no such order
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Wait until the disk has all that was written to the file system of a file, where that can be asked for.

    It makes nothing sure: some file systems do less than they say, and none says which file failed. But
    :func:`sync_file` of each of many files has hardly anything left to do, then.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).syncfs(descriptor)


def sync_folders(folders: Iterable[str]) -> None:
    """Wait until the disk has the names in ``folders``.

    Not every system can open a directory, nor every file system sync one.
    """
    for folder in folders:
        with suppress(OSError):
            descriptor = os.open(folder or ".", os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
