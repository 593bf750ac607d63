"""The slow, readable oracle of the front end: NumPy in float64, one window and one output sample at a time.

Formulas: Kapre 0.1.4 ``Melspectrogram`` as edgel3 0.2.1 configures it, and resampy 0.2.2 ``kaiser_best``.
"""

import math

import numpy as np

from edgel3_onnx.spec import FrontEndSpec

ZERO_CROSSINGS = 64
TABLE_STEPS = 512  # table entries per zero crossing
KAISER_BETA = 14.769656459379492
ROLLOFF = 0.9475937167399596


def hann(n_fft: int) -> np.ndarray:
    """Periodic Hann window, float64 (n_fft,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def mel_matrix(spec: FrontEndSpec) -> np.ndarray:
    """HTK mel bands from 0 Hz to Nyquist, each of unit area (Slaney): float64 (n_fft / 2 + 1, n_mels)."""
    nyquist = spec.sample_rate / 2
    mels = np.linspace(0, 2595 * np.log10(1 + nyquist / 700), spec.n_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)  # Hz
    bins = np.linspace(0, nyquist, spec.n_fft // 2 + 1)[:, None]  # Hz
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    return np.maximum(np.minimum(rising, falling), 0) * 2 / (upper - lower)


def pad(audio: np.ndarray, spec: FrontEndSpec, hop_length: int, center: bool) -> np.ndarray:
    """A signal centred and padded at the end as edgel3 does, so that windows cover every sample: float64."""
    if center:
        audio = np.concatenate([np.zeros(spec.window_length // 2), audio])
    hops = math.ceil(max(len(audio) - spec.window_length, 0) / hop_length)
    return np.concatenate([audio, np.zeros(spec.window_length + hops * hop_length - len(audio))])


def window_frames(window: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    """The STFT frames of one window, 'same' padding, no taper: float64 (n_frames, n_fft)."""
    covered = (spec.n_frames - 1) * spec.hop_length + spec.n_fft  # less than the window where hops exceed n_fft
    padded = np.zeros(max(covered, spec.pad_left + len(window)))
    padded[spec.pad_left : spec.pad_left + len(window)] = window
    starts = np.arange(spec.n_frames) * spec.hop_length
    return np.stack([padded[start : start + spec.n_fft] for start in starts])


def image(window: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    """The log-mel image of one window, in dB below its maximum: float64 (n_mels, n_frames)."""
    spectrum = np.fft.rfft(window_frames(window, spec) * hann(spec.n_fft))
    mel = np.sqrt((spectrum.real**2 + spectrum.imag**2) @ mel_matrix(spec))
    decibels = 10 * np.log10(np.maximum(mel, spec.amin))
    return np.maximum(decibels - decibels.max(), -spec.top_db).T


def log_mel(
    audio: np.ndarray,
    spec: FrontEndSpec,
    hop_length: int,
    center: bool = False,
    start: int = 0,
    count: int | None = None,
) -> np.ndarray:
    """The images of the windows of a signal, or of a run of them: float64 (count, 1, n_mels, n_frames)."""
    padded = pad(np.asarray(audio, np.float64), spec, hop_length, center)
    total = 1 + (len(padded) - spec.window_length) // hop_length
    stop = total if count is None else start + count
    starts = [k * hop_length for k in range(start, stop)]
    return np.stack([image(padded[at : at + spec.window_length], spec) for at in starts])[:, None]


def resample(audio: np.ndarray, sr_orig: float, sr_new: float, first: int = 0) -> np.ndarray:
    """resampy 0.2.2's ``kaiser_best`` with its running sum of the time: float64 (int(n * ratio) - first,)."""
    ratio = float(sr_new) / sr_orig
    scale = min(1.0, ratio)
    last = ZERO_CROSSINGS * TABLE_STEPS
    sinc = ROLLOFF * np.sinc(ROLLOFF * np.arange(last + 1) / TABLE_STEPS)
    table = scale * np.kaiser(2 * last + 1, KAISER_BETA)[last:] * sinc
    slope = np.append(np.diff(table), 0)
    step = int(scale * TABLE_STEPS)

    def wing(distance: float, samples: np.ndarray) -> float:
        index = distance * TABLE_STEPS
        offset = int(index)
        taps = np.arange(min(len(samples), (last + 1 - offset) // step))
        weights = table[offset + taps * step] + (index - offset) * slope[offset + taps * step]
        return float(weights @ samples[taps])

    audio = np.asarray(audio, np.float64)
    output = np.zeros(int(len(audio) * ratio))
    increments = np.full(len(output), 1 / ratio)
    increments[:1] = 0.0
    for t, time in enumerate(np.cumsum(increments)):  # of the output sample, in input samples
        if t < first:
            continue
        n = int(time)
        fraction = scale * (time - n)
        output[t] = wing(fraction, audio[n::-1]) + wing(scale - fraction, audio[n + 1 :])
    return output[first:]
