"""Ctrl-C and SIGTERM as an exception that unwinds, so that temporary files are removed on the way."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The process was asked to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _Pending:
    """Signals that came where they may not raise."""

    held = False
    signum: int | None = None


@contextmanager
def raising_on_signals() -> Iterator[None]:
    """Raise Interrupted on the first SIGINT or SIGTERM; ignore further ones while that unwinds.

    A signal that whoever started this process had it ignore, as nohup and shells do, stays ignored.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        if _Pending.held:
            _Pending.signum = signum
        else:
            raise Interrupted(signum)

    heeded = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, handle) for signum in heeded}
    try:
        yield
    finally:
        for signum, handler in before.items():
            if handler is not None:  # else it was none of Python's, and cannot be put back
                signal.signal(signum, handler)


@contextmanager
def held() -> Iterator[None]:
    """Let signals raise only after the block, where leaving it half done would lose something."""
    _Pending.held = True
    try:
        yield
    finally:
        _Pending.held = False
        signum, _Pending.signum = _Pending.signum, None
    if signum is not None:
        raise Interrupted(signum)


@contextmanager
def heard() -> Iterator[None]:
    """Inside of :func:`held`: let signals raise at once, those that came before too, while nothing would be lost.

    This is for waiting. Other threads than the main one may pass through: Python handles no signals there.
    """
    if not _Pending.held or threading.current_thread() is not threading.main_thread():
        yield
        return
    _Pending.held = False
    try:
        signum, _Pending.signum = _Pending.signum, None
        if signum is not None:
            raise Interrupted(signum)
        yield
    finally:
        _Pending.held = True


@contextmanager
def blocked() -> Iterator[None]:
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
