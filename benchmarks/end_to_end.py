"""What files cost on top of the network: decoding, resampling, front end, saving, starting.

    python benchmarks/end_to_end.py [WEIGHTS]

WEIGHTS is a .h5, .h5.gz or .onnx of sea-64; without it, seeded weights. Every figure is a ratio between two things
that are timed in turn, in one run: the median of the ratios of neighbours.
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from edgel3_onnx import load_embedding_model, process_file
from edgel3_onnx.frontend import log_mel, resample

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import golden
from edgel3_onnx.spec import NETWORKS

ROUNDS = 7


def ratio(measured, peer, rounds=ROUNDS):
    """Median of the ratios of ``measured`` to ``peer``, and the median seconds of both."""
    times = []
    for k in range(rounds + 1):
        pair = []
        for function in (measured, peer):
            start = time.perf_counter()
            function()
            pair.append(time.perf_counter() - start)
        if k:  # the first warms up
            times.append(pair)
    return statistics.median(a / b for a, b in times), *(
        statistics.median(column) for column in zip(*times, strict=True)
    )


def report(name, figures, bar):
    found, seconds, peer_seconds = figures
    print(f"{name}: {found:.3f} ({seconds:.3f} s / {peer_seconds:.3f} s), at most {bar}", flush=True)


def bare_session(model, path):
    """A function that only runs the network, on images that were made before."""
    audio, sr = soundfile.read(path, dtype="float32")
    mono = resample(np.ascontiguousarray(audio.reshape(len(audio), -1).mean(axis=1)), sr, model.sample_rate)
    images = log_mel(mono, model.spec, hop_length=800, center=True)
    batches = [images[k : k + model.batch_size] for k in range(0, len(images), model.batch_size)]
    return lambda: [model.predict(batch) for batch in batches]


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len(sys.argv) > 1:
            weights = Path(sys.argv[1])
        else:
            weights = folder / "seeded.h5"
            golden.write_h5(weights, golden.weights(640, NETWORKS["sea-64"]), "sea-64")
        model = load_embedding_model("sea", 64, weights=weights)
        for sr, channels in ((8000, 1), (44100, 1), (44100, 2)):
            path = folder / f"{sr}-{channels}.wav"
            soundfile.write(path, np.stack([golden.audio(sr, 60, 1)] * channels, axis=1), sr)
            figures = ratio(lambda path=path: process_file(path, model=model, verbose=False), bare_session(model, path))
            report(f"60 s, {sr} Hz, {channels} channels: file to npz / bare session", figures, 1.15)

        native = load_embedding_model("sea", 64, weights=weights, provider="native")
        figures = ratio(*(lambda each=each: process_file(path, model=each, verbose=False) for each in (native, model)))
        report("60 s, 44100 Hz, 2 channels: file to npz by the native engine / by ONNX Runtime", figures, 0.53)

        command = [sys.executable, "-P", "-m", "edgel3_onnx", "-q", "--model-type", "sea", "--emb-dim", "64"]
        command += ["--weights", str(model.info.path)]  # the graph itself: nothing is converted
        audio = golden.audio(8000, 500, 2)
        soundfile.write(folder / "long.wav", audio, 8000)
        (folder / "clips").mkdir()
        for k in range(500):
            soundfile.write(folder / "clips" / f"{k:03}.wav", audio[8000 * k :][:8000], 8000)

        outputs = itertools.count()  # each run writes anew: replacing a file can cost more than making one

        def cli(path):
            return lambda: subprocess.run([*command, str(path), "-o", str(folder / f"{next(outputs)}")], check=True)

        report("500 files of 1 s / one file of 500 s", ratio(cli(folder / "clips"), cli(folder / "long.wav"), 3), 1.3)

        def start_onnxruntime():
            subprocess.run([sys.executable, "-P", "-c", "import onnxruntime"], check=True)

        figures = ratio(cli(folder / "clips" / "000.wav"), start_onnxruntime)
        print(f"cold start on a file of 1 s: {figures[1]:.2f} s; import onnxruntime alone: {figures[2]:.2f} s")


if __name__ == "__main__":
    main()
