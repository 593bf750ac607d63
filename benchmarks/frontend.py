#!/usr/bin/env python3
"""Time of the front end in one thread, as ratios to its peers measured in the same run.

log_mel is compared with scipy.fft.rfft alone on the same float32 frames, with librosa (melspectrogram and
power_to_db on the same padded windows) and with the float64 oracle of the tests; resample with soxr HQ and,
where it is installed, with resampy. EDGEL3_ONNX_SIMD chooses the SIMD level. Needs scipy, librosa and soxr.
"""

# ruff: noqa: E402 (the numbers of threads must be set before NumPy is imported)
import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import sys
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import scipy.fft
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import golden
import reference_frontend as oracle
from edgel3_onnx import frontend
from edgel3_onnx.spec import FRONTENDS, FrontEndSpec

ROUNDS = 15
WINDOWS = {"sea": 60, "sparse": 10}
RATES = [(44100, 8000), (44100, 48000), (22050, 8000), (48000, 8000), (44056, 8000)]
SECONDS = 10


def fastest(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The shortest time of each call in seconds; they take turns, so that a busy moment hits them all."""
    times = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name] = min(times[name], time.perf_counter() - begin)
    return times


def librosa_images(windows: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    """The same images by librosa, whose decibels are twice ours: float32 (count, n_mels, n_frames)."""
    images = []
    for window in windows:
        mel = librosa.feature.melspectrogram(
            y=window,
            sr=spec.sample_rate,
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            n_mels=spec.n_mels,
            htk=True,
            center=False,
        )
        decibels = librosa.power_to_db(mel, ref=np.max, amin=spec.amin**2, top_db=2 * spec.top_db)
        images.append(decibels / 2)
    return np.stack(images)


def measure_log_mel(spec: FrontEndSpec, hop_seconds: float) -> None:
    hop, count = int(hop_seconds * spec.sample_rate), WINDOWS[spec.name]
    samples = spec.sample_rate + (count - 1) * hop
    audio = golden.audio(spec.sample_rate, samples / spec.sample_rate, 1).astype(np.float32)[:samples]
    windows = np.stack([audio[k * hop : k * hop + spec.sample_rate] for k in range(count)])
    right = (spec.n_frames - 1) * spec.hop_length + spec.n_fft - spec.sample_rate - spec.pad_left
    padded = np.pad(windows, ((0, 0), (spec.pad_left, right)))
    frames = np.concatenate([oracle.window_frames(window, spec) for window in windows]).astype(np.float32)
    assert np.abs(librosa_images(padded, spec)[:, None] - frontend.log_mel(audio, spec, hop_length=hop)).max() < 0.1
    times = fastest(
        {
            "ours": lambda: frontend.log_mel(audio, spec, hop_length=hop),
            "rfft": lambda: scipy.fft.rfft(frames),
            "librosa": lambda: librosa_images(padded, spec),
        }
    )
    times |= fastest({"oracle": lambda: oracle.log_mel(audio, spec, hop)}, rounds=2)
    ours = times["ours"]
    print(
        f"log_mel {spec.name:6} hop {hop_seconds:5} s: {ours / count * 1e6:6.1f} us a window; "
        f"{ours / times['rfft']:.2f} x scipy.fft.rfft alone, librosa takes {times['librosa'] / ours:.1f} x, "
        f"the oracle {times['oracle'] / ours:.0f} x"
    )


def measure_resample(sr_orig: int, sr_new: int) -> None:
    audio = golden.audio(sr_orig, SECONDS, 1).astype(np.float32)
    calls = {
        "ours": lambda: frontend.resample(audio, sr_orig, sr_new),
        "soxr": lambda: soxr.resample(audio, sr_orig, sr_new, "HQ"),
    }
    times = fastest(calls)
    text = f"{times['ours'] / times['soxr']:.2f} x soxr HQ"
    try:
        import resampy
    except ImportError:
        text += ", resampy is not installed"
    else:
        resampy.resample(audio[:sr_orig], sr_orig, sr_new)  # compiles
        slow = fastest({"resampy": lambda: resampy.resample(audio, sr_orig, sr_new)}, rounds=2)["resampy"]
        text += f", resampy takes {slow / times['ours']:.0f} x"
    print(f"resample {sr_orig} -> {sr_new}: {times['ours'] / SECONDS * 1e3:.3f} ms a second of audio; {text}")


def main() -> None:
    print(f"SIMD level {frontend.simd_level()}, one thread")
    for spec in FRONTENDS.values():
        for hop_seconds in (0.1, 0.25, 0.123):
            measure_log_mel(spec, hop_seconds)
    for rates in RATES:
        measure_resample(*rates)


if __name__ == "__main__":
    main()
