"""Procedural sounds: what recordings alone would show the student too seldom."""

from collections.abc import Callable

import numpy as np

from training.sources import SAMPLE_RATE

Generator = np.random.Generator


def synthesise(rng: Generator, samples: int) -> np.ndarray:
    """One random sound, float64 (samples,) at 8000 Hz, peak of arbitrary size."""
    return KINDS[rng.integers(len(KINDS))](rng, np.arange(samples) / SAMPLE_RATE)


def coloured_noise(rng: Generator, samples: int) -> np.ndarray:
    """Noise with a power spectrum of f**-slope, slope uniform in 0..2.5, RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    frequency[0] = frequency[1]
    noise = np.fft.irfft(spectrum * frequency ** (-0.5 * rng.uniform(0, 2.5)), samples)
    return noise / np.sqrt(np.mean(noise**2))


def envelope(rng: Generator, t: np.ndarray) -> np.ndarray:
    """Attack and exponential decay from a random start, or a steady sound."""
    if rng.random() < 0.25:
        return np.ones_like(t)
    since = t - rng.uniform(-0.2, 0.7) * t[-1]
    attack = np.clip(since / 10 ** rng.uniform(-3, -0.7), 0, 1)
    return attack * np.exp(-np.maximum(since, 0) * 10 ** rng.uniform(-0.5, 1.6))


def _frequency(rng: Generator, low: float = 40, high: float = 3800) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _phase(frequency: np.ndarray) -> np.ndarray:
    """Phase in radians of an oscillator whose frequency in Hz is given per sample."""
    return 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE


def _harmonics(rng: Generator, phase: np.ndarray, highest: float) -> np.ndarray:
    """Harmonic series below 4000 Hz on a fundamental that reaches `highest` Hz."""
    count = max(1, min(int(3900 / highest), 30))
    tilt, odd = rng.uniform(0.3, 2.5), rng.random() < 0.3
    out = np.zeros_like(phase)
    for k in range(1, count + 1):
        if not (odd and k % 2 == 0):
            out += rng.uniform(0.3, 1) * k**-tilt * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    return out


def tone(rng: Generator, t: np.ndarray) -> np.ndarray:
    """A harmonic note, possibly with vibrato and tremolo."""
    f0 = _frequency(rng, 40, 2000)
    f = f0 * (1 + rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(3, 9) * t))
    tremolo = 1 + rng.uniform(0, 0.9) * np.sin(2 * np.pi * rng.uniform(1, 30) * t)
    return _harmonics(rng, _phase(f), 1.05 * f0) * tremolo * envelope(rng, t)


def chirp(rng: Generator, t: np.ndarray) -> np.ndarray:
    """An exponential sweep between two frequencies, once or repeatedly."""
    low, high = _frequency(rng), _frequency(rng)
    position = (t * rng.choice([0.5, 1, 2, 4, 8]) + rng.random()) % 1
    f = low * (high / low) ** position
    sound = _harmonics(rng, _phase(f), max(low, high)) if rng.random() < 0.5 else np.sin(_phase(f))
    return sound * envelope(rng, t)


def modulated(rng: Generator, t: np.ndarray) -> np.ndarray:
    """Frequency modulation with a strong index: bells, sirens, buzzes."""
    carrier, modulator = _frequency(rng, 80, 3000), _frequency(rng, 0.5, 600)
    depth = rng.uniform(0, 1) * min(carrier, 3900 - carrier, 8 * modulator)
    return np.sin(_phase(carrier + depth * np.sin(2 * np.pi * modulator * t))) * envelope(rng, t)


def bursts(rng: Generator, t: np.ndarray) -> np.ndarray:
    """Bursts of coloured noise."""
    out = np.zeros_like(t)
    for _ in range(rng.integers(1, 7)):
        out += rng.uniform(0.1, 1) * coloured_noise(rng, len(t)) * envelope(rng, t)
    return out


def clicks(rng: Generator, t: np.ndarray) -> np.ndarray:
    """Impulses, regular or at random, ringing in one or several resonances: ticks, rain, knocks."""
    out = np.zeros_like(t)
    count = int(np.exp(rng.uniform(0, np.log(400))))
    at = np.linspace(0, len(t) - 1, count).astype(int) if rng.random() < 0.5 else rng.integers(len(t), size=count)
    np.add.at(out, at, rng.standard_normal(count))
    ring = np.zeros(min(len(t), 2000))
    ring[0] = 1
    since = np.arange(len(ring)) / SAMPLE_RATE
    for _ in range(rng.integers(0, 5)):
        decay = 10 ** rng.uniform(1, 3)
        ring += rng.uniform(0, 1) * np.exp(-decay * since) * np.sin(2 * np.pi * _frequency(rng) * since)
    return convolve(out, ring)


def engine(rng: Generator, t: np.ndarray) -> np.ndarray:
    """A pulse train of drifting rate through resonances, with noise: motors, machines, voices."""
    rate = _frequency(rng, 8, 250) * (1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.1, 2) * t))
    phase = np.cumsum(rate) / SAMPLE_RATE
    pulses = np.diff(np.floor(phase), prepend=0.0) * (1 + rng.uniform(0, 0.5) * rng.standard_normal(len(t)))
    pulses += rng.uniform(0, 0.1) * rng.standard_normal(len(t))
    since = np.arange(1500) / SAMPLE_RATE
    ring = np.zeros(1500)
    for _ in range(rng.integers(1, 6)):
        width = 10 ** rng.uniform(1.3, 2.7)
        ring += rng.uniform(0.1, 1) * np.exp(-width * since) * np.sin(2 * np.pi * _frequency(rng, 80, 3800) * since)
    return convolve(pulses, ring)


def chord(rng: Generator, t: np.ndarray) -> np.ndarray:
    """Several unrelated decaying partials: bells, plates, chords."""
    out = np.zeros_like(t)
    for _ in range(rng.integers(2, 9)):
        out += rng.uniform(0.05, 1) * np.sin(2 * np.pi * _frequency(rng) * t + rng.uniform(0, 6)) * envelope(rng, t)
    return out


def convolve(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Causal convolution, cut to the length of `sound`."""
    size = 1 << int(len(sound) + len(response) - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)]


KINDS: tuple[Callable[[Generator, np.ndarray], np.ndarray], ...] = (
    tone,
    chirp,
    modulated,
    bursts,
    clicks,
    engine,
    chord,
)
