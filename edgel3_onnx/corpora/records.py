"""What became of the inputs of a run."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from edgel3_onnx.outputs.dataset import key
from edgel3_onnx.recordings.findings import Findings
from edgel3_onnx.recordings.location import shown


@dataclass
class Record:
    """What became of one input."""

    path: str
    absolute_path: str  # the same however the path was typed
    output: str | None
    status: str  # "done", "skipped" or "failed"; "planned" in a dry run
    reason: str | None = None
    windows: int = 0
    seconds: float = 0.0  # of audio
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is odd about the recording and does no harm
    complete: bool = True  # whether all of the recording was there
    announced_seconds: float | None = None
    lost_seconds: float = 0.0
    holes: list[tuple[float, float]] = field(default_factory=list)  # (start, length) in seconds
    decoder: str | None = None

    @property
    def key(self) -> str:
        return self.path

    @classmethod
    def of(
        cls,
        path: str,
        status: str,
        reason: str | None = None,
        *,
        absolute_path: str | None = None,
        output: str | None = None,
        warnings: list[str] | None = None,
    ) -> "Record":
        """The record of a location; by default its absolute path is counted from this directory."""
        absolute_path = key(path) if absolute_path is None else absolute_path
        return cls(shown(path), absolute_path, output, status, reason, warnings=warnings or [])

    def add(self, findings: Findings) -> None:
        """Take over what decoding found out."""
        self.notes, self.holes = list(findings.notes), list(findings.holes)
        self.complete, self.decoder = findings.complete, findings.decoder
        self.announced_seconds, self.lost_seconds = findings.announced_seconds, findings.lost_seconds


@dataclass(frozen=True)
class Progress:
    """What a worker of a run is at."""

    worker: str
    path: str  # of the recording that it reads
    seconds: float  # of audio that it has read since it last said so


OnProgress = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """Tells nobody."""


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


class Tally:
    """Counts the records of a run as they come."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._audio_seconds = 0.0
        self._in_part = 0

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, record: Record) -> None:
        self._counts[record.status] += 1
        if record.status == "done":
            self._audio_seconds += record.seconds
            self._in_part += not record.complete

    def summary(self, elapsed: float) -> Summary:
        """What it came to in ``elapsed`` seconds."""
        counts = self._counts
        done, skipped, failed, planned = (counts[status] for status in ("done", "skipped", "failed", "planned"))
        return Summary(done, skipped, failed, self._audio_seconds, elapsed, planned, self._in_part)
