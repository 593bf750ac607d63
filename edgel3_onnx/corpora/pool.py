"""A run in several processes, each with its own model; work is handed out as the processes ask for it."""

import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from edgel3_onnx.corpora.records import OnProgress, Progress, no_progress
from edgel3_onnx.exceptions import EdgeL3Error

WORKER = "edgel3-onnx-worker"  # the processes' name
_SILENCE = 0.2  # seconds between two words of a process about its progress, at least
_PATIENCE = 10.0  # seconds that a process has to stop before it is killed
_IDLE_DEATHS = 3  # processes that may die while they work on no file before the run is given up

# What a process says: ("ready", None) when its model is loaded, ("next", None) to be given a unit of work or None,
# ("progress", (path, seconds)) of audio that it read since the last time, ("embedded", key) when only saving is left
# to do, ("result", result), ("error", message) if it cannot work at all, ("end", None). Saying something raises OSError
# when the run has ended.
Say = Callable[[str, Any], None]


class Keyed(Protocol):
    """A unit of work, or what became of it."""

    @property
    def key(self) -> str: ...


Unit = TypeVar("Unit", bound=Keyed, contravariant=True)
Result = TypeVar("Result", bound=Keyed, covariant=True)


class Crew(Protocol[Unit, Result]):
    """What the processes do; it travels to each of them."""

    @property
    def attempts(self) -> int:
        """Processes that may die over a unit before it is lost."""
        ...

    def work(self, units: Iterable[Unit], say: Say) -> Iterator[Result]:
        """Load what is needed, say that it is ready, and work. EdgeL3Error if that cannot be."""
        ...

    def lost(self, unit: Unit, how: str) -> Result:
        """What to say of a unit over which processes died, the last of them as ``how`` says."""
        ...


@dataclass
class _Worker:
    number: int  # from 1, of those that run
    process: Any  # multiprocessing's class depends on the start method
    connection: Connection
    suspect: Any = None  # that a process died over, to be handed out first
    alone: bool = False  # whether it gets no task but the suspect
    working: dict[str, Any] = field(default_factory=dict)  # handed out and not embedded so far
    unsaved: dict[str, Any] = field(default_factory=dict)  # embedded, and not in a finished output so far
    ready: bool = False


def work_in_processes(
    units: Iterable[Unit], crew: Crew[Unit, Result], count: int, on_progress: OnProgress = no_progress
) -> Generator[Result, None, None]:
    """Let ``count`` processes, started by spawn, work; ``units`` is read as they ask for more.

    When a process dies, another takes its place. What it had embedded and not saved is done again; each unit that
    it was working on is tried again, alone in a process, and is lost if too many die over it.

    Raises
    ------
    EdgeL3Error
        If the processes cannot load the model, or die without any file's doing.
    """
    with Pool(crew, count, on_progress) as pool:
        yield from pool.work(units)


class Pool:
    """The processes, and who works on what; the first is started at once, and has its model when there is work.

    The others start when it has loaded, so that a graph is made once.
    """

    def __init__(self, crew: Crew[Any, Any], count: int, on_progress: OnProgress) -> None:
        self.workers: list[_Worker] = []
        self._units: Iterator[Any] = iter(())
        self._waiting: deque[Any] = deque()  # read, and not handed out
        self._suspects: deque[Any] = deque()  # that a process died over
        self._deaths: Counter[str] = Counter()  # by key
        self._idle_deaths = 0
        self._crew = crew
        self._count = count
        self._on_progress = on_progress

    def __enter__(self) -> "Pool":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        _stop(self.workers)

    def work(self, units: Iterable[Any]) -> Iterator[Any]:
        """As of :func:`work_in_processes`."""
        self._units = iter(units)
        while self.workers:
            for connection in wait([worker.connection for worker in self.workers]):
                worker = next(worker for worker in self.workers if worker.connection is connection)
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    yield from self.bury(worker)
                    self.fill()
                    continue
                if kind == "result":
                    worker.working.pop(value.key, None)
                    worker.unsaved.pop(value.key, None)
                    yield value
                else:
                    self.answer(worker, kind, value)

    def start(self) -> None:
        suspect = self._suspects.popleft() if self._suspects else None
        number = min(set(range(1, len(self.workers) + 2)) - {worker.number for worker in self.workers})
        self.workers.append(_start(number, self._crew, suspect))

    def fill(self) -> None:
        """Start processes while there is work for more."""
        while len(self._waiting) < self._count and (unit := next(self._units, None)) is not None:
            self._waiting.append(unit)
        while len(self.workers) < min(self._count, len(self._waiting) + len(self._suspects)):
            self.start()

    def answer(self, worker: _Worker, kind: str, value: Any) -> None:
        if kind == "ready":
            worker.ready = True
            self.fill()
        elif kind == "next":
            self._hand_out(worker)
        elif kind == "progress":
            self._on_progress(Progress(str(worker.number), *value))
        elif kind == "embedded":
            worker.unsaved[value] = worker.working.pop(value)
        elif kind == "error":
            raise EdgeL3Error(value)
        else:
            self.workers.remove(worker)
            _stop([worker])
            self.fill()

    def bury(self, worker: _Worker) -> Iterator[Any]:
        """Put the work of a process that died back; give the results of what is lost."""
        self.workers.remove(worker)
        _stop([worker])
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        if not worker.working:
            self._idle_deaths += 1
            if not worker.ready or self._idle_deaths >= _IDLE_DEATHS:
                raise EdgeL3Error(f"a worker process {how} without having worked on any file{_main_guard()}")
        self._waiting.extendleft(worker.unsaved.values())
        for unit in worker.working.values():
            self._deaths[unit.key] += 1
            if self._deaths[unit.key] < self._crew.attempts:
                self._suspects.append(unit)
            else:
                yield self._crew.lost(unit, how)

    def _hand_out(self, worker: _Worker) -> None:
        if worker.alone:
            unit, worker.suspect = worker.suspect, None
        else:
            unit = self._waiting.popleft() if self._waiting else next(self._units, None)
        if unit is not None:
            worker.working[unit.key] = unit
        try:
            worker.connection.send(unit)
        except OSError:
            return  # it died: that is seen when its connection is read


def _start(number: int, crew: Crew[Any, Any], suspect: Any) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_worker, args=(theirs, crew), name=WORKER)
    with _signals_blocked():
        process.start()
    theirs.close()  # so that the end of the process ends the connection
    return _Worker(number, process, ours, suspect, alone=suspect is not None)


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


def _run_worker(connection: Connection, crew: Crew[Any, Any]) -> None:
    """What a process does until its work ends or the connection to its parent does."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # a terminal sends them to all; the parent says when to stop
    lock = threading.Lock()

    read: list[tuple[str, float]] = []  # that was not said so far
    said = 0.0

    def send(kind: str, value: Any = None) -> None:
        nonlocal said
        with lock:
            if kind == "progress":
                read.append(value)
            if read and (kind != "progress" or time.monotonic() - said > _SILENCE):
                connection.send(("progress", (read[-1][0], sum(seconds for _, seconds in read))))
                read.clear()
                said = time.monotonic()
            if kind != "progress":
                connection.send((kind, value))

    def units() -> Iterator[Any]:
        while True:
            send("next")
            unit = connection.recv()
            if unit is None:
                return
            yield unit

    try:
        try:
            for result in crew.work(units(), send):
                send("result", result)
            send("end")
        except EdgeL3Error as error:
            send("error", str(error))
    except (EOFError, OSError):
        return  # the parent is gone, or has closed the connection to stop us


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let processes that the block starts be born with the signals blocked, so that none ends them on the way up.

    A signal that comes meanwhile reaches this process after the block. Windows has no such thing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
