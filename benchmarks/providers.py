"""Speed and error of every provider that loads, as ratios to ONNX Runtime on the CPU in one run.

    python benchmarks/providers.py [--network sea-512] [--batch-size 64] [--threads 1] [--providers cuda webgpu]

Prints the table of docs/how-to/providers.md: for each provider, precision and kind of graph, milliseconds per window,
how many times the speed of the same graph on the CPU provider that is (for bf16, of the fp32 graph), and by how much
and at which cosine the embeddings differ from those in fp32 there. What does not load is listed with its reason. The
weights are seeded. All rows take turns; each keeps the median.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import golden
from edgel3_onnx import EdgeL3Error, frontend
from edgel3_onnx.audio import frame
from edgel3_onnx.engines.plugins import installed_plugin, version
from edgel3_onnx.engines.providers import NATIVE, PROVIDERS
from edgel3_onnx.engines.runtime import installed_providers
from edgel3_onnx.engines.session import open_engine
from edgel3_onnx.export.convert.h5_to_onnx import convert
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.metadata import COMPUTED, graph_precision
from edgel3_onnx.spec import FRONTENDS, NETWORKS
from parity import least_cosine, relative_error

KINDS = ("mel", "waveform")


def make_graphs(folder, name):
    """Write the graphs of a network; return their paths by (kind, precision)."""
    h5 = folder / "weights.h5"
    golden.write_h5(h5, golden.weights(1, NETWORKS[name], name == "sparse"), name)
    mel = convert(h5.read_bytes(), NETWORKS[name], source_file=h5.name, source_sha256="0" * 64)
    graphs = {}
    for precision in ("fp32", "int8", "fp16"):
        graph = mel if precision == "fp32" else quantize(mel, precision)
        for kind, data in (("mel", graph), ("waveform", add_front_end(graph))):
            graphs[kind, precision] = folder / f"{kind}-{precision}.onnx"
            graphs[kind, precision].write_bytes(data)
    return graphs


def processor():
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor()
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in values.items()}
    fast = [
        flag for flag in fields.get("flags", "").split() if flag.startswith("amx") or flag.endswith(("vnni", "bf16"))
    ]
    return f"{fields.get('model name', platform.machine())} ({' '.join(fast) or 'no AMX, VNNI or bf16'})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="sea-64", choices=NETWORKS)
    parser.add_argument("--providers", nargs="*", metavar="NAME", help="default: all that are installed, and native")
    parser.add_argument("--precisions", nargs="*", default=COMPUTED, choices=COMPUTED)
    parser.add_argument("--batch-size", type=int, default=16, help="windows; default: 16")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--repeats", type=int, default=7, help="default: 7")
    args = parser.parse_args()
    names = args.providers or [*installed_providers(), NATIVE]
    spec = FRONTENDS[NETWORKS[args.network].frontend]
    audio = golden.audio(spec.sample_rate, args.batch_size, 1).astype(np.float32)
    inputs = {
        "mel": frontend.log_mel(audio, spec, hop_length=spec.window_length, count=args.batch_size),
        "waveform": frame(audio, spec, hop_length=spec.window_length, count=args.batch_size),
    }
    engines, refused = {}, []
    with tempfile.TemporaryDirectory() as folder:
        graphs = make_graphs(Path(folder), args.network)
        # The CPU provider is what the others are compared with, whether or not it was asked for.
        for name in dict.fromkeys(["cpu", *names]):
            for kind in KINDS:
                for precision in dict.fromkeys(["fp32", *args.precisions]):
                    path = graphs[kind, graph_precision(precision)]
                    try:
                        engine = open_engine(path, name, num_threads=args.threads, precision=precision)
                        engine.run(inputs[kind][:1])
                        engines[name, kind, precision] = engine
                    except EdgeL3Error as error:
                        refused.append(
                            f"{name}, {kind}, {precision}: {str(error).replace(os.fspath(path), 'the graph')}"
                        )
    seconds = {key: [] for key in engines}
    found = {}
    for repeat in range(args.repeats + 1):
        for key, engine in engines.items():
            start = time.perf_counter()
            found[key] = engine.run(inputs[key[1]])
            if repeat:  # the first time, providers compile and tune
                seconds[key].append(time.perf_counter() - start)
    median = {key: statistics.median(values) for key, values in seconds.items()}
    print(
        f"{args.network}, batches of {args.batch_size}, {args.threads} threads, median of {args.repeats}; {processor()}"
    )
    print("| provider | graph | precision | ms/window | times the CPU provider | error | least cosine |")
    print("|---|---|---|---|---|---|---|")
    for (name, kind, precision), value in median.items():
        ratio = median["cpu", kind, graph_precision(precision)] / value
        expected = found["cpu", kind, "fp32"]
        error, cosine = (measure(found[name, kind, precision], expected) for measure in (relative_error, least_cosine))
        plugin = installed_plugin(PROVIDERS[name]) if name in PROVIDERS else None
        brings = f" ({plugin.distribution} {version(plugin.distribution)})" if plugin else ""
        milliseconds = 1e3 * value / args.batch_size
        print(
            f"| {name}{brings} | {kind} | {precision} | {milliseconds:.3f} | {ratio:.2f} | {error:.1e} | {cosine:.6f} |"
        )
    for line in refused:
        print(f"refused: {line}")


if __name__ == "__main__":
    main()
