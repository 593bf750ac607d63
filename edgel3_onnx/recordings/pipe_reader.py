"""Bytes from a pipe."""

import os
import select
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from edgel3_onnx.exceptions import EdgeL3Error

_READ = 65536  # bytes at a time, at most; a pipe gives what there is


class PipeReader:
    """Reads bytes from a file descriptor.

    Parameters
    ----------
    descriptor : int
    waiting : function without arguments
        Gives a context for what waits and takes nothing: an exception that is raised in it loses no byte.

    Raises
    ------
    EdgeL3Error
        From all methods, if reading fails.
    """

    def __init__(self, descriptor: int, waiting: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._descriptor = descriptor
        self.waiting = waiting
        self._poll = None
        if hasattr(select, "poll"):  # Windows has nothing that waits for a pipe and does not read
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
        self._held = bytearray()

    def peek(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end, without taking them."""
        while len(self._held) < count and (data := self._read()):
            self._held += data
        return bytes(self._held[:count])

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end."""
        data = self.peek(count)
        del self._held[: len(data)]
        return data

    def read(self, count: int = _READ) -> bytes:
        """What has arrived, ``count`` bytes at most; none at the end."""
        if not self._held:
            return self._read(min(count, _READ))
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        while count > 0 and (data := self.read(min(count, _READ))):
            count -= len(data)

    def _read(self, count: int = _READ) -> bytes:
        try:
            with self.waiting():
                if self._poll is None:
                    return os.read(self._descriptor, count)
                self._poll.poll()
            return os.read(self._descriptor, count)
        except OSError as error:
            raise EdgeL3Error(f"standard input cannot be read ({error.strerror or error})") from error
