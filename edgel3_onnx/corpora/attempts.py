"""How often a chunk was begun and not ended, counted where the dataset lies; and which file is to blame.

A process that a file kills (a decoder's fault, memory) cannot say so. Whoever begins a chunk leaves a mark, and takes
it away at the end, however that comes but by a kill.
"""

import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from edgel3_onnx.corpora.place import ATTEMPTS, Place
from edgel3_onnx.corpora.pool import WORKER
from edgel3_onnx.models import ModelOptions
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.pipeline import EmbeddedFile, embed_files
from edgel3_onnx.recordings import location
from edgel3_onnx.recordings.decode import ReadingOptions

_TRIES = 2  # processes that a file must kill, each with nothing else to do, to be the one to blame


@contextmanager
def attempt(place: Place, chunk: str) -> Iterator[int]:
    """Count an attempt at a chunk. Gives the number of earlier ones that were killed."""
    killed = [f"{ATTEMPTS}/{name}" for name in place.names(ATTEMPTS) if name.startswith(chunk)]
    mark = f"{ATTEMPTS}/{chunk}-{uuid.uuid4().hex[:8]}"
    with suppress(OSError):  # without it a killer is only tried more often
        place.mark(mark)
    try:
        yield len(killed)
    except BaseException:
        with suppress(OSError):
            place.remove(mark)
        raise
    for name in [mark, *killed]:
        with suppress(OSError):
            place.remove(name)


def killers(
    paths: Sequence[str], model: ModelOptions, options: EmbeddingOptions, reading: ReadingOptions, filesystem: Any
) -> dict[str, str]:
    """The files that end a process which embeds them, and how: each alone, in a process that does nothing else."""
    found: dict[str, str] = {}
    given = (model, options, reading, filesystem)
    child = _Child(*given)
    try:
        for path in paths:
            for last in range(1, _TRIES + 1):
                how = child.survives(path)
                if how is None:
                    break
                child = _Child(*given)
                if last == _TRIES:
                    found[path] = f"the process that worked on it {how}, twice"
    finally:
        child.stop()
    return found


class _Child:
    def __init__(self, *given: Any) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_embed_alone, args=(theirs, *given), name=WORKER)
        self._process.start()
        theirs.close()

    def survives(self, path: str) -> str | None:
        """Embed a file; None if that goes well or fails in the usual way, else how the process ended."""
        try:
            self._connection.send(path)
            self._connection.recv()
        except (EOFError, OSError):
            self.stop()
            code = self._process.exitcode
            return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        return None

    def stop(self) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _embed_alone(
    connection: Connection, options: ModelOptions, embedding: EmbeddingOptions, reading: ReadingOptions, filesystem: Any
) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # whoever started this closes the connection
    model = options.load()
    with location.reached_by(filesystem), suppress(EOFError, OSError):
        while True:
            job = EmbeddedFile(connection.recv())
            for _ in embed_files(model, [job], embedding, reading, on_rows=lambda job, rows: None, rows_at_once=1):
                pass
            connection.send(None)
