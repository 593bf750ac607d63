"""A local HTTP server that stands for upstream, or for a mirror, with every way in which a network fails."""

import contextlib
import io
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

SLOW_S = 1.0  # what a "slow" answer takes


class Terminal(io.StringIO):
    """Standard error that is a terminal, so that progress bars are shown."""

    def isatty(self) -> bool:
        return True


class Upstream:
    """Serves ``files`` by name; use it as a context manager.

    Each request takes the next entry of ``faults``; without one the file is served as it should be:

    - an integer: this HTTP status
    - "drop": the connection is closed without an answer
    - "truncate": half of the file, though the whole was announced
    - "truncate-unannounced": half of the file, without Content-Length
    - "corrupt": one byte differs
    - "stall": half of the file, then nothing more
    - "trickle": a byte now and then, for longer than anybody should wait
    - "slow": the whole file, steadily, within SLOW_S
    - "endless": more than was ever published
    - "page": an HTML page instead of the file
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: deque[int | str] = deque()
        self.requests: list[str] = []  # paths, as they came
        self.half_sent = threading.Event()  # a stalled answer has sent what it will send
        self.closing = threading.Event()
        self._lock = threading.Lock()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    upstream._answer(self)

            def log_message(self, *args) -> None:
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/models"

    def __enter__(self) -> "Upstream":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.requests.append(handler.path)
            fault = self.faults.popleft() if self.faults else None
        data = self.files.get(unquote(handler.path.rpartition("/")[2]))
        if data is None:
            fault = 404
        if isinstance(fault, int):
            handler.send_error(fault)
            return
        if fault == "drop":
            return
        if fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "page":
            data = b"<!DOCTYPE html><title>Please log in</title>"
        handler.send_response(200)
        if fault not in ("truncate-unannounced", "endless"):
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        half = data[: len(data) // 2]
        if fault in ("truncate", "truncate-unannounced"):
            handler.wfile.write(half)
        elif fault == "stall":
            handler.wfile.write(half)
            self.half_sent.set()
            self.closing.wait(30)
        elif fault == "trickle":
            for i in range(100):
                handler.wfile.write(data[i : i + 1])
                if self.closing.wait(0.02):
                    break
        elif fault == "slow":
            step = -(-len(data) // 20)
            for i in range(0, len(data), step):
                handler.wfile.write(data[i : i + step])
                self.closing.wait(SLOW_S / 20)
        elif fault == "endless":
            while not self.closing.is_set():
                handler.wfile.write(bytes(1 << 16))
        else:
            handler.wfile.write(data)
