"""The standard streams of this process: they may be missing, and need not have every character. Paths on one line."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

SHOWN = 5  # paths that a message lists


def shows_progress() -> bool:
    """Whether standard error is a terminal, where somebody sees a progress bar."""
    return _is_open(sys.stderr) and sys.stderr.isatty()


@contextmanager
def usable_streams() -> Iterator[None]:
    """Let nothing that is printed in the block be the reason of a failure.

    Standard output or error that is missing (pythonw, a service, ``2>&-``) is the null device meanwhile. Characters
    that the encoding of the stream does not have are written as escapes.
    """
    _occupy_standard_descriptors()
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if not _is_open(stream):
                setattr(sys, name, stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
                stack.callback(setattr, sys, name, stream)
            elif isinstance(stream, io.TextIOWrapper):
                stack.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        yield


def _is_open(stream: Any) -> bool:
    return stream is not None and not stream.closed


def _occupy_standard_descriptors() -> None:
    """Open the null device at 0, 1 and 2 where these are free.

    Otherwise a file that is opened later may get the number of standard error, and what a library in C prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def display(path: str) -> str:
    """``path`` on one line: characters that cannot be printed are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


def some(paths: Sequence[str]) -> str:
    """The first of ``paths`` on one line."""
    shown = ", ".join(display(path) for path in paths[:SHOWN])
    return shown + (", ..." if len(paths) > SHOWN else "")
