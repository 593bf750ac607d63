"""The cache of graphs: each has its digest beside it and is made once, however many processes want it.

Users may share a cache. Whoever may read its directory may read what is in it, and whoever may write to the
directory may replace what is of no use any more. Where the sticky bit keeps users from replacing each other's files,
such a graph gets a successor under a name of the user's own. Who can write to a cache decides what its readers
compute: share it with nobody else.
"""

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from edgel3_onnx.atomic import remove_abandoned, write_bytes
from edgel3_onnx.exceptions import EdgeL3Error

# A holder that takes this long has been stopped or hangs. The lock only saves work: files appear whole or not
# at all, so going on without it is safe.
LOCK_TIMEOUT_S = 600.0
_LOCK_POLL_S = 0.05


def cache_dir() -> Path:
    """Where the graphs are kept: EDGEL3_ONNX_CACHE, or the user's cache directory for ``edgel3-onnx``.

    It need not exist. The environment is read at each call.

    Raises
    ------
    EdgeL3Error
        If the user has no home directory and the environment names no cache directory either.
    """
    path = os.path.expanduser(os.environ.get("EDGEL3_ONNX_CACHE") or _user_cache())
    if path.startswith("~"):
        raise EdgeL3Error("there is no home directory to keep models in; set EDGEL3_ONNX_CACHE to a directory for them")
    return Path(os.path.abspath(path))


def _user_cache() -> str:
    from platformdirs import user_cache_dir

    try:
        return user_cache_dir("edgel3-onnx", appauthor=False)
    except RuntimeError:  # there is no home directory, to later versions of platformdirs
        return "~"


def locate(name: str, origin: Mapping[str, object]) -> Path:
    """Where the graph ``name`` made from ``origin`` is, or would be written to."""
    graph = cache_dir() / name
    if _is_protected(graph) and fault(graph, origin) is not None:
        return graph.with_name(f"{os.geteuid()}.{name}")
    return graph


def fault(graph: Path, origin: Mapping[str, object]) -> str | None:
    """Why the cached ``graph`` cannot be used; None if it is whole and was made from ``origin``.

    Only reads, so that it works on a cache that cannot be written to.
    """
    record_path = _record_path(graph)
    try:
        with open(graph, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    try:
        record = json.loads(record_path.read_text("utf-8"))
    except FileNotFoundError:
        return f"cannot be verified, because {record_path.name} is not beside it"
    except (OSError, ValueError):
        return f"cannot be verified, because {record_path.name} cannot be read"
    if not isinstance(record, dict) or record.get("origin") != dict(origin):
        return "made from other weights or by another version of this package"
    if record.get("sha256") != digest:
        return f"damaged (sha256 {digest[:12]}... instead of {str(record.get('sha256'))[:12]}...)"
    return None


def get_or_make(name: str, origin: Mapping[str, object], make: Callable[[], bytes]) -> Path:
    """Return the path of the cached graph ``name``, calling ``make`` for its bytes if it cannot be used.

    Parameters
    ----------
    name : str
        File name within the cache directory.
    origin : mapping of str to JSON values
        What the graph is made from; a cached graph with another origin is made anew.
    make : callable
        Returns the graph's bytes. Threads and processes that want the same graph wait for the first one's.

    Raises
    ------
    EdgeL3Error
        If the cache directory cannot be written to; and whatever ``make`` raises, with nothing written then.
    """
    graph = locate(name, origin)
    if fault(graph, origin) is None:
        return graph
    with _locked(graph) as held:
        if fault(graph, origin) is None:  # made by the process that had the lock before
            return graph
        data = make()
        record = {"sha256": hashlib.sha256(data).hexdigest(), "origin": dict(origin)}
        with _reported(graph):
            if held:
                remove_abandoned(graph.parent)
            # A process that dies between these two leaves a graph that does not match its record: made anew.
            for path, content in ((graph, data), (_record_path(graph), json.dumps(record, sort_keys=True).encode())):
                write_bytes(path, content)
                os.chmod(path, _mode_in(path.parent))
    return graph


def _is_protected(path: Path) -> bool:
    """Whether the sticky bit keeps this user from replacing ``path``, a file of another one."""
    try:
        folder, file = path.parent.stat(), path.lstat()
    except OSError:
        return False
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, folder.st_uid, file.st_uid)


def _mode_in(folder: Path) -> int:
    """Permissions of a file in ``folder``: read by whoever may read that, written by its owner."""
    return 0o600 | folder.stat().st_mode & 0o444


def _record_path(graph: Path) -> Path:
    return graph.with_name(graph.name + ".json")


@contextmanager
def _reported(graph: Path) -> Iterator[None]:
    """Turn an error of writing into one that says what to do."""
    try:
        yield
    except (OSError, EdgeL3Error) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise EdgeL3Error(
            f"{graph.name} is not in the cache directory {graph.parent}, which cannot be written to "
            f"({getattr(cause, 'strerror', None) or error}); set EDGEL3_ONNX_CACHE to a directory that can"
        ) from cause


@contextmanager
def _locked(graph: Path) -> Iterator[bool]:
    """Hold the lock for ``graph`` against other threads and processes; yields False if that took too long.

    The system releases the lock of a process that dies, so a lock file left behind means nothing.
    """
    path = graph.with_name(graph.name + ".lock")
    with _reported(graph):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, held = _acquire(path)
    try:
        yield held
    finally:
        if descriptor is not None and sys.platform == "win32":  # which does not remove what is open, here or elsewhere
            os.close(descriptor)
        if held:
            with suppress(OSError):  # the sticky bit keeps the files of others
                path.unlink(missing_ok=True)
        if descriptor is not None and sys.platform != "win32":  # where who waits must see that it is gone
            os.close(descriptor)


def _acquire(path: Path) -> tuple[int | None, bool]:
    """Open and lock ``path``: the descriptor if it can be opened, and whether it is locked."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        descriptor = _open_lock(path)
        if descriptor is None:
            return None, False
        try:
            while not (locked := _try_lock(descriptor)) and time.monotonic() < deadline:
                time.sleep(_LOCK_POLL_S)
            if not locked or _is_open_file(descriptor, path):
                return descriptor, locked
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder before us removed the file that we had opened


def _open_lock(path: Path) -> int | None:
    """Open the lock's file; None if it is another user's and cannot be, or is a link to elsewhere.

    Raises OSError if it is not there and cannot be made.
    """
    plain = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | plain, 0o600)
            if sys.platform != "win32":
                os.fchmod(descriptor, _mode_in(path.parent))  # whatever the umask is
            return descriptor
        try:
            for access in (os.O_RDWR, os.O_RDONLY):  # reading another user's is enough to lock it
                with suppress(PermissionError):
                    return os.open(path, access | plain)
        except FileNotFoundError:  # removed since
            continue
        except OSError:
            pass
        return None


def _try_lock(descriptor: int) -> bool:
    """Lock without waiting; True also where the file system knows no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _is_open_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
