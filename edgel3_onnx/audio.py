"""What counts as audio: arrays of samples are checked here and become mono float32."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx.checks import finite
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Warning
from edgel3_onnx.frontend import num_windows
from edgel3_onnx.spec import FrontEndSpec

# Up to how many values have a mean in float32 that is rounded once; sums of more are taken in float64.
_ROUNDED_ONCE = {np.dtype(np.float32): 2, np.dtype(np.int16): 256}
MAX_HOP_SIZE = 1e9  # seconds, which keeps every position in a recording far below 2**63 samples
MAX_CHANNELS = 32  # an array with more columns than this and than rows is (channels, samples) by mistake


def check_sample_rate(sr: object) -> float:
    """Return ``sr`` in Hz; EdgeL3ArgumentError unless it is a positive, finite number."""
    rate = finite(sr)
    if rate is None or rate <= 0:
        raise EdgeL3ArgumentError(f"sr must be a positive number of Hz, got {sr!r}")
    return rate


def check_hop_size(hop_size: object) -> float:
    """Return ``hop_size`` in seconds; EdgeL3ArgumentError unless it is a positive number, up to MAX_HOP_SIZE."""
    seconds = finite(hop_size)
    if seconds is None or not 0 < seconds <= MAX_HOP_SIZE:
        raise EdgeL3ArgumentError(
            f"hop_size must be a positive number of seconds, got {hop_size!r}"
            + (f", more than {MAX_HOP_SIZE:g}" if seconds is not None and seconds > 0 else "")
        )
    return seconds


def to_hop_length(hop_size: float, sample_rate: int) -> int:
    """The hop in samples at ``sample_rate`` (Hz) of ``hop_size`` seconds, rounded down.

    EdgeL3ArgumentError if that is less than one sample.
    """
    hop_length = int(hop_size * sample_rate)
    if hop_length < 1:
        raise EdgeL3ArgumentError(f"hop_size must be at least one sample (1/{sample_rate} s), got {hop_size!r}")
    return hop_length


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
        Floating point, or integer PCM of 8, 16 or 32 bits: signed integers are divided by their full scale,
        unsigned ones are taken around their middle, as soundfile does.

    Returns
    -------
    float32 (N,), contiguous

    Raises
    ------
    EdgeL3ArgumentError
        If the array is empty, has another number of dimensions, is plainly (C, N), is not numeric, has integers
        of more than 32 bits, whose full scale nobody knows, or has a NaN or infinite sample.
    """
    mono = mix_down(check_shape(audio))
    check_finite("audio", mono)
    return mono


def check_shape(audio: ArrayLike) -> NDArray[Any]:
    """Return ``audio`` as an array (N,) or (N, C). EdgeL3ArgumentError as of :func:`to_mono`, but for its values."""
    array = _samples("audio", audio)
    if array.ndim not in (1, 2):
        raise EdgeL3ArgumentError(f"audio must have shape (samples,) or (samples, channels), got {array.shape}")
    if array.size == 0:
        raise EdgeL3ArgumentError(f"Got empty audio: shape {array.shape}")
    if array.ndim == 2 and array.shape[1] > max(array.shape[0], MAX_CHANNELS):
        raise EdgeL3ArgumentError(
            f"audio must have shape (samples, channels), got {array.shape}, which looks transposed: pass audio.T"
        )
    return array


def to_float(x: ArrayLike) -> NDArray[np.float32]:
    """Samples of any shape as float32 in full scale ±1. EdgeL3ArgumentError if they are not as in :func:`to_mono`."""
    array = _samples("x", x)
    if array.dtype.kind == "f":
        return np.asarray(array, np.float32)
    return mix_down(array.reshape(-1)).reshape(array.shape)


def check_finite(name: str, samples: NDArray[np.float32]) -> None:
    """EdgeL3ArgumentError if a sample is NaN or infinite; says how many are, and where the first one is."""
    if not np.isfinite(samples).all():
        bad = np.flatnonzero(~np.isfinite(samples))
        raise EdgeL3ArgumentError(
            f"{name} has {bad.size} NaN or infinite samples of {samples.size}, the first at index {bad[0]}"
        )


def _samples(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise EdgeL3ArgumentError(f"{name} must be an array of float or integer samples ({error})") from error
    if array.dtype.kind not in "fiu":
        raise EdgeL3ArgumentError(f"{name} must be an array of float or integer samples, got dtype {array.dtype}")
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        raise EdgeL3ArgumentError(
            f"{name} has dtype {array.dtype}, and PCM has at most 32 bits: what is full scale here? Pass the integers "
            f"in the type that they were recorded in ({name}.astype(numpy.int16)), or floating point samples in ±1"
        )
    return array


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


def warn(message: str) -> None:
    """Warn whoever called the public function that calls this."""
    warnings.warn(message, EdgeL3Warning, stacklevel=3)
