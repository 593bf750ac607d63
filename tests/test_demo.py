"""--demo serves the page: to this machine only, with the types that browsers insist on, and nothing beside it."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgel3_onnx import EdgeL3Error
from edgel3_onnx.cli import main
from edgel3_onnx.command import demo


@pytest.fixture
def page(tmp_path):
    folder = tmp_path / "page"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.json").write_text("{}")
    (folder / "index.html").write_text("<!doctype html>")
    for name in ("a.js", "b.mjs", "c.wasm", "d.css", "e.svg", "f.onnx"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@contextmanager
def running(folder):
    with demo.server(0, (folder,)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server, path):
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.getheader("Content-Type"), response.read()


def test_files_have_their_types_whatever_the_system_thinks(page, monkeypatch):
    import mimetypes

    monkeypatch.setattr(mimetypes, "guess_type", lambda *args, **kwargs: ("text/plain", None))
    expected = {
        "/": "text/html; charset=utf-8",
        "/a.js": "text/javascript; charset=utf-8",
        "/b.mjs": "text/javascript; charset=utf-8",
        "/c.wasm": "application/wasm",
        "/d.css": "text/css; charset=utf-8",
        "/e.svg": "image/svg+xml",
        "/model/model.json": "application/json",
        "/f.onnx": "application/octet-stream",
    }
    with running(page) as server:
        assert {path: get(server, path)[:2] for path in expected} == {p: (200, kind) for p, kind in expected.items()}


def test_nothing_else_is_served(page):
    with running(page) as server:
        assert server.server_address[0] == "127.0.0.1"
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/model/", "/missing.js"):
            status, _, body = get(server, path)
            assert status == 404 and b"secret" not in body and b"model.json" not in body


def test_a_port_in_use_is_one_line(page):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EdgeL3Error, match=f"port {port} of 127.0.0.1 is in use; name another: --demo PORT"):
            demo.server(port, (page,))


def test_a_page_that_was_not_built_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo.server, "__defaults__", ((tmp_path / "web",),))
    assert main(["--demo", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the page is not built" in line and f"node web/build.mjs '{tmp_path / 'web'}'" in line


@pytest.mark.parametrize("argv", [["--demo", "65536"], ["--demo", "-1"], ["--demo", "80x"], ["--demo", "0", "a.wav"]])
def test_wrong_usage(argv):
    with pytest.raises(SystemExit, match="2"):
        main(argv)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_command_says_where_it_is_and_ends_on_a_signal(page):
    code = (
        "import sys, pathlib; from edgel3_onnx import cli; from edgel3_onnx.command import demo;"
        "demo.server.__defaults__ = ((pathlib.Path(sys.argv[1]),),); sys.exit(cli.main(['--demo', '0']))"
    )
    command = [sys.executable, "-c", code, os.fspath(page)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/  \(Ctrl-C stops\)\n", process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "edgel3-onnx: stopped by SIGINT\n"


def test_a_browser_that_goes_away_leaves_no_trace(page, capsys):
    (page / "large.bin").write_bytes(bytes(50_000_000))
    with running(page) as server:
        with socket.create_connection(server.server_address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset on close
            client.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(1000)
        assert get(server, "/a.js")[0] == 200
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and "process_request_thread" in thread.name:
            thread.join(10)
    assert capsys.readouterr().err == ""


def test_what_the_page_is_built_from_is_named_without_an_address():
    lock = json.loads((Path(__file__).parents[1] / "web" / "package-lock.json").read_text("utf-8"))
    assert "node_modules/onnxruntime-web" in lock["packages"]
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
