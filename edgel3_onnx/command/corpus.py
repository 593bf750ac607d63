"""Which files a run works on, and where their embeddings go: settled, and checked, before anything runs."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.files import get_output_path
from edgel3_onnx.parts import Parts
from edgel3_onnx.recordings.decode import AV_SUFFIXES, HEADERLESS_SUFFIXES, SNDFILE_SUFFIXES
from edgel3_onnx.recordings.pyav import has_av

NO_RECORDINGS = "has no recordings"  # how the problem of an empty directory begins
_SHOWN = 5  # collisions that an error message lists
_OURS = frozenset((".npz", ".npy", ".parquet", ".csv", ".gz", ".jsonl"))  # what a run writes


@dataclass(frozen=True)
class Task:
    """One input of a run."""

    path: str
    output: str | None  # None for a part of a dataset, and where there is a problem
    problem: str | None = None  # why it cannot even be tried
    parts: Parts | None = None  # of the recording; None: all of it


@dataclass
class Plan:
    """All inputs of a run, in the order of the arguments, directories sorted."""

    tasks: list[Task] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on what was left out


def plan_run(
    inputs: Sequence[str | os.PathLike[str]],
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
        Of a directory, the files with a suffix of audio are taken, sorted. Symbolic links to directories are
        followed only where they are inputs themselves.
    output_dir : path or None
        Inputs that are files go directly into it; what is below an input directory keeps its sub-folder. None:
        outputs go beside the inputs.
    recursive : bool
        Take sub-folders too, but those whose names begin with a dot.
    headerless : bool
        Take files with a suffix of raw PCM too.

    Raises
    ------
    EdgeL3ArgumentError
        If two inputs would have the same output, or an output is one of the inputs.
    """
    plan = Plan()
    seen: set[str] = set()
    left_out = _LeftOut()
    for item in [os.fspath(item) for item in inputs]:
        if os.path.isdir(item):
            found = list(_walk(item, recursive, headerless, left_out))
            if not found:
                found = [(item, "", NO_RECORDINGS + ("" if recursive else " (sub-folders need --recursive)"))]
        else:
            found = [(item, "", None)]
        for path, sub_folder, problem in found:
            identity = os.path.abspath(path)
            if identity in seen:
                continue
            seen.add(identity)
            output = None
            if problem is None and format != "parquet":
                folder = None if output_dir is None else os.path.join(output_dir, sub_folder)
                output = get_output_path(path, f"{suffix or ''}.{format}", folder)
            plan.tasks.append(Task(path, output, problem))
    plan.notes += left_out.notes()
    _check_outputs(plan.tasks, seen)
    return plan


@dataclass
class _LeftOut:
    """What is in directories and not taken."""

    linked: list[str] = field(default_factory=list)
    need_av: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        if self.linked:
            yield f"{_count(self.linked, 'link', 'not followed')}: name the directories as inputs"
        if self.need_av:
            yield f"{_count(self.need_av, 'file', 'left out')}: PyAV is needed, pip install 'edgel3-onnx[av]'"
        if self.unknown:
            yield f"{_count(self.unknown, 'file', 'left out')}: no suffix of audio; files named one by one are tried"


def _walk(folder: str, recursive: bool, headerless: bool, left_out: _LeftOut) -> Iterator[tuple[str, str, str | None]]:
    """Path, sub-folder below the input, and problem of each file to try in ``folder``, sorted."""
    suffixes = SNDFILE_SUFFIXES | (AV_SUFFIXES if has_av() else set()) | (HEADERLESS_SUFFIXES if headerless else set())
    waiting = [""]
    while waiting:
        sub_folder = waiting.pop()
        here = os.path.join(folder, sub_folder) if sub_folder else folder
        try:
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield here, sub_folder, f"cannot be listed ({error.strerror or error})"
            continue
        below = []
        for entry in entries:
            extension = os.path.splitext(entry.name)[1].lower()
            linked_here = entry.is_symlink()
            is_directory = os.path.isdir(entry.path) if linked_here else entry.is_dir()
            if is_directory and recursive:
                if linked_here:
                    left_out.linked.append(entry.path)
                elif not entry.name.startswith("."):  # such as .Trashes on a memory card
                    below.append(os.path.join(sub_folder, entry.name))
            elif entry.name.startswith("._"):  # what macOS writes beside a file on a disk of another system
                continue
            elif extension in suffixes:
                yield entry.path, sub_folder, None
            elif is_directory:
                continue
            elif extension in AV_SUFFIXES:
                left_out.need_av.append(entry.path)
            elif extension not in _OURS and not entry.name.startswith("."):
                left_out.unknown.append(entry.path)
        waiting += reversed(below)


def _check_outputs(tasks: Sequence[Task], inputs: set[str]) -> None:
    sources = defaultdict(list)
    for task in tasks:
        if task.output is not None:
            sources[os.path.normcase(os.path.abspath(task.output))].append(task.path)
    clashes = [f"{display(output)} from {_some(paths)}" for output, paths in sources.items() if len(paths) > 1]
    if clashes:
        more = f"\n  and {len(clashes) - _SHOWN} more" if len(clashes) > _SHOWN else ""
        raise EdgeL3ArgumentError(
            f"{len(clashes)} outputs would be written by more than one input; nothing was done. Use separate runs "
            "with --suffix or --output:\n  " + "\n  ".join(clashes[:_SHOWN]) + more
        )
    for output in sources:
        if output in inputs:
            raise EdgeL3ArgumentError(f"the output {display(output)} is one of the inputs; nothing was done")


def _count(paths: Sequence[str], noun: str, fate: str) -> str:
    return f"{len(paths)} {noun}{' is' if len(paths) == 1 else 's are'} {fate} ({_some(paths)})"


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(display(path) for path in paths[:_SHOWN])
    return shown + (", ..." if len(paths) > _SHOWN else "")


def display(path: str) -> str:
    """``path`` on one line: characters that cannot be printed are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)
