"""WAV and raw PCM from a pipe, sample by sample as they arrive."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings.findings import Findings, Ledger
from edgel3_onnx.recordings.linear import Linear
from edgel3_onnx.recordings.pipe_reader import PipeReader
from edgel3_onnx.recordings.riff import Format, is_unknown_length
from edgel3_onnx.recordings.walk import Walk

_DTYPES = {("uint", 8): "u1", ("int", 16): "<i2", ("int", 32): "<i4", ("float", 32): "<f4", ("float", 64): "<f8"}
_DTYPES |= {("alaw", 8): "u1", ("ulaw", 8): "u1"}
_MAX_FORMAT = 1000  # bytes of a chunk "fmt "
_UNKNOWN = -1


class RawPipe:
    """Samples without a header, to the end."""

    def __init__(self, reader: PipeReader, form: Linear) -> None:
        self.sample_rate = form.rate
        self._reader, self._decoder = reader, _Decoder(form)
        self._raw: str | None = str(form)
        self._walk = Walk(form.rate)
        self._ledger = Ledger(self._walk, raw=self._raw)
        self._bytes = 0

    def blocks(self) -> Iterator[NDArray[Any]]:
        yield from self._samples(_UNKNOWN)

    def findings(self) -> Findings:
        samples = self._bytes // self._decoder.form.frame_bytes
        return self._ledger.findings(samples, self.sample_rate, "PCM", lambda: "PCM")

    def _samples(self, length: int) -> Iterator[NDArray[Any]]:
        """Whole samples of all channels as they arrive, up to ``length`` bytes."""
        size, rest, left = self._decoder.form.frame_bytes, b"", length
        while left:
            data = self._reader.read() if left < 0 else self._reader.read(min(left, 65536))
            if not data:
                return
            left -= len(data) if left > 0 else 0
            data = rest + data
            whole = len(data) - len(data) % size
            rest = data[whole:]
            if whole:
                self._bytes += whole
                yield self._decoder.decode(data[:whole])


class WavPipe(RawPipe):
    """WAV, with chunks in any order and of any size; several WAV files one behind the other are taken as one."""

    def __init__(self, reader: PipeReader) -> None:
        self._reader = reader
        self._form, self._said = self._header()
        super().__init__(reader, self._linear(self._form))
        self._decoder = _Decoder(self._linear(self._form), is_padded=self._form.bits == 24)
        self._ledger.raw = None

    def blocks(self) -> Iterator[NDArray[Any]]:
        announced = 0.0
        while True:
            per_second = self._decoder.form.frame_bytes * self.sample_rate
            before, said = self._bytes, self._said
            yield from self._samples(said or _UNKNOWN)
            received = self._bytes - before
            if said == 0 and received:
                self._walk.warnings.append("its header says 0 s; all that arrived is taken")
            if said > 0:
                frame = self._decoder.form.frame_bytes
                self._walk.lost_at_end = max(said - said % frame - received, 0) / per_second
                announced += said / per_second
                self._walk.announced = announced
            if said > 0 and not self._is_at_chunk(said):
                yield from self._samples(_UNKNOWN)
                self._walk.announced = None
                behind = (self._bytes - before - said) / per_second
                self._walk.warnings.append(
                    f"its header says {said / per_second:.2f} s; the {behind:.2f} s behind are taken too"
                )
            if not self._skip_to_next():
                return
            form, self._said = self._header()
            if (form.rate, form.channels) != (self._form.rate, self._form.channels):
                self._walk.left_out.append(f"a second recording at {form.rate} Hz, {form.channels} channels")
                self._walk.is_cut = True
                self._reader.skip(2**62)
                return
            self._decoder = _Decoder(self._linear(form), is_padded=form.bits == 24)
            self._walk.recordings += 1

    def findings(self) -> Findings:
        samples = self._bytes // self._decoder.form.frame_bytes
        return self._ledger.findings(samples, self.sample_rate, "PCM", lambda: "PCM")

    def _header(self) -> tuple[Format, int]:
        """Format and size of the samples, _UNKNOWN if they go to the end; takes everything in front of them."""
        self._reader.skip(12)
        form, long_size = None, 0
        while True:
            header = self._reader.take(8)
            if len(header) < 8:
                raise EdgeL3Error("standard input: the WAV header has no samples after it")
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                if form is None:
                    raise EdgeL3Error("standard input: the WAV header does not say what the samples are")
                size = long_size if size == 0xFFFFFFFF and long_size else size
                return form, _UNKNOWN if is_unknown_length(size) else size
            taken = b""
            if name in (b"fmt ", b"ds64"):
                taken = self._reader.take(min(size, _MAX_FORMAT))
            if name == b"fmt ":
                form = Format.parse(taken)
                if form is None:
                    raise EdgeL3Error("standard input: the WAV header is damaged")
            elif name == b"ds64" and len(taken) >= 16:
                (long_size,) = struct.unpack("<8xQ", taken[:16])
            self._reader.skip(size + size % 2 - len(taken))

    @staticmethod
    def _linear(form: Format) -> Linear:
        linear = form.linear()
        if linear is None or (linear.encoding, linear.bits) not in {*_DTYPES, ("int", 24)}:
            raise EdgeL3Error(
                f"standard input: WAV with format {form.tag}, {form.bits} bits in {form.block_align} bytes, "
                f"{form.channels} channels, {form.rate} Hz is not supported"
            )
        return linear

    def _is_at_chunk(self, said: int) -> bool:
        """Whether what follows is a chunk, or nothing; takes the byte that aligns it."""
        ahead = self._reader.peek(9)
        if len(ahead) < 9:
            return True
        if said % 2 and not ahead[0]:
            self._reader.skip(1)
            ahead = ahead[1:]
        return ahead[:4].isascii() and ahead[:4].decode().isprintable()

    def _skip_to_next(self) -> bool:
        """Take all chunks behind the samples, so that the writer can end; True if another file begins."""
        while len(header := self._reader.peek(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name in (b"RIFF", b"RF64"):
                return True
            self._reader.skip(8 + size + size % 2)
        self._reader.skip(8)
        return False


def _companded(encoding: str) -> NDArray[np.int16]:
    """What the 256 codes of G.711 stand for, in 16 bits."""
    code = np.arange(256) ^ (0x55 if encoding == "alaw" else 0xFF)
    segment, step, is_set = code >> 4 & 7, code & 15, code >> 7 == 1
    if encoding == "alaw":
        size = np.where(segment == 0, step * 16 + 8, (step * 16 + 264) << np.maximum(segment - 1, 0))
        return np.where(is_set, size, -size).astype(np.int16)
    size = ((step * 8 + 132) << segment) - 132
    return np.where(is_set, -size, size).astype(np.int16)


class _Decoder:
    """Turns bytes into samples (N, C)."""

    def __init__(self, form: Linear, is_padded: bool = False) -> None:
        self.form = form
        self._is_padded = is_padded and form.bits == 32  # 24 bits in 4 bytes
        self._is_right_justified: bool | None = None  # not known while all is zero
        self._codes = _companded(form.encoding) if form.encoding in ("alaw", "ulaw") else None

    def decode(self, data: bytes) -> NDArray[Any]:
        if self.form.bits == 24:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return padded.view("<i4").reshape(-1, self.form.channels)
        samples = np.frombuffer(data, _DTYPES[self.form.encoding, self.form.bits])
        if self._codes is not None:
            samples = self._codes[samples]
        elif self._is_padded:
            if self._is_right_justified is None and samples.any():
                self._is_right_justified = bool((samples & 0xFF).any() and abs(samples // 2).max() <= 2**22)
            if self._is_right_justified:
                samples = samples << 8
        return samples.reshape(-1, self.form.channels)
