"""Route A: published HDF5 weights to an ONNX graph, without TensorFlow.

Run ``python -m edgel3_onnx.export.convert.h5_to_onnx weights.h5.gz out.onnx --model-type sea --emb-dim 64``.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

from edgel3_onnx.atomic import write_bytes
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.graph import build_mel_graph
from edgel3_onnx.export.convert.hdf5 import read_weights
from edgel3_onnx.export.convert.source import decompress, read_file
from edgel3_onnx.spec import NETWORKS, NetworkSpec

__all__ = ["convert", "convert_file", "decompress", "main"]


def convert(
    data: bytes, network: NetworkSpec, *, variant: str | None = None, source_file: str, source_sha256: str
) -> bytes:
    """Convert the uncompressed HDF5 file ``data`` into a serialised fp32 ONNX graph from log-mel image to
    embedding.

    ``variant`` is the id of a published variant, None for weights of one's own. ``source_file`` (a name, for
    messages) and ``source_sha256`` (hex, of the file as it was fetched) go into the graph's metadata.

    Raises EdgeL3Error, in one line, if ``data`` is not a Keras weight file of this network; the first layer
    that differs is named, with expected and found shape.
    """
    weights = read_weights(data, network, source_file)
    return build_mel_graph(weights, network, variant=variant, source_file=source_file, source_sha256=source_sha256)


def convert_file(path: str | os.PathLike[str], network: NetworkSpec, *, variant: str | None = None) -> bytes:
    """``convert`` for a file, ``.h5`` or ``.h5.gz``. Raises EdgeL3Error also if the file cannot be read."""
    data, name = read_file(path), Path(path).name
    return convert(
        decompress(data, name),
        network,
        variant=variant,
        source_file=name,
        source_sha256=hashlib.sha256(data).hexdigest(),
    )


def main(argv: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 1 with one line on stderr; wrong usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m edgel3_onnx.export.convert.h5_to_onnx",
        description="Convert EdgeL3 or SEA weights (Keras HDF5, .h5 or .h5.gz) to an ONNX graph.",
    )
    parser.add_argument("weights", help="weight file")
    parser.add_argument("output", help="graph to write (.onnx)")
    parser.add_argument("--model-type", choices=("sparse", "sea"), default="sparse")
    parser.add_argument("--emb-dim", type=int, choices=(64, 128, 256, 512), default=128, help="of sea")
    args = parser.parse_args(argv)
    network = NETWORKS["sparse" if args.model_type == "sparse" else f"sea-{args.emb_dim}"]
    try:
        write_bytes(args.output, convert_file(args.weights, network))
    except EdgeL3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
