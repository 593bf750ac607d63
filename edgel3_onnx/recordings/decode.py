"""Decoding a recording block by block: whole, or with a list of what is lost."""

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import aiff, au, caf, flac, linear, mpeg, mpeg_frames, ogg, pyav, riff, sndfile
from edgel3_onnx.recordings.clock import ClockOptions
from edgel3_onnx.recordings.findings import CONTAINER_TOLERANCE, Findings, Ledger
from edgel3_onnx.recordings.linear import Linear
from edgel3_onnx.recordings.pyav import has_av
from edgel3_onnx.recordings.view import read_at, viewing
from edgel3_onnx.recordings.walk import Gap, Part, Walk

# By these a directory's recordings are told from its other files.
_SNDFILE = "aif aifc aiff amb au bwf caf flac mp2 mp3 mpga nist oga ogg opus rf64 snd sph voc w64 wav wave"
_AV = "3gp aac ac3 amr ape avi m4a m4b m4v mka mkv mov mp4 mpc tta webm wma wv"
SNDFILE_SUFFIXES, AV_SUFFIXES = (frozenset(f".{name}" for name in names.split()) for names in (_SNDFILE, _AV))
HEADERLESS_SUFFIXES = frozenset((".raw", ".pcm"))
_NEED_AV = "m4a, mp4, webm, ALAC, AC3, G.722 and 32-bit FLAC need PyAV: pip install 'edgel3-onnx[av]'"


@dataclass(frozen=True)
class ReadingOptions:
    """How recordings are read.

    Attributes
    ----------
    strict : bool
        A recording of which something is lost is an error.
    raw : Linear or None
        What the samples of a file without a header are.
    clock : ClockOptions
        How to tell when a recording began.
    """

    strict: bool = False
    raw: Linear | None = None
    clock: ClockOptions = field(default_factory=ClockOptions)

    def wanted(self) -> dict[str, Any]:
        """What the record of an output should say of it."""
        return {
            "raw": None if self.raw is None else str(self.raw),
            "time_pattern": self.clock.time_pattern,
            "time_zone": self.clock.time_zone,
        }


class Recording:
    """An open recording.

    Attributes
    ----------
    sample_rate : float
        Hz.
    findings : Findings
        After the last block.
    """

    def __init__(
        self, path: str, walk: Walk, sample_rate: float, decoder: str, sound: Any = None, raw: str | None = None
    ) -> None:
        self.sample_rate = sample_rate
        self.findings = Findings()
        self._path = path
        self._sound = sound  # of the first part, open already
        self._ledger = Ledger(walk, raw=raw)
        self._decoder = decoder

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        """Samples (N, C) of about ``seconds`` each: float in ±1, or integer PCM; zeros where something is lost."""
        waiting = deque(self._ledger.walk.parts)
        position = 0
        while waiting:
            part = waiting.popleft()
            if isinstance(part, Gap):
                yield from self._zeros(position, part.frames, seconds)
                position += part.frames
                continue
            done, missing = 0, 0
            for block in self._decode(part, seconds):
                done += len(block)
                yield block
            position += done
            missing = self._expected - done
            if missing <= 0:
                continue
            rest = part.resume(done) if part.resume is not None else []
            if rest:
                waiting.extendleft(reversed(rest))
                continue
            if has_av() and done:
                for block in self._decode_with_av(part, done, missing, seconds):
                    missing -= len(block)
                    position += len(block)
                    yield block
            if missing > 0 and waiting:
                yield from self._zeros(position, missing, seconds)
                position += missing
            else:
                self._ledger.lost_at_end += missing / self.sample_rate
        self.findings = self._ledger.findings(position, self.sample_rate, self._decoder, decoders_at_hand)

    def _decode(self, part: Part, seconds: float) -> Iterator[NDArray[Any]]:
        """What libsndfile makes of a part, until it fails; sets how many samples were expected."""
        self._expected = part.frames or 0
        try:
            with sndfile.opened(self._path, part) if self._sound is None else nullcontext(self._sound) as sound:
                self._sound = None
                if part.frames is None and sound.frames < sndfile.UNKNOWN_FRAMES:
                    self._expected = sound.frames
                yield from sndfile.blocks(sound, part, seconds)
        except (sndfile.CannotOpen, sndfile.Broken) as error:
            self._ledger.reason = str(error)

    def _decode_with_av(self, part: Part, done: int, missing: int, seconds: float) -> Iterator[NDArray[Any]]:
        """What FFmpeg makes of the part behind the first ``done`` samples, at most ``missing`` of them."""
        skip = part.skip + done
        try:
            with viewing(self._path, part.pieces) as view, pyav.open_av(view) as source:
                if source.sample_rate != self.sample_rate:
                    return
                for block in source.blocks(seconds):
                    dropped = min(skip, len(block))
                    skip -= dropped
                    block = block[dropped:][:missing]
                    missing -= len(block)
                    if len(block):
                        yield block
                self._decoder = decoders_at_hand()
                before = (part.skip + done) / self.sample_rate
                self._ledger.holes += [
                    (max(start, before), length) for start, length in source.holes if start >= before
                ]
        except EdgeL3Error:
            return

    def _zeros(self, position: int, count: int, seconds: float) -> Iterator[NDArray[Any]]:
        self._ledger.holes.append((position / self.sample_rate, count / self.sample_rate))
        length = max(int(seconds * self.sample_rate), 1)
        for begin in range(0, count, length):
            yield np.zeros((min(length, count - begin), 1), np.float32)


class _AvRecording(Recording):
    """A recording that only FFmpeg decodes."""

    def __init__(self, path: str, walk: Walk, source: pyav.AvReader) -> None:
        super().__init__(path, walk, source.sample_rate, pyav.version())
        self._source = source
        self._ledger.tolerance = CONTAINER_TOLERANCE

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        source, ledger = self._source, self._ledger
        found = 0
        for block in source.blocks(seconds):
            found += len(block)
            yield block
        ledger.holes = source.holes
        if source.left_out is not None:
            ledger.walk.left_out.append(source.left_out)
        walk = ledger.walk
        walk.announced = source.announced if walk.announced is None else walk.announced
        if walk.announced is not None and not walk.is_cut:
            walk.lost_at_end = max(walk.announced - found / self.sample_rate, 0.0)
        self.findings = ledger.findings(found, self.sample_rate, self._decoder, decoders_at_hand)


def decoders_at_hand() -> str:
    """Names and versions of all decoders that are installed."""
    return f"{sndfile.version()}, {pyav.version()}" if has_av() else sndfile.version()


@contextmanager
def open_recording(path: str, raw: Linear | None = None) -> Iterator[Recording]:
    """Open an audio file; ``raw`` says what the samples are if it has no header.

    Raises
    ------
    EdgeL3Error
        Without the path in its message, if it cannot be read or decoded.
    """
    try:
        size = _check(path)
        with open(path, "rb") as file:
            walk = _walk(path, file, size)
    except OSError as error:
        raise EdgeL3Error(f"cannot be read ({error.strerror or error})") from error
    is_headerless = walk is None and os.path.splitext(path)[1].lower() in HEADERLESS_SUFFIXES
    if walk is None and raw is not None:
        walk = linear.walk(linear.Samples(raw, 0, None, is_plain=False), size)
    elif is_headerless:
        raise EdgeL3Error("has no header: say its rate and what its samples are, --rate HZ [--pcm s16le|f32le]")
    else:
        raw = None
    walk = walk or Walk(parts=[Part()])
    first = next((part for part in walk.parts if isinstance(part, Part)), Part())
    with ExitStack() as opened:
        try:
            sound = opened.enter_context(sndfile.opened(path, first))
        except sndfile.CannotOpen as error:
            if not has_av():
                raise EdgeL3Error(f"is in no format that libsndfile reads ({error}); {_NEED_AV}") from error
            yield _AvRecording(path, walk, opened.enter_context(pyav.open_av(path)))
            return
        rate = float(sound.samplerate)
        yield Recording(path, walk, rate, sndfile.version(), sound, None if raw is None else str(raw))


def _check(path: str) -> int:
    """The size of the file in bytes. EdgeL3Error unless it is one that can be read."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise EdgeL3Error("is a directory, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise EdgeL3Error("is not a regular file (standard input is read with -)")
    if status.st_size == 0:
        raise EdgeL3Error("is empty (0 bytes)")
    return status.st_size


def _walk(path: str, file: BinaryIO, size: int) -> Walk | None:
    """What lies in the file; None if its format is none of those that are known here."""
    magic = read_at(file, 0, 12)
    if magic[:4] == b"OggS":
        return ogg.walk(path, file, size)
    is_wave = magic[:4] in (b"RIFF", b"RIFX", b"RF64") and magic[8:12] == b"WAVE"
    if is_wave or magic[:8] == b"riff\x2e\x91\xcf\x11":
        return riff.walk(file, size)
    if magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC"):
        return aiff.walk(file, size)
    if magic[:4] == b".snd":
        return au.walk(file, size)
    if magic[:4] == b"caff":
        return caf.walk(file, size)
    start = mpeg_frames.behind_tags(file, size)
    if read_at(file, start, 4) == b"fLaC":
        return flac.walk(file, start, size)
    if mpeg_frames.is_mpeg(file, start, size):
        return mpeg.walk(file, 0, size)
    return None
