"""The engine of a cluster: Ray Data hands out chunks and replaces workers that die; rows do not pass through it.

What travels is the name of a chunk, and its records back. Its part is written by the worker under the name that the
plan fixes, so that a chunk that Ray tries again, or whose worker outlives its driver, is in the dataset once.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edgel3_onnx.corpora.place import PLANS, open_place
from edgel3_onnx.corpora.plan import Chunk, PlanFile
from edgel3_onnx.corpora.records import OnProgress, Progress, Record
from edgel3_onnx.corpora.worker import Result, Work, Worker
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import location


@dataclass(frozen=True)
class Cluster:
    """Where to work, and with how much."""

    address: str | None = None  # None: the cluster that this process is connected to, or one on this machine
    workers: int | tuple[int, int] | None = None  # None: as many as there are CPUs for
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0
    memory_per_worker: int | None = None  # bytes

    @property
    def most_workers(self) -> int:
        """How many there may be, as far as that is known before the cluster is asked."""
        if isinstance(self.workers, tuple):
            return self.workers[1]
        return self.workers or 16


def on_ray(chunks: Iterable[Chunk], work: Work, cluster: Cluster, on_progress: OnProgress) -> Iterator[Result]:
    """Work through ``chunks``, all of which are read before the first begins.

    Raises
    ------
    EdgeL3Error
        If Ray is not installed, cannot be reached, or its workers cannot work at all.
    """
    addresses = [{"plan": chunk.plan, "group": chunk.group, "chunk": chunk.id} for chunk in chunks]
    if not addresses:
        return
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=cluster.address, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EdgeL3Error(f"Ray at {cluster.address or 'this machine'}: cannot be used ({error})") from error
    try:
        yield from _run(ray, addresses, work, cluster, on_progress)
    except ray.exceptions.RayError as error:
        raise EdgeL3Error(f"Ray gave up: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if ours:
            ray.shutdown()


def _run(
    ray: Any, addresses: list[dict[str, Any]], work: Work, cluster: Cluster, on_progress: OnProgress
) -> Iterator[Result]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a chunk may take long
    context.max_errored_blocks = 0  # else it would drop chunks without a word
    results = ray.data.from_items(addresses, override_num_blocks=len(addresses)).map_batches(
        _Actor,
        fn_constructor_kwargs={"work": work},
        compute=_strategy(ray, cluster, len(addresses)),
        batch_size=1,
        num_cpus=cluster.cpus_per_worker,
        num_gpus=cluster.gpus_per_worker or None,
        memory=cluster.memory_per_worker,
    )
    for row in results.iter_rows():
        found = json.loads(row["result"])
        if "error" in found:
            raise EdgeL3Error(found["error"])
        records = [Record(**each) for each in found["records"]]
        on_progress(Progress(found["worker"], records[-1].path, sum(each.seconds for each in records)))
        yield Result(found["chunk"], records)


def _strategy(ray: Any, cluster: Cluster, chunks: int) -> Any:
    workers = cluster.workers
    if workers is None:
        most = int(ray.cluster_resources().get("CPU", 1) // cluster.cpus_per_worker)
        workers = 1, max(min(most, chunks), 1)
    if isinstance(workers, int):
        return ray.data.ActorPoolStrategy(size=min(workers, chunks))
    return ray.data.ActorPoolStrategy(min_size=min(workers[0], chunks), max_size=max(min(workers[1], chunks), 1))


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, work: Work) -> None:
        self._held: tuple[str, int, list[Chunk]] = ("", 0, [])  # the group of a plan that was read last
        self._error = ""
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._reached = location.reached_by(work.filesystem)
        try:
            self._reached.__enter__()  # until this process ends
            self._place = open_place(work.dataset)
            self._worker = Worker(work, work.model.load())
        except EdgeL3Error as error:
            self._error = str(error)  # an exception here would have Ray try for ever

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        if self._error:
            return {"result": [json.dumps({"error": self._error})]}
        plan, group, name = str(batch["plan"][0]), int(batch["group"][0]), str(batch["chunk"][0])
        try:
            if self._held[:2] != (plan, group):
                self._held = plan, group, PlanFile(self._place, f"{PLANS}/{plan}").group(group)
            chunk = next(chunk for chunk in self._held[2] if chunk.id == name)
            records = [asdict(each) for each in self._worker.run(chunk).records]
        except EdgeL3Error as error:
            return {"result": [json.dumps({"error": str(error)})]}
        found = {"worker": self._name, "chunk": name, "records": records}
        return {"result": [json.dumps(found)]}


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise EdgeL3Error("engine 'ray' needs Ray: pip install 'edgel3-onnx[ray]'") from error
    return ray
