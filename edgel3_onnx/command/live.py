"""Embeddings of audio that arrives on standard input."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.atomic import replacing
from edgel3_onnx.audio import mix_down
from edgel3_onnx.command import interrupt
from edgel3_onnx.command.arguments import PROGRAM
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.gathering import Embeddings
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import record
from edgel3_onnx.outputs.arrays import WRITERS
from edgel3_onnx.recordings.decode import ReadingOptions
from edgel3_onnx.recordings.pipe import Live, open_pipe
from edgel3_onnx.recordings.pipe_reader import PipeReader
from edgel3_onnx.streaming import EmbeddingStream

Float32 = NDArray[np.float32]


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


def embed_stdin(
    model: EmbeddingModel,
    options: EmbeddingOptions,
    reading: ReadingOptions,
    output: str | None = None,
    *,
    quiet: bool = False,
) -> None:
    """Embed standard input: one JSON line per window as the audio comes, or all in the file ``output`` at its end.

    An interruption is how a recording without an end is ended: what came before it is saved. An error is none, and
    leaves no output: what came before it would look like a whole recording.

    Raises
    ------
    EdgeL3Error
        If nothing arrives, a sample is not finite or the output cannot be written; if ``reading`` is strict, and
        something is lost or its length had to be guessed.
    """
    with interrupt.held(), _warnings_as_lines(quiet):  # what is read is not lost: only waiting is interrupted
        audio = open_pipe(PipeReader(binary_stdin(), interrupt.heard), reading.raw)
        stream = EmbeddingStream(model, audio.sample_rate, options.hop_size, options.center, options.resampler)
        if output is None:
            _embed_pipe(audio, stream, _JsonLines(model, options), reading.strict)
            return
        parts, interruption = [np.zeros((0, model.embedding_dim), np.float32)], None
        try:
            _embed_pipe(audio, stream, parts.append, reading.strict)
        except interrupt.Interrupted as stop:
            parts.append(stream.flush()[0])
            interruption = stop
        embedding = np.concatenate(parts)
        if len(embedding):
            source = {"source": "-", "sample_rate": audio.sample_rate, "samples": stream.samples}
            metadata = {**record.manner(model, options), **source, **audio.findings().record()}
            with replacing(output) as file:
                WRITERS[os.path.splitext(output)[1][1:]](file, Embeddings.of(embedding, model, options), metadata)
        if interruption is not None:
            raise interruption


class _JsonLines:
    """Prints one JSON object per window; the numbers have as many digits as float32 needs."""

    def __init__(self, model: EmbeddingModel, options: EmbeddingOptions) -> None:
        self._model, self._options = model, options
        self._count = 0

    def __call__(self, embedding: Float32) -> None:
        windows = Embeddings.of(embedding, self._model, self._options, self._count)
        self._count += len(embedding)
        for row, timestamp, start in zip(embedding, windows.timestamps, windows.start_sample, strict=True):
            values = ", ".join(str(value) if np.isfinite(value) else "null" for value in row)
            print(f'{{"timestamp": {float(timestamp)!r}, "start_sample": {start}, "embedding": [{values}]}}')
        sys.stdout.flush()


def _embed_pipe(audio: Live, stream: EmbeddingStream, emit: Callable[[Float32], object], strict: bool) -> None:
    """Push what arrives into ``stream`` and hand the embeddings to ``emit``, until the pipe ends."""
    for block in audio.blocks():
        try:
            embedding, _ = stream.push(mix_down(block))
        except EdgeL3ArgumentError as error:
            seconds = stream.samples / audio.sample_rate
            raise EdgeL3Error(f"standard input: {error} (counted from {seconds:.2f} s on)") from error
        emit(embedding)
    findings = audio.findings()
    if stream.samples == 0:
        raise EdgeL3Error(f"standard input has no samples{f' ({findings.loss})' if findings.loss else ''}")
    emit(stream.flush()[0])
    if strict and findings.is_doubtful:
        raise EdgeL3Error(f"standard input is not whole: {'; '.join(findings.warnings)}")
    for warning in findings.warnings:
        warnings.warn(warning, EdgeL3Warning, stacklevel=2)


@contextmanager
def _warnings_as_lines(quiet: bool) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "always", EdgeL3Warning)
        warnings.showwarning = lambda message, *_: print(
            f"{PROGRAM}: warning: standard input: {message}", file=sys.stderr
        )
        yield
