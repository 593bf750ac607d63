"""Recordings as one-second windows, to calibrate and to compare graphs with."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.calibration import Calibration, log_mel_images
from edgel3_onnx.frontend import resample
from edgel3_onnx.spec import FrontEndSpec

HOP_S = 0.5  # between windows
_MOST_CALIBRATION_WINDOWS = 64

Array = npt.NDArray[np.float32]


def read_windows(folder: str | os.PathLike[str], spec: FrontEndSpec) -> Iterator[tuple[str, Array]]:
    """Yield per recording in ``folder``, sorted, its name and its windows, float32 (n, sample_rate).

    Windows start every half second; the last one is filled up with zeros. Only files that libsndfile
    knows by their suffix are taken. Raises EdgeL3Error if there is none, or if one cannot be read.
    """
    import soundfile

    suffixes = {f".{name.lower()}" for name in soundfile.available_formats()}
    try:
        files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise EdgeL3Error(f"{folder}: cannot be read ({error.strerror or error})") from error
    if not files:
        raise EdgeL3Error(f"{folder}: no recordings in it")
    for path in files:
        try:
            samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise EdgeL3Error(f"{path}: cannot be read ({error})") from error
        audio = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
        if sample_rate != spec.sample_rate:
            audio = resample(audio, sample_rate, spec.sample_rate)
        yield path.name, split_windows(audio, spec, HOP_S)


def split_windows(audio: Array, spec: FrontEndSpec, hop_s: float) -> Array:
    """Cut ``audio``, float32 (n,) at the front end's rate, into windows float32 (count, sample_rate)."""
    length, hop = spec.window_length, round(hop_s * spec.sample_rate)
    count = 1 + max(0, -(-(len(audio) - length) // hop))
    padded = np.pad(audio, (0, (count - 1) * hop + length - len(audio)))
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, length)[::hop])


def calibration_of(folder: str | os.PathLike[str], spec: FrontEndSpec) -> Calibration:
    """At most 64 windows spread evenly over the recordings in ``folder``; the name is the folder's.

    Raises EdgeL3Error if there is no recording in it, or one cannot be read.
    """
    windows = np.concatenate([windows for _, windows in read_windows(folder, spec)])
    chosen = np.linspace(0, len(windows) - 1, min(_MOST_CALIBRATION_WINDOWS, len(windows))).astype(int)
    return Calibration(Path(folder).resolve().name, log_mel_images(windows[chosen], spec))
