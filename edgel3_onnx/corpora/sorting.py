"""Inputs sorted out: which need no work, which are owed by a plan, and which are in none."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.corpora.cutting import Files
from edgel3_onnx.corpora.inputs import Input
from edgel3_onnx.corpora.keys import Seen, absolutes, keys_of
from edgel3_onnx.corpora.ledger import Findings, Ledger, Standing
from edgel3_onnx.corpora.records import Record
from edgel3_onnx.corpora.selection import WHOLE, Selection
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import dataset
from edgel3_onnx.outputs.record import Metadata, part
from edgel3_onnx.recordings import location

_BATCH = 2**14  # inputs that are looked up at once
_OTHER_FILE = "is in the dataset already, made from a file of another size or time (see --overwrite)"


class Sorter:
    """Sorts inputs out, the first of each path.

    Parameters
    ----------
    ledger : Ledger or None
        Of the dataset that is gone on with.
    finished : FinishedSources or None
        The recordings that are in none of its plans.
    dry : bool
        Whether those that are in no plan get a record too.
    selection : Selection
        Which parts of the recordings are wanted.

    Attributes
    ----------
    total : int
        Files that were met, and those that share chunks that are not done with them; the ledger wants these chunks.
    """

    def __init__(
        self, ledger: Ledger | None, finished: dataset.FinishedSources | None, dry: bool, selection: Selection = WHOLE
    ) -> None:
        self.total = 0
        self._ledger, self._finished, self._dry, self._selection = ledger, finished, dry, selection
        self._seen = Seen()

    def batches(self, inputs: Iterable[Input]) -> Iterator[tuple[list[Record], Files]]:
        """Of some inputs after others, the records of those that need no work, and the files that are in no plan."""
        items = iter(inputs)
        while batch := list(islice(items, _BATCH)):
            yield self._sort(batch)

    def _sort(self, batch: list[Input]) -> tuple[list[Record], Files]:
        known_as = absolutes([item.path for item in batch])
        keys = keys_of(known_as)
        rows = np.flatnonzero(self._seen.first(keys)).tolist()
        states = [_state(batch[row]) for row in rows]
        records = [
            Record.of(batch[row].path, "failed", state, absolute_path=known_as[row])
            for row, state in zip(rows, states, strict=True)
            if isinstance(state, str)
        ]
        rows = [row for row, state in zip(rows, states, strict=True) if not isinstance(state, str)]
        files = Files(
            [batch[row].path for row in rows], keys[:, rows], [state for state in states if not isinstance(state, str)]
        )
        fresh, verdicts = self._judge(files)
        for at, verdict in sorted(verdicts.items()):
            records.append(Record.of(files.paths[at], *verdict, absolute_path=known_as[rows[at]]))
        self.total += len(records) + (0 if self._dry else int(np.count_nonzero(fresh)))
        return records, files.those(fresh)

    def _judge(self, files: Files) -> tuple[NDArray[np.bool_], dict[int, tuple[str, str | None]]]:
        """Which files are in no plan, and status and reason of those that get a record; the others are owed."""
        verdicts: dict[int, tuple[str, str | None]] = {}
        fresh = np.ones(len(files), bool)
        if self._ledger is not None:
            found = self._ledger.look_up(files)
            self.total += self._ledger.want(found.chunk[found.standing == Standing.OWED])
            verdicts = self._settled(files, found)
            fresh[found.standing == Standing.OWED] = False
            fresh[list(verdicts)] = False
        if self._dry:
            verdicts |= dict.fromkeys(np.flatnonzero(fresh).tolist(), ("planned", None))
        return fresh, verdicts

    def _settled(self, files: Files, found: Findings) -> dict[int, tuple[str, str | None]]:
        """Status and reason of those that need no work."""
        assert self._ledger is not None
        is_embedded = found.standing == Standing.EMBEDDED
        settled: dict[int, tuple[str, str | None]] = {
            **dict.fromkeys(np.flatnonzero(is_embedded & found.is_same).tolist(), ("skipped", None)),
            **dict.fromkeys(np.flatnonzero(is_embedded & ~found.is_same).tolist(), ("failed", _OTHER_FILE)),
        }
        for row in np.flatnonzero((found.standing == Standing.KILLED) & found.is_same).tolist():
            settled[row] = "failed", self._ledger.reason(int(found.chunk[row]), files.keys[:, row].tobytes())
        if self._finished is not None:
            for row in np.flatnonzero(found.standing == Standing.UNKNOWN).tolist():
                skip, error = self._finished.look_up(files.paths[row], self._source(files, row))
                if error is not None:
                    settled[row] = "failed", error
                elif skip:
                    settled[row] = "skipped", None
        return settled

    def _source(self, files: Files, row: int) -> Metadata:
        """What records of outputs say about a file."""
        return {
            "source": os.path.basename(location.shown(files.paths[row])),
            "source_bytes": int(files.sizes[row]),
            "source_mtime_ns": int(files.modified[row]),
            **part(self._selection.of(files.paths[row])),
        }


def _state(item: Input) -> tuple[int, int] | str:
    """Size and time of change of a file as it is now, or why that cannot be told."""
    if item.problem is not None:
        return item.problem
    try:
        return item.state or location.state(item.path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except EdgeL3Error as error:
        return str(error)
    except ValueError as error:  # a NUL in a path
        return f"cannot be read ({error})"
