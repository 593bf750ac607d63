"""What a dataset holds, and what its plans still owe: told from names of parts, without opening them."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.corpora.keys import HALF, from_bytes, order, search
from edgel3_onnx.corpora.parts import finished, part_name, read_failures
from edgel3_onnx.corpora.place import ERRORS, Place
from edgel3_onnx.corpora.plan import Chunk, Entry, Files, PlanFile, plans

_READERS = 16  # threads that read records of failures: from a store in the network each takes its time
_BLOCK = 2**16  # rows that are looked up at once


class Standing(IntEnum):
    """How a file stands; of several for one file, the least counts."""

    EMBEDDED = 0
    OWED = 1  # in a chunk that is not done
    KILLED = 2  # it ended the processes that worked on it
    FAILED = 3
    UNKNOWN = 4


@dataclass(frozen=True)
class Findings:
    """What the ledger has about files; arrays of shape (N,)."""

    standing: NDArray[np.int8]
    is_same: NDArray[np.bool_]  # whether size and time of change are those of the plan
    chunk: NDArray[np.int32]  # its number; of those that are unknown, any


class Ledger:
    """The plans of a dataset, and which of their chunks are done.

    Attributes
    ----------
    plans : list of PlanFile
    chunks : list of str
        The chunks of all plans.
    done : set of str
        The chunks whose parts are there.
    strangers : list of str
        Parts that are in no plan.
    """

    def __init__(self, place: Place) -> None:
        self.plans = plans(place)
        self.done = finished(place)
        self.chunks: list[str] = []
        self._numbers: dict[str, int] = {}  # of these
        self._files: list[int] = []  # how many each has
        self._groups: list[tuple[PlanFile, int, list[int]]] = []  # of rows of a plan: its number, and that of chunks
        self._reasons: dict[tuple[int, bytes], str] = {}
        rows = sum(plan.files for plan in self.plans)
        self._keys = np.empty((2, rows), HALF)
        self._sizes, self._modified = np.zeros((2, rows + 1), np.int64)  # one more, for what is in no plan
        self._chunk = np.full(rows + 1, -1, np.int32)
        self._standing = np.full(rows + 1, Standing.UNKNOWN, np.int8)
        end = 0
        for plan in self.plans:
            for group, table in enumerate(plan.columns(["chunk", "key", "size", "modified"])):
                start, end = end, end + len(table)
                self._take(slice(start, end), table, plan, group)
        self.strangers = [part_name(name) for name in sorted(self.done - self._numbers.keys())]
        standing = [Standing.EMBEDDED if name in self.done else Standing.OWED for name in self.chunks]
        self._standing[:-1] = np.array(standing, np.int8)[self._chunk[:-1]]
        self._mark_failures(place)
        by = order(self._keys, self._standing[:-1])
        columns = self._sizes, self._modified, self._chunk, self._standing
        for column in (*self._keys, *(column[:-1] for column in columns)):
            column[:] = column[by]

    def look_up(self, files: Files) -> Findings:
        """How each file stands."""
        at, is_known = search(self._keys, files.keys)
        at[~is_known] = -1
        is_same = (self._sizes[at] == files.sizes) & (self._modified[at] == files.modified)
        return Findings(self._standing[at], is_same, self._chunk[at])

    def standings(self, entries: Sequence[Entry]) -> Iterator[tuple[int, str]]:
        """How each file of a plan stands, and why it failed."""
        keys = from_bytes(b"".join(entry.key for entry in entries))
        found = self.look_up(
            Files([entry.path for entry in entries], keys, [(entry.size, entry.modified) for entry in entries])
        )
        for entry, standing, chunk in zip(entries, found.standing.tolist(), found.chunk.tolist(), strict=True):
            yield standing, self.reason(chunk, entry.key)

    def reason(self, chunk: int, key: bytes) -> str:
        """Why a file of a chunk failed; "" if it did not."""
        return self._reasons.get((chunk, key), "")

    def files_of(self, chunk: int) -> int:
        """How many files a chunk has."""
        return self._files[chunk]

    def owed(self, only: set[str] | None = None) -> Iterator[Chunk]:
        """The chunks that are not done, or those of ``only`` among all."""
        given: set[str] = set()  # a chunk may be in two plans
        for plan, group, chunks in self._groups:
            names = {self.chunks[chunk] for chunk in chunks} - given
            names = names - self.done if only is None else names & only
            if names:
                given |= names
                yield from (chunk for chunk in plan.group(group) if chunk.id in names)

    def _take(self, rows: slice, table: Any, plan: PlanFile, group: int) -> None:
        """Fill in a group of a plan's rows."""
        names = table["chunk"].combine_chunks().dictionary_encode()
        indices = names.indices.to_numpy()
        here = []
        for name, files in zip(names.dictionary.to_pylist(), np.bincount(indices).tolist(), strict=True):
            if name not in self._numbers:
                self._numbers[name] = len(self.chunks)
                self.chunks.append(name)
                self._files.append(files)
            here.append(self._numbers[name])
        self._groups.append((plan, group, here))
        keys = table["key"].combine_chunks()
        self._keys[:, rows] = from_bytes(keys.buffers()[1].slice(16 * keys.offset, 16 * len(keys)))
        self._sizes[rows], self._modified[rows] = table["size"].to_numpy(), table["modified"].to_numpy()
        self._chunk[rows] = np.array(here, np.int32)[indices]

    def _mark_failures(self, place: Place) -> None:
        named = {part_name(name): name for name in self.done if name in self._numbers}
        names = [named[name] for name in place.names(ERRORS) if name in named]
        if not names:
            return
        failed: dict[tuple[int, bytes], Standing] = {}
        with ThreadPoolExecutor(_READERS) as readers:
            for name, found in zip(
                names, readers.map(lambda name: list(read_failures(place, name)), names), strict=True
            ):
                for failure in found:
                    at = self._numbers[name], failure["key"]
                    failed[at] = Standing.KILLED if failure["killed"] else Standing.FAILED
                    self._reasons[at] = sys.intern(failure["reason"])
        keys = from_bytes(b"".join({key for _, key in failed}))
        keys = keys[:, order(keys)]
        for start in range(0, len(self._chunk) - 1, _BLOCK):
            here = self._keys[:, start : start + _BLOCK]
            for row in (start + np.flatnonzero(search(keys, here)[1])).tolist():
                at = int(self._chunk[row]), self._keys[:, row].tobytes()
                if at in failed:
                    self._standing[row] = failed[at]
