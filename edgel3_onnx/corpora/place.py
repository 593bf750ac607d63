"""The directory of a dataset: files appear in it whole, under their own names, or not at all."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from edgel3_onnx.atomic import PartialFile, remove_abandoned
from edgel3_onnx.exceptions import EdgeL3Error

PLANS, ERRORS, ATTEMPTS = "_plan", "_errors", "_attempts"  # what reads datasets passes over names that begin with _
_FOLDERS = ("", PLANS, ERRORS)


class Draft(Protocol):
    """A file that is being written."""

    path: str  # of this machine, where to write it

    def commit(self, name: str) -> None:
        """Make it the file ``name`` of its place. OSError if that fails."""
        ...

    def discard(self) -> None:
        """Remove it, if it was not committed."""
        ...


class Place(Protocol):
    """Where a dataset lies. Names are relative to it, with ``/``."""

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, sorted, without it; none if it is not there. EdgeL3Error if that is not known."""
        ...

    def shown(self, name: str) -> str:
        """A name as users know it."""
        ...

    def draft(self, folder: str = "") -> Draft:
        """A new file. OSError if there can be none."""
        ...

    def reading(self, name: str) -> AbstractContextManager[Any]:
        """A file object of a file, for pyarrow."""
        ...

    def mark(self, name: str) -> None:
        """Make an empty file. OSError if that fails."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. OSError if it stays."""
        ...

    def sweep(self) -> None:
        """Remove what killed processes left half written."""
        ...


class _LocalDraft:
    def __init__(self, root: str, folder: str) -> None:
        self._root = root
        self._partial = PartialFile(os.path.join(root, folder, "draft"))
        try:
            self._partial.open()
        except BaseException:
            self._partial.discard()
            raise
        self.path = self._partial.temporary

    def commit(self, name: str) -> None:
        self._partial.path = os.path.join(self._root, name)
        self._partial.commit(durable=True)

    def discard(self) -> None:
        self._partial.discard()


class Folder:
    """A directory of this machine, or one that it has mounted."""

    def __init__(self, root: str) -> None:
        self._root = root

    def names(self, folder: str = "") -> list[str]:
        path = os.path.join(self._root, folder) if folder else self._root
        try:
            return sorted(os.listdir(path or "."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EdgeL3Error(f"{path}: cannot be listed ({error.strerror or error})") from error

    def shown(self, name: str) -> str:
        return os.path.join(self._root, name)

    def draft(self, folder: str = "") -> Draft:
        return _LocalDraft(self._root, folder)

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        with open(self.shown(name), "rb") as file:
            yield file

    def mark(self, name: str) -> None:
        os.makedirs(os.path.dirname(self.shown(name)), exist_ok=True)
        with open(self.shown(name), "xb"):
            pass

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.shown(name))

    def sweep(self) -> None:
        for folder in _FOLDERS:
            remove_abandoned(os.path.join(self._root, folder))


def open_place(location: str) -> Place:
    """The place of a dataset: a path."""
    return Folder(location)
