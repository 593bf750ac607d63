"""Write results so that no reader ever sees half a file."""

import os
from pathlib import Path

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.store import cache


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, then move it. Raises EdgeL3Error if that fails."""
    try:
        cache.write_atomically(Path(path), data)
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be written ({error.strerror or error})") from error
