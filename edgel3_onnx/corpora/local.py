"""The engine of one process, this one; :mod:`edgel3_onnx.corpora.pool` is that of several."""

from collections.abc import Iterable, Iterator

from edgel3_onnx.corpora.plan import Chunk
from edgel3_onnx.corpora.records import OnProgress, Progress
from edgel3_onnx.corpora.worker import Result, Work, Worker
from edgel3_onnx.models import EmbeddingModel


def in_this_process(
    chunks: Iterable[Chunk], work: Work, model: EmbeddingModel, show_progress: bool, on_progress: OnProgress
) -> Iterator[Result]:
    worker = Worker(work, model, show_progress=show_progress)
    for chunk in chunks:
        yield worker.run(chunk, lambda path, seconds: on_progress(Progress("1", path, seconds)))
