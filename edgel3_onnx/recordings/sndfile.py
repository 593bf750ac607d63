"""Decoding one part of a recording with libsndfile."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings.view import viewing
from edgel3_onnx.recordings.walk import Part

# Of these, and so of FLAC too, seeking finds the sample that decoding from the start would come to.
_SEEKABLE = frozenset(["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
UNKNOWN_FRAMES = 2**62  # libsndfile gives a larger number where the file does not say
_MAX_BLOCK = 2**20  # samples of all channels


class CannotOpen(EdgeL3Error):
    """libsndfile knows no such format, or finds the header damaged."""


class Broken(EdgeL3Error):
    """Decoding failed; what was delivered before is good."""


def version() -> str:
    import soundfile

    return f"libsndfile {soundfile.__libsndfile_version__}"


def open_sound(source: Any, **options: Any) -> Any:
    """A soundfile.SoundFile that is read from its beginning to its end, of a file object or a descriptor.

    Raises
    ------
    CannotOpen
    """
    import soundfile

    try:
        return _sound_class()(source, **options)
    except soundfile.LibsndfileError as error:
        raise CannotOpen(error.error_string.removeprefix("Error : ").strip().rstrip(".")) from error


@cache
def _sound_class() -> Any:
    import soundfile

    class Sound(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False  # else soundfile seeks after every block, which not every file bears

        def flush(self) -> None:
            """Nothing is written; without this, closing would wait for another thread once more."""

    return Sound


@contextmanager
def opened(path: str, part: Part) -> Iterator[Any]:
    """The soundfile.SoundFile of a part.

    Raises
    ------
    CannotOpen
    OSError
        If the file cannot be read, or could not be when it was decoded.
    """
    with viewing(path, part.pieces, part.announced) as view, open_sound(view) as sound:
        yield sound


def can_seek(sound: Any) -> bool:
    """Whether ``blocks`` may begin in the middle."""
    return sound.subtype in _SEEKABLE


def blocks(sound: Any, part: Part, seconds: float, begin: int = 0) -> Iterator[NDArray[Any]]:
    """Samples (N, C) of about ``seconds`` each, without those that the part drops: float32, or int16 as stored.

    Those from sample ``begin`` of the part on: another one than 0 only of a sound that can seek.

    Raises
    ------
    Broken
    """
    import soundfile

    length = max(min(int(seconds * sound.samplerate), _MAX_BLOCK // sound.channels), 1)
    dtype = "int16" if sound.subtype == "PCM_16" else "float32"  # as they are stored, without a conversion
    left = sound.frames if part.frames is None else min(part.skip + part.frames, sound.frames)
    skip = part.skip
    if begin:
        try:
            sound.seek(skip + begin)
        except soundfile.LibsndfileError as error:
            raise Broken(error.error_string.removeprefix("Error : ").strip().rstrip(".")) from error
        left, skip = left - skip - begin, 0
    while left > 0:
        try:
            block: NDArray[Any] = sound.read(min(length, left), dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise Broken(error.error_string.removeprefix("Error : ").strip().rstrip(".")) from error
        if len(block) == 0:
            return
        left -= len(block)
        dropped = min(skip, len(block))
        skip -= dropped
        if dropped < len(block):
            yield block[dropped:]


def count(path: str, part: Part) -> int:
    """Samples per channel that libsndfile says a part has; 0 if it cannot open it."""
    try:
        with opened(path, part) as sound:
            return int(sound.frames)
    except CannotOpen:
        return 0
