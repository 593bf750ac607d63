"""The sounds on which the value ranges of an int8 graph are measured."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgel3_onnx.frontend import log_mel
from edgel3_onnx.spec import FrontEndSpec

BUILT_IN = "built-in"
_BUILT_IN_WINDOWS = 32
_VERIFICATION_WINDOWS = 16

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """Named log-mel images, float32 (n, 1, n_mels, n_frames), of the sounds that a network will hear."""

    name: str
    images: Array


def built_in(spec: FrontEndSpec) -> Calibration:
    """32 synthetic one-second sounds, the same on every machine, that need no recordings."""
    sounds = np.stack([_sound(spec.sample_rate, index) for index in range(_BUILT_IN_WINDOWS)])
    return Calibration(BUILT_IN, log_mel_images(sounds, spec))


def verification_windows(spec: FrontEndSpec) -> Array:
    """16 other sounds of the same kinds, float32 (16, sample_rate), to measure graphs with."""
    indices = range(_BUILT_IN_WINDOWS, _BUILT_IN_WINDOWS + _VERIFICATION_WINDOWS)
    return np.stack([_sound(spec.sample_rate, index) for index in indices])


def log_mel_images(windows: Array, spec: FrontEndSpec) -> Array:
    """The log-mel images, float32 (n, 1, n_mels, n_frames), of windows float32 (n, sample_rate)."""
    return log_mel(np.ascontiguousarray(windows).reshape(-1), spec, hop_length=spec.window_length)


def _sound(sample_rate: int, index: int) -> Array:
    """One second of coloured noise at some level, alone or under one of three kinds of foreground.

    The kinds span what drives the activations to their extremes: harmonic tones (narrow bands), bursts (steep
    onsets) and sweeps; some are silent in part, as the first and last windows of a recording are.
    """
    rng = np.random.default_rng(index)
    seconds = np.arange(sample_rate) / sample_rate
    frequency = np.fft.rfftfreq(sample_rate, 1 / sample_rate)
    frequency[0] = frequency[1]
    spectrum = np.fft.rfft(rng.standard_normal(sample_rate)) * frequency ** -rng.uniform(0, 2)
    noise = np.fft.irfft(spectrum, sample_rate)
    sound = noise / np.abs(noise).max() * 10 ** rng.uniform(-3, 0)
    kind = index % 4
    if kind == 1:
        for _ in range(rng.integers(1, 4)):
            fundamental, tremolo = rng.uniform(60, 0.1 * sample_rate), rng.uniform(1, 8)
            envelope = 1 + 0.5 * np.sin(2 * np.pi * tremolo * seconds)
            for harmonic in range(1, 8):
                if fundamental * harmonic < sample_rate / 2:
                    angle = 2 * np.pi * fundamental * harmonic * seconds + rng.uniform(0, 2 * np.pi)
                    sound += 0.3 / harmonic * envelope * np.sin(angle)
    elif kind == 2:
        for _ in range(rng.integers(1, 8)):
            elapsed = seconds - rng.uniform(0, 1)
            decay = np.exp(-np.maximum(elapsed, 0) * rng.uniform(5, 60)) * (elapsed >= 0)
            sound += decay * rng.standard_normal(sample_rate) * rng.uniform(0.1, 1)
    elif kind == 3:
        start, stop = rng.uniform(50, 0.45 * sample_rate, 2)
        sound += 0.5 * np.sin(2 * np.pi * (start * seconds + (stop - start) * seconds**2 / 2))
    if index % 16 == 3:
        sound[: rng.integers(0, sample_rate)] = 0  # as the first window of a centred recording
    elif index % 16 == 7:
        sound[rng.integers(0, sample_rate) :] = 0  # as the last window of a recording
    sound = sound / max(1.0, np.abs(sound).max())
    return np.asarray(np.round(sound * 2**15) / 2**15, dtype=np.float32)  # 16 bits, as most recordings have
