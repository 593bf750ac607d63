"""How far two graphs of a network are apart, measured on recordings.

Run ``python -m edgel3_onnx.export.verify A.onnx B.onnx --audio DIR``.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert import isolated
from edgel3_onnx.export.convert.calibration import log_mel_images
from edgel3_onnx.export.convert.graph import parse, read_metadata
from edgel3_onnx.export.convert.source import read_file
from edgel3_onnx.export.recordings import read_windows

_BATCH = 8  # windows per run: enough for throughput, and a fraction of a gigabyte for the largest network

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Deviation:
    """How far the embeddings of one graph are from those of a reference graph."""

    windows: int
    largest_error: float  # largest absolute difference, relative to the largest absolute reference value
    least_cosine: float
    median_cosine: float

    def __str__(self) -> str:
        return (
            f"{self.windows} windows: largest error {self.largest_error:.2e} of the largest value, "
            f"cosine least {self.least_cosine:.7f}, median {self.median_cosine:.7f}"
        )


class Graph:
    """A graph exported by this package, run on windows of audio whatever its kind."""

    def __init__(self, graph: bytes, source_file: str) -> None:
        """Load a serialised graph. Raises EdgeL3Error if it is damaged or has no metadata of this package."""
        import onnxruntime

        metadata = read_metadata(parse(graph, source_file), source_file)
        if metadata is None:
            raise EdgeL3Error(f"{source_file}: not exported by this package (no metadata)")
        self.spec = metadata.frontend
        self.kind = metadata.kind
        try:
            self._session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
                graph, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise EdgeL3Error(f"{source_file}: ONNX Runtime does not load it ({error})") from error

    def embed(self, windows: Array) -> Array:
        """Embeddings float32 (n, D) of windows float32 (n, sample_rate)."""
        name = self._session.get_inputs()[0].name
        pieces = []
        for start in range(0, len(windows), _BATCH):
            batch = windows[start : start + _BATCH]
            feed = log_mel_images(batch, self.spec) if self.kind == "mel" else batch
            pieces.append(self._session.run(None, {name: feed})[0])
        return np.concatenate(pieces)


def read_graph(path: str) -> Graph:
    """Load a graph that may come from anywhere: first in a process of its own, where it runs once.

    Raises EdgeL3Error if it cannot be read, is damaged, does not run or takes more time or memory than it may there.
    """
    data = read_file(path)
    isolated.call(_try_out, data, path, source_file=path)
    return Graph(data, path)


def _try_out(data: bytes, source_file: str) -> bytes:
    graph = Graph(data, source_file)
    return graph.embed(np.zeros((1, graph.spec.sample_rate), np.float32)).tobytes()


def compare(graph: Graph, reference: Graph, windows: Iterable[Array]) -> Deviation:
    """Measure ``graph`` against ``reference`` on windows, each float32 (n, sample_rate).

    Raises EdgeL3Error if the two take other windows or give embeddings of other sizes.
    """
    if graph.spec != reference.spec:
        raise EdgeL3Error(f"the graphs have other front ends: {graph.spec.name} and {reference.spec.name}")
    pairs = [(graph.embed(batch), reference.embed(batch)) for batch in windows]
    found, expected = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    if found.shape != expected.shape:
        raise EdgeL3Error(f"the graphs have embeddings of {found.shape[1]} and {expected.shape[1]} values")
    return deviation(found, expected)


def deviation(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> Deviation:
    """Measure embeddings, float64 (n, D), against others. A zero embedding has cosine 1 with itself, else 0."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    same = (found == expected).all(axis=1)
    cosines = np.where(same, 1.0, (found * expected).sum(axis=1) / np.where(lengths > 0, lengths, 1))
    largest = np.abs(expected).max() or 1.0
    return Deviation(
        len(found), float(np.abs(found - expected).max() / largest), float(cosines.min()), float(np.median(cosines))
    )


def main(argv: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 1 with one line on stderr; wrong usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m edgel3_onnx.export.verify",
        description="Largest relative error and least cosine of A against B, two graphs of one variant (each takes "
        "log-mel images or waveforms), over the recordings in a directory.",
    )
    parser.add_argument("graph", metavar="A.onnx")
    parser.add_argument("reference", metavar="B.onnx")
    parser.add_argument("--audio", metavar="DIR", required=True, help="directory with recordings")
    args = parser.parse_args(argv)
    try:
        graph, reference = (read_graph(path) for path in (args.graph, args.reference))
        recordings = read_windows(args.audio, graph.spec)
        print(compare(graph, reference, (windows for _, windows in recordings)))
    except EdgeL3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
