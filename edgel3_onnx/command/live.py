"""Embeddings of audio that arrives on a pipe: raw PCM, or WAV with whatever length its header claims."""

import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import mix_down
from edgel3_onnx.command import interrupt
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings.container import is_unknown_length
from edgel3_onnx.streaming import EmbeddingStream

PCM_FORMATS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
_READ = 65536  # bytes at a time, at most; a pipe gives what there is
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # format tags of WAV


@dataclass(frozen=True)
class PcmFormat:
    """Samples as they lie in a byte stream."""

    rate: float  # Hz
    dtype: np.dtype[Any] | None  # None: integers of three bytes, little-endian
    channels: int = 1
    data_bytes: int | None = None  # of all samples, where a header says so

    @property
    def frame_bytes(self) -> int:
        return self.channels * (3 if self.dtype is None else self.dtype.itemsize)

    def decode(self, data: bytes) -> NDArray[np.generic]:
        """Samples (N, channels) of ``data``, a whole number of frames."""
        if self.dtype is None:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return padded.view("<i4").reshape(-1, self.channels)
        return np.frombuffer(data, self.dtype).reshape(-1, self.channels)


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


class PipeReader:
    """Reads bytes from a file descriptor.

    Raises
    ------
    EdgeL3Error
        From all methods, if reading fails.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = b""

    def peek(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end, without taking them."""
        while len(self._held) < count and (data := self._read()):
            self._held += data
        return self._held[:count]

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end."""
        data = self.peek(count)
        self._held = self._held[len(data) :]
        return data

    def frames(self, size: int, limit: int | None = None) -> Iterator[bytes]:
        """What arrives, as soon as it does, in whole frames of ``size`` bytes; ``limit`` bytes at most."""
        left = sys.maxsize if limit is None else limit
        data, self._held = self._held, b""
        while left > 0:
            data = data[:left]
            whole = len(data) - len(data) % size
            if whole:
                yield data[:whole]
                left -= whole
            more = self._read()
            if not more:
                return
            data = data[whole:] + more

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, _READ)
        except OSError as error:
            raise EdgeL3Error(f"standard input cannot be read ({error.strerror or error})") from error


def read_wav_header(reader: PipeReader) -> PcmFormat:
    """Take a WAV header up to the first sample.

    Raises
    ------
    EdgeL3Error
        If it is damaged, or the samples are neither PCM of 8, 16, 24 or 32 bits nor float of 32 or 64.
    """
    reader.take(12)
    pcm = None
    while True:
        header = reader.take(8)
        if len(header) < 8:
            raise EdgeL3Error("standard input: the WAV header has no samples after it")
        identifier, size = struct.unpack("<4sI", header)
        if identifier == b"data":
            if pcm is None:
                raise EdgeL3Error("standard input: the WAV header does not say what the samples are")
            return replace(pcm, data_bytes=None if is_unknown_length(size) else size)
        body = reader.take(size + size % 2)
        if identifier == b"fmt ":
            pcm = _parse_format(body)


def _parse_format(body: bytes) -> PcmFormat:
    if len(body) < 16:
        raise EdgeL3Error("standard input: the WAV header is damaged")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack("<H", body[24:26])
    known: dict[tuple[int, int], np.dtype[Any] | None] = {
        (_PCM, 8): np.dtype("u1"),
        (_PCM, 16): np.dtype("<i2"),
        (_PCM, 24): None,
        (_PCM, 32): np.dtype("<i4"),
        (_FLOAT, 32): np.dtype("<f4"),
        (_FLOAT, 64): np.dtype("<f8"),
    }
    if (tag, bits) not in known or channels < 1 or rate < 1:
        raise EdgeL3Error(
            f"standard input: WAV with format {tag}, {bits} bits, {channels} channels, {rate} Hz is not supported"
        )
    return PcmFormat(rate, known[tag, bits], channels)


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


def embed_pipe(reader: PipeReader, pcm: PcmFormat, stream: EmbeddingStream, emit: Emit) -> None:
    """Push what arrives into ``stream`` and hand the embeddings to ``emit``, until the pipe ends.

    Raises
    ------
    EdgeL3Error
        If nothing arrives, or, after all was handed over, if a WAV header announced more.
    """
    received = 0
    for data in reader.frames(pcm.frame_bytes, pcm.data_bytes):
        received += len(data)
        with interrupt.held():
            emit(*stream.push(mix_down(pcm.decode(data))))
    if received == 0:
        raise EdgeL3Error("standard input has no samples")
    emit(*stream.flush())
    if pcm.data_bytes is not None and received < pcm.data_bytes - pcm.data_bytes % pcm.frame_bytes:
        announced, found = (count / pcm.frame_bytes / pcm.rate for count in (pcm.data_bytes, received))
        raise EdgeL3Error(f"standard input ended after {found:.2f} s, its header announces {announced:.2f} s")


def json_lines(embedding: NDArray[np.float32], timestamps: NDArray[np.float64]) -> Iterator[str]:
    """One JSON object per window; the numbers have as many digits as float32 needs."""
    for row, timestamp in zip(embedding, timestamps, strict=True):
        values = ", ".join(str(value) if np.isfinite(value) else "null" for value in row)
        yield f'{{"timestamp": {float(timestamp)!r}, "embedding": [{values}]}}'
