"""Decoding a recording block by block: whole, or with a list of what is lost."""

import os
import stat
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import aiff, au, caf, flac, linear, location, mpeg, mpeg_frames, ogg, pyav, riff, sndfile
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

_WORTH_SEEKING = 5.0  # seconds


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
    channels : int
    frames : int or None
        Samples per channel that there should be. None: only decoding tells.
    findings : Findings
        After the last block, about what was read.
    """

    def __init__(
        self,
        path: str,
        walk: Walk,
        sample_rate: float,
        channels: int,
        decoder: str,
        sound: Any = None,
        raw: str | None = None,
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.findings = Findings()
        self._path = path
        self._sound = sound  # of the first part, open already
        self._first = _first(walk)
        self._can_seek = False  # in the part that is being decoded
        self._ledger = Ledger(walk, raw=raw)
        self._decoder = decoder

    @property
    def frames(self) -> int | None:
        lengths = [part.frames for part in self._ledger.walk.parts]
        if lengths == [None] and self._sound is not None and self._sound.frames < sndfile.UNKNOWN_FRAMES:
            return int(self._sound.frames)
        return None if None in lengths else sum(length or 0 for length in lengths)

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        """Samples (N, C) of about ``seconds`` each: float in ±1, or integer PCM; zeros where something is lost."""
        for _, block in self.read([(0, None)], seconds):
            yield block

    def read(
        self, spans: Sequence[tuple[int, int | None]], seconds: float
    ) -> Generator[tuple[int, NDArray[Any]], None, None]:
        """The position of the first of them, and samples as of ``blocks``, of some stretches of the recording.

        Where the format can seek, what lies between is passed over; else it is decoded too.

        Parameters
        ----------
        spans : sequence of (begin, end)
            Samples, sorted, without overlaps; an ``end`` of None is that of the recording.
        """
        pending = deque(spans)
        read, is_at_end = 0, False
        try:
            while pending and not is_at_end:
                for position, block in self._from(pending[0][0], seconds):
                    stop = position + len(block)
                    for low, high in _inside(pending, position, stop):
                        read += high - low
                        yield low, block[low - position : high - position]
                    if not pending or (self._can_seek and pending[0][0] - stop > _WORTH_SEEKING * self.sample_rate):
                        break
                else:
                    is_at_end = True
        finally:
            self.findings = self._find(read, None if list(spans) == [(0, None)] else spans, is_at_end)

    def _find(self, read: int, spans: Sequence[tuple[int, int | None]] | None, has_ended: bool) -> Findings:
        if spans is not None:
            rate = self.sample_rate
            self._ledger.restrict(
                [(begin / rate, None if end is None else end / rate) for begin, end in spans], has_ended
            )
        return self._ledger.findings(read, self.sample_rate, self._decoder, decoders_at_hand)

    def _from(self, begin: int, seconds: float) -> Iterator[tuple[int, NDArray[Any]]]:
        """Blocks and their positions to the end of the recording, the first no later than ``begin``."""
        waiting = deque(self._ledger.walk.parts)
        position = 0
        while waiting:
            part = waiting.popleft()
            if part.frames is not None and position + part.frames <= begin:
                position += part.frames
                continue
            self._can_seek = False
            if isinstance(part, Gap):
                yield from self._zeros(position, part.frames, seconds)
                position += part.frames
                continue
            done = 0
            for first, block in self._decode(part, seconds, max(begin - position, 0)):
                done = first + len(block)
                yield position + first, block
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
                    yield position, block
                    position += len(block)
            if missing > 0 and waiting:
                yield from self._zeros(position, missing, seconds)
                position += missing
            else:
                self._ledger.lost_at_end += missing / self.sample_rate

    def _decode(self, part: Part, seconds: float, begin: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """What libsndfile makes of a part, until it fails; sets how many samples were expected.

        It begins with sample ``begin`` of the part where it can, else with the first.
        """
        self._expected = part.frames or 0
        is_open = part is self._first and self._sound is not None
        first = at = 0
        try:
            with nullcontext(self._sound) if is_open else sndfile.opened(self._path, part) as sound:
                self._sound = None if is_open else self._sound
                if part.frames is None and sound.frames < sndfile.UNKNOWN_FRAMES:
                    self._expected = sound.frames
                self._can_seek = sndfile.can_seek(sound)
                first = at = begin if self._can_seek else 0
                for block in sndfile.blocks(sound, part, seconds, first):
                    yield at, block
                    at += len(block)
        except (sndfile.CannotOpen, sndfile.Broken) as error:
            self._ledger.reason = str(error)
            if self._can_seek and begin and at == first:  # a damaged file, in which seeking leads nowhere
                yield from self._decode(part, seconds, 0)

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

    def _zeros(self, position: int, count: int, seconds: float) -> Iterator[tuple[int, NDArray[Any]]]:
        self._ledger.holes.append((position / self.sample_rate, count / self.sample_rate))
        length = max(int(seconds * self.sample_rate), 1)
        for begin in range(0, count, length):
            yield position + begin, np.zeros((min(length, count - begin), 1), np.float32)


class _AvRecording(Recording):
    """A recording that only FFmpeg decodes."""

    def __init__(self, path: str, walk: Walk, source: pyav.AvReader) -> None:
        super().__init__(path, walk, source.sample_rate, source.channels, pyav.version())
        self._source = source
        self._decoded = 0
        self._ledger.tolerance = CONTAINER_TOLERANCE

    @property
    def frames(self) -> None:
        return None

    def _from(self, begin: int, seconds: float) -> Iterator[tuple[int, NDArray[Any]]]:
        for block in self._source.blocks(seconds):
            self._decoded += len(block)
            yield self._decoded - len(block), block

    def _find(self, read: int, spans: Sequence[tuple[int, int | None]] | None, has_ended: bool) -> Findings:
        source, ledger = self._source, self._ledger
        ledger.holes = source.holes
        walk = ledger.walk
        if walk.announced is None and not walk.lost_at_end:  # by what is there, FFmpeg computes it for some formats
            walk.announced = source.announced
        if has_ended and walk.announced is not None and not walk.is_cut:
            walk.lost_at_end = max(walk.announced - self._decoded / self.sample_rate, 0.0)
        if source.left_out is not None:
            walk.left_out.append(source.left_out)
            walk.is_cut = True
        return super()._find(read, spans, has_ended)


def _inside(pending: deque[tuple[int, int | None]], begin: int, stop: int) -> Iterator[tuple[int, int]]:
    """What of the first spans lies between two positions; those that end there are taken away."""
    while pending and pending[0][0] < stop:
        first, end = pending[0]
        high = stop if end is None else min(end, stop)
        if max(first, begin) < high:
            yield max(first, begin), high
        if end is None or end > stop:
            return
        pending.popleft()


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
        with location.open_binary(path) as file:
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
    is_known = walk is not None
    walk = walk or Walk(parts=[Part()])
    with ExitStack() as opened:
        try:
            sound = opened.enter_context(sndfile.opened(path, _first(walk)))
            if not is_known and sound.format == "MP3":  # of a damaged start, by which nobody here knew it
                with location.open_binary(path) as file:
                    walk = mpeg.walk(file, 0, size) or walk
                sound = opened.enter_context(sndfile.opened(path, _first(walk)))
        except sndfile.CannotOpen as error:
            if not has_av():
                raise EdgeL3Error(f"is in no format that libsndfile reads ({error}); {_NEED_AV}") from error
            yield _AvRecording(path, walk, opened.enter_context(pyav.open_av(path)))
            return
        rate = float(sound.samplerate)
        said = None if raw is None else str(raw)
        yield Recording(path, walk, rate, sound.channels, sndfile.version(), sound, said)


def _first(walk: Walk) -> Part:
    return next((part for part in walk.parts if isinstance(part, Part)), Part())


def _check(path: str) -> int:
    """The size of the file in bytes. EdgeL3Error unless it is one that can be read."""
    if not location.is_local(path):
        size, _ = location.state(path)
        if size == 0:
            raise EdgeL3Error("is empty (0 bytes)")
        return size
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
