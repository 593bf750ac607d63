"""One-second training windows: a recording or a synthetic sound, changed at random, and its log-mel image."""

import numpy as np

from edgel3_onnx.frontend import log_mel
from edgel3_onnx.spec import FRONTENDS
from training.sources import Recording
from training.synth import coloured_noise, convolve, synthesise

SPEC = FRONTENDS["sea"]
LENGTH = SPEC.window_length

# Probabilities of what happens to a window; each is drawn on its own.
SYNTHETIC = 0.2
AS_RECORDED = 0.35  # nothing of the rest happens
SPEED = 0.4
MIX = 0.35
NOISE = 0.3
EQUALISE = 0.45
REVERB = 0.15
SILENCE = 0.12
QUANTISE = 0.2


class WindowMaker:
    """Draws windows from recordings.

    Files are drawn per package in proportion to the square root of its length, so that one large package does not
    crowd out the others, and within a package in proportion to the number of windows that a file yields.
    """

    def __init__(self, recordings: list[Recording]) -> None:
        self._recordings = recordings
        seconds = np.array([len(item.audio) / LENGTH + 1 for item in recordings])
        packages = np.array([item.package for item in recordings])
        weight = np.zeros(len(recordings))
        for package in np.unique(packages):
            chosen = packages == package
            weight[chosen] = seconds[chosen] / np.sqrt(seconds[chosen].sum())
        self._cumulative = np.cumsum(weight / weight.sum())

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One window, float32 (8000,), peak 1 unless it is silent."""
        if rng.random() < AS_RECORDED:
            return _normalised(self._sound(rng, 0.0)).astype(np.float32)
        window = self._sound(rng, SPEED)
        if rng.random() < MIX:
            other = self._sound(rng, SPEED)
            window = _levelled(window) + _levelled(other) * 10 ** (rng.uniform(-30, 0) / 20)
        if rng.random() < REVERB:
            length = int(rng.uniform(0.05, 0.8) * LENGTH)
            tail = rng.standard_normal(length) * np.exp(-np.arange(length) * 6.9 / length)
            tail[0] += 10 ** rng.uniform(-0.5, 1.2)
            window = convolve(window, tail)
        if rng.random() < EQUALISE:
            window = _equalised(window, rng)
        if rng.random() < NOISE:
            window = _levelled(window) + coloured_noise(rng, LENGTH) * 10 ** (rng.uniform(-70, 0) / 20)
        if rng.random() < SILENCE:
            window = window.copy()
            edge = int(rng.uniform(0.02, 0.95) * LENGTH)
            if rng.random() < 0.5:
                window[:edge] = 0
            else:
                window[edge:] = 0
        window = _normalised(window)
        if rng.random() < QUANTISE:
            steps = 32767 * 10 ** (rng.uniform(-40, 0) / 20)
            window = np.round(window * steps) / steps
        return window.astype(np.float32)

    def _sound(self, rng: np.random.Generator, changed_speed: float) -> np.ndarray:
        if rng.random() < SYNTHETIC:
            return synthesise(rng, LENGTH)
        audio = self._recordings[int(np.searchsorted(self._cumulative, rng.random()))].audio
        speed = 2 ** rng.uniform(-0.6, 0.6) if rng.random() < changed_speed else 1.0
        needed = int(LENGTH * speed) + 2
        # Offsets reach half a window before the start and after the end: what centring and end padding give.
        start = int(rng.integers(-(LENGTH // 2), max(len(audio) - LENGTH // 2, 1)))
        piece = audio[max(start, 0) : max(start + needed, 0)].astype(np.float64)
        piece = np.pad(piece, (max(-start, 0), max(needed - max(-start, 0) - len(piece), 0)))
        if speed == 1.0:
            return piece[:LENGTH]
        return np.interp(np.arange(LENGTH) * speed, np.arange(len(piece)), piece)


def _normalised(window: np.ndarray) -> np.ndarray:
    """The window at peak 1; unchanged if silent."""
    peak = np.abs(window).max()
    return window / peak if peak > 0 else window


def _levelled(window: np.ndarray) -> np.ndarray:
    """The window at RMS 1; unchanged if silent."""
    rms = np.sqrt(np.mean(window**2))
    return window / rms if rms > 1e-9 else window


def _equalised(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through a random smooth frequency response, now and then with a steep cut at one end."""
    bins = LENGTH // 2 + 1
    octave = np.log2(np.maximum(np.arange(bins), 20) / 20)
    knots = np.linspace(0, octave[-1], rng.integers(2, 9))
    gain = np.interp(octave, knots, rng.uniform(-18, 18, len(knots)))
    if rng.random() < 0.4:
        corner = rng.uniform(0, octave[-1])
        beyond = octave - corner if rng.random() < 0.7 else corner - octave
        gain = gain - rng.uniform(6, 60) * np.maximum(beyond, 0)
    return np.fft.irfft(np.fft.rfft(window) * 10 ** (gain / 20), LENGTH)


def images(windows: np.ndarray) -> np.ndarray:
    """Log-mel images, float32 (n, 1, 64, 50), of separate windows, float32 (n, 8000)."""
    return log_mel(np.ascontiguousarray(windows.reshape(-1)), SPEC, hop_length=LENGTH)
