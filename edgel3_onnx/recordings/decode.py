"""Decoding recordings block by block: what libsndfile reads, and through PyAV what it does not."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import container

# By these a directory's recordings are told from its other files.
_SNDFILE = "aif aifc aiff au caf flac mp3 nist oga ogg opus rf64 snd sph voc w64 wav wave"
_AV = "3gp aac ac3 amr ape avi m4a m4b m4v mka mkv mov mp2 mp4 mpc tta webm wma wv"
SNDFILE_SUFFIXES, AV_SUFFIXES = (frozenset(f".{name}" for name in names.split()) for names in (_SNDFILE, _AV))
_UNRECOGNISED = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_UNKNOWN_LENGTH = 2**62  # libsndfile gives a larger number of frames where the file does not say
_TOLERANCE = 0.25  # seconds by which a container's duration may exceed its audio: encoder delay and padding
_MAX_BLOCK = 2**20  # samples of all channels


class Recording(Protocol):
    """An open recording."""

    sample_rate: float  # Hz

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        """Samples (N, C) of about ``seconds`` each: float in ±1, or integer PCM.

        Raises
        ------
        EdgeL3Error
            If the recording is damaged, or ends before its header says.
        """
        ...


def has_av() -> bool:
    """Whether PyAV, the extra ``[av]``, is installed."""
    return find_spec("av") is not None


@contextmanager
def open_recording(path: str) -> Iterator[Recording]:
    """Open an audio file. EdgeL3Error, without the path in its message, if it cannot be read or decoded."""
    import soundfile

    with ExitStack() as stack:
        try:
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                raise EdgeL3Error("is a directory, not a recording")
            if not stat.S_ISREG(status.st_mode):
                raise EdgeL3Error("is not a regular file (standard input is read with -)")
            file = stack.enter_context(open(path, "rb"))
            if status.st_size == 0:
                raise EdgeL3Error("is empty (0 bytes)")
            missing = container.missing_bytes(file)
            says_its_length = container.says_its_length(file)
        except OSError as error:
            raise EdgeL3Error(f"cannot be read ({error.strerror or error})") from error
        if missing:
            raise EdgeL3Error(f"is truncated: at least {missing} bytes of what its header announces are missing")
        try:
            sound = stack.enter_context(soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path))
        except soundfile.LibsndfileError as error:
            if error.code != _UNRECOGNISED:
                raise EdgeL3Error(f"cannot be decoded ({error.error_string})") from error
        else:
            yield _SndfileRecording(sound, says_its_length)
            return
        yield stack.enter_context(_open_with_av(path))


class _SndfileRecording:
    def __init__(self, sound: Any, says_its_length: bool) -> None:
        self.sample_rate: float = sound.samplerate
        self._sound = sound
        self._length_is_known = sound.frames < _UNKNOWN_LENGTH and (sound.format != "MP3" or says_its_length)

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        import soundfile

        sound = self._sound
        length = max(min(int(seconds * self.sample_rate), _MAX_BLOCK // sound.channels), 1)
        dtype = "int16" if sound.subtype == "PCM_16" else "float32"  # as they are stored, without a conversion
        done = 0
        while True:
            try:
                block = sound.read(length, dtype=dtype, always_2d=True)
            except soundfile.LibsndfileError as error:
                reason = error.error_string.removeprefix("Error : ").strip()
                raise EdgeL3Error(f"is damaged after {done / self.sample_rate:.2f} s ({reason})") from error
            if len(block) == 0:
                break
            done += len(block)
            yield block
        if self._length_is_known and done < sound.frames:
            announced, found = sound.frames / self.sample_rate, done / self.sample_rate
            raise EdgeL3Error(f"is truncated: its header announces {announced:.2f} s, it has {found:.2f} s")


@contextmanager
def _open_with_av(path: str) -> Iterator[Recording]:
    if not has_av():
        raise EdgeL3Error(
            "is in no format that libsndfile reads; m4a, mp4 and webm need PyAV: pip install 'edgel3-onnx[av]'"
        )
    import av

    try:
        source = av.open(path)
    except (av.error.FFmpegError, UnicodeError) as error:
        raise EdgeL3Error(f"is in no format that libsndfile or FFmpeg reads ({_reason(error)})") from error
    with source:
        if not source.streams.audio:
            raise EdgeL3Error("has no audio stream")
        yield _AvRecording(source)


class _AvRecording:
    def __init__(self, source: Any) -> None:
        self._source = source
        self._stream = source.streams.audio[0]
        self.sample_rate: float = self._stream.rate

    def blocks(self, seconds: float) -> Iterator[NDArray[Any]]:
        length = int(seconds * self.sample_rate)
        held: list[NDArray[Any]] = []
        count = done = 0
        for samples in self._frames():
            held.append(samples)
            count += len(samples)
            if count >= length:
                yield np.concatenate(held)
                done += count
                held, count = [], 0
        if held:
            yield np.concatenate(held)
        announced = self._announced_seconds()
        found = (done + count) / self.sample_rate
        if announced is not None and found < announced - _TOLERANCE:
            raise EdgeL3Error(f"is truncated: its header announces {announced:.2f} s, it has {found:.2f} s")

    def _frames(self) -> Iterator[NDArray[Any]]:
        import av

        seconds = 0.0
        try:
            for frame in self._source.decode(self._stream):
                if frame.sample_rate != self.sample_rate:
                    raise EdgeL3Error(f"changes its sample rate at {seconds:.2f} s")
                seconds += frame.samples / frame.sample_rate
                samples = frame.to_ndarray()  # (channels, samples), or (1, samples * channels) where interleaved
                yield samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
        except av.error.FFmpegError as error:
            raise EdgeL3Error(f"is damaged after {seconds:.2f} s ({_reason(error)})") from error

    def _announced_seconds(self) -> float | None:
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._source.duration is not None and len(self._source.streams) == 1:
            return float(self._source.duration / 1e6)
        return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
