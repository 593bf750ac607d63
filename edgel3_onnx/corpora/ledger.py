"""What a dataset holds, and what its plans still owe: told from names of parts, without opening them."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.corpora.parts import finished, part_name, read_failures
from edgel3_onnx.corpora.place import ERRORS, Place
from edgel3_onnx.corpora.plan import Chunk, Entry, plans

_READERS = 16  # threads that read records of failures: from a store in the network each takes its time
_KEYS = np.dtype("S16")


class Standing(IntEnum):
    """How a file stands; of several for one file, the least counts."""

    EMBEDDED = 0
    OWED = 1  # in a chunk that is not done
    KILLED = 2  # it ended the processes that worked on it
    FAILED = 3
    UNKNOWN = 4


@dataclass(frozen=True)
class Finding:
    """What the ledger has about a file."""

    standing: Standing
    is_same: bool = True  # whether size and time of change are those of the plan
    chunk: int = -1  # its number
    reason: str = ""  # why it failed


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
        self._reasons: dict[tuple[int, bytes], str] = {}
        numbers: dict[str, int] = {}
        columns: list[list[NDArray[Any]]] = [[], [], [], []]
        for plan in self.plans:
            for table in plan.columns(["chunk", "key", "size", "modified"]):
                self._take(table, numbers, columns)
        self.strangers = [part_name(name) for name in sorted(self.done - numbers.keys())]
        keys, sizes, modified, chunk = (
            np.concatenate(parts) if parts else np.zeros(0, dtype)
            for parts, dtype in zip(columns, (_KEYS, np.int64, np.int64, np.int32), strict=True)
        )
        del columns
        self._files = np.bincount(chunk, minlength=len(self.chunks))
        is_done = np.array([name in self.done for name in self.chunks], bool)
        standing = np.where(is_done[chunk], Standing.EMBEDDED, Standing.OWED).astype(np.int8)
        self._mark_failures(place, numbers, keys, chunk, standing)
        order = np.lexsort((standing, keys))
        self._keys, self._sizes, self._modified = keys[order], sizes[order], modified[order]
        self._chunk, self._standing = chunk[order], standing[order]

    def look_up(self, entries: Sequence[Entry]) -> Iterator[Finding]:
        """How each file stands."""
        wanted = np.array([entry.key for entry in entries], _KEYS)
        at = np.searchsorted(self._keys, wanted)
        inside = np.minimum(at, max(len(self._keys) - 1, 0))
        known = self._keys[inside] == wanted if len(self._keys) else np.zeros(len(wanted), bool)
        for entry, is_known, row in zip(entries, known.tolist(), inside.tolist(), strict=True):
            if not is_known:
                yield _UNKNOWN
                continue
            standing, chunk = Standing(int(self._standing[row])), int(self._chunk[row])
            is_same = (self._sizes[row], self._modified[row]) == (entry.size, entry.modified)
            yield Finding(standing, bool(is_same), chunk, self._reasons.get((chunk, entry.key), ""))

    def files_of(self, chunk: int) -> int:
        """How many files a chunk has."""
        return int(self._files[chunk])

    def owed(self, only: set[str] | None = None) -> Iterator[Chunk]:
        """The chunks that are not done, or those of ``only`` among all."""
        given: set[str] = set()  # a chunk may be in two plans
        for plan in self.plans:
            for number, table in enumerate(plan.columns(["chunk"])):
                names = set(table["chunk"].unique().to_pylist()) - given
                names = names - self.done if only is None else names & only
                if names:
                    given |= names
                    yield from (chunk for chunk in plan.group(number) if chunk.id in names)

    def _take(self, table: Any, numbers: dict[str, int], columns: list[list[NDArray[Any]]]) -> None:
        """Add a group of a plan's rows."""
        names = table["chunk"].combine_chunks().dictionary_encode()
        here = []
        for name in names.dictionary.to_pylist():
            if name not in numbers:
                numbers[name] = len(self.chunks)
                self.chunks.append(name)
            here.append(numbers[name])
        keys = table["key"].combine_chunks()
        columns[0].append(np.frombuffer(keys.buffers()[1], _KEYS, len(keys), keys.offset * _KEYS.itemsize))
        columns[1].append(table["size"].to_numpy())
        columns[2].append(table["modified"].to_numpy())
        columns[3].append(np.array(here, np.int32)[names.indices.to_numpy()])

    def _mark_failures(
        self, place: Place, numbers: dict[str, int], keys: NDArray[Any], chunk: NDArray[Any], standing: NDArray[Any]
    ) -> None:
        named = [part_name(name) for name in self.done if name in numbers]
        with_failures = sorted(set(place.names(ERRORS)).intersection(named))
        if not with_failures:
            return
        names = [name.removeprefix("part-").removesuffix(".parquet") for name in with_failures]
        failed: dict[tuple[int, bytes], Standing] = {}
        with ThreadPoolExecutor(_READERS) as readers:
            for name, found in zip(
                names, readers.map(lambda name: list(read_failures(place, name)), names), strict=True
            ):
                for failure in found:
                    at = numbers[name], failure["key"]
                    failed[at] = Standing.KILLED if failure["killed"] else Standing.FAILED
                    self._reasons[at] = failure["reason"]
        suspect = np.zeros(len(self.chunks), bool)
        suspect[[numbers[name] for name in names]] = True
        for row in np.flatnonzero(suspect[chunk]).tolist():
            if (state := failed.get((int(chunk[row]), keys[row].ljust(16, b"\0")))) is not None:
                standing[row] = state


_UNKNOWN = Finding(Standing.UNKNOWN)


class Seen:
    """Keys that were met so far: 16 bytes each, however many they are."""

    def __init__(self) -> None:
        self._levels: list[NDArray[Any]] = []  # sorted, each more than twice as long as the next

    def first(self, keys: Iterable[bytes]) -> list[bool]:
        """Whether each is met for the first time. They are met from now on."""
        new = np.array(list(keys), _KEYS)
        fresh = np.zeros(len(new), bool)
        fresh[np.unique(new, return_index=True)[1]] = True
        for level in self._levels:
            at = np.minimum(np.searchsorted(level, new), len(level) - 1)
            fresh &= level[at] != new
        added = np.sort(new[fresh])
        while len(added) and self._levels and len(self._levels[-1]) < 2 * len(added):
            added = np.sort(np.concatenate([self._levels.pop(), added]), kind="stable")
        if len(added):
            self._levels.append(added)
        return fresh.tolist()
