"""Embeddings of audio that arrives on standard input."""

import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import mix_down
from edgel3_onnx.command import interrupt
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.recordings.findings import Findings
from edgel3_onnx.recordings.pipe import Live
from edgel3_onnx.streaming import EmbeddingStream


def binary_stdin() -> int:
    """The file descriptor of standard input, untranslated. EdgeL3Error if nothing can come of it."""
    if sys.stdin is None or sys.stdin.closed:
        raise EdgeL3Error("standard input is closed: pipe audio into this command")
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        raise EdgeL3Error("standard input is a terminal: pipe audio into this command")
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)
    return descriptor


class Collector:
    """Keeps embeddings until there are no more."""

    def __init__(self, embedding_dim: int) -> None:
        self._embeddings = [np.zeros((0, embedding_dim), np.float32)]
        self._timestamps = [np.zeros(0)]
        self.windows = 0

    def add(self, embedding: NDArray[np.float32], timestamps: NDArray[np.float64]) -> None:
        self._embeddings.append(embedding)
        self._timestamps.append(timestamps)
        self.windows += len(embedding)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """All embeddings (T, D) and timestamps (T,)."""
        return np.concatenate(self._embeddings), np.concatenate(self._timestamps)


Emit = Callable[[NDArray[np.float32], NDArray[np.float64]], None]


def embed_pipe(audio: Live, stream: EmbeddingStream, emit: Emit, *, strict: bool = False) -> Findings:
    """Push what arrives into ``stream`` and hand the embeddings to ``emit``, until the pipe ends.

    Raises
    ------
    EdgeL3Error
        If nothing arrives, or a sample is not finite; with ``strict``, after all was handed over, if something of it
        is lost or its length had to be guessed.
    """
    for block in audio.blocks():
        with interrupt.held():
            try:
                embeddings = stream.push(mix_down(block))
            except EdgeL3ArgumentError as error:
                seconds = stream.samples / audio.sample_rate
                raise EdgeL3Error(f"standard input: {error} (counted from {seconds:.2f} s on)") from error
            emit(*embeddings)
    findings = audio.findings()
    if stream.samples == 0:
        raise EdgeL3Error(f"standard input has no samples{f' ({findings.loss})' if findings.loss else ''}")
    emit(*stream.flush())
    if strict and findings.is_doubtful:
        raise EdgeL3Error(f"standard input is not whole: {'; '.join(findings.warnings)}")
    return findings


def json_lines(embedding: NDArray[np.float32], timestamps: NDArray[np.float64]) -> Iterator[str]:
    """One JSON object per window; the numbers have as many digits as float32 needs."""
    for row, timestamp in zip(embedding, timestamps, strict=True):
        values = ", ".join(str(value) if np.isfinite(value) else "null" for value in row)
        yield f'{{"timestamp": {float(timestamp)!r}, "embedding": [{values}]}}'
