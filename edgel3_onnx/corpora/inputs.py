"""What a run works on: files that are named, and those found in directories, one after another."""

import os
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import location
from edgel3_onnx.recordings.decode import AV_SUFFIXES, HEADERLESS_SUFFIXES, SNDFILE_SUFFIXES
from edgel3_onnx.recordings.pyav import has_av
from edgel3_onnx.terminal import SHOWN, some

NO_RECORDINGS = "has no recordings"  # how the problem of an empty directory begins
_OURS = frozenset((".npz", ".npy", ".parquet", ".csv", ".gz", ".jsonl"))  # what a run writes


class Input(NamedTuple):
    """A file to try."""

    path: str
    sub_folder: str = ""  # below the directory that it was found in
    problem: str | None = None  # why it cannot even be tried
    state: tuple[int, int] | None = None  # as of location.state, where listing it said that


class _Tally:
    """How many paths there were, and the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, path: str) -> None:
        self.count += 1
        if len(self._first) <= SHOWN:
            self._first.append(path)

    def said(self, noun: str, fate: str) -> str:
        return f"{self.count} {noun}{' is' if self.count == 1 else 's are'} {fate} ({some(self._first)})"


@dataclass
class LeftOut:
    """What is in directories and not taken."""

    linked: _Tally = field(default_factory=_Tally)
    need_av: _Tally = field(default_factory=_Tally)
    unknown: _Tally = field(default_factory=_Tally)

    def notes(self) -> Iterator[str]:
        if self.linked.count:
            yield f"{self.linked.said('link', 'not followed')}: name the directories as inputs"
        if self.need_av.count:
            yield f"{self.need_av.said('file', 'left out')}: PyAV is needed, pip install 'edgel3-onnx[av]'"
        if self.unknown.count:
            yield f"{self.unknown.said('file', 'left out')}: no suffix of audio; files named one by one are tried"


def find(
    inputs: Iterable[str | os.PathLike[str]], left_out: LeftOut, *, recursive: bool = False, headerless: bool = False
) -> Iterator[Input]:
    """The files of ``inputs``, in their order, directories sorted; ``left_out`` is filled on the way.

    Parameters
    ----------
    inputs : paths or URIs of files, directories and tar archives
        Of a directory or an archive, the files with a suffix of audio are taken. Symbolic links to directories are
        followed only where they are inputs themselves.
    recursive : bool
        Take sub-folders too, but those whose names begin with a dot.
    headerless : bool
        Take files with a suffix of raw PCM too.
    """
    suffixes = SNDFILE_SUFFIXES | (AV_SUFFIXES if has_av() else set()) | (HEADERLESS_SUFFIXES if headerless else set())
    for item in (os.fspath(each) for each in inputs):
        found = _below(item, recursive, suffixes, left_out)
        if found is None:
            yield Input(item)
            continue
        is_empty = True
        for each in found:
            is_empty = False
            yield each
        if is_empty:
            yield Input(item, problem=NO_RECORDINGS + ("" if recursive else " (sub-folders need --recursive)"))


def _below(item: str, recursive: bool, suffixes: Set[str], left_out: LeftOut) -> Iterator[Input] | None:
    """What an input stands for; None for a file."""
    if item.lower().endswith(".tar"):
        return _in_archive(item, suffixes, left_out)
    if location.is_uri(item):
        return _in_store(item, recursive, suffixes, left_out)
    return _walk(item, recursive, suffixes, left_out) if os.path.isdir(item) else None


def _in_archive(archive: str, suffixes: Set[str], left_out: LeftOut) -> Iterator[Input]:
    """The recordings in a tar archive, such as a shard of WebDataset."""
    try:
        for name, member in location.members(archive):
            if os.path.splitext(name)[1].lower() in suffixes:
                yield Input(member)
    except EdgeL3Error as error:
        yield Input(archive, problem=str(error))


def _in_store(uri: str, recursive: bool, suffixes: Set[str], left_out: LeftOut) -> Iterator[Input] | None:
    """The files below a URI, folder by folder; None if it is a file."""
    from pyarrow import fs

    try:
        store, root = location.resolve(uri)
        kind = location.persistent(lambda: store.get_file_info(root)).type
    except (OSError, EdgeL3Error) as error:
        return iter([Input(uri, problem=f"cannot be read ({getattr(error, 'strerror', None) or error})")])
    return (
        _list_store(store, root, uri.rstrip("/"), recursive, suffixes, left_out)
        if kind is fs.FileType.Directory
        else None
    )


def _list_store(
    store: Any, root: str, uri: str, recursive: bool, suffixes: Set[str], left_out: LeftOut
) -> Iterator[Input]:
    from pyarrow import fs

    waiting = [root.rstrip("/")]
    while waiting:
        here = waiting.pop()
        sub_folder = here[len(root.rstrip("/")) :].strip("/")
        try:
            listing = location.persistent(partial(store.get_file_info, fs.FileSelector(here)))
        except OSError as error:
            yield Input(f"{uri}/{sub_folder}", sub_folder, f"cannot be listed ({error.strerror or error})")
            continue
        below = []
        for info in sorted(listing, key=lambda info: info.base_name):
            path = "/".join(filter(None, [uri, sub_folder, info.base_name]))
            if info.type is fs.FileType.Directory:
                if recursive and not info.base_name.startswith((".", "_")):
                    below.append(info.path)
            elif os.path.splitext(info.base_name)[1].lower() in suffixes:
                yield Input(path, sub_folder, state=(info.size, info.mtime_ns or 0))
            elif info.base_name and os.path.splitext(info.base_name)[1] not in _OURS:
                left_out.unknown.add(path)
        waiting += reversed(below)


def _walk(folder: str, recursive: bool, suffixes: Set[str], left_out: LeftOut) -> Iterator[Input]:
    """The files to try in ``folder``, sorted."""
    waiting = [""]
    while waiting:
        sub_folder = waiting.pop()
        here = os.path.join(folder, sub_folder) if sub_folder else folder
        try:
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Input(here, sub_folder, f"cannot be listed ({error.strerror or error})")
            continue
        below = []
        for entry in entries:
            extension = os.path.splitext(entry.name)[1].lower()
            linked_here = entry.is_symlink()
            is_directory = os.path.isdir(entry.path) if linked_here else entry.is_dir()
            if is_directory and recursive:
                if linked_here:
                    left_out.linked.add(entry.path)
                elif not entry.name.startswith("."):  # such as .Trashes on a memory card
                    below.append(os.path.join(sub_folder, entry.name))
            elif entry.name.startswith("._"):  # what macOS writes beside a file on a disk of another system
                continue
            elif extension in suffixes:
                yield Input(entry.path, sub_folder)
            elif is_directory:
                continue
            elif extension in AV_SUFFIXES:
                left_out.need_av.add(entry.path)
            elif extension not in _OURS and not entry.name.startswith("."):
                left_out.unknown.add(entry.path)
        waiting += reversed(below)


def listed(path: str | os.PathLike[str]) -> Iterator[str]:
    """The paths that the lines of a file are; empty lines are none. EdgeL3Error if it cannot be read."""
    try:
        with open(path, "rb") as file:
            for line in file:
                if line := line.rstrip(b"\r\n"):
                    yield os.fsdecode(line)
    except OSError as error:
        raise EdgeL3Error(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from error
