"""What a run tells: a line per bad file, a progress bar, a summary, a log with one record per input."""

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any

from edgel3_onnx.command.arguments import PROGRAM
from edgel3_onnx.command.corpus import display
from edgel3_onnx.command.runner import Record
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.terminal import shows_progress


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


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    done: int
    skipped: int
    failed: int
    audio_seconds: float  # that were embedded
    elapsed: float  # seconds
    planned: int = 0  # of a dry run
    in_part: int = 0  # of those done, recordings of which something is lost

    def __str__(self) -> str:
        if self.planned:
            return f"{self.planned} to do, {self.skipped} to skip, {self.failed} failed (dry run)"
        times = f", {self.audio_seconds / self.elapsed:.1f} times real time" if self.done else ""
        in_part = f" ({self.in_part} in part)" if self.in_part else ""
        return (
            f"{self.done} done{in_part}, {self.skipped} skipped, {self.failed} failed; "
            f"{self.audio_seconds / 3600:.3f} hours of audio in {self.elapsed:.1f} s{times}"
        )


class Reporter:
    """Takes the records of a run as they come.

    Parameters
    ----------
    total : int
        Inputs of the run.
    notes : list of str
        On what was left out of the run.
    quiet : bool
        Show errors only.
    path : str or None
        The log: one JSON object per line, written as the records come.
    show_bar : bool
        Show a progress bar of files where standard error is a terminal.

    Raises
    ------
    EdgeL3Error
        If the log cannot be written.
    """

    def __init__(
        self,
        total: int,
        notes: Sequence[str],
        *,
        quiet: bool,
        path: str | os.PathLike[str] | None,
        show_bar: bool,
    ) -> None:
        from tqdm import tqdm

        self._quiet = quiet
        self._log: IO[str] | None = _open_text(path) if path else None
        self._log_path = path
        self._log_failed = False
        shown = show_bar and not quiet and shows_progress()
        self._bar: Any = tqdm(total=total, unit="file", disable=not shown)
        self._counts: Counter[str] = Counter()
        self._audio_seconds = 0.0
        self._in_part = 0
        self._start = time.monotonic()
        if not quiet:
            for note in notes:
                self._say(f"note: {note}")

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        if not self._quiet and (error is None or self._counts):  # else the run never began
            self._say(str(self.summary()))
        if self._log is not None:
            self._log.close()

    def add(self, record: Record) -> None:
        self._counts[record.status] += 1
        if record.status == "done":
            self._audio_seconds += record.seconds
            self._in_part += not record.complete
        elif record.status == "planned":
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
        self._bar.update()

    def summary(self) -> Summary:
        counts = self._counts
        elapsed = time.monotonic() - self._start
        failed = counts["failed"] + self._log_failed
        return Summary(
            counts["done"], counts["skipped"], failed, self._audio_seconds, elapsed, counts["planned"], self._in_part
        )

    def _say(self, message: str) -> None:
        self._bar.write(f"{PROGRAM}: {message}", file=sys.stderr)


def _open_text(path: str | os.PathLike[str]) -> IO[str]:
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise EdgeL3Error(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from error
