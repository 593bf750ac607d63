"""Inference of the pruned networks that skips the weights that are zero, for provider="sparse".

ONNX Runtime multiplies by every zero. This engine runs the same graph from the list of its non-zero weights; the
kernels are C (sparse_ext), chosen at run time for the processor. docs/sparse-engine.md says how and how fast.
"""

import os
import threading
import weakref
from collections.abc import Mapping
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx import _sparse
from edgel3_onnx.cpu import available_cpus, simd_level
from edgel3_onnx.engines.sparse_pack import FRONTEND, load
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

GROUP = 2  # windows that several threads compute at a time, to wait less for each other; each takes 10 MB
# Largest share of non-zero multiply-adds at which `auto` takes this engine. Source: benchmarks/sparse.py, see
# docs/sparse-engine.md; for NEON, which was not timed, a share at which the other levels are far ahead.
DENSE_THRESHOLD = {"avx512": 0.75, "avx2": 0.5, "neon": 0.2, "baseline": 0.12}


def _help(jobs: "SimpleQueue[_sparse.Job | None]") -> None:
    while (job := jobs.get()) is not None:
        job.work()
        del job  # which holds the caller's arrays


def _dismiss(jobs: "SimpleQueue[_sparse.Job | None]", helpers: int) -> None:
    for _ in range(helpers):
        jobs.put(None)


class SparseEngine:
    """The network ``sparse`` on the CPU, from its non-zero weights.

    Parameters
    ----------
    path : path
        ONNX graph from log-mel images to embeddings, fp32. Its packed form is kept beside it, so that later
        loads are quick.
    num_threads : int or None
        Threads that share one batch, also a batch of one window; None: as many as this process may use CPUs.
        The result does not depend on it.

    Raises
    ------
    EdgeL3Error
        If the graph cannot be read, is another network, or has weights that are NaN or infinite.
    EdgeL3ArgumentError
        If num_threads is less than 1.
    """

    kind = "mel"

    def __init__(self, path: str | os.PathLike[str], num_threads: int | None = None) -> None:
        if num_threads is not None and num_threads < 1:
            raise EdgeL3ArgumentError(f"num_threads must be at least 1, got {num_threads}")
        packed = load(path)
        convolutions = [(c.cin, c.indptr, c.index, c.weight, c.bias) for c in packed.convolutions]
        self.providers = ["sparse"]
        self.metadata: Mapping[str, str] = packed.metadata
        self.num_threads = num_threads or available_cpus()
        self._dim = packed.convolutions[-1].cout
        self._network = _sparse.Network(convolutions, packed.scale, packed.shift, simd_level(_sparse.levels()))
        self._workspaces: list[_sparse.Workspace] = []  # free ones; concurrent calls of run have one each
        self._start_helpers()

    def _start_helpers(self) -> None:
        # A queue of its own wakes a thread in a third of the time that an executor takes, which a window would notice.
        self._jobs: SimpleQueue[_sparse.Job | None] = SimpleQueue()
        self._process = os.getpid()
        for _ in range(self.num_threads - 1):
            threading.Thread(target=_help, args=(self._jobs,), name="edgel3-sparse", daemon=True).start()
        weakref.finalize(self, _dismiss, self._jobs, self.num_threads - 1)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings float32 (N, 512) of log-mel images float32 (N, 1, 256, 199). May be called from any thread.

        Raises
        ------
        EdgeL3ArgumentError
            If ``images`` has another shape or type.
        """
        shape = (1, FRONTEND.n_mels, FRONTEND.n_frames)
        if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != shape:
            raise EdgeL3ArgumentError(
                f"images must be float32 (N, {', '.join(map(str, shape))}), got {images.dtype} {images.shape}"
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
            workspace = _sparse.Workspace(self._network, group, self.num_threads)
        planes = np.ascontiguousarray(images).reshape(n, *shape[1:])
        job = _sparse.Job(self._network, planes, embedding, workspace)
        for _ in range(self.num_threads - 1):
            self._jobs.put(job)
        job.work()
        self._workspaces.append(workspace)
        return embedding


def faster_than_dense(path: str | os.PathLike[str]) -> bool:
    """Whether this engine is expected to run the graph at ``path`` faster than ONNX Runtime's CPU provider.

    The rule compares the graph's non-zero multiply-adds with DENSE_THRESHOLD, which is measured by
    benchmarks/sparse.py. False for a graph that this engine cannot run.
    """
    try:
        packed = load(path)
    except EdgeL3Error:
        return False
    return packed.multiply_adds <= DENSE_THRESHOLD[simd_level(_sparse.levels())] * packed.dense_multiply_adds
