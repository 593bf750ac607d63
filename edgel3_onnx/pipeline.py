"""From audio files to embeddings: decoded in blocks, so that memory does not grow with their length."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import check_sample_rate
from edgel3_onnx.embedding import embed
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.gathering import Embeddings, Gathering, drift_warning
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import record
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.parts import Parts, plan
from edgel3_onnx.recordings.clock import Clock, read_clock
from edgel3_onnx.recordings.decode import ReadingOptions, Recording, open_recording
from edgel3_onnx.recordings.findings import Findings

_MIN_BLOCK = 1.0  # seconds decoded at a time, at least
_WINDOW = 1.0  # seconds
_SHOWN = 3  # parts that a message names
_LENIENT = ReadingOptions()
OnRead = Callable[["EmbeddedFile", float], None]


@dataclass(eq=False)
class EmbeddedFile:
    """One file, and what became of it.

    Attributes
    ----------
    path : str
    parts : Parts or None
        What is wanted of it. None: all. When it is done, what of that lies in the recording.
    skip : bool
        Do not even open the file.
    error : str or None
        Why there is no embedding, without the path.
    warnings : list of str
        What is unusual about the audio, without the path.
    sample_rate : float
        Of the recording, in Hz.
    samples : int
        Per channel, at that rate; zeros where something is lost included.
    findings : Findings
        Whether the recording is whole.
    windows : int
        That were embedded.
    clock : Clock
        When the recording began.
    outside : list of str
        Which parts there are no embeddings of, though there are of others, and why.
    embeddings : Embeddings or None
        Of all windows, or of the last ones where the others were handed over on the way.
    """

    path: str
    parts: Parts | None = None
    skip: bool = False
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    sample_rate: float = 0.0
    samples: int = 0
    findings: Findings = field(default_factory=Findings)
    windows: int = 0
    clock: Clock = field(default_factory=Clock)
    outside: list[str] = field(default_factory=list)
    embeddings: Embeddings | None = None
    gathering: Gathering | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    def metadata(self) -> Metadata:
        """What decoding told about the file."""
        rate = self.sample_rate
        samples = {"sample_rate": int(rate) if rate.is_integer() else rate, "samples": self.samples}
        clock = {"recorded_at": self.clock.recorded_at, "clock": self.clock.source}
        return {**samples, **self.findings.record(), **clock, **record.part(self.parts)}

    @property
    def problem(self) -> str | None:
        """What keeps the file from being done without a flaw: ``error``, or the parts that are not in it."""
        if self.error is not None or not self.outside:
            return self.error
        more = f"; and {len(self.outside) - _SHOWN} more" if len(self.outside) > _SHOWN else ""
        return "; ".join(self.outside[:_SHOWN]) + more


def embed_files(
    model: EmbeddingModel,
    jobs: Iterable[EmbeddedFile],
    options: EmbeddingOptions,
    reading: ReadingOptions = _LENIENT,
    *,
    show_progress: bool = False,
    on_rows: Callable[[EmbeddedFile, Embeddings], None] | None = None,
    rows_at_once: int = 0,
    on_read: OnRead = lambda file, seconds: None,
) -> Iterator[EmbeddedFile]:
    """Compute the embeddings of many files, in batches that files share.

    Parameters
    ----------
    jobs : iterable of EmbeddedFile
        Read in a thread of its own, ahead of the runs.
    show_progress : bool
        Show a progress bar of windows where standard error is a terminal.
    on_rows : callable or None
        Is given the next embeddings of a file whenever there are ``rows_at_once`` windows of it, before it is known
        whether the file is good to its end: memory does not grow with its length, then.
    on_read : callable
        Is told, by the thread that reads, of each block that was read, and how many seconds of audio it has.

    Yields
    ------
    EmbeddedFile
        The same objects in the same order, each with its embedding or its error.

    Raises
    ------
    EdgeL3ArgumentError
        If the hop is less than one sample at the model's rate.
    """
    options.hop_length(model)  # or refused
    batch_size = options.batch_size or model.batch_size
    started: deque[EmbeddedFile] = deque()

    def signals() -> Iterator[Iterator[NDArray[np.float32]]]:
        for job in jobs:
            started.append(job)
            yield _windows(model, job, batch_size, options, reading, on_read)

    def add(rows: NDArray[np.float32]) -> None:
        job = started[0]
        if job.gathering is None:
            return
        if on_rows is not None and job.gathering.is_plain:
            on_rows(job, job.gathering.next(rows))
            job.windows = job.gathering.windows
        else:
            job.gathering.add(rows)

    is_early = on_rows is not None or options.pool != "none"  # what is pooled is not held
    for rows in embed(
        model,
        signals(),
        batch_size,
        show_progress=show_progress,
        on_rows=add if is_early else None,
        rows_at_once=rows_at_once if options.pool == "none" else 1,
    ):
        job = started.popleft()
        if job.gathering is not None and job.error is None:
            _finish(job, job.gathering, rows, model, options)
        job.gathering = None
        yield job


def _finish(
    job: EmbeddedFile,
    gathering: Gathering,
    rows: NDArray[np.float32],
    model: EmbeddingModel,
    options: EmbeddingOptions,
) -> None:
    """Settle what became of a file, of which ``rows`` are the last."""
    if gathering.is_plain and gathering.windows:  # the others were handed over
        embeddings = gathering.next(rows)
    else:
        gathering.add(rows)
        embeddings, missing = gathering.result()
        job.outside = list(gathering.plan.outside)
        job.parts = gathering.plan.done
        job.outside += [f"nothing is left of the recording from {group.start:g} s on" for group in missing]
    if len(embeddings.embedding) == 0 and job.outside:
        job.error = job.problem
        return
    job.warnings += gathering.plan.shortened[:_SHOWN]
    job.embeddings = embeddings
    job.windows = gathering.windows if gathering.is_plain else len(embeddings.embedding)
    if (drift := drift_warning(gathering.windows, model, options)) is not None:
        job.warnings.append(drift)


def _windows(
    model: EmbeddingModel,
    job: EmbeddedFile,
    batch_size: int,
    options: EmbeddingOptions,
    reading: ReadingOptions,
    on_read: OnRead,
) -> Iterator[NDArray[np.float32]]:
    """What the network takes for one file; ends early, with ``job.error`` set, where the file is bad."""
    if job.skip:
        return
    try:
        with open_recording(job.path, reading.raw) as recording:
            job.sample_rate = check_sample_rate(recording.sample_rate)
            job.clock = read_clock(job.path, reading.clock)
            frames = None if job.parts is None else _frames(job.path, recording, reading)
            wanted = plan(job.parts, frames, job.sample_rate, model, options)
            gathering = job.gathering = Gathering(model, job.sample_rate, recording.channels, options, wanted)
            seconds = _MIN_BLOCK  # of parts little more than they need is decoded
            if job.parts is None:
                seconds = max(batch_size * options.hop_length(model) / model.sample_rate, _MIN_BLOCK)
            with closing(recording.read(wanted.spans, seconds)) as blocks:
                for position, block in blocks:
                    try:
                        yield from gathering.feed(position, block, batch_size)
                    except EdgeL3ArgumentError as error:
                        raise EdgeL3Error(f"{error} (counted from {position / job.sample_rate:.2f} s on)") from error
                    job.samples += len(block)
                    on_read(job, len(block) / job.sample_rate)
                    if gathering.is_complete:
                        break
            job.findings = recording.findings
        if wanted.groups:
            _check_findings(job, reading.strict)
        yield from gathering.finish(batch_size)
    except OSError as error:
        job.error = f"cannot be read ({error.strerror or error})"
    except (EdgeL3Error, MemoryError) as error:
        job.error = str(error) or type(error).__name__
    except Exception as error:  # a decoder's surprise about one file must not end a run over others
        job.error = f"cannot be decoded ({type(error).__name__}: {error})"
    else:
        if gathering.silent and wanted.groups:
            job.warnings.append("the audio is all zeros")
        if job.parts is None and job.samples * model.sample_rate < model.sample_rate * job.sample_rate:
            job.warnings.append(f"shorter than the window of 1 second ({job.seconds:.3f} s); padded with zeros")


def _frames(path: str, recording: Recording, reading: ReadingOptions) -> int:
    """Samples of a recording per channel; where its format does not say how many there are, it is decoded to know."""
    if recording.frames is not None:
        return recording.frames
    with open_recording(path, reading.raw) as again:
        return sum(len(block) for block in again.blocks(_MIN_BLOCK))


def _check_findings(job: EmbeddedFile, strict: bool) -> None:
    """Refuse a recording of which nothing is left, or too little; with ``strict`` any of which something is lost."""
    findings = job.findings
    if job.samples == 0:
        raise EdgeL3Error(f"has no samples ({findings.loss})" if findings.loss else "has no samples")
    if findings.loss and job.parts is None and job.seconds < _WINDOW:
        raise EdgeL3Error(f"is truncated to less than one window: {findings.loss}")
    if strict and findings.is_doubtful:
        raise EdgeL3Error(f"is not whole: {'; '.join(findings.warnings)}")
    job.warnings += findings.warnings
