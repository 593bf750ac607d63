"""A run in several processes, each with its own model; files are handed out as the processes ask for them."""

import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from edgel3_onnx.command.corpus import Task
from edgel3_onnx.command.interrupt import blocked
from edgel3_onnx.command.runner import Record, RunOptions, work
from edgel3_onnx.exceptions import EdgeL3Error

_PATIENCE = 10.0  # seconds that a process has to stop before it is killed

# What a process says: ("ready", None) when its model is loaded, ("next", None) to be given a task or None,
# ("record", Record), ("error", message) if it cannot work at all, ("end", None).
Message = tuple[str, Any]


@dataclass
class _Worker:
    process: Any  # multiprocessing's class depends on the start method
    connection: Connection
    held: dict[str, Task] = field(default_factory=dict)  # handed out, without a record so far
    ready: bool = False


def work_in_processes(tasks: Iterable[Task], options: RunOptions, count: int) -> Generator[Record, None, None]:
    """As :func:`edgel3_onnx.command.runner.work`, in ``count`` processes started by spawn.

    A process that dies fails the files that it had been given; another takes its place.

    Raises
    ------
    EdgeL3Error
        If the processes cannot load the model.
    """
    waiting = deque(tasks)
    workers = [_start(options)]  # the others when it has loaded, so that a graph is made once
    try:
        while workers:
            for connection in wait([worker.connection for worker in workers]):
                worker = next(worker for worker in workers if worker.connection is connection)
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    yield from _bury(worker, workers)
                    if waiting:
                        workers.append(_start(options))
                    continue
                if kind == "ready":
                    worker.ready = True
                    while len(workers) < min(count, len(waiting)):
                        workers.append(_start(options))
                elif kind == "next":
                    _hand_out(worker, waiting)
                elif kind == "record":
                    worker.held.pop(value.path, None)
                    yield value
                elif kind == "error":
                    raise EdgeL3Error(value)
                else:
                    workers.remove(worker)
                    _stop([worker])
    finally:
        _stop(workers)


def _start(options: RunOptions) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_worker, args=(theirs, options), name="edgel3-onnx-worker")
    with blocked():
        process.start()
    theirs.close()  # so that the end of the process ends the connection
    return _Worker(process, ours)


def _hand_out(worker: _Worker, waiting: deque[Task]) -> None:
    task = waiting.popleft() if waiting else None
    if task is not None:
        worker.held[task.path] = task
    try:
        worker.connection.send(task)
    except OSError:
        return  # it died: that is seen when its connection is read


def _bury(worker: _Worker, workers: list[_Worker]) -> Iterator[Record]:
    """Give the records of a process that died."""
    workers.remove(worker)
    _stop([worker])
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
    if not worker.ready or not worker.held:
        raise EdgeL3Error(f"a worker process {how} without having worked on any file")
    for task in worker.held.values():
        yield Record(task.path, task.output, "failed", f"the process that worked on it {how}")


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join(_PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _run_worker(connection: Connection, options: RunOptions) -> None:
    """What a process does until its tasks end or the connection to its parent does."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # a terminal sends them to all; the parent says when to stop
    lock = threading.Lock()

    def send(kind: str, value: object = None) -> None:
        with lock:
            connection.send((kind, value))

    def tasks() -> Iterator[Task]:
        while True:
            send("next")
            task = connection.recv()
            if task is None:
                return
            yield task

    try:
        try:
            model = options.model.load()
            send("ready")
            for record in work(model, tasks(), options):
                send("record", record)
            send("end")
        except EdgeL3Error as error:
            send("error", str(error))
    except (EOFError, OSError):
        return  # the parent is gone, or has closed the connection to stop us
