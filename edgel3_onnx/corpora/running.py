"""From inputs to records: the plan, and the engine that does it."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from edgel3_onnx.corpora.cutting import CHUNK_BYTES, CHUNK_FILES, Cutter
from edgel3_onnx.corpora.inputs import Input
from edgel3_onnx.corpora.local import in_this_process
from edgel3_onnx.corpora.place import open_place
from edgel3_onnx.corpora.plan import Chunk
from edgel3_onnx.corpora.pool import Pool
from edgel3_onnx.corpora.ray_engine import Cluster, on_ray
from edgel3_onnx.corpora.records import OnProgress, Record, no_progress
from edgel3_onnx.corpora.run import CorpusRun
from edgel3_onnx.corpora.worker import Result, Work
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.outputs import record


@dataclass(frozen=True)
class Running:
    """How a corpus is worked through."""

    workers: int = 1  # processes of this machine
    cluster: Cluster | None = None  # in place of these
    chunk_files: int = CHUNK_FILES
    chunk_bytes: int = CHUNK_BYTES
    existing: str | None = None  # "replace", "skip"; None: refuse a dataset that is there
    dry_run: bool = False
    plan: str | None = None  # where a plan is: of a dry run, to be written; else, with no inputs, to be worked through
    shard: tuple[int, int] = (0, 1)  # (i, n): of the plan's chunks every n-th from number i on
    show_progress: bool = False  # a bar of windows, of a worker in this process
    on_progress: OnProgress = no_progress

    @property
    def shares(self) -> int:
        """Into chunks for how many workers a small corpus is cut."""
        return self.workers if self.cluster is None else self.cluster.most_workers


def embed_inputs(
    inputs: Iterable[Input] | None, work: Work, running: Running, on_total: Callable[[int], None] = lambda total: None
) -> Generator[Record, None, None]:
    """Embed ``inputs`` into the dataset of ``work``.

    Parameters
    ----------
    inputs : iterable of Input or None
        None: those of the plan that ``running`` names.
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
    if inputs is None:
        return _embed(None, work, running, on_total)
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
    inputs: Iterable[Input] | None, work: Work, running: Running, on_total: Callable[[int], None]
) -> Generator[Record, None, None]:
    is_here = running.cluster is None and running.workers == 1
    run = CorpusRun(open_place(work.dataset), running.existing)
    work.model.graph()  # made here once, or refused before anything is started
    model = work.model.load() if is_here else None
    is_dry = running.dry_run or (running.plan is not None and inputs is not None)

    def engine(chunks: Iterable[Chunk]) -> Iterator[Result]:
        if model is not None:
            return in_this_process(chunks, work, model, running.show_progress, running.on_progress)
        if running.cluster is not None:
            return on_ray(chunks, work, running.cluster, running.on_progress)
        return pool.work(chunks)

    def records() -> Generator[Record, None, None]:
        yield from _planned(run, inputs, work, running, model)
        on_total(run.total)
        yield from run.work(engine)

    if is_here or is_dry or running.cluster is not None:
        return records()
    pool = Pool(work, running.workers, running.on_progress)

    def pooled() -> Generator[Record, None, None]:
        with pool:  # whose first process loads its model meanwhile
            yield from records()

    return pooled()


def _planned(
    run: CorpusRun, inputs: Iterable[Input] | None, work: Work, running: Running, model: EmbeddingModel | None
) -> Iterator[Record]:
    # Providers do not count in what a plan says, and this process need not have the workers'.
    model = model or replace(work.model, provider="cpu").load()
    common = {**record.manner(model, work.embedding), **work.reading.wanted(), "part": work.selection.record()}
    if inputs is None:
        assert running.plan is not None
        yield from run.adopt(running.plan, common, running.shard)
        return
    cutter = Cutter(running.shares, running.chunk_files, running.chunk_bytes)
    dry = running.dry_run or running.plan is not None
    yield from run.plan(inputs, common, cutter, work.selection, dry=dry, path=running.plan)
