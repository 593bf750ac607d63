"""From a signal to the log-mel images that a network takes, and from one sample rate to another.

The loops are in C (``_frontend``); this module checks arguments and owns the arrays.
"""

import functools
import math
import sys
import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import _frontend, cpu
from .checks import check_count
from .exceptions import EdgeL3ArgumentError
from .spec import FrontEndSpec

Float32Array = NDArray[np.float32]

_MAX_RATIO = 512  # of sample rates; kaiser_best has one table entry per input sample there
_FINITE_BLOCK = 1 << 18  # samples looked at together, so that no mask of a whole recording is made


def simd_level() -> str:
    """The instruction set that the C loops use: "baseline", "avx2", "avx512" or "neon".

    It is the best that this machine has, unless the environment variable EDGEL3_ONNX_SIMD names another.

    Raises
    ------
    EdgeL3Error : EDGEL3_ONNX_SIMD names a level that is unknown or that this machine has not
    """
    return _levels()[_level()]


def num_windows(n: int, spec: FrontEndSpec, hop_length: int, center: bool = False) -> int:
    """Windows of a signal of ``n`` samples after centring and padding at the end.

    Parameters
    ----------
    n : samples at ``spec.sample_rate``, at least 1
    hop_length : samples between windows, at least 1
    center : put ``spec.window_length // 2`` zeros in front

    Raises
    ------
    EdgeL3ArgumentError : ``n`` or ``hop_length`` is no positive integer
    """
    length = check_count("n", n) + (spec.window_length // 2 if center else 0)
    hop_length = check_count("hop_length", hop_length)
    return 1 + -(-max(length - spec.window_length, 0) // hop_length)


def log_mel(
    audio: Float32Array,
    spec: FrontEndSpec,
    *,
    hop_length: int,
    center: bool = False,
    start: int = 0,
    count: int | None = None,
) -> Float32Array:
    """The log-mel images of a run of windows, as Kapre 0.1.4 computes them for edgel3 0.2.1.

    A window's image depends on its samples only, never on ``start`` or ``count``. Several threads may call
    this at once.

    Parameters
    ----------
    audio : float32 (n,), contiguous, mono at ``spec.sample_rate``, finite; any gain
    hop_length : samples between windows, at least 1
    center : put ``spec.window_length // 2`` zeros in front of the signal
    start, count : the windows wanted, of ``num_windows(n, spec, hop_length, center)``; default all

    Returns
    -------
    float32 (count, 1, n_mels, n_frames), dB below the window's maximum, -top_db to 0

    Raises
    ------
    EdgeL3ArgumentError : an argument is not as above
    MemoryError : no memory for the images or the work space
    """
    _check_signal("audio", audio)
    if audio.shape[0] == 0:
        raise EdgeL3ArgumentError("audio is empty; at least 1 sample is needed")
    total = num_windows(audio.shape[0], spec, hop_length, center)
    start = check_count("start", start, least=0)
    if start >= total:
        raise EdgeL3ArgumentError(f"start={start} is beyond the end: the signal has {total} windows")
    count = total - start if count is None else check_count("count", count)
    if count > total - start:
        raise EdgeL3ArgumentError(f"count={count} from start={start} is beyond the end: the signal has {total} windows")
    lead = spec.window_length // 2 if center else 0

    first = max(start * hop_length - lead, 0)
    _check_finite("audio", audio, first, (start + count - 1) * hop_length - lead + spec.window_length)
    hop_length = min(hop_length, audio.shape[0] + spec.window_length)  # farther on there are zeros in any case
    images = np.empty((count, 1, spec.n_mels, spec.n_frames), np.float32)
    _plan(spec, _level()).run(audio, images, lead, hop_length, start)
    return images


def resample(audio: Float32Array, sr_orig: float, sr_new: float, method: str = "kaiser_best") -> Float32Array:
    """A signal at another sample rate.

    Parameters
    ----------
    audio : float32 (n,), contiguous, mono, finite
    sr_orig, sr_new : Hz, above 0, neither more than 512 times the other
    method : "kaiser_best", resampy 0.2.2 reproduced, which gives the published embeddings; or "soxr", soxr HQ

    Returns
    -------
    float32 (int(n * (sr_new / sr_orig)),)

    Raises
    ------
    EdgeL3ArgumentError : an argument is not as above, or so few samples that none is left
    """
    resampler = Resampler(sr_orig, sr_new, method)
    _check_signal("audio", audio)
    if int(audio.shape[0] * resampler.ratio) < 1:
        raise EdgeL3ArgumentError(
            f"audio has {audio.shape[0]} samples, too few to resample from {sr_orig} to {sr_new} Hz"
        )
    return np.concatenate([resampler.push(audio), resampler.flush()])


class Resampler:
    """``resample`` block by block, in bounded memory.

    The blocks that ``push`` and ``flush`` return, joined, are what ``resample`` gives for the joined input,
    to the last bit. After ``flush`` the object is ready for a new signal. Calls from several threads wait for each
    other; in which order they come is the caller's business.

    Parameters
    ----------
    sr_orig, sr_new, method : as of ``resample``
    start : int
        The first output sample wanted. What is pushed then begins with input sample ``first_input``, and what comes
        back is, to the last bit, what comes for the whole signal from sample ``first_output`` on.

    Attributes
    ----------
    first_input, first_output : int
        ``first_output`` is ``start`` with kaiser_best. soxr has to be given the signal from its start, since what it
        computes depends on how far it has come: both are 0.
    """

    def __init__(self, sr_orig: float, sr_new: float, method: str = "kaiser_best", start: int = 0) -> None:
        self._rates = (_rate("sr_orig", sr_orig), _rate("sr_new", sr_new))
        self.ratio = self._rates[1] / self._rates[0]
        if method not in _METHODS:
            raise EdgeL3ArgumentError(f"method={method!r} is unknown; choose one of: {', '.join(_METHODS)}")
        if not 1 / _MAX_RATIO <= self.ratio <= _MAX_RATIO:
            raise EdgeL3ArgumentError(
                f"sr_orig={sr_orig} and sr_new={sr_new} are too far apart: one is above {_MAX_RATIO} times the other"
            )
        self._lock = threading.Lock()
        self._method = method
        self._start(check_count("start", start, least=0))
        self.first_input, self.first_output = self._received, self._returned

    def inputs_for(self, stop: int) -> int | None:
        """Input samples, counted from the start of the signal, that complete ``stop`` output samples; None: unknown."""
        return self._engine.inputs_for(stop)

    def push(self, block: Float32Array) -> Float32Array:
        """The output samples that this block completes.

        Parameters
        ----------
        block : float32 (n,), contiguous, mono, finite; n may be 0

        Returns
        -------
        float32 (m,)
        """
        _check_signal("block", block)
        _check_finite("block", block, 0, block.shape[0])
        with self._lock:
            self._received += block.shape[0]
            output = self._engine.process(block, False)
            self._returned += output.shape[0]
        return output

    def flush(self) -> Float32Array:
        """The rest of the output: float32 (k,). The signal ends here."""
        with self._lock:
            missing = int(self._received * self.ratio) - self._returned
            tail = self._engine.process(np.empty(0, np.float32), True)[:missing]
            self._start(0)
        return np.concatenate([tail, np.zeros(missing - tail.shape[0], np.float32)])

    def _start(self, start: int) -> None:
        self._engine: _Stage = (_Copy if self.ratio == 1 else _METHODS[self._method])(*self._rates, start)
        self._received = self._engine.first_input
        self._returned = self._engine.first_output


class _Stage(Protocol):
    first_input: int
    first_output: int

    def inputs_for(self, stop: int) -> int | None: ...
    def process(self, block: Float32Array, last: bool) -> Float32Array: ...


class _Copy:
    def __init__(self, sr_orig: float, sr_new: float, start: int) -> None:
        self.first_input = self.first_output = start

    def inputs_for(self, stop: int) -> int:
        return stop

    def process(self, block: Float32Array, last: bool) -> Float32Array:
        return block.copy()


class _KaiserBest:
    def __init__(self, sr_orig: float, sr_new: float, start: int) -> None:
        self._ratio = sr_new / sr_orig
        self._filter = _kaiser_filter(sr_orig, sr_new, _level())
        self._state = _frontend.KaiserResampler(self._filter, _running_sum(1 / self._ratio, start), start)
        self._received = self.first_input = self._state.received
        self._returned = self.first_output = start

    def inputs_for(self, stop: int) -> int:
        return int(_running_sum(1 / self._ratio, stop - 1)) + self._filter.reach + 1

    def process(self, block: Float32Array, last: bool) -> Float32Array:
        self._received += block.shape[0]
        output = np.empty(int(self._received * self._ratio) - self._returned, np.float32)
        written = self._state.process(block, last, output)
        self._returned += written
        return output[:written]


class _Soxr:
    first_input = first_output = 0

    def __init__(self, sr_orig: float, sr_new: float, start: int) -> None:
        import soxr  # type: ignore[import-untyped]

        self._stream: Any = soxr.ResampleStream(sr_orig, sr_new, 1, dtype="float32", quality="HQ")

    def inputs_for(self, stop: int) -> None:
        return None

    def process(self, block: Float32Array, last: bool) -> Float32Array:
        output: Float32Array = self._stream.resample_chunk(block, last=last)
        return output


_METHODS: dict[str, Any] = {"kaiser_best": _KaiserBest, "soxr": _Soxr}


def _running_sum(increment: float, count: int) -> float:
    """0.0 with ``increment`` added ``count`` times, each sum rounded to a double, as resampy counts time.

    Between two powers of two doubles lie equally far apart, so that each addition is rounded by the same amount; but
    perhaps the first, which may be half-way between two doubles, and is rounded to the even one. That is why the step
    is taken from the second.
    """
    total = 0.0
    while count:
        total, count = total + increment, count - 1
        step = (total + increment) - total
        mantissa, exponent = math.frexp(total)
        spacing = math.ldexp(1.0, exponent - 53)
        jumps = min((2**53 - 1 - int(math.ldexp(mantissa, 53))) // int(step / spacing), count) if step >= spacing else 0
        total, count = total + jumps * step, count - jumps
    return total


_levels = functools.cache(_frontend.simd_levels)


def _level() -> int:
    levels = _levels()
    return levels.index(cpu.simd_level(levels))


@functools.lru_cache(maxsize=8)
def _plan(spec: FrontEndSpec, level: int) -> _frontend.MelPlan:
    return _frontend.MelPlan(spec, level)


@functools.lru_cache(maxsize=8)
def _kaiser_filter(sr_orig: float, sr_new: float, level: int) -> _frontend.KaiserFilter:
    return _frontend.KaiserFilter(sr_new / sr_orig, level)


def _rate(name: str, value: float) -> float:
    if not (isinstance(value, int | float | np.integer | np.floating) and 0 < value <= sys.float_info.max):
        raise EdgeL3ArgumentError(f"{name}={value!r} is not a sample rate in Hz above 0")
    return float(value)


def _check_signal(name: str, signal: Float32Array) -> None:
    if not isinstance(signal, np.ndarray) or signal.dtype != np.float32:
        kind = signal.dtype if isinstance(signal, np.ndarray) else type(signal).__name__
        raise EdgeL3ArgumentError(f"{name} is {kind}; a float32 array is needed")
    if signal.ndim != 1:
        raise EdgeL3ArgumentError(f"{name} has shape {signal.shape}; a one-dimensional array is needed")
    if not signal.flags.c_contiguous:
        raise EdgeL3ArgumentError(f"{name} is not contiguous; pass numpy.ascontiguousarray of it")


def _check_finite(name: str, signal: Float32Array, start: int, stop: int) -> None:
    stop = min(stop, signal.shape[0])
    for first in range(start, stop, _FINITE_BLOCK):
        finite = np.isfinite(signal[first : min(first + _FINITE_BLOCK, stop)])
        if not finite.all():
            index = first + int(np.argmin(finite))
            raise EdgeL3ArgumentError(f"{name}[{index}] is {signal[index]}; all samples must be finite")
