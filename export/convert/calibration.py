"""The recordings on which the value ranges of an int8 graph are measured."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.recordings import log_mel_images, read_windows
from edgel3_onnx.spec import FrontEndSpec

BUILT_IN = "built-in"
HOP_S = 0.5  # between windows of recordings
_BUILT_IN_WINDOWS = 32
_VERIFICATION_WINDOWS = 16
_MOST_RECORDED_WINDOWS = 64


@dataclass(frozen=True)
class Calibration:
    """Named log-mel images, float32 (n, 1, n_mels, n_frames), of the sounds that a network will hear."""

    name: str
    images: npt.NDArray[np.float32]


def built_in(spec: FrontEndSpec) -> Calibration:
    """32 synthetic one-second sounds, the same on every machine, that need no recordings."""
    sounds = np.stack([_sound(spec.sample_rate, index) for index in range(_BUILT_IN_WINDOWS)])
    return Calibration(BUILT_IN, log_mel_images(sounds, spec))


def verification_windows(spec: FrontEndSpec) -> npt.NDArray[np.float32]:
    """16 other sounds of the same kinds, float32 (16, sample_rate), to measure graphs with."""
    indices = range(_BUILT_IN_WINDOWS, _BUILT_IN_WINDOWS + _VERIFICATION_WINDOWS)
    return np.stack([_sound(spec.sample_rate, index) for index in indices])


def from_folder(folder: str | os.PathLike[str], spec: FrontEndSpec) -> Calibration:
    """At most 64 windows spread evenly over the recordings in ``folder``; the name is the folder's.

    Raises EdgeL3Error if there is no recording in it, or one cannot be read.
    """
    windows = np.concatenate([windows for _, windows in read_windows(folder, spec, HOP_S)])
    if not len(windows):
        raise EdgeL3Error(f"{folder}: no windows to calibrate with")
    chosen = np.linspace(0, len(windows) - 1, min(_MOST_RECORDED_WINDOWS, len(windows))).astype(int)
    return Calibration(Path(folder).resolve().name, log_mel_images(windows[chosen], spec))


def _sound(sample_rate: int, index: int) -> npt.NDArray[np.float32]:
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
