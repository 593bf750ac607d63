"""What counts as audio: arrays of samples are checked here and become mono float32."""

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Warning
from edgel3_onnx.frontend import num_windows
from edgel3_onnx.spec import FrontEndSpec

# Up to how many values have a mean in float32 that is rounded once; sums of more are taken in float64.
_ROUNDED_ONCE = {np.dtype(np.float32): 2, np.dtype(np.int16): 256}
MAX_CHANNELS = 32  # an array with more columns than this and than rows is (channels, samples) by mistake


def check_sample_rate(sr: object) -> float:
    """Return ``sr`` in Hz; EdgeL3ArgumentError unless it is a positive, finite number."""
    rate = _finite(sr)
    if rate is None or rate <= 0:
        raise EdgeL3ArgumentError(f"sr must be a positive number of Hz, got {sr!r}")
    return rate


def check_hop_size(hop_size: object, sample_rate: int) -> int:
    """Return the hop in samples at ``sample_rate`` (Hz) of ``hop_size`` seconds, rounded down.

    EdgeL3ArgumentError unless ``hop_size`` is a finite number of at least one sample.
    """
    seconds = _finite(hop_size)
    if seconds is None:
        raise EdgeL3ArgumentError(f"hop_size must be a positive number of seconds, got {hop_size!r}")
    hop_length = int(seconds * sample_rate)
    if hop_length < 1:
        raise EdgeL3ArgumentError(f"hop_size must be at least one sample (1/{sample_rate} s), got {hop_size!r}")
    return hop_length


def _finite(value: object) -> float | None:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def check_long_enough(samples: int, sr: float, sample_rate: int) -> None:
    """Refuse a signal of which resampling would leave nothing. Raises EdgeL3ArgumentError."""
    if int(samples * (sample_rate / sr)) < 1:
        raise EdgeL3ArgumentError(
            f"audio is too short: {samples} samples at {sr:g} Hz are less than one sample at {sample_rate} Hz"
        )


def to_mono(audio: ArrayLike) -> NDArray[np.float32]:
    """Average the channels of ``audio``.

    Parameters
    ----------
    audio : array, shape (N,) or (N, C)
        Floating point, or integer PCM: signed integers are divided by their full scale, unsigned ones are
        taken around their middle, as soundfile does.

    Returns
    -------
    float32 (N,), contiguous

    Raises
    ------
    EdgeL3ArgumentError
        If the array is empty, has another number of dimensions, is plainly (C, N), is not numeric, or has a NaN
        or infinite sample.
    """
    array = np.asarray(audio)
    if array.dtype.kind not in "fiu":
        raise EdgeL3ArgumentError(f"audio must be an array of float or integer samples, got dtype {array.dtype}")
    if array.ndim not in (1, 2):
        raise EdgeL3ArgumentError(f"audio must have shape (samples,) or (samples, channels), got {array.shape}")
    if array.size == 0:
        raise EdgeL3ArgumentError(f"Got empty audio: shape {array.shape}")
    if array.ndim == 2 and array.shape[1] > max(array.shape[0], MAX_CHANNELS):
        raise EdgeL3ArgumentError(
            f"audio must have shape (samples, channels), got {array.shape}, which looks transposed: pass audio.T"
        )
    mono = mix_down(array)
    if not np.isfinite(mono).all():
        bad = np.flatnonzero(~np.isfinite(mono))
        raise EdgeL3ArgumentError(
            f"audio has {bad.size} NaN or infinite samples of {mono.size}, the first at index {bad[0]}"
        )
    return mono


def mix_down(array: NDArray[Any]) -> NDArray[np.float32]:
    """Average (N, C) or take (N,) as it is, in full scale ±1: float32 (N,), contiguous."""
    channels = array.T if array.ndim == 2 else array[np.newaxis]
    if array.dtype == np.float32 and len(channels) == 1:
        return np.ascontiguousarray(channels[0])
    once = len(channels) <= _ROUNDED_ONCE.get(array.dtype, 0)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, which is reported as such
        mono = channels[0].astype(np.float32 if once else np.float64)
        for channel in channels[1:]:  # one by one: numpy's mean over a short axis is slow
            mono += channel
        if array.dtype.kind == "f":
            mono /= len(channels)
        else:
            full_scale = 2.0 ** (8 * array.dtype.itemsize - 1)
            if array.dtype.kind == "u":
                mono -= full_scale * len(channels)
            mono /= full_scale * len(channels)
        return np.asarray(mono, np.float32)


def frame(
    audio: NDArray[np.float32],
    spec: FrontEndSpec,
    *,
    hop_length: int,
    center: bool = False,
    start: int = 0,
    count: int | None = None,
) -> NDArray[np.float32]:
    """Windows of ``audio`` as they are, for a graph that has the front end inside.

    Parameters and windows as of :func:`edgel3_onnx.frontend.log_mel`.

    Returns
    -------
    float32 (count, sample_rate)
    """
    length = spec.window_length
    if count is None:
        count = num_windows(audio.size, spec, hop_length, center) - start
    first = start * hop_length - (length // 2 if center else 0)
    out = np.zeros((count, length), np.float32)
    for row in range(count):
        begin = first + row * hop_length
        part = audio[max(begin, 0) : max(begin + length, 0)]
        offset = max(-begin, 0)
        out[row, offset : offset + part.size] = part
    return out


def warn_about_silence(stacklevel: int = 3) -> None:
    warnings.warn("Provided audio is all zeros", EdgeL3Warning, stacklevel=stacklevel)


def warn_about_length(seconds: float, stacklevel: int = 3) -> None:
    message = f"Provided audio is shorter than the window of 1 second ({seconds:.3f} s); it is padded with zeros"
    warnings.warn(message, EdgeL3Warning, stacklevel=stacklevel)
