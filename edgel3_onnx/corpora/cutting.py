"""Files in columns, and how they are cut into chunks."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.corpora.keys import HALF, Keys

CHUNK_FILES = 64
CHUNK_BYTES = 2**26  # 64 MiB: some minutes of work of one process
_SHARES = 4  # chunks per worker that a small corpus is cut into, at least, so that all have something to do


class Files:
    """Many files, as they were when they were listed.

    Parameters
    ----------
    paths : list of str
    keys : array, shape (2, N), uint64
        As of :mod:`edgel3_onnx.corpora.keys`.
    states : list of (int, int)
        Size and time of change of each.
    """

    def __init__(self, paths: list[str], keys: Keys, states: Sequence[tuple[int, int]]) -> None:
        # Of each file: the halves of the key, size, time of change. The bytes of these go into the ids of chunks.
        rows = np.empty((len(paths), 4), "<i8")
        rows[:, :2] = keys.T.view("<i8")
        rows[:, 2:] = np.array(states, np.int64).reshape(-1, 2)
        self.paths, self.rows = paths, rows

    @classmethod
    def _of(cls, paths: list[str], rows: NDArray[Any]) -> "Files":
        files = cls.__new__(cls)
        files.paths, files.rows = paths, rows
        return files

    @classmethod
    def joined(cls, several: Sequence["Files"]) -> "Files":
        paths = [path for files in several for path in files.paths]
        return cls._of(paths, np.concatenate([np.empty((0, 4), "<i8"), *(files.rows for files in several)]))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, which: slice) -> "Files":
        return self._of(self.paths[which], self.rows[which])

    def those(self, wanted: NDArray[np.bool_]) -> "Files":
        return self._of([self.paths[row] for row in np.flatnonzero(wanted).tolist()], self.rows[wanted])

    @property
    def keys(self) -> Keys:
        return np.ascontiguousarray(self.rows[:, :2].T).view(HALF)

    @property
    def sizes(self) -> NDArray[Any]:
        return self.rows[:, 2]

    @property
    def modified(self) -> NDArray[Any]:
        return self.rows[:, 3]


class Cutter:
    """Cuts files, in their order, into chunks by number and size; where there are few, into some for each worker.

    Parameters
    ----------
    workers, chunk_files, chunk_bytes : int
    """

    def __init__(self, workers: int = 1, chunk_files: int = CHUNK_FILES, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._shares = workers * _SHARES if workers > 1 else 1
        self._files, self._bytes = chunk_files, chunk_bytes
        self._is_small = True  # until it is known that there are not few
        self._held: list[Files] = []
        self._count = self._size = 0

    def add(self, files: Files) -> Iterator[Files]:
        """Take files; give the chunks that are complete."""
        self._held.append(files)
        self._count += len(files)
        self._size += sum(files.sizes.tolist())
        if self._count >= self._files * self._shares:
            self._is_small = False
        if not self._is_small and (self._count > self._files or self._size > self._bytes):
            yield from self._cut()

    def end(self) -> Iterator[Files]:
        """Give the last chunks."""
        if self._is_small:
            self._files = max(-(-self._count // self._shares), 1)
        yield from self._cut()
        if self._count:
            yield self._held[0]

    def _cut(self) -> Iterator[Files]:
        """All chunks but the last, which may grow."""
        files = Files.joined(self._held)
        ends = list(accumulate(files.sizes.tolist()))  # bytes to the end of each file
        start = before = 0
        while True:
            stop = max(bisect_right(ends, before + self._bytes, start), start + 1)
            stop = min(stop, start + self._files)
            if stop >= len(files):
                break
            yield files[start:stop]
            start, before = stop, ends[stop - 1]
        self._held, self._count = [files[start:]], len(files) - start
        self._size = ends[-1] - before if ends else 0
