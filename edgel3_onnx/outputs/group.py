"""Outputs that get their names together, when the disk has all of them: waiting for each alone would cost too much."""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO

from edgel3_onnx.atomic import PartialFile, cannot_be_written
from edgel3_onnx.durable import sync_file_system, sync_folders
from edgel3_onnx.exceptions import EdgeL3Error

_MOST = 32  # outputs that wait, each an open file
_SHARE = 0.02  # of the time may go into waiting for the disk, while fewer wait


class OutputGroup:
    """Outputs that are written and have no name so far.

    They are committed when the block ends, however it ends: an interruption loses nothing that was written.
    """

    def __init__(self) -> None:
        self._written: deque[PartialFile] = deque()
        self._began = time.monotonic()
        self._waited = 0.0  # seconds

    def __enter__(self) -> "OutputGroup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.commit()

    @contextmanager
    def replacing(self, path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
        """Give a file to write to that becomes ``path`` when the group is committed, if all goes well.

        Raises
        ------
        EdgeL3Error
            If it cannot be written. What was at ``path`` before is still there, then.
        """
        partial = PartialFile(path)
        try:
            partial.open()
            yield partial.file
            partial.file.flush()
            self._written.append(partial)
        except BaseException as error:
            partial.discard()
            if isinstance(error, OSError):
                raise cannot_be_written(path, error) from error
            raise

    @property
    def is_due(self) -> bool:
        """Whether to commit now. Where the disk is fast, or outputs come slowly, hardly any waits for others."""
        if not 0 < len(self._written) < _MOST:
            return True
        return self._waited <= _SHARE * (time.monotonic() - self._began)

    def commit(self) -> dict[str, EdgeL3Error]:
        """Give the outputs their names, each when the disk has it.

        After a power cut, what had a name before, or the new output, is there; the new one if this has returned.

        Returns
        -------
        dict of str to EdgeL3Error
            The outputs that cannot be written, and why. What had their names before is still there.
        """
        errors: dict[str, EdgeL3Error] = {}
        folders: set[str] = set()
        start = time.monotonic()
        if len(self._written) > 1:
            sync_file_system(self._written[0].file.fileno())
        while self._written:
            partial = self._written.popleft()
            try:
                partial.sync()
                partial.rename()
            except BaseException as error:
                partial.discard()
                if not isinstance(error, OSError):
                    raise
                errors[partial.path] = cannot_be_written(partial.path, error)
            folders |= partial.folders
        sync_folders(folders)
        self._waited += time.monotonic() - start
        return errors
