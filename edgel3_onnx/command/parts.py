"""Which parts of its recordings a run embeds."""

import os
from collections.abc import Sequence
from dataclasses import replace

from edgel3_onnx.command.corpus import Plan
from edgel3_onnx.labels import Region
from edgel3_onnx.parts import Parts
from edgel3_onnx.regions import regions_by_path


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
    parts = Parts.of(offset, duration, edges, None if regions is None else ())
    if regions is None:
        return Plan([replace(task, parts=parts) for task in plan.tasks], plan.notes)
    found = regions_by_path(regions, [task.path for task in plan.tasks if task.problem is None])
    tasks = [
        replace(task, parts=Parts.of(0.0, None, edges, found.get(task.path, ())))
        for task in plan.tasks
        if task.path in found or task.problem is not None
    ]
    notes = list(plan.notes)
    if missing := len(plan.tasks) - len(tasks):
        notes.append(f"{missing} {'recording has' if missing == 1 else 'recordings have'} no regions and are left out")
    return Plan(tasks, notes)
