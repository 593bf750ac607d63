"""Files from elsewhere, read within a limit of size."""

import gzip
import io
import os
import stat
import zlib

from edgel3_onnx.exceptions import EdgeL3Error

# The largest published file, a dense L3 audio network with its front end's kernels, is some 36 MB uncompressed.
MAX_BYTES = 256 << 20

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


def read_file(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file. Raises EdgeL3Error if it cannot be read, is no regular file or exceeds ``max_bytes``."""
    try:
        # Opening a pipe that nobody writes to would wait for ever, and reading a device may never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise EdgeL3Error(f"{os.fspath(path)}: not a regular file but {_kind(os.stat(path).st_mode)}")
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise EdgeL3Error(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from error
    if len(data) > max_bytes:
        raise EdgeL3Error(f"{os.fspath(path)}: more than the {max_bytes} bytes allowed")
    return data


def decompress(data: bytes, source_file: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Return ``data`` gunzipped if it is a gzip stream, else unchanged.

    Raises EdgeL3Error if the stream is truncated or corrupt, or if it, or plain ``data``, exceeds
    ``max_bytes``.
    """
    if not data.startswith(_GZIP_MAGIC):
        if len(data) > max_bytes:
            raise EdgeL3Error(f"{source_file}: {len(data)} bytes, more than the {max_bytes} allowed")
        return data
    pieces: list[bytes] = []
    total = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(_CHUNK):
                total += len(piece)
                if total > max_bytes:
                    raise EdgeL3Error(f"{source_file}: more than the {max_bytes} bytes allowed when unpacked")
                pieces.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise EdgeL3Error(f"{source_file}: truncated or corrupt gzip file ({error})") from error
    return b"".join(pieces)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
