"""Working through the files of a run in one process: each is embedded, saved, and gets its record."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from edgel3_onnx.atomic import remove_abandoned
from edgel3_onnx.command.corpus import Plan, Task
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.files import EmbeddedFile, embed_files
from edgel3_onnx.models import EmbeddingModel, ModelOptions
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import dataset, record
from edgel3_onnx.outputs.arrays import WRITERS, is_current
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.pooling import pooled_dim
from edgel3_onnx.recordings.decode import ReadingOptions
from edgel3_onnx.recordings.findings import Findings


@dataclass(frozen=True)
class RunOptions:
    """What a run does with its files."""

    model: ModelOptions
    embedding: EmbeddingOptions
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    format: str = "npz"
    dataset: str = ""  # directory, of the format parquet
    skip_existing: bool = False
    replaced_parts: tuple[str, ...] = ()  # of the dataset, which go when the first new one is whole


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

    @classmethod
    def of(cls, task: Task, status: str, reason: str | None = None, warnings: list[str] | None = None) -> "Record":
        return cls(task.path, dataset.key(task.path), task.output, status, reason, warnings=warnings or [])

    def add(self, findings: Findings) -> None:
        """Take over what decoding found out."""
        self.notes, self.holes = list(findings.notes), list(findings.holes)
        self.complete, self.decoder = findings.complete, findings.decoder
        self.announced_seconds, self.lost_seconds = findings.announced_seconds, findings.lost_seconds


class Sink(Protocol):
    """Where embeddings go."""

    def look_up(self, task: Task, wanted: Metadata) -> tuple[bool, str | None]:
        """Whether to skip a task because of what is there already, and why if that is an error."""
        ...

    def save(self, record: Record, job: EmbeddedFile, metadata: Metadata) -> Iterator[Record]:
        """Save a job's embedding. Yields the records of what has reached the disk, or failed to."""
        ...

    def close(self) -> Iterator[Record]:
        """Save what is held back. Yields as ``save`` does."""
        ...

    def abandon(self) -> None:
        """Remove what is not finished."""
        ...


class FileSink:
    """One output for each input."""

    def __init__(self, options: RunOptions) -> None:
        self._write = WRITERS[options.format]

    def look_up(self, task: Task, wanted: Metadata) -> tuple[bool, str | None]:
        return task.output is not None and is_current(task.output, wanted), None

    def save(self, record: Record, job: EmbeddedFile, metadata: Metadata) -> Iterator[Record]:
        assert record.output is not None and job.embeddings is not None
        try:
            self._write(record.output, job.embeddings, metadata)
        except EdgeL3Error as error:
            record.status, record.reason = "failed", str(error)
        yield record

    def close(self) -> Iterator[Record]:
        return iter(())

    def abandon(self) -> None:
        pass


class DatasetSink:
    """All inputs in the parts of one dataset; a record is final when its part is."""

    def __init__(self, model: EmbeddingModel, options: RunOptions, common: Metadata) -> None:
        self._finished = dataset.FinishedSources(options.dataset, common) if options.skip_existing else None
        self._writer = dataset.DatasetWriter(
            options.dataset, pooled_dim(options.embedding.pool, model.embedding_dim), options.replaced_parts
        )
        self._held: list[Record] = []

    def look_up(self, task: Task, wanted: Metadata) -> tuple[bool, str | None]:
        return (False, None) if self._finished is None else self._finished.look_up(task.path, wanted)

    def save(self, record: Record, job: EmbeddedFile, metadata: Metadata) -> Iterator[Record]:
        assert job.embeddings is not None
        self._held.append(record)
        try:
            on_disk = self._writer.add(record.path, job.embeddings, metadata)
        except EdgeL3Error as error:
            yield from self._fail(error)
        else:
            if on_disk:
                yield from self._release()

    def close(self) -> Iterator[Record]:
        try:
            self._writer.close()
        except EdgeL3Error as error:
            yield from self._fail(error)
        else:
            yield from self._release()

    def abandon(self) -> None:
        self._writer.abandon()

    def _fail(self, error: EdgeL3Error) -> Iterator[Record]:
        for held in self._held:
            held.status, held.reason = "failed", str(error)
        return self._release()

    def _release(self) -> Iterator[Record]:
        held, self._held = self._held, []
        return iter(held)


def work(
    model: EmbeddingModel,
    tasks: Iterable[Task],
    options: RunOptions,
    *,
    show_progress: bool = False,
    on_embedded: Callable[[Task], None] = lambda task: None,
) -> Generator[Record, None, None]:
    """Embed and save the files of ``tasks``.

    ``on_embedded`` is called for each task that has been decoded and embedded, or failed, before it is saved.

    Yields
    ------
    Record
        For each task, once its output is on disk, or it failed or is skipped.

    Raises
    ------
    EdgeL3Error
        If a dataset that the run would continue is damaged, or was made otherwise.
    """
    common = {**record.manner(model, options.embedding), **options.reading.wanted()}
    sink = _open_sink(model, options, common)
    started: deque[tuple[Task, Metadata]] = deque()  # filled by the thread that reads ahead

    def jobs() -> Iterator[EmbeddedFile]:
        for task in tasks:
            metadata = {**common, **record.source(task.path, task.parts)}
            job = EmbeddedFile(task.path, task.parts)
            job.skip, job.error = _look_up(task, metadata, sink, options)
            started.append((task, metadata))
            yield job

    try:
        for job in embed_files(model, jobs(), options.embedding, options.reading, show_progress=show_progress):
            task, metadata = started.popleft()
            on_embedded(task)
            if job.error is None and not record.has_source(metadata):
                job.error = "its size and its time of change cannot be read"
            result = Record.of(task, "done", warnings=job.warnings)
            if job.error is not None:
                result.status, result.reason = "failed", job.error
            elif job.embeddings is None:
                result.status = "skipped"
            else:
                result.windows, result.seconds = len(job.embeddings.embedding), job.seconds
                result.add(job.findings)
                if job.outside:
                    result.status, result.reason = "failed", f"{job.problem}; the other parts are done"
                yield from sink.save(result, job, {**metadata, **job.metadata()})
                continue
            yield result
        yield from sink.close()
    finally:
        sink.abandon()


def rehearse(tasks: Iterable[Task], options: RunOptions) -> Generator[Record, None, None]:
    """The records of a run that does nothing. The model is loaded only to tell which outputs may be skipped."""
    sink, common = None, {}
    if options.skip_existing:
        model = options.model.load()
        common = {**record.manner(model, options.embedding), **options.reading.wanted()}
        sink = _open_sink(model, options, common)
    for task in tasks:
        skip, error = _look_up(task, {**common, **record.source(task.path, task.parts)}, sink, options)
        status = "failed" if error is not None else "skipped" if skip else "planned"
        yield Record.of(task, status, error)


def prepare(plan: Plan, options: RunOptions, *, replacing: bool) -> RunOptions:
    """Make the place ready for a run: remove what killed runs left there, and find the parts that it replaces.

    Raises
    ------
    EdgeL3Error
        If the directory of a dataset has parts that are neither to be replaced nor to be continued, or parts of
        another program.
    """
    folders = {os.path.dirname(task.output) for task in plan.tasks if task.output is not None}
    if options.format == "parquet":
        folders.add(options.dataset)
        existing = dataset.parts(options.dataset)
        for part in existing:
            dataset.read_sources(part)  # which refuses what is not ours
        if existing and replacing:
            options = replace(options, replaced_parts=tuple(existing))
        elif existing and not options.skip_existing:
            raise EdgeL3Error(
                f"{options.dataset} holds a dataset already: go on with it by --skip-existing, replace it by "
                "--overwrite, or name another directory"
            )
    for folder in folders:
        remove_abandoned(folder)
    return options


def _open_sink(model: EmbeddingModel, options: RunOptions, common: Metadata) -> Sink:
    return DatasetSink(model, options, common) if options.format == "parquet" else FileSink(options)


def _look_up(task: Task, wanted: Metadata, sink: Sink | None, options: RunOptions) -> tuple[bool, str | None]:
    if task.problem is not None:
        return True, task.problem
    if sink is not None and options.skip_existing:
        return sink.look_up(task, wanted)
    return False, None
