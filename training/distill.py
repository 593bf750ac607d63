"""Train `micro`, the student of SEA-64, and write onnx_models/micro.onnx and micro.int8.onnx.

Run ``python -m training.distill --teacher edgel3_sea_ust_audio_emb_64.h5.gz``. A run that was interrupted goes on from
its last checkpoint.
"""

import argparse
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgel3_onnx.atomic import write_bytes
from edgel3_onnx.export.convert.quantize import quantize
from training.architecture import describe
from training.dataset import natural_windows, shards
from training.graph import INT8_OUTPUT, OUTPUT, build
from training.metrics import agreement
from training.muon import Muon
from training.sources import cache_dir, recordings
from training.student import Student
from training.teacher import Teacher

LOG = Path(__file__).parent / "log.csv"
VALIDATION_HOP = 2000  # samples
VALIDATION_WINDOWS_PER_FILE = 16


@dataclass(frozen=True)
class Recipe:
    """Every choice of the run."""

    seed: int = 2  # of the first weights and of the order of the windows
    shards: int = 48  # of 8192 windows
    shard_seed: int = 1
    steps: int = 28000
    batch: int = 128
    muon_lr: float = 0.01  # convolutions after the first
    adam_lr: float = 0.003  # first convolution, BatchNorm
    warm_up: float = 0.02  # part of the steps in which the rates rise
    hold: float = 0.3  # part of the steps after which they fall linearly to 0
    map_weight: float = 1.0  # of the loss on the last activation map; falls linearly to 0 ...
    map_until: float = 0.7  # ... at this part of the steps, while ...
    angle_gain: float = 3.0  # ... the weight of the two cosine losses rises linearly from 1 to this
    neighbours_from: float = 0.4  # part of the steps after which who is near whom counts as well ...
    neighbour_weight: float = 0.06
    temperature: float = 0.003  # ... by a softmax of cosines divided by this ...
    remembered: int = 8192  # ... over so many of the latest windows
    average: float = 0.998  # decay per step of the averaged weights, which are the ones exported

    def rate(self, progress: float) -> float:
        """Factor on the learning rates, 0..1, at a progress of 0..1."""
        return min(progress / self.warm_up, 1.0, (1 - progress) / (1 - self.hold))


class Data:
    """Images and targets in memory, and the constants of the loss."""

    def __init__(self, recipe: Recipe, weights: Path, device: torch.device) -> None:
        parts = shards(recipe.shards, recipe.shard_seed, weights)
        self.images = np.concatenate([part.images for part in parts])
        self.maps = np.concatenate([part.maps for part in parts])
        embeddings = self.maps.max(axis=(2, 3)).astype(np.float32)
        self.mean = torch.from_numpy(embeddings.mean(axis=0)).to(device)
        self.deviation = torch.from_numpy(embeddings.std(axis=0)).to(device)

    def batch(self, chosen: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = np.sort(chosen)
        pictures = torch.from_numpy(self.images[chosen]).to(device).float()
        return (
            pictures.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(self.maps[chosen]).to(device).float(),
        )


def losses(
    found: torch.Tensor, wanted: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor, angle_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss on the embeddings, and on the activation maps (n, 64, 8, 6) that they are the maxima of.

    A squared error is divided by deviation * mean deviation, halfway between raw values, which cosines see, and
    values normalised per dimension.
    """
    weight = 1 / (deviation * deviation.mean())
    a, b = found.amax(dim=(2, 3)), wanted.amax(dim=(2, 3))
    squared = ((a - b) ** 2 * weight).mean()
    angle = (1 - torch.cosine_similarity(a, b)).mean()
    centred = (1 - torch.cosine_similarity(a - mean, b - mean)).mean()
    maps = ((found - wanted) ** 2 * weight.reshape(1, -1, 1, 1)).mean()
    return squared + angle_weight * (2 * angle + centred), 8 * maps


def neighbour_loss(
    found: torch.Tensor, wanted: torch.Tensor, others: tuple[torch.Tensor, torch.Tensor], temperature: float
) -> torch.Tensor:
    """Kullback-Leibler divergence between whom the teacher and the student hold for near, mean over (n, 64) embeddings.

    `others` are the student's and the teacher's embeddings (m, 64) of the same other windows. How near is the softmax
    over them of the cosine divided by the temperature.
    """
    near = []
    for vectors, around in zip((found, wanted), others, strict=True):
        cosines = nn.functional.normalize(vectors) @ nn.functional.normalize(around).T
        near.append(torch.log_softmax(cosines / temperature, dim=1))
    return nn.functional.kl_div(near[0], near[1], reduction="batchmean", log_target=True)


class Run:
    """The state of a training run: everything that a checkpoint holds."""

    def __init__(self, recipe: Recipe, data: Data, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step, self.seconds = recipe, 0, 0.0
        self.student = Student(1.5 * data.deviation.cpu()).to(device, memory_format=torch.channels_last)
        first, *others = [conv.weight for conv in self.student.convs]
        self.optimizers = [
            Muon(others, lr=recipe.muon_lr),
            torch.optim.AdamW([first, *self.student.norms.parameters()], lr=recipe.adam_lr, weight_decay=0),
        ]
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.average = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.rng = np.random.default_rng(recipe.seed)
        self.order = np.empty(0, np.int64)
        self.memory = torch.empty(2, 0, 64)  # embeddings of the latest windows, the student's and the teacher's

    def advance(self, data: Data, device: torch.device) -> tuple[float, float]:
        """One step of training; returns the two losses."""
        recipe = self.recipe
        if len(self.order) < recipe.batch:
            self.order = self.rng.permutation(len(data.images))
        chosen, self.order = self.order[: recipe.batch], self.order[recipe.batch :]
        pictures, wanted = data.batch(chosen, device)
        self.step += 1
        progress = self.step / recipe.steps
        with torch.autocast(device.type, torch.bfloat16):
            found = self.student(pictures)
        turn = min(progress / recipe.map_until, 1.0)
        angle_weight = 1 + (recipe.angle_gain - 1) * turn
        main, maps = losses(found.float(), wanted, data.mean, data.deviation, angle_weight)
        loss = main + recipe.map_weight * (1 - turn) * maps
        if progress > recipe.neighbours_from:
            pair = torch.stack([found.float(), wanted]).amax(dim=(3, 4))
            memory = self.memory.to(device)
            if memory.shape[1] == recipe.remembered:
                loss = loss + recipe.neighbour_weight * neighbour_loss(*pair, tuple(memory), recipe.temperature)
            self.memory = torch.cat([memory, pair.detach()], dim=1)[:, -recipe.remembered :]
        self.student.zero_grad()
        loss.backward()
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * recipe.rate(progress)
            optimizer.step()
        keep = min(recipe.average, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.student.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - keep)
        return main.item(), maps.item()

    def averaged(self) -> Student:
        """The student with the averaged weights, on the CPU, for evaluation and export."""
        student = Student(self.student.output_scale.cpu())
        student.load_state_dict(self.average)
        return student.eval()

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "student": self.student.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
            "rng": self.rng.bit_generator.state,
            "order": self.order,
            "memory": self.memory.cpu(),
        }
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=False)
        self.step, self.seconds = state["step"], state["seconds"]
        self.order, self.average, self.memory = state["order"], state["average"], state["memory"]
        self.student.load_state_dict(state["student"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.rng.bit_generator.state = state["rng"]


class Validation:
    """Natural windows of the validation packages with the teacher's embeddings."""

    def __init__(self, weights: Path) -> None:
        pictures, _ = natural_windows(recordings("validation"), VALIDATION_HOP, VALIDATION_WINDOWS_PER_FILE)
        teacher = Teacher(weights)
        maps = [teacher.maps(pictures[k : k + 256]) for k in range(0, len(pictures), 256)]
        self.wanted = np.concatenate(maps).max(axis=(2, 3))
        self.pictures = torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def score(self, student: Student) -> dict[str, float]:
        student = student.to(memory_format=torch.channels_last)
        found = []
        for k in range(0, len(self.pictures), 256):
            with torch.autocast("cpu", torch.bfloat16):
                found.append(student(self.pictures[k : k + 256]).float().amax(dim=(2, 3)))
        return agreement(torch.cat(found).numpy(), self.wanted)


def checkpoint_path(recipe: Recipe) -> Path:
    """Named after recipe and network, so that a run never goes on from a checkpoint of another one."""
    digest = hashlib.sha256(f"{describe()} {recipe}".encode()).hexdigest()
    return cache_dir() / f"checkpoint-{digest[:8]}.pt"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.distill", description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="the published SEA-64 weight file, .h5.gz")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # the softmax over neighbours is full of numbers that are all but zero
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(steps=arguments.steps)
    print(describe(), recipe, flush=True)
    data = Data(recipe, arguments.teacher, device)
    validation = Validation(arguments.teacher)
    run = Run(recipe, data, device)
    checkpoint = checkpoint_path(recipe)
    if checkpoint.exists():
        run.load(checkpoint)
        print(f"going on from step {run.step}", flush=True)
    elif LOG.exists():
        LOG.unlink()
    began = time.process_time()
    totals = []
    while run.step < recipe.steps:
        totals.append(run.advance(data, device))
        run.seconds, began = run.seconds + time.process_time() - began, time.process_time()
        if run.step % 250 == 0 or run.step == recipe.steps:
            record(run, np.mean(totals, axis=0), validation.score(run.averaged()))
            run.save(checkpoint)
            totals = []
    digest = hashlib.sha256(arguments.teacher.read_bytes()).hexdigest()
    graph = build(run.averaged().folded(), arguments.teacher.name, digest)
    write_bytes(OUTPUT, graph)
    write_bytes(INT8_OUTPUT, quantize(graph, "int8"))
    checkpoint.unlink()


def record(run: Run, loss: np.ndarray, scores: dict[str, float]) -> None:
    """One line of the log: training losses since the last one, agreement on the validation windows."""
    row = {"step": run.step, "cpu_seconds": round(run.seconds), "loss": loss[0], "map_loss": loss[1], **scores}
    line = ",".join(f"{value:.5g}" for value in row.values())
    if not LOG.exists():
        LOG.write_text(",".join(row) + "\n")
    with LOG.open("a") as log:
        log.write(line + "\n")
    print(line, flush=True)


if __name__ == "__main__":
    main()
