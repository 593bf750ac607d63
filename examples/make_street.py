"""Make street.flac, the recording that the README embeds: six seconds of a street, synthesised.

    python examples/make_street.py [FILE]

Traffic in the distance all the time; a car that passes by, nearest at 2.5 s; a horn at 3.9 s; a bird at 0.4 s and
at 5 s. Nothing in it was recorded, and the seed is fixed: every run makes the same samples, but for rounding.
"""

import sys
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000  # Hz
SECONDS = 6.0


def street():
    """The recording, int16 (N,)."""
    rng = np.random.default_rng(18)
    t = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    nearness = 1 / (1 + ((t - 2.5) / 0.6) ** 2)
    sound = (
        0.02 * noise(rng, t.size, low=40, high=300)
        + 0.05 * nearness * engine(t)
        + 0.03 * nearness * noise(rng, t.size, low=150, high=900)
        + 0.08 * horn(t, start=3.9, stop=4.5)
        + 0.04 * sum(bird(t, start) for start in (0.40, 0.62, 0.84, 5.00, 5.22))
    )
    return np.round(sound * 32767).astype(np.int16)


def noise(rng, samples, low, high):
    """Noise around ``low`` to ``high`` Hz that falls off on both sides, of RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum *= frequency / (frequency + low) / (1 + (frequency / high) ** 4)
    made = np.fft.irfft(spectrum, samples)
    return made / np.sqrt(np.mean(made**2))


def engine(t):
    """Harmonics of 30 ignitions a second, whose pitch falls by a tenth as the car passes."""
    phase = 2 * np.pi * np.cumsum(30 * (1 - 0.05 * np.tanh((t - 2.5) / 0.4))) / SAMPLE_RATE
    return sum(np.sin(k * phase + k * k) / k**0.8 for k in range(1, 25))


def horn(t, start, stop):
    """Two horns, a major third apart."""
    loudness = 1 / (1 + np.exp(-(t - start) / 0.01)) / (1 + np.exp((t - stop) / 0.02))
    return loudness * sum(np.sin(2 * np.pi * f * k * t) / k**1.2 for f in (420, 525) for k in range(1, 8))


def bird(t, start):
    """A chirp of 0.15 s that falls from 5 to 3 kHz."""
    position = np.clip((t - start) / 0.15, 0, 1)
    phase = 2 * np.pi * 0.15 * (5000 * position - 1000 * position**2)
    return np.sin(np.pi * position) ** 2 * np.sin(phase)


if __name__ == "__main__":
    import soundfile

    path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("street.flac")
    soundfile.write(path, street(), SAMPLE_RATE, compression_level=1.0)
