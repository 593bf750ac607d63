"""Working through the files of a run in one process: each is embedded, saved, and gets its record."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from edgel3_onnx.atomic import remove_abandoned
from edgel3_onnx.command.corpus import Plan, Task
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.files import Job, Options, embed_files, provenance, source_identity
from edgel3_onnx.models import EmbeddingModel, load_embedding_model
from edgel3_onnx.outputs import dataset
from edgel3_onnx.outputs.arrays import WRITERS, Metadata, is_current, is_same


@dataclass(frozen=True)
class ModelOptions:
    """The arguments of :func:`edgel3_onnx.load_embedding_model`, which each process calls for itself."""

    model_type: str = "sparse"
    emb_dim: int = 128
    retrain_type: str = "ft"
    sparsity: float = 95.45
    provider: str = "cpu"
    num_threads: int | None = None
    weights: str | os.PathLike[str] | None = None
    precision: str = "fp32"
    provider_options: Mapping[str, str] | None = None
    verbose: bool = True

    def load(self) -> EmbeddingModel:
        return load_embedding_model(**asdict(self))


@dataclass(frozen=True)
class RunOptions:
    """What a run does with its files."""

    model: ModelOptions
    embedding: Options
    format: str = "npz"
    dataset: str = ""  # directory, of the format parquet
    skip_existing: bool = False


@dataclass
class Record:
    """What became of one input."""

    path: str
    output: str | None
    status: str  # "done", "skipped" or "failed"; "planned" in a dry run
    reason: str | None = None
    windows: int = 0
    seconds: float = 0.0  # of audio
    warnings: list[str] = field(default_factory=list)


class Sink(Protocol):
    """Where embeddings go."""

    def look_up(self, task: Task, wanted: Metadata) -> tuple[bool, str | None]:
        """Whether to skip a task because of what is there already, and why if that is an error."""
        ...

    def save(self, record: Record, job: Job, metadata: Metadata) -> Iterator[Record]:
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

    def save(self, record: Record, job: Job, metadata: Metadata) -> Iterator[Record]:
        assert record.output is not None and job.embedding is not None and job.timestamps is not None
        try:
            self._write(record.output, job.embedding, job.timestamps, metadata)
        except EdgeL3Error as error:
            record.status, record.reason = "failed", str(error)
        yield record

    def close(self) -> Iterator[Record]:
        return iter(())

    def abandon(self) -> None:
        pass


class DatasetSink:
    """All inputs in the parts of one dataset; a record is final when its part is."""

    def __init__(self, model: EmbeddingModel, options: RunOptions) -> None:
        self._existing = dataset.finished_sources(options.dataset) if options.skip_existing else {}
        self._writer = dataset.DatasetWriter(options.dataset, model.embedding_dim)
        self._held: list[Record] = []

    def look_up(self, task: Task, wanted: Metadata) -> tuple[bool, str | None]:
        existing = self._existing.get(dataset.path_text(task.path))
        if existing is None:
            return False, None
        if is_same(existing, wanted):
            return True, None
        return True, "is in the dataset already, made from another file, model or options (see --overwrite)"

    def save(self, record: Record, job: Job, metadata: Metadata) -> Iterator[Record]:
        assert job.embedding is not None and job.timestamps is not None
        self._held.append(record)
        try:
            on_disk = self._writer.add(record.path, job.embedding, job.timestamps, metadata)
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
        for record in self._held:
            record.status, record.reason = "failed", str(error)
        return self._release()

    def _release(self) -> Iterator[Record]:
        held, self._held = self._held, []
        return iter(held)


def work(
    model: EmbeddingModel, tasks: Iterable[Task], options: RunOptions, *, show_progress: bool = False
) -> Generator[Record, None, None]:
    """Embed and save the files of ``tasks``.

    Yields
    ------
    Record
        For each task, once its output is on disk, or it failed or is skipped.

    Raises
    ------
    EdgeL3Error
        If a dataset that the run would continue is damaged.
    """
    common = provenance(model, options.embedding)
    sink = _open_sink(model, options)
    started: deque[tuple[Task, Metadata]] = deque()  # filled by the thread that reads ahead

    def jobs() -> Iterator[Job]:
        for task in tasks:
            metadata = {**common, **source_identity(task.path)}
            job = Job(task.path)
            job.skip, job.error = _look_up(task, metadata, sink, options)
            started.append((task, metadata))
            yield job

    try:
        for job in embed_files(model, jobs(), options.embedding, show_progress=show_progress):
            task, metadata = started.popleft()
            record = Record(task.path, task.output, "done", warnings=job.warnings)
            if job.error is not None:
                record.status, record.reason = "failed", job.error
            elif job.embedding is None:
                record.status = "skipped"
            else:
                record.windows, record.seconds = len(job.embedding), job.seconds
                yield from sink.save(record, job, {**metadata, **job.metadata()})
                continue
            yield record
        yield from sink.close()
    finally:
        sink.abandon()


def rehearse(tasks: Iterable[Task], options: RunOptions) -> Generator[Record, None, None]:
    """The records of a run that does nothing. The model is loaded only to tell which outputs may be skipped."""
    sink, common = None, {}
    if options.skip_existing:
        model = options.model.load()
        sink, common = _open_sink(model, options), provenance(model, options.embedding)
    for task in tasks:
        skip, error = _look_up(task, {**common, **source_identity(task.path)}, sink, options)
        status = "failed" if error is not None else "skipped" if skip else "planned"
        yield Record(task.path, task.output, status, error)


def prepare(plan: Plan, options: RunOptions, *, replace: bool) -> None:
    """Make the place ready for a run: remove what killed runs left there, and a dataset that is to be replaced.

    Raises
    ------
    EdgeL3Error
        If the directory of a dataset has parts, and these are neither to be replaced nor to be continued.
    """
    folders = {os.path.dirname(task.output) for task in plan.tasks if task.output is not None}
    if options.format == "parquet":
        folders.add(options.dataset)
        existing = dataset.parts(options.dataset)
        if existing and replace:
            for part in existing:
                part.unlink()
        elif existing and not options.skip_existing:
            raise EdgeL3Error(
                f"{options.dataset} holds a dataset already: go on with it by --skip-existing, replace it by "
                "--overwrite, or name another directory"
            )
    for folder in folders:
        remove_abandoned(folder)


def _open_sink(model: EmbeddingModel, options: RunOptions) -> Sink:
    return DatasetSink(model, options) if options.format == "parquet" else FileSink(options)


def _look_up(task: Task, wanted: Metadata, sink: Sink | None, options: RunOptions) -> tuple[bool, str | None]:
    if task.problem is not None:
        return True, task.problem
    if sink is not None and options.skip_existing:
        return sink.look_up(task, wanted)
    return False, None
