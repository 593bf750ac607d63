"""What a dataset holds, and what its plans still owe: told from names of parts, without opening them."""

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.corpora.cutting import Files
from edgel3_onnx.corpora.keys import HALF, distinct, from_bytes, from_hex, order, search
from edgel3_onnx.corpora.parts import chunk_of, read_failures
from edgel3_onnx.corpora.place import ERRORS, Place
from edgel3_onnx.corpora.plan import Chunk, Entry, PlanFile, plans
from edgel3_onnx.outputs import dataset

_READERS = 16  # threads that read records of failures: from a store in the network each takes its time
_PART = re.compile(r"part-[0-9a-f]{32}\.parquet")  # of a chunk
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
    parts : list of str
        Parts that are there.
    strangers : list of str
        Those of them that are in no plan.
    is_done : array, shape (C,), bool
        Whether the part of each chunk is there. A chunk's number is its place among the ids of all, sorted.
    """

    def __init__(self, place: Place) -> None:
        self.plans = plans(place)
        rows = sum(plan.files for plan in self.plans)
        self._keys = np.empty((2, rows), HALF)
        self._sizes, self._modified = np.zeros((2, rows + 1), np.int64)  # one more, for what is in no plan
        self._chunk = np.full(rows + 1, -1, np.int32)
        self._standing = np.full(rows + 1, Standing.UNKNOWN, np.int8)
        self._reasons: dict[tuple[int, bytes], str] = {}
        self._read_plans()
        self.is_done = np.zeros(self._ids.shape[1], bool)
        self._is_wanted = np.zeros_like(self.is_done)
        self.parts = [name for name in place.names() if dataset.is_part(name)]
        planned, chunks = self._planned(self.parts)
        self.is_done[chunks] = True
        self.strangers = sorted(set(self.parts).difference(planned)) if len(planned) < len(self.parts) else []
        standing = np.where(self.is_done, Standing.EMBEDDED, Standing.OWED).astype(np.int8)
        self._standing[:-1] = standing[self._chunk[:-1]]
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

    def numbers(self, names: Sequence[str]) -> NDArray[np.intp]:
        """The numbers of chunks of these plans."""
        return search(self._ids, from_hex(names))[0]

    def want(self, chunks: NDArray[Any]) -> int:
        """Let :meth:`wanted` give these chunks too. Returns how many files more that makes."""
        new = np.unique(chunks)
        new = new[~self._is_wanted[new]]
        self._is_wanted[new] = True
        return int(self._files[new].sum())

    def wanted(self) -> Iterator[Chunk]:
        """The chunks that were wanted, as they are in the plans."""
        given = np.zeros_like(self._is_wanted)  # a chunk may be in two plans
        for plan, group, numbers in self._groups:
            new = self._is_wanted[numbers] & ~given[numbers]
            if new.any():
                given[numbers] = True
                yield from compress(plan.group(group), new.tolist())

    def _read_plans(self) -> None:
        ids, files = [np.empty((2, 0), HALF)], [np.zeros(0, np.int64)]
        groups: list[tuple[PlanFile, int, slice]] = []
        end = chunks = 0
        for plan in self.plans:
            for group, rows in enumerate(plan.rows()):
                start, end = end, end + len(rows.chunk)
                self._keys[:, start:end] = rows.keys
                self._sizes[start:end], self._modified[start:end] = rows.sizes, rows.modified
                self._chunk[start:end] = chunks + rows.chunk
                ids.append(rows.chunks)
                files.append(np.bincount(rows.chunk))
                groups.append((plan, group, slice(chunks, chunks + len(files[-1]))))
                chunks += len(files[-1])
        self._ids, numbers = distinct(np.concatenate(ids, axis=1))
        self._files = np.empty(self._ids.shape[1], np.int64)
        self._files[numbers] = np.concatenate(files)
        self._chunk[:-1] = numbers[self._chunk[:-1]]
        self._groups = [(plan, group, numbers[here]) for plan, group, here in groups]

    def _planned(self, parts: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
        """Of these names of parts those that are in a plan, and the numbers of their chunks."""
        parts = [name for name in parts if _PART.fullmatch(name)]
        chunks, is_planned = search(self._ids, from_hex([chunk_of(name) for name in parts]))
        return list(compress(parts, is_planned.tolist())), chunks[is_planned]

    def _mark_failures(self, place: Place) -> None:
        names, chunks = self._planned(place.names(ERRORS))
        names = list(compress(names, self.is_done[chunks].tolist()))
        chunks = chunks[self.is_done[chunks]]
        if not names:
            return
        failed: dict[tuple[int, bytes], Standing] = {}
        with ThreadPoolExecutor(_READERS) as readers:
            for chunk, found in zip(chunks.tolist(), readers.map(partial(read_failures, place), names), strict=True):
                for failure in found:
                    at = chunk, failure["key"]
                    failed[at] = Standing.KILLED if failure["killed"] else Standing.FAILED
                    self._reasons[at] = sys.intern(failure["reason"])
        keys, _ = distinct(from_bytes(b"".join(key for _, key in failed)))
        for start in range(0, len(self._chunk) - 1, _BLOCK):
            here = self._keys[:, start : start + _BLOCK]
            for row in (start + np.flatnonzero(search(keys, here)[1])).tolist():
                at = int(self._chunk[row]), self._keys[:, row].tobytes()
                if at in failed:
                    self._standing[row] = failed[at]
