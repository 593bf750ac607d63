"""Working through the files of a run in one process: each gets an output of its own, and its record."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from edgel3_onnx.atomic import remove_abandoned
from edgel3_onnx.command import interrupt
from edgel3_onnx.command.corpus import Plan, Task
from edgel3_onnx.corpora.records import OnProgress, Progress, Record, no_progress
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.gathering import Embeddings
from edgel3_onnx.models import EmbeddingModel, ModelOptions
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import record
from edgel3_onnx.outputs.arrays import WRITERS, is_current
from edgel3_onnx.outputs.group import OutputGroup
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.pipeline import EmbeddedFile, OnRead, embed_files
from edgel3_onnx.recordings.decode import ReadingOptions

if TYPE_CHECKING:
    from edgel3_onnx.corpora.pool import Say


@dataclass(frozen=True)
class RunOptions:
    """What a run does with its files."""

    model: ModelOptions
    embedding: EmbeddingOptions
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    format: str = "npz"
    skip_existing: bool = False
    attempts: int = field(default=2, init=False)  # at a file, before it is lost

    def work(self, units: Iterable[Task], say: "Say") -> Iterator[Record]:
        """As a crew of :func:`edgel3_onnx.corpora.pool.work_in_processes`."""
        model = self.model.load()
        say("ready", None)
        yield from work(
            model,
            units,
            self,
            on_embedded=lambda task: say("embedded", task.key),
            on_read=lambda file, seconds: say("progress", (file.path, seconds)),
        )

    def lost(self, unit: Task, how: str) -> Record:
        return _record(unit, "failed", f"the process that worked on it {how}, twice")


def run_tasks(
    plan: Plan,
    options: RunOptions,
    jobs: int,
    *,
    dry_run: bool = False,
    show_progress: bool = False,
    on_progress: OnProgress = no_progress,
) -> Generator[Record, None, None]:
    """The records of a run over the files of ``plan``, in this process or in ``jobs`` ones.

    Raises
    ------
    EdgeL3Error
        If the model cannot be loaded.
    """
    if all(task.problem is not None for task in plan.tasks):
        return rehearse(plan.tasks, replace(options, skip_existing=False))  # needs no model
    if dry_run:
        return rehearse(plan.tasks, options)
    _sweep(plan)
    if jobs > 1:
        options.model.graph()  # made here once, or refused before anything is started
        return _in_processes(plan, options, jobs, on_progress)
    return work(
        options.model.load(),
        plan.tasks,
        options,
        show_progress=show_progress,
        on_read=lambda file, seconds: on_progress(Progress("1", file.path, seconds)),
    )


def _in_processes(plan: Plan, options: RunOptions, jobs: int, on_progress: OnProgress) -> Generator[Record, None, None]:
    from edgel3_onnx.corpora.pool import work_in_processes

    try:
        yield from work_in_processes(plan.tasks, options, jobs, on_progress)
    finally:
        _sweep(plan)  # of what processes that died had written


def _sweep(plan: Plan) -> None:
    for folder in {os.path.dirname(task.output) for task in plan.tasks if task.output is not None}:
        remove_abandoned(folder)


def work(
    model: EmbeddingModel,
    tasks: Iterable[Task],
    options: RunOptions,
    *,
    show_progress: bool = False,
    on_embedded: Callable[[Task], None] = lambda task: None,
    on_read: OnRead = lambda file, seconds: None,
) -> Generator[Record, None, None]:
    """Embed and save the files of ``tasks``.

    ``on_embedded`` is called for each task that has been decoded and embedded, or failed, before it is saved;
    ``on_read`` is that of :func:`edgel3_onnx.pipeline.embed_files`.

    Yields
    ------
    Record
        For each task, once its output is on disk, or it failed or is skipped.

    Raises
    ------
    EdgeL3ArgumentError
        If the hop is less than one sample at the model's rate.
    """
    common = {**record.manner(model, options.embedding), **options.reading.wanted()}
    write = WRITERS[options.format]
    started: deque[tuple[Task, Metadata]] = deque()  # filled by the thread that reads ahead

    def jobs() -> Iterator[EmbeddedFile]:
        for task in tasks:
            metadata = {**common, **record.source(task.path, task.parts)}
            job = EmbeddedFile(task.path, task.parts)
            job.skip, job.error = _look_up(task, metadata, options)
            started.append((task, metadata))
            yield job

    finished: deque[Record] = deque()  # some of whose outputs wait for the disk

    def settled() -> Iterator[Record]:
        with interrupt.held():
            errors = group.commit()
            for each in finished:
                if (error := errors.get(each.output or "")) is not None:
                    each.status, each.reason = "failed", str(error)
        while finished:
            yield finished.popleft()

    with OutputGroup() as group:
        try:
            for job in embed_files(
                model, jobs(), options.embedding, options.reading, show_progress=show_progress, on_read=on_read
            ):
                task, metadata = started.popleft()
                on_embedded(task)
                if job.error is None and not record.has_source(metadata):
                    job.error = "its size and its time of change cannot be read"
                finished.append(_save(task, job, metadata, group, write))
                if group.is_due:
                    yield from settled()
            yield from settled()
        except GeneratorExit:  # nobody takes records any more
            raise
        except BaseException:
            yield from settled()
            raise


def rehearse(tasks: Iterable[Task], options: RunOptions) -> Generator[Record, None, None]:
    """The records of a run that does nothing. The model is loaded only to tell which outputs may be skipped."""
    common = {}
    if options.skip_existing:
        common = {**record.manner(options.model.load(), options.embedding), **options.reading.wanted()}
    for task in tasks:
        skip, error = _look_up(task, {**common, **record.source(task.path, task.parts)}, options)
        yield _record(task, "failed" if error is not None else "skipped" if skip else "planned", error)


def _save(
    task: Task,
    job: EmbeddedFile,
    metadata: Metadata,
    group: OutputGroup,
    write: Callable[[BinaryIO, Embeddings, Metadata], None],
) -> Record:
    """Write the output of a task, which waits in ``group`` for its name, and make its record."""
    result = _record(task, "done", warnings=job.warnings)
    if job.error is not None:
        result.status, result.reason = "failed", job.error
    elif job.embeddings is None:
        result.status = "skipped"
    else:
        result.windows, result.seconds = job.windows, job.seconds
        result.add(job.findings)
        if job.outside:
            result.status, result.reason = "failed", f"{job.problem}; the other parts are done"
        assert task.output is not None
        try:
            with group.replacing(task.output) as file:
                write(file, job.embeddings, {**metadata, **job.metadata()})
        except EdgeL3Error as error:
            result.status, result.reason = "failed", str(error)
    return result


def _record(task: Task, status: str, reason: str | None = None, warnings: list[str] | None = None) -> Record:
    return Record.of(task.path, status, reason, output=task.output, warnings=warnings)


def _look_up(task: Task, wanted: Metadata, options: RunOptions) -> tuple[bool, str | None]:
    """Whether to skip a task because of what is there already, and why if that is an error."""
    if task.problem is not None:
        return True, task.problem
    return options.skip_existing and task.output is not None and is_current(task.output, wanted), None
