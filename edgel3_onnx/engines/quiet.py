"""Keeps what C++ libraries write to standard error, past Python's sys.stderr, off the terminal."""

import contextlib
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator

logger = logging.getLogger("edgel3_onnx")

turn = threading.RLock()  # the one lock of plugins, so that no two threads wait for each other
_depth = 0
# Lines of ONNX Runtime's logger, and of the libraries that its plugins load.
_CHATTER = re.compile(
    rb"^\s*(\x1b\[[0-9;]*m)*\s*$"
    rb"|^(\x1b\[[0-9;]*m)*(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \[[VIWEF]:onnxruntime|.*XDG_RUNTIME_DIR"
    rb"|.*(vulkan|libEGL|MESA|libGL|Warning: .*(vk|Dawn)|\[W\]|\[openvino))",
    re.IGNORECASE,
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Log at level DEBUG what plugins write to file descriptor 2 in the meantime, one thread at a time.

    Lines of other threads that get in between are passed on afterwards. Where there is no such descriptor, or no room
    for a temporary file, nothing is held back.
    """
    global _depth
    with turn, contextlib.ExitStack() as cleanup:
        if _depth == 0:
            with contextlib.suppress(OSError):
                held = cleanup.enter_context(tempfile.TemporaryFile())
                terminal = os.dup(2)
                cleanup.callback(_release, terminal, held.fileno())
                os.dup2(held.fileno(), 2)
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


def _release(terminal: int, held: int) -> None:
    os.dup2(terminal, 2)
    os.lseek(held, 0, os.SEEK_SET)
    said = b"".join(iter(lambda: os.read(held, 65536), b""))
    for line in said.splitlines(keepends=True):
        if _CHATTER.match(line):
            logger.debug("%s", line.decode("utf-8", "replace").strip())
        else:
            with contextlib.suppress(OSError):
                os.write(terminal, line)
    os.close(terminal)
