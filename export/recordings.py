"""Recordings as one-second windows and log-mel images, to calibrate and to compare graphs with."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.spec import FrontEndSpec

Array = npt.NDArray[np.float32]


def read_windows(folder: str | os.PathLike[str], spec: FrontEndSpec, hop_s: float) -> Iterator[tuple[str, Array]]:
    """Yield per recording in ``folder``, sorted, its name and its windows, float32 (n, sample_rate).

    Windows start every ``hop_s`` seconds; the last one is filled up with zeros. Only files that libsndfile
    knows by their suffix are taken. Raises EdgeL3Error if there is none, or if one cannot be read.
    """
    import soundfile

    from edgel3_onnx.frontend import resample

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
        yield path.name, split_windows(audio, spec, hop_s)


def split_windows(audio: Array, spec: FrontEndSpec, hop_s: float) -> Array:
    """Cut ``audio``, float32 (n,) at the front end's rate, into windows float32 (count, sample_rate)."""
    length, hop = spec.window_length, round(hop_s * spec.sample_rate)
    count = 1 + max(0, -(-(len(audio) - length) // hop))
    padded = np.pad(audio, (0, (count - 1) * hop + length - len(audio)))
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, length)[::hop])


def log_mel_images(windows: Array, spec: FrontEndSpec) -> Array:
    """The log-mel images, float32 (n, 1, n_mels, n_frames), of windows float32 (n, sample_rate)."""
    from edgel3_onnx.frontend import log_mel

    return log_mel(np.ascontiguousarray(windows).reshape(-1), spec, hop_length=spec.window_length)
