"""Which files a run works on, and where their embeddings go: settled, and checked, before anything runs."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edgel3_onnx.corpora.inputs import LeftOut, find
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.files import get_output_path
from edgel3_onnx.parts import Parts
from edgel3_onnx.terminal import SHOWN, display, some


@dataclass(frozen=True)
class Task:
    """One input of a run."""

    path: str
    output: str | None  # None where there is a problem
    problem: str | None = None  # why it cannot even be tried
    parts: Parts | None = None  # of the recording; None: all of it

    @property
    def key(self) -> str:
        return self.path


@dataclass
class Plan:
    """All inputs of a run, in the order of the arguments, directories sorted."""

    tasks: list[Task] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on what was left out


def plan_run(
    inputs: Iterable[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    format: str = "npz",
    recursive: bool = False,
    headerless: bool = False,
) -> Plan:
    """Find the files to work on and name their outputs.

    Parameters
    ----------
    inputs : paths of files and directories
    output_dir : path or None
        Inputs that are files go directly into it; what is below an input directory keeps its sub-folder. None:
        outputs go beside the inputs.
    recursive, headerless
        As of :func:`edgel3_onnx.corpora.inputs.find`.

    Raises
    ------
    EdgeL3ArgumentError
        If two inputs would have the same output, or an output is one of the inputs.
    """
    plan = Plan()
    seen: set[str] = set()
    left_out = LeftOut()
    for found in find(inputs, left_out, recursive=recursive, headerless=headerless):
        identity = os.path.abspath(found.path)
        if identity in seen:
            continue
        seen.add(identity)
        output = None
        if found.problem is None:
            folder = None if output_dir is None else os.path.join(output_dir, found.sub_folder)
            output = get_output_path(found.path, f"{suffix or ''}.{format}", folder)
        plan.tasks.append(Task(found.path, output, found.problem))
    plan.notes += left_out.notes()
    _check_outputs(plan.tasks, seen)
    return plan


def _check_outputs(tasks: Sequence[Task], inputs: set[str]) -> None:
    sources = defaultdict(list)
    for task in tasks:
        if task.output is not None:
            sources[os.path.normcase(os.path.abspath(task.output))].append(task.path)
    clashes = [f"{display(output)} from {some(paths)}" for output, paths in sources.items() if len(paths) > 1]
    if clashes:
        more = f"\n  and {len(clashes) - SHOWN} more" if len(clashes) > SHOWN else ""
        raise EdgeL3ArgumentError(
            f"{len(clashes)} outputs would be written by more than one input; nothing was done. Use separate runs "
            "with --suffix or --output:\n  " + "\n  ".join(clashes[:SHOWN]) + more
        )
    for output in sources:
        if output in inputs:
            raise EdgeL3ArgumentError(f"the output {display(output)} is one of the inputs; nothing was done")
