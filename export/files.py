"""Write results so that no reader ever sees half a file."""

import os
from pathlib import Path

from edgel3_onnx.exceptions import EdgeL3Error


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, then move it. Raises EdgeL3Error if that fails."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EdgeL3Error(f"{path}: cannot be written ({error.strerror or error})") from error
