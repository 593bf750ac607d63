"""Decoding with FFmpeg through PyAV, the extra ``[av]``: packet by packet, and by their times."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings.location import is_local, open_binary

# Demuxers that estimate a duration from the bitrate, which is no announcement.
_ESTIMATING = frozenset(("aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "g722", "loas", "mp3", "mpeg", "mpegts"))
_MAX_BLOCK = 2**20  # samples of all channels
_MAX_HOLE = 600.0  # seconds; a larger jump of the times, in a file without a duration, is an error of its own
_JITTER = 0.005  # seconds by which times are rounded
_PLANES = 7  # one fewer than FFmpeg's AV_NUM_DATA_POINTERS: PyAV goes on to the first that is empty


def has_av() -> bool:
    """Whether PyAV, the extra ``[av]``, is installed."""
    return find_spec("av") is not None


@cache
def version() -> str:
    from importlib.metadata import version as version_of  # 20 ms that only few need

    return f"PyAV {version_of('av')}"


def _is_safe(form: Any, channels: int) -> bool:
    """Whether PyAV may be asked for samples: of more planes than these it reads beyond the list of where they lie."""
    return not form.is_planar or channels <= _PLANES


class AvReader:
    """The first stream of audio in a file. EdgeL3Error if it has more channels than PyAV can give.

    Attributes
    ----------
    sample_rate : float
        Hz.
    channels : int
    announced : float or None
        Seconds.
    holes : list of (start, length)
        Seconds; filled with zeros so far.
    left_out : str or None
        What is there and was not decoded.
    """

    def __init__(self, container: Any) -> None:
        self._container = container
        self._stream = container.streams.audio[0]
        form, channels = self._stream.format, self._stream.codec_context.channels
        if form is not None and not _is_safe(form, channels):
            raise EdgeL3Error(f"has {channels} channels; of such a recording PyAV gives no more than {_PLANES}")
        self.sample_rate = float(self._stream.rate)
        self.channels = max(self._stream.codec_context.channels, 1)
        self.announced = self._duration()
        self.holes: list[tuple[float, float]] = []
        self.left_out: str | None = None
        self._origin: float | None = None  # the time of the first sample, as far as frames have told

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        """Samples (N, C) of about ``seconds`` each, zeros where the times say that something is missing."""
        length = max(min(int(seconds * self.sample_rate), _MAX_BLOCK // self.channels), 1)
        held: list[NDArray[Any]] = []
        count = position = 0
        for start, samples in self._frames():
            expected = position + count
            missing = self._missing(start, expected, len(samples))
            if missing:
                if held:
                    yield np.concatenate(held)
                position, held, count = expected + missing, [], 0
                self.holes.append((expected / self.sample_rate, missing / self.sample_rate))
                for begin in range(0, missing, length):
                    yield np.zeros((min(length, missing - begin), 1), np.float32)
            elif held and samples.shape[1] != held[0].shape[1]:
                yield np.concatenate(held)
                position, held, count = expected, [], 0
            held.append(samples)
            count += len(samples)
            if count >= length:
                yield np.concatenate(held)
                position, held, count = position + count, [], 0
        if held:
            yield np.concatenate(held)

    def _missing(self, start: float | None, expected: int, length: int) -> int:
        """Samples that are missing in front of a frame that starts at ``start`` seconds."""
        if start is None:
            return 0
        if self._origin is None or not expected:
            self._origin = start - expected / self.sample_rate
        missing = round((start - self._origin) * self.sample_rate) - expected
        limit = _MAX_HOLE if self.announced is None else self.announced - expected / self.sample_rate
        if -_JITTER * self.sample_rate <= missing < max(_JITTER * self.sample_rate, length / 2):
            return 0
        if missing < 0 or missing > limit * self.sample_rate:
            self._origin = start - expected / self.sample_rate  # the times begin anew
            return 0
        return missing

    def _frames(self) -> Iterator[tuple[float | None, NDArray[Any]]]:
        """Time in seconds and samples (N, C) of each frame; packets that cannot be decoded give none."""
        import av

        packets = self._container.demux(self._stream)
        done = 0.0
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.EOFError):
                return
            except (av.error.FFmpegError, IndexError) as error:  # the latter of a stream that was not announced
                self.left_out = f"what follows {done:.2f} s cannot be read ({getattr(error, 'strerror', error)})"
                return
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                continue
            for frame in frames:
                if frame.sample_rate != self.sample_rate:
                    self.left_out = f"what follows {done:.2f} s has another rate, {frame.sample_rate} Hz"
                    return
                if not _is_safe(frame.format, frame.layout.nb_channels):  # a damaged one
                    continue
                done += frame.samples / self.sample_rate
                try:
                    samples = frame.to_ndarray()  # (channels, samples), or (1, samples * channels) where interleaved
                except ValueError as error:
                    raise EdgeL3Error(f"has samples of a kind that PyAV does not give ({error})") from error
                yield frame.time, samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)

    def _duration(self) -> float | None:
        if not _ESTIMATING.isdisjoint(self._container.format.name.split(",")):
            return None
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is not None and len(self._container.streams) == 1:
            return float(self._container.duration / 1e6)
        return None


@contextmanager
def open_av(source: Any) -> Iterator[AvReader]:
    """Open a file, by its path or as a file object.

    Raises
    ------
    EdgeL3Error
        If FFmpeg does not know its format, or there is no audio in it.
    """
    import av

    with ExitStack() as stack:
        if isinstance(source, str) and not is_local(source):
            source = stack.enter_context(open_binary(source))
        try:
            try:
                name = "file:" + source if isinstance(source, str) else source  # else "x:y" would be a protocol
                container = stack.enter_context(av.open(name, metadata_errors="replace"))
            except UnicodeError:  # a path that is no UTF-8
                file = stack.enter_context(open(source, "rb"))
                container = stack.enter_context(av.open(file, metadata_errors="replace"))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EdgeL3Error(f"is in no format that libsndfile or FFmpeg reads ({reason})") from error
        if not container.streams.audio:
            raise EdgeL3Error("has no audio stream")
        if not getattr(container.streams.audio[0], "rate", None):  # absent where there is no decoder
            raise EdgeL3Error("has a stream of audio that FFmpeg cannot decode")
        yield AvReader(container)
