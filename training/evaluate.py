"""Print how micro compares with SEA-64 on recordings of packages that training never used.

Run ``python -m training.evaluate --teacher edgel3_sea_ust_audio_emb_64.h5.gz``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from edgel3_onnx.export.convert.quantize import quantize
from training import teacher
from training.classify import file_classes, folder, name_prefix, repeated_accuracy
from training.dataset import natural_windows
from training.graph import INT8_OUTPUT, OUTPUT
from training.metrics import agreement, neighbour_agreement
from training.sources import Recording, recordings

HOP = 2000  # samples: 0.25 s
WINDOWS_PER_FILE = 16  # for the agreement with the teacher; classified is the mean over all windows of a file
CLASS_NAMES = {"sonic-pi-samples": name_prefix, "flare-game": folder, "widelands-data": folder}  # of a path, what it is
TIMED_BATCH, TIMED_RUNS = 32, 25
COLUMNS = ("cos median", "cos 1 %", "centred median", "centred 10 %", "NN in top 5", "accuracy", "time", "KB")

Embed = Callable[[np.ndarray], np.ndarray]


def distinct(sounds: list[Recording]) -> list[Recording]:
    """The recordings without those that equal an earlier one: copies would be each other's nearest neighbours."""
    found: dict[bytes, Recording] = {}
    for item in sounds:
        found.setdefault(item.audio.tobytes(), item)
    return list(found.values())


def embed_with(session: onnxruntime.InferenceSession) -> Embed:
    def embed(images: np.ndarray) -> np.ndarray:
        batches = (images[k : k + 256] for k in range(0, len(images), 256))
        return np.concatenate([session.run(None, {"melspectrogram": batch})[0] for batch in batches])

    return embed


def mean_log_mel(images: np.ndarray) -> np.ndarray:
    """Mean of each mel band over a window's frames, float32 (n, 64): what any embedding has to beat."""
    return images.mean(axis=(1, 3))


def time_ratios(sessions: dict[str, onnxruntime.InferenceSession], reference: str) -> dict[str, float]:
    """Median time of one thread for a batch of 32, as a fraction of the reference's, measured in turns."""
    batch = np.random.default_rng(0).uniform(-80, 0, (TIMED_BATCH, 1, 64, 50)).astype(np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(TIMED_RUNS):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(None, {"melspectrogram": batch})
            seconds[name].append(time.perf_counter() - began)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {name: value / medians[reference] for name, value in medians.items()}


class Classified:
    """The files of one package that belong to a class, and how well an embedding's means over them tell which."""

    def __init__(self, sounds: list[Recording], package: str) -> None:
        self.package = package
        mine = [item for item in sounds if item.package == package]
        chosen, self.labels = file_classes([CLASS_NAMES[package](item.name) for item in mine])
        self.images, self.files = natural_windows([mine[k] for k in chosen], HOP, per_file=10**6)

    def accuracy(self, embed: Embed) -> float:
        found = embed(self.images)
        means = np.stack([found[self.files == k].mean(axis=0) for k in range(len(self.labels))])
        return repeated_accuracy(means, self.labels)

    def __str__(self) -> str:
        largest = np.bincount(self.labels).max() / len(self.labels)
        return f"{self.package} {len(self.labels)} files in {self.labels.max() + 1} classes, the largest {largest:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="the published SEA-64 weight file, .h5.gz")
    arguments = parser.parse_args()

    published = teacher.graph(arguments.teacher)
    graphs = {
        "micro fp32": OUTPUT.read_bytes(),
        "micro int8": INT8_OUTPUT.read_bytes(),
        "SEA-64 fp32": published,
        "SEA-64 int8": quantize(published, "int8"),
    }
    sessions = {name: teacher.session(graph) for name, graph in graphs.items()}
    ratios = time_ratios(sessions, "SEA-64 fp32")
    methods = {name: embed_with(session) for name, session in sessions.items()} | {"mean log-mel": mean_log_mel}

    held_out = recordings("held-out")
    sounds = distinct([*held_out, *recordings("unseen")])
    packages = np.array([item.package for item in sounds])
    parts = {"held-out": np.isin(packages, [item.package for item in held_out])}
    parts |= {package: packages == package for package in np.unique(packages)}
    parts["held-out and unseen"] = np.ones(len(sounds), bool)
    images, files = natural_windows(sounds, HOP, WINDOWS_PER_FILE)
    wanted = methods["SEA-64 fp32"](images)
    classified = {package: Classified(sounds, package) for package in CLASS_NAMES}

    print("| | | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, embed in methods.items():
        found = embed(images)
        ratio = f"{ratios[name]:.3f}" if name in ratios else ""
        size = f"{len(graphs[name]) / 1000:.0f}" if name in graphs else ""
        for part, members in parts.items():
            chosen = members[files]
            accuracy = f"{classified[part].accuracy(embed):.3f}" if part in classified else ""
            cost = f"{ratio} | {size}" if part == "held-out" else " | "
            print(_row(name, part, found[chosen], wanted[chosen], files[chosen], f"{accuracy} | {cost}"))
    counts = ", ".join(f"{name} {n}" for name, n in zip(*np.unique(packages, return_counts=True), strict=True))
    print(f"\n{len(images)} windows of {len(sounds)} files ({counts}).")
    print("Accuracy: " + "; ".join(str(item) for item in classified.values()) + ".")
    print(f"Time: one thread, batch {TIMED_BATCH}, of SEA-64 fp32's.")


def _row(name: str, part: str, found: np.ndarray, wanted: np.ndarray, files: np.ndarray, rest: str) -> str:
    scores = list(agreement(found, wanted).values()) if name != "mean log-mel" else []
    cells = [f"{value:.4f}" for value in scores] or [""] * 4
    cells.append(f"{neighbour_agreement(found, wanted, files):.3f}")
    return f"| {name} | {part} | " + " | ".join(cells) + f" | {rest} |"


if __name__ == "__main__":
    main()
