"""``edgel3-onnx --demo``: serves the page of ``web/`` to this machine's browser."""

import errno
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgel3_onnx.exceptions import EdgeL3Error

HOST = "127.0.0.1"

_PACKAGE = Path(__file__).resolve().parent.parent
# Where `node web/build.mjs` puts the page: beside the package in a checkout, or, named to it, into the package.
_FOLDERS = (_PACKAGE / "web", _PACKAGE.parent / "web" / "dist")

# The system's table of types may lack these, or have others: browsers refuse modules and wasm under a wrong type.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}


def serve(port: int) -> int:
    """Serve the page until the process is stopped.

    Parameters
    ----------
    port : int
        0 takes any that is free.

    Raises
    ------
    EdgeL3Error
        If the page was not built, or the port cannot be had.
    """
    with server(port) as running:
        print(f"http://{HOST}:{running.server_port}/  (Ctrl-C stops)", flush=True)
        running.serve_forever()
    return 0


def server(port: int, folders: tuple[Path, ...] = _FOLDERS) -> "_Server":
    """A server of the first of ``folders`` that holds the page, bound to 127.0.0.1 and not yet running.

    Raises
    ------
    EdgeL3Error
        As of :func:`serve`.
    """
    folder = next((folder for folder in folders if (folder / "model" / "model.json").is_file()), None)
    if folder is None:
        raise EdgeL3Error(
            "the page is not built (with ONNX Runtime's 14 MB it is no part of the package); in a checkout, with "
            f"Node.js: npm ci --prefix web && node web/build.mjs '{folders[0]}'"
        )

    try:
        return _Server(folder, port)
    except OverflowError:
        raise EdgeL3Error(f"port {port} is not one of 0 to 65535") from None
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise EdgeL3Error(f"port {port} of {HOST} {reason}; name another: --demo PORT") from error


class _Server(ThreadingHTTPServer):
    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        super().__init__((HOST, port), partial(_Handler, directory=str(folder)))

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a browser that went away is no error
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def guess_type(self, path: Any) -> str:
        return _TYPES.get(Path(path).suffix, "application/octet-stream")

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # a page that was built anew shows at once
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass
