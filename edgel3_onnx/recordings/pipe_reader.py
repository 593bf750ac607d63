"""Bytes from a pipe."""

import os

from edgel3_onnx.exceptions import EdgeL3Error

_READ = 65536  # bytes at a time, at most; a pipe gives what there is


class PipeReader:
    """Reads bytes from a file descriptor.

    Raises
    ------
    EdgeL3Error
        From all methods, if reading fails.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
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
            return os.read(self._descriptor, count)
        except OSError as error:
            raise EdgeL3Error(f"standard input cannot be read ({error.strerror or error})") from error
