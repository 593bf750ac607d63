"""What it costs that outputs are whole after a power cut: waiting for the disk, against not waiting, interleaved.

python benchmarks/durable.py [CLIPS] [ROUNDS] [FOLDER]    1000 clips, 5 rounds, in a temporary directory

Prints, for a run over CLIPS recordings of 1 s and one over 10 of 60 s, and for process_file on one of each, the
seconds without waiting, and how many times as long it takes with outputs in groups, and with each on its own.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile

from edgel3_onnx import atomic, cli, load_embedding_model, process_file
from edgel3_onnx.outputs import group

RATE = 8000
WAITS = ("sync_file", "sync_folders", "sync_file_system")


def waiting(how):
    """Contexts in which outputs wait for the disk as ``how`` says."""
    if how == "each":
        return [patch.object(group, "_MOST", 1)]
    if how == "not":
        found = [(module, name) for module in (atomic, group) for name in WAITS if hasattr(module, name)]
        return [patch.object(module, name, lambda *_: None) for module, name in found]
    return []


def seconds(work, how):
    patches = waiting(how)
    for each in patches:
        each.start()
    try:
        os.sync()  # what others left is not waited for
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    finally:
        for each in patches:
            each.stop()


def compare(name, work, rounds):
    work()
    found = {how: [] for how in ("not", "groups", "each")}
    for _ in range(rounds):
        for how, times in found.items():
            times.append(seconds(work, how))
    ratios = [
        statistics.median(time / base for time, base in zip(found[how], found["not"], strict=True))
        for how in ("groups", "each")
    ]
    print(
        f"{name}: {statistics.median(found['not']):.3f} s without waiting, x{ratios[0]:.3f} in groups, "
        f"x{ratios[1]:.3f} each on its own",
        flush=True,
    )


def main():
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as name:
        folder = Path(name)
        for kind, count, length in (("clips of 1 s", clips, 1), ("recordings of 60 s", 10, 60)):
            inputs = folder / kind
            inputs.mkdir()
            for k in range(count):
                noise = np.random.default_rng(k).normal(0, 0.1, RATE * length)
                soundfile.write(inputs / f"{k:04}.wav", noise, RATE)

            def run(inputs=inputs):
                shutil.rmtree(folder / "out", ignore_errors=True)
                cli.run(inputs, folder / "out", model_type="micro")

            model = load_embedding_model("micro")

            def one(inputs=inputs, model=model):
                process_file(inputs / "0000.wav", folder / "one", model=model, verbose=False)

            compare(f"{count} {kind}, npz", run, rounds)
            compare(f"process_file, one of these {kind}", one, 4 * rounds)


if __name__ == "__main__":
    main()
