"""Published weight files, from upstream or a mirror, returned only if their git blob id is as expected."""

import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.source import MAX_BYTES, read_file
from edgel3_onnx.terminal import shows_progress

if TYPE_CHECKING:
    from http.client import HTTPResponse

SOCKET_TIMEOUT_S = 20.0  # for connecting, and for each read
STALL_WINDOW_S = 30.0  # a transfer that brings fewer than STALL_BYTES in any such period is given up
STALL_BYTES = 4096
ATTEMPTS = 4
BACKOFF_S = 1.0  # before the second attempt; doubled before each later one
logger = logging.getLogger("edgel3_onnx")

_CHUNK_BYTES = 64 << 10
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TransferError(Exception):
    """A transfer failed. ``transient``: another attempt may succeed."""

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(reason)
        self.transient = transient


def git_blob_id(data: bytes) -> str:
    """The id that git gives a file of this content: 40 hex digits.

    Source: Pro Git, "Git Internals - Git Objects".
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def fetch(file: str, blob_id: str, upstream: str, *, verbose: bool) -> bytes:
    """Return the content of the published ``file``.

    Nothing touches the disk, so an interrupted download leaves nothing behind. The environment is read at
    each call: EDGEL3_ONNX_MIRROR (an http(s) URL, a file URL or a directory) takes the place of ``upstream``;
    with EDGEL3_ONNX_OFFLINE only a directory is read. Proxies are taken from the environment as urllib does.
    What is fetched from where is logged before anything is waited for.

    Parameters
    ----------
    file : str
        Name of the file in the upstream folder.
    blob_id : str
        Expected git blob id, 40 hex digits.
    upstream : str
        URL of the folder.
    verbose : bool
        Show a progress bar on stderr, if that is a terminal.

    Raises
    ------
    EdgeL3Error
        ``<location>: <reason>`` if the file cannot be had from there or is not the expected one. Where a mirror
        took the place of ``upstream``, the address there is named too.
    """
    published = _address(upstream, file)
    mirror = os.environ.get("EDGEL3_ONNX_MIRROR")
    if not mirror:
        return _fetch_url(published, file, blob_id, verbose)
    try:
        directory = _as_directory(mirror)
        if directory is None:
            return _fetch_url(_address(mirror, file), file, blob_id, verbose)
        return _verified(read_file(directory / file, MAX_BYTES), blob_id, str(directory / file))
    except EdgeL3Error as error:
        raise EdgeL3Error(f"{error}\n{published}: not tried, because EDGEL3_ONNX_MIRROR is set") from None


def _address(folder: str, file: str) -> str:
    return f"{folder.rstrip('/')}/{quote(file)}"


def _fetch_url(url: str, file: str, blob_id: str, verbose: bool) -> bytes:
    if os.environ.get("EDGEL3_ONNX_OFFLINE", "").lower() not in ("", "0", "false", "no"):
        raise EdgeL3Error(f"{url}: not tried, because EDGEL3_ONNX_OFFLINE is set")
    logger.info("fetching %s", url)
    return _verified(_download(url, file, verbose), blob_id, url)


def _as_directory(mirror: str) -> Path | None:
    """The directory that EDGEL3_ONNX_MIRROR names; None if it is an http(s) URL."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://|file:", mirror, re.IGNORECASE)
    if scheme is None:
        return Path(os.path.expanduser(mirror))
    try:
        parts = urlsplit(mirror)
    except ValueError as error:
        raise EdgeL3Error(f"EDGEL3_ONNX_MIRROR is not a valid URL ({error})") from None
    if parts.username is not None:  # not repeated here: it may come with a password
        raise EdgeL3Error("EDGEL3_ONNX_MIRROR must not contain a user name or a password")
    if parts.scheme == "file":
        from urllib.request import url2pathname

        return Path(url2pathname(parts.path))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EdgeL3Error(f"EDGEL3_ONNX_MIRROR must be an http(s) URL or a directory, got {mirror!r}")
    return None


def _verified(data: bytes, blob_id: str, location: str) -> bytes:
    found = git_blob_id(data)
    if found != blob_id:
        hint = "" if data.startswith(b"\x1f\x8b") else ", not gzip: perhaps a login or error page"
        raise EdgeL3Error(
            f"{location}: not the published file ({len(data)} bytes{hint}): git blob id {found}, expected {blob_id}"
        )
    return data


def _download(url: str, file: str, verbose: bool) -> bytes:
    attempt = 1
    while True:
        try:
            return _download_once(url, file, verbose)
        except _TransferError as error:
            if not error.transient or attempt == ATTEMPTS:
                after = f" (after {attempt} attempts)" if attempt > 1 else ""
                raise EdgeL3Error(f"{url}: {error}{after}") from None
        time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        attempt += 1


def _download_once(url: str, file: str, verbose: bool) -> bytes:
    from http.client import HTTPException
    from socket import gaierror
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, build_opener

    # An opener of our own reads the proxies' environment now; the one behind urlopen keeps what it saw first.
    opener = build_opener()
    request = Request(url, headers={"User-Agent": "edgel3-onnx"})
    try:
        with opener.open(request, timeout=SOCKET_TIMEOUT_S) as response:
            return _read_body(response, file, verbose)
    except HTTPError as error:
        error.close()
        reason = f"HTTP {error.code} {error.reason}".rstrip()
        raise _TransferError(reason, transient=error.code in _TRANSIENT_STATUS) from error
    except URLError as error:
        cause = error.reason if isinstance(error.reason, Exception) else error
        untrusted = getattr(cause, "verify_message", None)
        if untrusted:
            raise _TransferError(f"certificate not trusted: {untrusted}", transient=False) from error
        if isinstance(cause, gaierror):  # no network, most often: another attempt would only delay saying so
            raise _TransferError(f"the host name does not resolve ({_describe(cause)})", transient=False) from error
        raise _TransferError(_describe(cause), transient=True) from error
    except (OSError, HTTPException) as error:
        raise _TransferError(_describe(error), transient=True) from error


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {SOCKET_TIMEOUT_S:g} s"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _read_body(response: "HTTPResponse", file: str, verbose: bool) -> bytes:
    length = response.headers.get("Content-Length", "")
    expected = int(length) if length.isdecimal() else None
    body = bytearray()
    window_start, window_bytes = time.monotonic(), 0
    with _progress_bar(file, expected, verbose) as advance:
        # read1 returns what has arrived; read would wait for a whole chunk and so not notice a trickle.
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            advance(len(chunk))
            if len(body) > MAX_BYTES:
                raise _TransferError(f"larger than {MAX_BYTES} bytes", transient=False)
            window_bytes += len(chunk)
            elapsed = time.monotonic() - window_start
            if elapsed >= STALL_WINDOW_S:
                if window_bytes < STALL_BYTES:
                    raise _TransferError(f"stalled, {window_bytes} bytes in {elapsed:.0f} s", transient=True)
                window_start, window_bytes = time.monotonic(), 0
    if expected is not None and len(body) != expected:
        raise _TransferError(f"connection closed after {len(body)} of {expected} bytes", transient=True)
    return bytes(body)


@contextmanager
def _progress_bar(file: str, total: int | None, verbose: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar on stderr, or nothing where nobody would see it; yields what to call with new bytes."""
    if not verbose or not shows_progress():
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(desc=file, total=total, unit="B", unit_scale=True, leave=False, file=sys.stderr) as bar:
        yield bar.update
