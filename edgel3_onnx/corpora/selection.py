"""Which parts of its recordings a corpus has."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgel3_onnx.corpora.inputs import Input
from edgel3_onnx.labels import Region
from edgel3_onnx.parts import Parts
from edgel3_onnx.regions import regions_by_path


@dataclass(frozen=True)
class Selection:
    """The parts of each recording: the same of all, or each its own."""

    same: Parts | None = None  # None: all of it
    own: Mapping[str, Parts] | None = None  # by path, in place of ``same``

    def of(self, path: str) -> Parts | None:
        return self.same if self.own is None else self.own[path]

    def has(self, path: str) -> bool:
        """Whether anything of a recording is wanted."""
        return self.own is None or path in self.own

    def record(self) -> dict[str, Any] | None:
        """What a plan says of it."""
        if self.own is None:
            return None if self.same is None else self.same.record()
        rows = json.dumps([[path, parts.record()] for path, parts in sorted(self.own.items())])
        return {"recordings": len(self.own), "regions_sha256": hashlib.sha256(rows.encode()).hexdigest()}


WHOLE = Selection()


def select(
    inputs: Iterable[Input],
    offset: float,
    duration: float | None,
    edges: str,
    regions: str | os.PathLike[str] | Sequence[Region] | None,
) -> tuple[Iterable[Input], Selection, list[str]]:
    """The inputs that have parts, which these are, and a note of how many are left out since they have none.

    With ``regions`` all inputs are read before any is worked on.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or no recording has regions.
    EdgeL3Error
        If a file of regions cannot be read.
    """
    if regions is None:
        return inputs, selection_of([], offset, duration, edges, None), []
    found = list(inputs)
    paths = [item.path for item in found if item.problem is None]
    selection = selection_of(paths, offset, duration, edges, regions)
    kept = [item for item in found if item.problem is not None or selection.has(item.path)]
    return kept, selection, left_out(len(found) - len(kept))


def selection_of(
    paths: Sequence[str],
    offset: float,
    duration: float | None,
    edges: str,
    regions: str | os.PathLike[str] | Sequence[Region] | None,
) -> Selection:
    """The parts of the recordings ``paths`` that arguments say, checked; which recordings matters with ``regions``."""
    same = Parts.of(offset, duration, edges, None if regions is None else ())
    if regions is None:
        return Selection(same)
    own = {path: Parts.of(0.0, None, edges, these) for path, these in regions_by_path(regions, paths).items()}
    return Selection(own={path: parts for path, parts in own.items() if parts is not None})


def left_out(count: int) -> list[str]:
    """The note about recordings without regions."""
    return [f"{count} {'recording has' if count == 1 else 'recordings have'} no regions and are left out"] * bool(count)
