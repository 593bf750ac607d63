"""The sparse engine against ONNX Runtime's CPU provider, on seeded weights of several densities.

Prints, per density, SIMD level, number of threads and batch size: the ratio of the times, the engine's GFLOP/s
(two per multiply-add with a non-zero weight) and their share of a matrix product's on as many cores.
Run  python benchmarks/sparse.py [--threads 1 2] [--batch 1 8] [--levels avx512 avx2].
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy: the peak is measured on one core
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import golden
from edgel3_onnx import _sparse
from edgel3_onnx.engines.sparse import SparseEngine
from edgel3_onnx.engines.sparse_pack import load
from edgel3_onnx.export.convert import h5_to_onnx
from edgel3_onnx.spec import NETWORKS

ZEROS = (0.9575, 0.87, 0.723, 0.535)
REPEATS = 15
REST_S = 0.1


def quantiles(zeros: float) -> tuple[float, ...]:
    """The golden recipe's densities, all multiplied by one number (but at most 1) so that ``zeros`` are left."""
    filters = NETWORKS["sparse"].filters
    sizes = 9 * np.array([a * b for a, b in zip((1, *filters[:-1]), filters, strict=True)])
    density = 1 - np.array(golden.PRUNED_QUANTILES)
    low, high = 0.0, 100.0
    for _ in range(60):
        factor = (low + high) / 2
        share = (np.minimum(1, density * factor) * sizes).sum() / sizes.sum()
        low, high = (low, factor) if share > 1 - zeros else (factor, high)
    return tuple(float(q) for q in 1 - np.minimum(1, density * low))


def build(folder: Path, zeros: float) -> Path:
    arrays = golden.weights(7, NETWORKS["sparse"], True if zeros == ZEROS[0] else quantiles(zeros))
    golden.write_h5(folder / "weights.h5", arrays, "sparse")
    graph = folder / f"{zeros}.onnx"
    graph.write_bytes(h5_to_onnx.convert_file(folder / "weights.h5", NETWORKS["sparse"]))
    return graph


def measure(calls: dict[str, object]) -> dict[str, float]:
    """Best time of each call, taken in turns so that a slow moment of the machine meets all of them.

    Each waits for REST_S first: ONNX Runtime's threads spin on for a while, on the cores that the next call needs.
    """
    best = dict.fromkeys(calls, np.inf)
    for _ in range(REPEATS):
        for name, call in calls.items():
            time.sleep(REST_S)
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak() -> float:
    """GFLOP/s of one core, as NumPy's matrix product reaches it."""
    side = 1500
    matrix = np.ones((side, side), np.float32)
    return 2e-9 * side**3 / measure({"product": lambda: matrix @ matrix})["product"]


def memory(graph: Path) -> float:
    """MB (Linux) by which a process grows that opens the packed graph and embeds 17 windows on two threads."""
    code = (
        "import re, sys, numpy as np; from edgel3_onnx.engines.sparse import SparseEngine\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024\n"
        "images = np.ones((17, 1, 256, 199), np.float32); before = peak()\n"
        "SparseEngine(sys.argv[1], 2).run(images); print(peak() - before)"
    )
    return float(subprocess.run([sys.executable, "-P", "-c", code, graph], capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--levels", nargs="+", default=_sparse.levels()[:0:-1] or _sparse.levels())
    parser.add_argument("--zeros", type=float, nargs="+", default=ZEROS)
    args = parser.parse_args()
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        core = peak()
        print(f"matrix product on one core: {core:.0f} GFLOP/s")
        for zeros in args.zeros:
            graph = build(Path(folder), zeros)
            packed = load(graph)
            share = packed.multiply_adds / packed.dense_multiply_adds
            print(f"{100 * zeros:.2f} % zeros, {100 * share:.1f} % of the multiply-adds, +{memory(graph):.0f} MB")
            for threads in args.threads:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = threads
                session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
                engines = {}
                for level in args.levels:
                    os.environ["EDGEL3_ONNX_SIMD"] = level
                    engines[level] = SparseEngine(graph, threads)
                for n in args.batch:
                    images = np.random.default_rng(0).standard_normal((n, 1, 256, 199)).astype(np.float32) * 20 - 40
                    calls = {"dense": lambda s=session, i=images: s.run(None, {"melspectrogram": i})}
                    calls |= {level: lambda e=e, i=images: e.run(i) for level, e in engines.items()}
                    best = measure(calls)
                    for level in engines:
                        rate = 2e-9 * n * packed.multiply_adds / best[level]
                        print(
                            f"  {level:8} {threads} threads, batch {n:2}: {best['dense'] / best[level]:5.2f} x ONNX "
                            f"Runtime ({1e3 * best['dense'] / n:.0f} ms per window); {rate:4.0f} GFLOP/s, "
                            f"{100 * rate / core / threads:3.0f} % of peak"
                        )


if __name__ == "__main__":
    main()
