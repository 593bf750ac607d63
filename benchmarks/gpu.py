"""Windows per second of the whole package against a bare ONNX Runtime session, on any provider.

    python benchmarks/gpu.py --provider cuda [--network sea-512] [--batch-size 64] [--option KEY=VALUE]...

The bare session runs the fp32 mel graph on one batch that is ready in memory: what the network alone costs. Every other
row is a ratio to it, so that 1.00 means that nothing is lost: bare sessions of the other graphs, and get_embedding from
samples, with the front end in C (mel graphs) or in the graph (waveform graphs). The weights are random, which changes
nothing here. All rows are measured in turn, several times; each keeps its median.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgel3_onnx import get_embedding, load_embedding_model
from edgel3_onnx.engines.session import PROVIDERS
from edgel3_onnx.export.convert.h5_to_onnx import convert
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.spec import FRONTENDS, NETWORKS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import golden

HOP_SIZE = 0.1  # seconds


def make_graphs(folder, name):
    """Write the four graphs of a network; return their paths by (kind, precision)."""
    h5 = folder / "weights.h5"
    golden.write_h5(h5, golden.weights(1, NETWORKS[name], name == "sparse"), name)
    mel = convert(h5.read_bytes(), NETWORKS[name], source_file=h5.name, source_sha256="0" * 64)
    graphs = {}
    for precision, graph in (("fp32", mel), ("fp16", quantize(mel, "fp16"))):
        for kind, data in (("mel", graph), ("waveform", add_front_end(graph))):
            graphs[kind, precision] = folder / f"{kind}-{precision}.onnx"
            graphs[kind, precision].write_bytes(data)
    return graphs


def bare_session(path, provider, options):
    import onnxruntime

    if provider == "cuda":
        onnxruntime.preload_dlls()
    name = PROVIDERS[provider].onnxruntime_name
    session = onnxruntime.InferenceSession(path, providers=[(name, options)])
    if session.get_providers()[0] != name:
        sys.exit(f"the session got {session.get_providers()}, not {name}")
    return session


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", default="cuda", choices=PROVIDERS)
    parser.add_argument("--network", default="sea-512", choices=NETWORKS)
    parser.add_argument("--batch-size", type=int, default=64, help="windows; default: 64")
    parser.add_argument("--batches", type=int, default=16, help="batches of audio per measurement; default: 16")
    parser.add_argument("--repeats", type=int, default=5, help="default: 5")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the provider")
    args = parser.parse_args()
    options = dict(option.split("=", 1) for option in args.option)
    spec = FRONTENDS[NETWORKS[args.network].frontend]
    model_type = ("sparse", 512) if args.network == "sparse" else ("sea", int(args.network.removeprefix("sea-")))
    windows = args.batch_size * args.batches
    samples = golden.audio(spec.sample_rate, 1 + (windows - 1) * HOP_SIZE, 1).astype(np.float32)

    with tempfile.TemporaryDirectory() as folder:
        graphs = make_graphs(Path(folder), args.network)
        runs = {}
        for (kind, precision), path in graphs.items():
            model = load_embedding_model(*model_type, weights=path, provider=args.provider, provider_options=options)
            hop_length = int(HOP_SIZE * spec.sample_rate)
            batch = model.prepare(samples, hop_length=hop_length, count=args.batch_size)
            session = bare_session(path, args.provider, options)
            feed = {session.get_inputs()[0].name: batch}

            def run_bare(session=session, feed=feed):
                for _ in range(args.batches):
                    session.run(None, feed)

            def run_package(model=model):
                arguments = {"center": False, "hop_size": HOP_SIZE, "batch_size": args.batch_size, "verbose": 0}
                embedding, _ = get_embedding(samples, spec.sample_rate, model, **arguments)
                assert len(embedding) == windows

            runs[f"bare session, {kind} graph, {precision}"] = run_bare
            runs[f"get_embedding, {kind} graph, {precision}"] = run_package
        seconds = {name: [] for name in runs}
        for repeat in range(args.repeats + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if repeat:  # the first time, providers compile and tune
                    seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    bare = median["bare session, mel graph, fp32"]
    print(f"{args.network} on {args.provider} {options or ''}, batches of {args.batch_size}, median of {args.repeats}")
    print("| what | windows/s | ratio to the bare session |")
    print("|---|---|---|")
    for name, value in sorted(median.items()):
        print(f"| {name} | {windows / value:.0f} | {bare / value:.2f} |")


if __name__ == "__main__":
    main()
