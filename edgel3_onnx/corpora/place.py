"""The directory of a dataset: files appear in it whole, under their own names, or not at all."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from edgel3_onnx.atomic import PartialFile, remove_abandoned
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings.location import is_uri, open_binary, persistent, resolve

PLANS, ERRORS, ATTEMPTS = "_plan", "_errors", "_attempts"  # what reads datasets passes over names that begin with _
_FOLDERS = ("", PLANS, ERRORS)
_WHOLE_OBJECTS = ("s3", "gcs", "abfs")  # stores of pyarrow's that show no object in part


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
        self._partial.commit()

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


class _RemoteDraft:
    """A file that is finished on this machine, and then sent."""

    def __init__(self, store: Any, root: str) -> None:
        self._store, self._root = store, root
        descriptor, self.path = tempfile.mkstemp(prefix="edgel3-onnx-", suffix=".part")
        os.close(descriptor)

    def commit(self, name: str) -> None:
        with open(self.path, "rb") as file:
            data = file.read()
        persistent(lambda: self._send(f"{self._root}/{name}", data))
        self.discard()

    def _send(self, target: str, data: bytes) -> None:
        """Make ``target``. Stores show an object when all of it has arrived; others get it under another name first."""
        shows_at_once = self._store.type_name not in _WHOLE_OBJECTS
        sent = f"{target}.{uuid.uuid4().hex}.part" if shows_at_once else target
        with self._store.open_output_stream(sent) as stream:
            stream.write(data)
        if self._store.get_file_info(sent).size != len(data):
            raise OSError(5, "not all of it arrived")
        if shows_at_once:
            self._store.move(sent, target)

    def discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.path)


class Store:
    """A directory of a store in the network."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._store, root = resolve(self._uri)
        self._root = root.rstrip("/")

    def names(self, folder: str = "") -> list[str]:
        from pyarrow import fs

        path = f"{self._root}/{folder}".rstrip("/")
        selector = fs.FileSelector(path, allow_not_found=True)
        try:
            return sorted(info.base_name for info in persistent(lambda: self._store.get_file_info(selector)))
        except OSError as error:
            raise EdgeL3Error(f"{self.shown(folder)}: cannot be listed ({error.strerror or error})") from error

    def shown(self, name: str) -> str:
        return f"{self._uri}/{name}".rstrip("/")

    def draft(self, folder: str = "") -> Draft:
        path = f"{self._root}/{folder}".rstrip("/")
        if self._store.type_name not in _WHOLE_OBJECTS:
            persistent(lambda: self._store.create_dir(path))
        return _RemoteDraft(self._store, self._root)

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        with open_binary(self.shown(name)) as file:
            yield file

    def mark(self, name: str) -> None:
        draft = self.draft(os.path.dirname(name))
        try:
            draft.commit(name)
        finally:
            draft.discard()

    def remove(self, name: str) -> None:
        from pyarrow import fs

        path = f"{self._root}/{name}"
        if persistent(lambda: self._store.get_file_info(path)).type is not fs.FileType.NotFound:
            with suppress(FileNotFoundError):
                persistent(lambda: self._store.delete_file(path))

    def sweep(self) -> None:
        pass  # an upload that was broken off shows nothing


def open_place(location: str) -> Place:
    """The place of a dataset: a path, or a URI. EdgeL3Error if nothing is known that opens it."""
    return Store(location) if is_uri(location) else Folder(location)
