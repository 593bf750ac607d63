"""This package's own engine, for provider="native": its networks on the CPU, in C (engine_ext).

Dense networks run by Winograd's minimal filtering, pruned ones from the list of their non-zero weights.
docs/explanation/engine.md says how and how fast.
"""

import os
import threading
import weakref
from collections.abc import Mapping
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx import _engine
from edgel3_onnx.cpu import available_cpus, simd_level
from edgel3_onnx.engines.graph import Network
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

METHODS = ("winograd", "taps")
GROUP = 2  # windows that several threads compute at a time, to wait less for each other
# Largest share of non-zero multiply-adds at which lists of taps are faster than Winograd's method, which takes no
# notice of zeros: both take about as long at 0.29. Source: benchmarks/engines.py --methods, docs/explanation/engine.md.
TAPS_SHARE = 0.25
# Largest share at which lists of taps in SSE2 or plain C are faster than ONNX Runtime, which has better instructions.
BASELINE_SHARE = 0.12


def _help(jobs: "SimpleQueue[_engine.Job | None]") -> None:
    while (job := jobs.get()) is not None:
        job.work()
        del job  # which holds the caller's arrays


def _dismiss(jobs: "SimpleQueue[_engine.Job | None]", helpers: int) -> None:
    for _ in range(helpers):
        jobs.put(None)


class NativeEngine:
    """A network on the CPU.

    Parameters
    ----------
    network : Network
        What ``engines.graph.read_network`` returned.
    num_threads : int or None
        Threads that share one batch, also a batch of one window; None: as many as this process may use CPUs.
        The result does not depend on it.
    method : {"winograd", "taps"} or None
        None: the one that is expected to be faster (``TAPS_SHARE``).

    Raises
    ------
    EdgeL3Error
        If there is no kernel for the network's shape.
    EdgeL3ArgumentError
        If num_threads is less than 1.
    """

    kind = "mel"

    def __init__(self, network: Network, num_threads: int | None = None, method: str | None = None) -> None:
        if num_threads is not None and num_threads < 1:
            raise EdgeL3ArgumentError(f"num_threads must be at least 1, got {num_threads}")
        self.providers = ["native"]
        self.metadata: Mapping[str, str] = network.metadata
        self.num_threads = num_threads or available_cpus()
        self.level = simd_level(_engine.levels())
        self._shape = (1, network.rows, network.cols)
        self._dim = network.embedding_dim
        self.method, self._network = _pack(network, method, self.level)
        self._workspaces: list[_engine.Workspace] = []  # free ones; concurrent calls of run have one each
        self._start_helpers()

    def _start_helpers(self) -> None:
        # A queue of its own wakes a thread in a third of the time that an executor takes, which a window would notice.
        self._jobs: SimpleQueue[_engine.Job | None] = SimpleQueue()
        self._process = os.getpid()
        for _ in range(self.num_threads - 1):
            threading.Thread(target=_help, args=(self._jobs,), name="edgel3-native", daemon=True).start()
        weakref.finalize(self, _dismiss, self._jobs, self.num_threads - 1)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings float32 (N, D) of log-mel images float32 (N, 1, n_mels, n_frames). May be called from any thread.

        Raises
        ------
        EdgeL3ArgumentError
            If ``images`` has another shape or type.
        """
        if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != self._shape:
            raise EdgeL3ArgumentError(
                f"images must be float32 (N, {', '.join(map(str, self._shape))}), got {images.dtype} {images.shape}"
            )
        n = len(images)
        embedding = np.empty((n, self._dim), np.float32)
        if n == 0:
            return embedding
        if self._process != os.getpid():  # os.fork copies no threads
            self._start_helpers()
        group = 1 if n == 1 or self.num_threads == 1 else GROUP
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = None
        if workspace is None or workspace.group < group:
            workspace = _engine.Workspace(self._network, group, self.num_threads)
        planes = np.ascontiguousarray(images).reshape(n, *self._shape[1:])
        job = _engine.Job(self._network, planes, embedding, workspace)
        for _ in range(self.num_threads - 1):
            self._jobs.put(job)
        job.work()
        self._workspaces.append(workspace)
        return embedding


def _pack(network: Network, method: str | None, level: str) -> tuple[str, "_engine.Network"]:
    """The method, and the weights in the form that it reads."""
    layers = [(layer.weight, layer.bias, layer.activation, layer.skip, layer.pool) for layer in network.layers]
    if method is None:
        share = network.multiply_adds / network.dense_multiply_adds
        methods = ["taps", "winograd"] if share <= TAPS_SHARE else ["winograd"]
    else:
        methods = [method]
    problem = ""
    for name in methods:
        try:
            return name, _engine.Network(layers, network.rows, network.cols, network.scale, network.shift, name, level)
        except ValueError as error:  # taps need images that can be cut in strips
            problem = str(error)
    raise EdgeL3Error(f"the native engine has no kernel for this graph: {problem}. Use provider='cpu'.")


def faster_than_onnxruntime(network: Network) -> bool:
    """Whether this engine is expected to run ``network`` faster than ONNX Runtime's CPU provider.

    The rule is measured by benchmarks/engines.py, see docs/explanation/engine.md.
    """
    if simd_level(_engine.levels()) != "baseline":
        return True
    return network.multiply_adds <= BASELINE_SHARE * network.dense_multiply_adds
