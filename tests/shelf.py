"""A store in memory, as a filesystem of pyarrow's: it counts what it is asked, and fails when it is told to."""

import errno
import io
import os
from collections import Counter

import pyarrow
from pyarrow import fs


class Shelf(fs.FileSystemHandler):
    """Objects by their paths; folders are what the paths say, and those that were made.

    Attributes
    ----------
    objects : dict of str to bytes
    changed : dict of str to int
        When, in ns since 1970; of others 1 s.
    asked : Counter of (method, path)
    faults : dict of (method, path) to list of (OSError, bytes or None)
        What comes instead of the next answers, in this order; None: the answer after all.
    cut : dict of str to list of int
        How many bytes of what is written next arrive.
    """

    def __init__(self, objects=()):
        self.objects = dict(objects)
        self.changed = {}
        self.folders = set()
        self.asked = Counter()
        self.faults = {}
        self.cut = {}

    def fails(self, method, path, *faults):
        self.faults[method, path] = list(faults)

    def _ask(self, method, path):
        """The fault that is due, if it is no exception."""
        self.asked[method, path] += 1
        waiting = self.faults.get((method, path))
        fault = waiting.pop(0) if waiting else None
        if isinstance(fault, OSError):
            raise fault
        return fault

    def get_type_name(self):
        return "shelf"

    def normalize_path(self, path):
        return path

    def _kind(self, path):
        if path in self.objects:
            return fs.FileType.File
        below = f"{path}/"
        is_folder = path in self.folders or any(name.startswith(below) for name in [*self.objects, *self.folders])
        return fs.FileType.Directory if is_folder else fs.FileType.NotFound

    def _info(self, path):
        size = len(self.objects[path]) if path in self.objects else None
        return fs.FileInfo(path, self._kind(path), size=size, mtime_ns=self.changed.get(path, 10**9))

    def get_file_info(self, paths):
        paths = [path.rstrip("/") for path in paths]
        for path in paths:
            self._ask("info", path)
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector):
        folder = selector.base_dir
        self._ask("list", folder)
        if self._kind(folder) is fs.FileType.NotFound and not selector.allow_not_found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        below = f"{folder}/"
        inside = [name[len(below) :] for name in [*self.objects, *self.folders] if name.startswith(below)]
        return [self._info(below + name) for name in {name.partition("/")[0] for name in inside}]

    def create_dir(self, path, recursive):
        self._ask("create", path)
        self.folders.add(path)

    def delete_file(self, path):
        self._ask("delete", path)
        del self.objects[path]

    def move(self, src, dest):
        self._ask("move", dest)
        self.objects[dest] = self.objects.pop(src)

    def open_input_file(self, path):
        self._ask("open", path)
        if path not in self.objects:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return pyarrow.PythonFile(_Reader(self, path), mode="r")

    def open_output_stream(self, path, metadata):
        self._ask("write", path)
        return pyarrow.PythonFile(_Writer(self, path), mode="w")

    def _not_asked(self, *args):
        raise NotImplementedError

    open_input_stream = open_append_stream = copy_file = _not_asked
    delete_dir = delete_dir_contents = delete_root_dir_contents = _not_asked


class _Reader(io.BytesIO):
    def __init__(self, shelf, path):
        super().__init__(shelf.objects[path])
        self._shelf, self._path = shelf, path

    def read(self, count=-1):
        instead = self._shelf._ask("read", self._path)
        data = super().read(count)
        return data if instead is None else instead


class _Writer(io.BytesIO):
    def __init__(self, shelf, path):
        super().__init__()
        self._shelf, self._path = shelf, path

    def close(self):
        if not self.closed:
            cut = self._shelf.cut.get(self._path)
            self._shelf.objects[self._path] = self.getvalue()[: cut.pop(0) if cut else None]
        super().close()
