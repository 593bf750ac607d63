"""What a run tells: a line per bad file, a progress bar, a summary, a log with one record per input."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import TracebackType
from typing import IO

from edgel3_onnx.command.arguments import PROGRAM
from edgel3_onnx.command.progress import ProgressBars
from edgel3_onnx.corpora.records import Progress, Record, Summary, Tally
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.terminal import display, shows_progress


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"{PROGRAM}: {record.getMessage()}", file=sys.stderr)


@contextmanager
def showing_log() -> Iterator[None]:
    """Write what the package logs to standard error: what is fetched from where, which provider ``auto`` takes."""
    logger, handler = logging.getLogger("edgel3_onnx"), _LogHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Reporter:
    """Takes the records of a run as they come.

    Parameters
    ----------
    total : int or None
        Inputs of the run; None: see ``expect``.
    quiet : bool
        Show errors only.
    path : str or None
        The log: one JSON object per line, written as the records come.
    show_bar : bool
        Show how far the run is where standard error is a terminal.

    Raises
    ------
    EdgeL3Error
        If the log cannot be written.
    """

    def __init__(
        self,
        total: int | None,
        *,
        quiet: bool,
        path: str | os.PathLike[str] | None,
        show_bar: bool,
    ) -> None:
        self._quiet = quiet
        self._log: IO[str] | None = _open_text(path) if path else None
        self._log_path = path
        self._log_failed = False
        shown = show_bar and not quiet and shows_progress()
        self._bars = ProgressBars(total, shown)
        self._tally = Tally()
        self._start = time.monotonic()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.close()
        if not self._quiet and (error is None or self._tally):  # else the run never began
            self._say(str(self.summary()))
        if self._log is not None:
            self._log.close()

    def note(self, notes: Iterable[str]) -> None:
        """Say something about the run."""
        if not self._quiet:
            for note in notes:
                self._say(f"note: {note}")

    def expect(self, total: int) -> None:
        """Take the number of inputs, where it was not known."""
        self._bars.expect(total)

    def progress(self, progress: Progress) -> None:
        """Take what a worker is at."""
        self._bars.progress(progress)

    def add(self, record: Record) -> None:
        self._tally.add(record)
        if record.status == "planned":
            print(display(record.path), "->", display(record.output or "the dataset"))
        if record.status == "failed":
            self._say(f"error: {display(record.path)}: {record.reason}")
        elif not self._quiet:
            for warning in record.warnings:
                self._say(f"warning: {display(record.path)}: {warning}")
        if self._log is not None:
            try:
                self._log.write(json.dumps(asdict(record)) + "\n")
                self._log.flush()
            except OSError as error:
                self._log_failed = True
                self._say(f"error: {self._log_path}: the report ends here ({error.strerror or error})")
                self._log = None
        self._bars.add(record)

    def summary(self) -> Summary:
        summary = self._tally.summary(time.monotonic() - self._start)
        return replace(summary, failed=summary.failed + self._log_failed)

    def _say(self, message: str) -> None:
        self._bars.write(f"{PROGRAM}: {message}", sys.stderr)


def _open_text(path: str | os.PathLike[str]) -> IO[str]:
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise EdgeL3Error(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from error
