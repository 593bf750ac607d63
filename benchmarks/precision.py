"""Size, deviation and speed of the int8 and fp16 graphs of a model: the table of docs/how-to/export.md.

    python benchmarks/precision.py RECORDINGS [--model-type sea] [--emb-dim 64] [--weights FILE]

RECORDINGS is a directory; windows are taken every half second. Deviations and speed are against the fp32 graph, in one
run, on one thread of the CPU provider; speeds are measured in turn, and each keeps its median.
"""

import argparse
import statistics
import time

import numpy as np

from edgel3_onnx import load_embedding_model
from edgel3_onnx.export.convert.calibration import log_mel_images
from edgel3_onnx.export.recordings import read_windows
from edgel3_onnx.export.verify import deviation
from edgel3_onnx.metadata import PRECISIONS

ROUNDS = 15


def seconds(model, batch):
    start = time.perf_counter()
    model.predict(batch)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings")
    parser.add_argument("--model-type", default="sea")
    parser.add_argument("--emb-dim", type=int, default=64)
    parser.add_argument("--weights")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    args = parser.parse_args()
    models = {
        precision: load_embedding_model(
            args.model_type, args.emb_dim, weights=args.weights, precision=precision, num_threads=1
        )
        for precision in PRECISIONS
    }
    spec = models["fp32"].spec
    images = [log_mel_images(windows, spec) for _, windows in read_windows(args.recordings, spec)]
    embeddings = {name: np.concatenate([model.predict(batch) for batch in images]) for name, model in models.items()}
    everything = np.concatenate(images)
    times = {(name, size): [] for name in models for size in args.batch_sizes}
    for _ in range(ROUNDS):
        for name, size in times:
            times[name, size].append(seconds(models[name], everything[:size]))
    medians = {key: statistics.median(values) for key, values in times.items()}

    speeds = " | ".join(f"times as fast, batch {size}" for size in args.batch_sizes)
    print(f"{len(everything)} windows of {args.recordings}")
    print(f"| | bytes | median cosine | least cosine | {speeds} |")
    print("|---" * (4 + len(args.batch_sizes)) + "|")
    for name, model in models.items():
        found = deviation(embeddings[name].astype(np.float64), embeddings["fp32"].astype(np.float64))
        ratios = " | ".join(f"{medians['fp32', size] / medians[name, size]:.2f}" for size in args.batch_sizes)
        size = model.info.path.stat().st_size
        print(f"| {name} | {size} | {found.median_cosine:.7f} | {found.least_cosine:.6f} | {ratios} |")


if __name__ == "__main__":
    main()
