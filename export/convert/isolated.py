"""Read what comes from elsewhere in a process of its own, within limits of time and memory.

Libraries that parse HDF5 and ONNX are made for files of good will: a single flipped bit makes some of them loop for
ever, ask for more memory than there is, or end the process.
"""

import contextlib
import faulthandler
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from edgel3_onnx.exceptions import EdgeL3Error

TIME_LIMIT_S = 10.0  # many times what any published file takes
_USUAL_START_S = 0.4  # of a processor's time, to start Python and this package; one that takes longer gets more time
MEMORY_LIMIT = 1 << 30  # bytes that the process may take beyond what its libraries and the file do
_MOST_CHARACTERS = 500  # of a message, whatever names a file has
_CODE = "from edgel3_onnx.export.convert.isolated import serve; serve()"
_REFUSED = 3  # exit status: standard output has the reason
_MISSING = 4  # exit status: standard output has the name of a package


def call(function: Callable[..., bytes], data: bytes, *arguments: object, source_file: str) -> bytes:
    """Return ``function(data, *arguments)``, run in a process of its own.

    ``function`` stands at the top level of a module; the arguments can be pickled. It takes as long as
    Python takes to start.

    Raises EdgeL3Error, naming ``source_file``, if ``function`` raises one, fails in any other way, takes longer
    than TIME_LIMIT_S or more memory than MEMORY_LIMIT, or if the process dies.
    """
    if not sys.executable or getattr(sys, "frozen", False):  # inside a program that is no Python interpreter
        return run(function, data, arguments, source_file)
    request = pickle.dumps((function, arguments, source_file, TIME_LIMIT_S, MEMORY_LIMIT))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",  # each thread would reserve memory
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CODE],
            input=len(request).to_bytes(4, "little") + request + data,
            capture_output=True,
            env=environment,
        )
    except OSError as error:
        raise EdgeL3Error(f"{source_file}: no process could be started to read it ({error.strerror})") from error
    return result(done.returncode, done.stdout, done.stderr, source_file)


def result(status: int, answer: bytes, messages: bytes, source_file: str) -> bytes:
    """What ``call`` returns or raises when the process ended with ``status``."""
    if status == 0:
        return answer
    if status == _REFUSED:
        raise EdgeL3Error(" ".join(answer.decode("utf-8", "replace").split())[:_MOST_CHARACTERS])
    if status == _MISSING:
        raise ModuleNotFoundError(name=answer.decode())
    if messages.startswith(b"Timeout"):
        raise EdgeL3Error(f"{source_file}: damaged: reading it takes longer than the {TIME_LIMIT_S:g} s that it may")
    last_line = messages.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise EdgeL3Error(f"{source_file}: damaged: reading it ended the process ({last_line[:200] or status})")


def serve() -> None:
    """The other side of ``call``: the request on standard input, the answer on standard output."""
    answers = os.dup(1)
    os.dup2(2, 1)  # where anything goes that a library has to say
    requests = sys.stdin.buffer
    function, arguments, source_file, seconds, memory = pickle.loads(
        requests.read(int.from_bytes(requests.read(4), "little"))
    )
    data = requests.read()
    slowness = max(time.process_time() / _USUAL_START_S, 1.0)  # a board's, or an emulated processor's
    faulthandler.dump_traceback_later(seconds * slowness, exit=True)  # works also while a library never returns
    limit_memory(memory)
    answer(function, data, arguments, source_file, answers)


def answer(
    function: Callable[..., bytes], data: bytes, arguments: tuple[object, ...], source_file: str, answers: int
) -> NoReturn:
    """Run ``function``, write what comes of it to the descriptor ``answers``, and end this process."""
    try:
        text, status = run(function, data, arguments, source_file), 0
    except EdgeL3Error as error:
        text, status = str(error).encode("utf-8", "replace"), _REFUSED
    except ModuleNotFoundError as error:
        text, status = str(error.name).encode(), _MISSING
    with os.fdopen(answers, "wb") as stream:
        stream.write(text)
    os._exit(status)  # a library whose data are damaged may not survive its own clean-up


def run(function: Callable[..., bytes], data: bytes, arguments: tuple[object, ...], source_file: str) -> bytes:
    """Return ``function(data, *arguments)``, or raise an EdgeL3Error whatever it raises."""
    try:
        return function(data, *arguments)
    except (EdgeL3Error, ModuleNotFoundError):
        raise
    except MemoryError as error:
        raise EdgeL3Error(f"{source_file}: damaged: reading it takes too much memory") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EdgeL3Error(f"{source_file}: damaged ({reason[:200]})") from error


def limit_memory(growth: int) -> None:
    """Let this process grow by so many bytes. Without effect where the system has no such limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + growth
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if most < 0 else min(limit, most), most))
