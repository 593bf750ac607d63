"""A run in several processes, each with its own model; files are handed out as the processes ask for them."""

import signal
import sys
import threading
from collections import Counter, deque
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
_IDLE_DEATHS = 3  # processes that may die while they work on no file before the run is given up

# What a process says: ("ready", None) when its model is loaded, ("next", None) to be given a task or None,
# ("embedded", path) when only saving is left to do, ("record", Record), ("error", message) if it cannot work at all,
# ("end", None).
Message = tuple[str, Any]


@dataclass
class _Worker:
    process: Any  # multiprocessing's class depends on the start method
    connection: Connection
    suspect: Task | None = None  # that a process died over, to be handed out first
    alone: bool = False  # whether it gets no task but the suspect
    working: dict[str, Task] = field(default_factory=dict)  # handed out and not embedded so far
    unsaved: dict[str, Task] = field(default_factory=dict)  # embedded, and not in a finished output so far
    ready: bool = False


def work_in_processes(tasks: Iterable[Task], options: RunOptions, count: int) -> Generator[Record, None, None]:
    """As :func:`edgel3_onnx.command.runner.work`, in ``count`` processes started by spawn.

    When a process dies, another takes its place. What it had embedded and not saved is done again; each file that
    it was working on is tried once more, alone in a process, and fails if that dies too.

    Raises
    ------
    EdgeL3Error
        If the processes cannot load the model, or die without any file's doing.
    """
    run = _Run(deque(tasks), options, count)
    try:
        run.start()  # the others when it has loaded, so that a graph is made once
        while run.workers:
            for connection in wait([worker.connection for worker in run.workers]):
                worker = next(worker for worker in run.workers if worker.connection is connection)
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    yield from run.bury(worker)
                    run.fill()
                    continue
                if kind == "record":
                    worker.working.pop(value.path, None)
                    worker.unsaved.pop(value.path, None)
                    yield value
                else:
                    run.answer(worker, kind, value)
    finally:
        _stop(run.workers)


class _Run:
    """Who works on what."""

    def __init__(self, waiting: deque[Task], options: RunOptions, count: int) -> None:
        self.workers: list[_Worker] = []
        self._waiting = waiting
        self._suspects: deque[Task] = deque()  # that a process died over
        self._deaths: Counter[str] = Counter()  # by path
        self._idle_deaths = 0
        self._options = options
        self._count = count

    def start(self) -> None:
        suspect = self._suspects.popleft() if self._suspects else None
        self.workers.append(_start(self._options, suspect))

    def fill(self) -> None:
        """Start processes while there is work for more."""
        while len(self.workers) < min(self._count, len(self._waiting) + len(self._suspects)):
            self.start()

    def answer(self, worker: _Worker, kind: str, value: Any) -> None:
        if kind == "ready":
            worker.ready = True
            self.fill()
        elif kind == "next":
            self._hand_out(worker)
        elif kind == "embedded":
            worker.unsaved[value] = worker.working.pop(value)
        elif kind == "error":
            raise EdgeL3Error(value)
        else:
            self.workers.remove(worker)
            _stop([worker])
            self.fill()

    def bury(self, worker: _Worker) -> Iterator[Record]:
        """Put the tasks of a process that died back; give the records of those that fail."""
        self.workers.remove(worker)
        _stop([worker])
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        if not worker.working:
            self._idle_deaths += 1
            if not worker.ready or self._idle_deaths >= _IDLE_DEATHS:
                raise EdgeL3Error(f"a worker process {how} without having worked on any file{_main_guard()}")
        self._waiting.extendleft(worker.unsaved.values())
        for task in worker.working.values():
            self._deaths[task.path] += 1
            if self._deaths[task.path] < 2:
                self._suspects.append(task)
            else:
                yield Record.of(task, "failed", f"the process that worked on it {how}, twice")

    def _hand_out(self, worker: _Worker) -> None:
        if worker.alone:
            task, worker.suspect = worker.suspect, None
        else:
            task = self._waiting.popleft() if self._waiting else None
        if task is not None:
            worker.working[task.path] = task
        try:
            worker.connection.send(task)
        except OSError:
            return  # it died: that is seen when its connection is read


def _start(options: RunOptions, suspect: Task | None) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_worker, args=(theirs, options), name="edgel3-onnx-worker")
    with blocked():
        process.start()
    theirs.close()  # so that the end of the process ends the connection
    return _Worker(process, ours, suspect, alone=suspect is not None)


def _main_guard() -> str:
    """What to add where the processes may have died because a script starts its run when it is imported."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None or not getattr(main, "__file__", "").endswith(".py"):
        return ""
    return f": {main.__file__} must start its run under  if __name__ == '__main__':  for processes of its own import it"


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
            for record in work(model, tasks(), options, on_embedded=lambda task: send("embedded", task.path)):
                send("record", record)
            send("end")
        except EdgeL3Error as error:
            send("error", str(error))
    except (EOFError, OSError):
        return  # the parent is gone, or has closed the connection to stop us
