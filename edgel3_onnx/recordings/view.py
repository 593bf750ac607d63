"""A file that is not there: pieces of a real one and bytes put between them, for a decoder to read as a whole."""

import bisect
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from edgel3_onnx.recordings.location import open_binary, state

_WINDOW = 2**16  # bytes of a piece read at a time
_CHUNK = 2**20  # bytes read at a time
Piece = bytes | tuple[int, int]  # bytes to put there, or (offset, length) in the real file


class View(io.RawIOBase):
    """The ``pieces`` one after another, as a file.

    Parameters
    ----------
    path : str
        The real file.
    pieces : sequence of bytes and of (offset, length)
    announced : int
        How long the file says it is. Beyond the pieces there is nothing to read, except zeros in the last 128
        bytes, where decoders look for a tag. 0: as long as it is.

    Attributes
    ----------
    error : OSError or None
        Why the real file could not be read; the decoder sees an end of file, since nothing can be raised through it.
    """

    def __init__(self, path: str, pieces: Sequence[Piece], announced: int = 0) -> None:
        self.error: OSError | None = None
        self._file = open_binary(path)
        self._pieces = pieces
        self._starts = [0]
        for piece in pieces:
            self._starts.append(self._starts[-1] + (len(piece) if isinstance(piece, bytes) else piece[1]))
        self._size = max(announced, self._starts[-1])
        self._at = 0
        self._base, self._window = 0, b""  # what was read last, and where it begins

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = (0, self._at, self._size)[whence] + offset
        if target >= 0:  # else it stays, as a descriptor does: an exception would not reach the decoder
            self._at = target
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted, begin = len(buffer), self._at - self._base
        if 0 <= begin <= begin + wanted <= len(self._window):  # a decoder reads some bytes at a time
            buffer[:wanted] = self._window[begin : begin + wanted]
            self._at += wanted
            return wanted
        done = 0
        while done < wanted:
            self._base, self._window = self._at, self._piece(_WINDOW)
            data = self._window[: wanted - done]
            if not data:
                break
            buffer[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done

    def _piece(self, length: int) -> bytes:
        """At most ``length`` bytes from the present position on, of one piece."""
        if self._at >= self._starts[-1]:
            tag = min(self._size - self._at, length)
            return bytes(tag) if tag > 0 and self._at >= self._size - 128 else b""
        index = bisect.bisect_right(self._starts, self._at) - 1
        piece, begin = self._pieces[index], self._at - self._starts[index]
        length = min(length, self._starts[index + 1] - self._at)
        if isinstance(piece, bytes):
            return piece[begin : begin + length]
        try:
            self._file.seek(piece[0] + begin)
            return self._file.read(length)
        except OSError as error:
            self.error = error
            return b""

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def viewing(path: str, pieces: Sequence[Piece] | None = None, announced: int = 0) -> Iterator[View]:
    """A View to decode from, by default of the whole file; OSError if that could not be read.

    A decoder takes a file that cannot be read for one that ends, and may tell nobody.
    """
    view = View(path, [(0, state(path)[0])] if pieces is None else pieces, announced)
    try:
        yield view
    finally:
        view.close()
        if view.error is not None:
            raise view.error


def join(pieces: Iterable[Piece]) -> list[Piece]:
    """The same pieces with neighbours in the real file made one."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else b""
        if isinstance(piece, tuple) and isinstance(last, tuple) and last[0] + last[1] == piece[0]:
            joined[-1] = (last[0], last[1] + piece[1])
        else:
            joined.append(piece)
    return joined


def read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """``length`` bytes of ``file`` from ``offset`` on, fewer at its end; none where a damaged size is negative."""
    try:
        file.seek(offset)
    except (ValueError, OverflowError, OSError):  # a damaged size led to where no file can reach
        return b""
    return file.read(max(length, 0))


class Bytes:
    """A region of a file, read through one large buffer."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.end = end
        self._file = file
        self._base, self._buffer = 0, b""

    def at(self, offset: int, length: int) -> bytes:
        begin = offset - self._base
        if begin < 0 or begin + min(length, self.end - offset) > len(self._buffer):
            self.buffer(offset)
            begin = 0
        return self._buffer[begin : begin + length]

    def buffer(self, offset: int) -> bytes:
        """A large piece from ``offset`` on."""
        self._base = offset
        self._buffer = read_at(self._file, offset, max(min(_CHUNK, self.end - offset), 0))
        return self._buffer
