"""Sounds for the examples, made from a seed: each function gives float32 (N,) in ±1."""

import numpy as np

SR = 16000  # Hz


def _time(seconds):
    return np.arange(int(seconds * SR)) / SR


def _filtered(rng, n, low, high):
    """Noise between two frequencies in Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.fft.rfftfreq(n, 1 / SR)
    spectrum[(frequency < low) | (frequency > high)] = 0
    noise = np.fft.irfft(spectrum, n)
    return noise / np.abs(noise).max()


def _events(rng, seconds, every, event):
    """``event()`` at random about every ``every`` seconds."""
    out = np.zeros(int(seconds * SR))
    at = rng.uniform(0, every)
    while at < seconds:
        piece = event()
        first = int(at * SR)
        piece = piece[: out.size - first]
        out[first : first + piece.size] += piece
        at += rng.uniform(0.6, 1.4) * every
    return out


def bird(rng, seconds):
    low, high = np.sort(rng.uniform(1800, 3600, 2))

    def chirp():
        t = _time(rng.uniform(0.08, 0.25))
        sweep = low + (high - low) * (t / t[-1]) ** rng.uniform(0.5, 2)
        return np.sin(2 * np.pi * np.cumsum(sweep) / SR) * np.hanning(t.size)

    return _events(rng, seconds, 0.35, chirp)


def engine(rng, seconds):
    t = _time(seconds)
    base = rng.uniform(35, 70) * (1 + 0.03 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * t))
    phase = 2 * np.pi * np.cumsum(base) / SR
    return sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 30)) + 0.3 * _filtered(rng, t.size, 50, 800)


def knocks(rng, seconds):
    pitch = rng.uniform(150, 400)

    def knock():
        t = _time(0.12)
        return np.exp(-50 * t) * (np.sin(2 * np.pi * pitch * t) + 0.5 * rng.standard_normal(t.size))

    return _events(rng, seconds, 0.4, knock)


def rain(rng, seconds):
    n = int(seconds * SR)
    drops = _events(rng, seconds, 0.02, lambda: np.exp(-300 * _time(0.03)) * rng.standard_normal(int(0.03 * SR)))
    return _filtered(rng, n, 400, 7000) + rng.uniform(0.5, 1.5) * drops


def siren(rng, seconds):
    t = _time(seconds)
    sweep = rng.uniform(700, 900) + rng.uniform(200, 350) * np.sin(2 * np.pi * rng.uniform(0.3, 1.2) * t)
    phase = 2 * np.pi * np.cumsum(sweep) / SR
    return np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)


def voice(rng, seconds):
    """A buzz through moving formants: no speech, but near it."""
    t = _time(seconds)
    pitch = rng.uniform(100, 220) * (1 + 0.1 * np.sin(2 * np.pi * 3 * t))
    buzz = 2 * ((np.cumsum(pitch) / SR) % 1) - 1
    syllable = 0.5 * (1 + np.sign(np.sin(2 * np.pi * rng.uniform(2.5, 4) * t)))
    spectrum = np.fft.rfft(buzz * syllable)
    frequency = np.fft.rfftfreq(t.size, 1 / SR)
    formants = rng.uniform([400, 1000, 2300], [700, 1900, 2800])
    gain = sum(np.exp(-(((frequency - f) / 150) ** 2)) for f in formants)
    return np.fft.irfft(spectrum * gain, t.size)


CLASSES = {each.__name__: each for each in (bird, engine, knocks, rain, siren, voice)}


def make(name, seed, seconds=3.0, noise=0.03):
    """One recording of a class, each in a manner of its own, in some wind."""
    rng = np.random.default_rng([sorted(CLASSES).index(name), seed])
    sound = CLASSES[name](rng, seconds)
    sound = sound / np.abs(sound).max() * rng.uniform(0.3, 0.9)
    wind = _filtered(rng, sound.size, 20, 300)
    return (sound + rng.uniform(0.3, 3) * noise * wind).astype(np.float32)


def write_folder(folder, per_class=10, seconds=3.0):
    """``bird-00.wav`` and so on; their paths, sorted."""
    import soundfile

    paths = []
    for name in CLASSES:
        for k in range(per_class):
            paths.append(str(folder / f"{name}-{k:02}.wav"))
            soundfile.write(paths[-1], make(name, k, seconds), SR)
    return sorted(paths)
