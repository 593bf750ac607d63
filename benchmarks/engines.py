"""The native engine against ONNX Runtime and whatever other engine is installed (benchmarks/requirements.txt).

Prints the table of docs/explanation/performance.md: for each network, number of threads and batch size, ONNX Runtime's
time for a window, and how many times faster each of the others is, by the best and by the median of calls in turns.

    python benchmarks/engines.py [--networks sea-64 ...] [--threads 1 2] [--batch 1 4] [--levels avx512 avx2]

Weights are seeded: those of the golden recipe, or its densities all times one number, at most 1. --methods runs both
of the native engine's methods, which is where engines.native.TAPS_SHARE is from; --memory adds by how many MB a
process grows.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import golden
from edgel3_onnx import _engine
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines.native import METHODS, NativeEngine
from edgel3_onnx.export.convert import h5_to_onnx
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store.registry import find_variant
from edgel3_onnx.store.weights import embedding_model_path

SPARSITIES = (95.45, 87.0, 72.3, 53.5)  # of the published networks; the golden recipe stands for the first, with 95.75
NAMES = ("sea-64", "sea-512", "micro", *(f"sparse-{zeros}" for zeros in SPARSITIES))
SECONDS = 4.0  # that all calls of one comparison take together, about
REST = 0.05  # ONNX Runtime's threads spin on for a while, on the cores that the next call needs
AWAKE = 0.03  # seconds of calls after which all cores are awake
BURST = 16  # calls that count in a turn of engines with threads
Call = Callable[[np.ndarray], object]


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


def build(folder: Path, name: str) -> Path:
    """The graph of one of NAMES."""
    graph = folder / f"{name}.onnx"
    if name == "micro":
        graph.write_bytes(embedding_model_path(find_variant("micro", 64)).read_bytes())
        return graph
    kind, _, number = name.partition("-")
    key = "sparse" if kind == "sparse" else name
    pruned = kind == "sparse" and (True if float(number) == SPARSITIES[0] else quantiles(float(number) / 100))
    golden.write_h5(folder / "weights.h5", golden.weights(7, NETWORKS[key], pruned), key)
    graph.write_bytes(h5_to_onnx.convert_file(folder / "weights.h5", NETWORKS[key]))
    return graph


def onnx_runtime(graph: Path, threads: int, batch: np.ndarray) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def openvino(graph: Path, threads: int, batch: np.ndarray) -> Call:
    from openvino import Core

    core = Core()
    model = core.read_model(graph)
    model.reshape(list(batch.shape))
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda images: next(iter(request.infer([images]).values()))


def mnn(graph: Path, threads: int, batch: np.ndarray) -> Call:
    import MNN

    converted = graph.with_suffix(".mnn")
    command = ["mnnconvert", "-f", "ONNX", "--modelFile", graph, "--MNNModel", converted, "--bizCode", "x"]
    if not converted.exists():
        subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], check=True, capture_output=True)
    interpreter = MNN.Interpreter(str(converted))
    session = interpreter.createSession({"numThread": threads, "precision": "high"})
    tensor = interpreter.getSessionInput(session)
    interpreter.resizeTensor(tensor, batch.shape)
    interpreter.resizeSession(session)

    def run(images: np.ndarray) -> np.ndarray:
        host = MNN.Tensor(images.shape, MNN.Halide_Type_Float, images, MNN.Tensor_DimensionType_Caffe)
        tensor.copyFrom(host)
        interpreter.runSession(session)
        return np.array(interpreter.getSessionOutput(session).getNumpyData())

    return run


def ncnn(graph: Path, threads: int, batch: np.ndarray) -> Call:
    import ncnn as library

    shape = ",".join(map(str, (1, *batch.shape[1:])))
    work = graph.with_suffix(".pnnx")
    work.mkdir(exist_ok=True)
    (work / "g.onnx").write_bytes(graph.read_bytes())
    command = [Path(sys.executable).parent / "pnnx", "g.onnx", f"inputshape=[{shape}]", "fp16=0"]
    if not (work / "g.ncnn.bin").exists():
        subprocess.run(command, check=True, capture_output=True, cwd=work)
    net = library.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param(str(work / "g.ncnn.param"))
    net.load_model(str(work / "g.ncnn.bin"))

    def run(images: np.ndarray) -> np.ndarray:
        rows = []
        for image in images:
            with net.create_extractor() as extractor:
                extractor.input("in0", library.Mat(image).clone())
                _, found = extractor.extract("out0")
                rows.append(np.array(found).reshape(-1))
        return np.stack(rows)

    return run


OTHERS = {"openvino": openvino, "MNN": mnn, "ncnn": ncnn}


def native(graph: Path, threads: int, level: str, method: str | None) -> tuple[str, Call]:
    os.environ["EDGEL3_ONNX_SIMD"] = level
    engine = NativeEngine(read_network(graph), threads, method)
    return f"native {level} {engine.method}", engine.run


def engines(graph: Path, threads: int, batch: np.ndarray, options: argparse.Namespace) -> Iterator[tuple[str, Call]]:
    """Each engine's name and what runs a batch."""
    yield "ONNX Runtime", onnx_runtime(graph, threads, batch)
    pruned = graph.name.startswith("sparse")
    for level in options.levels:
        for method in METHODS if options.methods and pruned else [None]:
            yield native(graph, threads, level, method)
    for name, make in OTHERS.items():
        if importlib.util.find_spec(name) and not options.methods:
            with contextlib.redirect_stdout(sys.stderr):
                yield name, make(graph, threads, batch)


def compare(calls: dict[str, Call], batch: np.ndarray, threads: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns so that a slow moment of the machine meets all of them.

    With threads, a turn is a rest, calls that do not count, and some that do, as in a run over files: the cores of a
    virtual machine need some milliseconds to wake, in which a small network embeds many windows.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    while len(times["ONNX Runtime"]) < 8 or time.perf_counter() - start < SECONDS:
        for name, call in calls.items():
            if threads > 1:
                time.sleep(REST)
                awake = time.perf_counter() + AWAKE
                while time.perf_counter() < awake:
                    call(batch)
            for _ in range(BURST if threads > 1 else 1):
                before = time.perf_counter()
                call(batch)
                times[name].append(time.perf_counter() - before)
    return {name: values[1:] for name, values in times.items()}


def memory(graph: Path) -> float:
    """MB (Linux) by which a process grows that opens the graph and embeds 17 windows on two threads."""
    code = (
        "import re, sys, onnx, numpy as np; from edgel3_onnx.engines.session import open_engine\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024\n"
        "before = peak(); engine = open_engine(sys.argv[1], 'native', num_threads=2)\n"
        "engine.run(np.ones((17, *engine._shape), np.float32)); print(peak() - before)"
    )
    return float(subprocess.run([sys.executable, "-P", "-c", code, graph], capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", choices=NAMES, default=["sea-64", "sea-512", "micro", NAMES[3], NAMES[-1]]
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--levels", nargs="+", default=_engine.levels()[:0:-1] or _engine.levels())
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(
        f"{model[1] if model else 'unknown processor'}; times faster than ONNX Runtime: best / median, largest error\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            graph = build(Path(folder), name)
            network = read_network(graph)
            share = 100 * network.multiply_adds / network.dense_multiply_adds
            grows = f", +{memory(graph):.0f} MB" if options.memory else ""
            print(f"{name}: {share:.1f} % of the multiply-adds{grows}", flush=True)
            for threads in options.threads:
                for n in options.batch:
                    shape = (n, 1, network.rows, network.cols)
                    batch = np.random.default_rng(0).uniform(-80, 0, shape).astype(np.float32)
                    calls = dict(engines(graph, threads, batch, options))
                    times, peer = compare(calls, batch, threads), "ONNX Runtime"
                    expected = np.asarray(calls[peer](batch))
                    print(f"  {threads} threads, batch {n}: {1e3 * min(times[peer]) / n:.3f} ms a window")
                    for other in list(calls)[1:]:
                        found = np.asarray(calls[other](batch)).reshape(expected.shape)
                        error = (np.abs(found - expected).max(1) / np.abs(expected).max(1)).max()
                        best = min(times[peer]) / min(times[other])
                        median = statistics.median(times[peer]) / statistics.median(times[other])
                        print(f"    {other:24} {best:5.2f} / {median:5.2f}  {error:.1e}", flush=True)


if __name__ == "__main__":
    main()
