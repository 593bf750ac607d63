"""How far a run is, on a terminal: a line for each worker below a bar of files, with hours of audio per hour."""

import time
from collections import defaultdict
from typing import Any

from edgel3_onnx.corpora.records import Progress, Record
from edgel3_onnx.terminal import display

_PAUSE = 0.2  # seconds between two looks of a line, at least
_LINE = "{desc}"


class ProgressBars:
    """The bar of all files, and under it what each worker is at.

    Parameters
    ----------
    total : int or None
        Files.
    shown : bool
        Whether to show anything.
    """

    def __init__(self, total: int | None, shown: bool) -> None:
        self._bar: Any = None
        self._lines: dict[str, Any] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)  # of audio, by worker
        self._start = time.monotonic()
        if shown:
            from tqdm import tqdm

            self._make = tqdm
            self._bar = tqdm(total=total, unit="file", smoothing=0)

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        if self._bar is not None:
            self._bar.close()

    def expect(self, total: int) -> None:
        """Take the number of files, where it was not known."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def add(self, record: Record) -> None:
        """Take a file as done, failed or skipped. What is skipped does not count in the estimate of what is left."""
        if self._bar is None:
            return
        if record.status == "skipped":
            self._bar.initial += 1
        self._bar.update()

    def progress(self, progress: Progress) -> None:
        """Take what a worker says."""
        if self._bar is None:
            return
        self._seconds[progress.worker] += progress.seconds
        hours = sum(self._seconds.values()) / 3600
        rate = hours * 3600 / max(time.monotonic() - self._start, 1e-9)
        self._bar.set_postfix_str(f"{hours:.2f} h of audio, {rate:.0f} h/h", refresh=False)
        audio = self._seconds[progress.worker] / 3600
        text = f"worker {progress.worker}: {audio:.2f} h, {display(progress.path)}"
        if progress.worker not in self._lines:
            self._lines[progress.worker] = self._make(desc=text, bar_format=_LINE, leave=False, mininterval=_PAUSE)
        self._lines[progress.worker].set_description_str(text, refresh=False)
        self._lines[progress.worker].update()
        self._bar.update(0)

    def write(self, message: str, file: Any) -> None:
        """Print a line, above what is shown."""
        if self._bar is None:
            print(message, file=file)
        else:
            self._bar.write(message, file=file)
