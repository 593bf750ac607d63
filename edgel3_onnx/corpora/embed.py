"""Embedding a corpus into one dataset: the plan, and the engine that does it."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from edgel3_onnx.checks import check_choice, check_count, check_flag
from edgel3_onnx.corpora.inputs import Input, LeftOut, find
from edgel3_onnx.corpora.local import in_this_process
from edgel3_onnx.corpora.place import open_place
from edgel3_onnx.corpora.plan import CHUNK_BYTES, CHUNK_FILES, Chunk, Cutter
from edgel3_onnx.corpora.pool import work_in_processes
from edgel3_onnx.corpora.records import Record, Summary, Tally
from edgel3_onnx.corpora.run import CorpusRun
from edgel3_onnx.corpora.worker import Result, Work
from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.embedding import EmbeddingOptions
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.outputs import record
from edgel3_onnx.recordings.decode import ReadingOptions


@dataclass(frozen=True)
class Running:
    """How a corpus is worked through."""

    workers: int = 1
    chunk_files: int = CHUNK_FILES
    chunk_bytes: int = CHUNK_BYTES
    existing: str | None = None  # "replace", "skip"; None: refuse a dataset that is there
    dry_run: bool = False
    show_progress: bool = False  # a bar of windows, of a worker in this process


def embed_inputs(
    inputs: Iterable[Input], work: Work, running: Running, on_total: Callable[[int], None] = lambda total: None
) -> Generator[Record, None, None]:
    """Embed ``inputs`` into the dataset of ``work``.

    Parameters
    ----------
    on_total : callable
        Is told the number of records when it is known.

    Yields
    ------
    Record
        For each input, once its rows are on disk, or it failed or is skipped.

    Raises
    ------
    EdgeL3Error
        If the model cannot be loaded, the plan cannot be saved, or there is a dataset that is damaged, made otherwise,
        of another program, or neither to be continued nor to be replaced.
    """
    inputs = iter(inputs)
    hopeless: list[Input] = []
    for first in inputs:
        if first.problem is None:
            return _embed(chain(hopeless, [first], inputs), work, running, on_total)
        hopeless.append(first)
    return _fail(hopeless, on_total)  # needs no model


def _fail(inputs: list[Input], on_total: Callable[[int], None]) -> Generator[Record, None, None]:
    on_total(len(inputs))
    yield from (Record.of(item.path, "failed", item.problem) for item in inputs)


def _embed(
    inputs: Iterable[Input], work: Work, running: Running, on_total: Callable[[int], None]
) -> Generator[Record, None, None]:
    run = CorpusRun(open_place(work.dataset), running.existing)
    # Providers do not count in what a plan says, and this process need not have the workers'.
    model = (work.model if running.workers == 1 else replace(work.model, provider="cpu")).load()
    common = {**record.manner(model, work.embedding), **work.reading.wanted()}
    cutter = Cutter(running.workers, running.chunk_files, running.chunk_bytes)
    planned = run.plan(inputs, common, cutter, dry=running.dry_run)

    def engine(chunks: Iterable[Chunk]) -> Iterator[Result]:
        if running.workers == 1:
            return in_this_process(chunks, work, model, running.show_progress)
        return work_in_processes(chunks, work, running.workers)

    def records() -> Generator[Record, None, None]:
        yield from planned
        on_total(run.total)
        yield from run.work(engine)

    return records()


def embed_corpus(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: EmbeddingModel | None = None,
    options: EmbeddingOptions | Mapping[str, Any] | None = None,
    strict: bool = False,
    recursive: bool = True,
    workers: int = 1,
    cpus_per_worker: int | None = None,
    chunk_files: int = CHUNK_FILES,
    chunk_bytes: int = CHUNK_BYTES,
    existing: str = "error",
    max_attempts: int = 2,
    on_record: Callable[[Record], None] = lambda record: None,
) -> Summary:
    """Embed many recordings into one parquet dataset: one row per window, exactly once, however often a run is killed.

    Parameters
    ----------
    inputs : path, or iterable of paths
        Files, and directories, of which the audio files are taken. Read once, in bounded memory.
    output : path
        Directory of the dataset.
    model : EmbeddingModel or None
        As of :func:`edgel3_onnx.load_embedding_model`, by default the default one. Each worker loads its own.
    options : EmbeddingOptions, mapping or None
        ``center``, ``hop_size`` and so on, as of :func:`edgel3_onnx.get_embedding`.
    strict : bool
        Make it an error if something of a recording is lost, or its length had to be guessed.
    recursive : bool
        Take sub-folders of directories too.
    workers : int
        Processes that work at the same time.
    cpus_per_worker : int or None
        CPU threads of each; None: what the model was loaded with, or with several workers its share of all CPUs.
    chunk_files, chunk_bytes : int
        How much a worker does in one go, at most; what a killed worker had in hand is done again.
    existing : {"error", "skip", "replace"}
        What to do about a dataset that is there: refuse it, go on with it, or start it anew.
    max_attempts : int
        Workers that may die over a chunk before each file of it is tried alone, to find the one to blame.
    on_record : callable
        Is given the record of each input, when its rows are on disk, or it failed or is skipped.

    Returns
    -------
    Summary
        Counts of inputs done, skipped and failed. The failed ones are listed in ``_errors`` beside the parts.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed.
    EdgeL3Error
        If the model cannot be loaded, the plan cannot be saved, or there is a dataset that is damaged, made otherwise,
        of another program, or neither to be continued nor to be replaced.
    """
    started = time.monotonic()
    check_choice("existing", existing, ("error", "skip", "replace"))
    workers = check_count("workers", workers)
    embedding = options if isinstance(options, EmbeddingOptions) else EmbeddingOptions.of(options or {})
    settings = given_or_loaded(model, {}).options
    if cpus_per_worker is None and workers > 1 and settings.num_threads is None:
        cpus_per_worker = max(available_cpus() // workers, 1)
    if cpus_per_worker is not None:
        settings = replace(settings, num_threads=check_count("cpus_per_worker", cpus_per_worker))
    reading = ReadingOptions(check_flag("strict", strict))
    attempts = check_count("max_attempts", max_attempts)
    corpus = Work(os.path.abspath(os.fspath(output)), settings, embedding, reading, attempts)
    running = Running(
        workers,
        check_count("chunk_files", chunk_files),
        check_count("chunk_bytes", chunk_bytes),
        None if existing == "error" else existing,
    )
    items = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    found = find(items, LeftOut(), recursive=check_flag("recursive", recursive))
    tally = Tally()
    with closing(embed_inputs(found, corpus, running)) as records:
        for each in records:
            tally.add(each)
            on_record(each)
    return tally.summary(time.monotonic() - started)
