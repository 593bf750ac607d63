"""Which parts of its recordings a run embeds."""

import os
from collections.abc import Sequence
from dataclasses import replace

from edgel3_onnx.command.corpus import Plan
from edgel3_onnx.corpora.selection import left_out, selection_of
from edgel3_onnx.labels import Region


def with_parts(
    plan: Plan,
    offset: float,
    duration: float | None,
    edges: str,
    regions: str | os.PathLike[str] | Sequence[Region] | None,
) -> Plan:
    """The tasks with their parts; where there are ``regions``, a recording without any is left out, which a note says.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or no recording has regions.
    EdgeL3Error
        If a file of regions cannot be read.
    """
    paths = [task.path for task in plan.tasks if task.problem is None]
    selection = selection_of(paths, offset, duration, edges, regions)
    tasks = [
        task if task.problem is not None else replace(task, parts=selection.of(task.path))
        for task in plan.tasks
        if task.problem is not None or selection.has(task.path)
    ]
    notes = left_out(len(plan.tasks) - len(tasks))
    return Plan(tasks, [*plan.notes, *notes])
