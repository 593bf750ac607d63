"""Training data on disk: shards of log-mel images with the teacher's answers, made once and reused every epoch."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgel3_onnx.frontend import log_mel, num_windows
from training.sources import Recording, cache_dir, recordings
from training.teacher import Teacher
from training.windows import SPEC, WindowMaker, images

SHARD_WINDOWS = 8192
BATCH = 512


@dataclass(frozen=True)
class Shard:
    """Log-mel images and the teacher's last activation maps for the same windows."""

    images: np.ndarray  # float16 (n, 1, 64, 50)
    maps: np.ndarray  # float16 (n, 64, 8, 6), before the global maximum


def shards(count: int, seed: int, weights: Path) -> list[Shard]:
    """`count` shards of random windows from the training packages; shard k depends on the seed and k only."""
    sounds: list[Recording] = []
    teacher = None
    found = []
    for k in range(count):
        path = cache_dir() / f"shard-{seed}-{k:03d}.npz"
        if not path.exists():
            sounds = sounds or recordings("train")
            teacher = teacher or Teacher(weights)
            _write(path, _windows(WindowMaker(sounds), np.random.default_rng([seed, k])), teacher)
        with np.load(path) as arrays:
            found.append(Shard(arrays["images"], arrays["maps"]))
    return found


def _windows(maker: WindowMaker, rng: np.random.Generator) -> np.ndarray:
    return np.stack([maker.draw(rng) for _ in range(SHARD_WINDOWS)])


def _write(path: Path, windows: np.ndarray, teacher: Teacher) -> None:
    pictures = images(windows)
    maps = [teacher.maps(pictures[k : k + BATCH]).astype(np.float16) for k in range(0, len(pictures), BATCH)]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, images=pictures.astype(np.float16), maps=np.concatenate(maps))
    os.replace(temporary, path)


def natural_windows(sounds: list[Recording], hop_length: int, per_file: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows as the package cuts them from files, centred, at most `per_file` of each, evenly spread.

    Returns log-mel images float32 (n, 1, 64, 50) and the index of each one's recording, int64 (n,).
    """
    pictures, files = [], []
    for index, item in enumerate(sounds):
        total = num_windows(len(item.audio), SPEC, hop_length, center=True)
        every = log_mel(item.audio, SPEC, hop_length=hop_length, center=True)
        chosen = np.unique(np.linspace(0, total - 1, min(total, per_file)).astype(int))
        pictures.append(every[chosen])
        files.append(np.full(len(chosen), index))
    return np.concatenate(pictures), np.concatenate(files)
