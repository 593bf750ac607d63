"""Downloads that go right, and each way in which they go wrong, against a local server."""

import logging
import socket
import subprocess
import sys
import time

import pytest

from conftest import posix_only
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.store import download
from upstream import Terminal, Upstream

FILE = "edgel3 weights.h5.gz"
DATA = b"\x1f\x8b" + bytes(range(256)) * 1000
NOT_TRIED = "http://upstream.invalid/edgel3%20weights.h5.gz: not tried, because EDGEL3_ONNX_MIRROR is set"
BLOB_ID = download.git_blob_id(DATA)


@pytest.fixture
def upstream():
    with Upstream() as server:
        server.files[FILE] = DATA
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The network may be used, and nothing is waited for longer than a test wants."""
    monkeypatch.delenv("EDGEL3_ONNX_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF_S", 0.01)
    monkeypatch.setattr(download, "SOCKET_TIMEOUT_S", 0.3)
    monkeypatch.setattr(download, "STALL_WINDOW_S", 0.3)


def fetch(url, verbose=False):
    return download.fetch(FILE, BLOB_ID, url, verbose=verbose)


def failure(url) -> str:
    with pytest.raises(EdgeL3Error) as caught:
        fetch(url)
    return str(caught.value)


def test_git_blob_id_is_gits():
    assert download.git_blob_id(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_right_file_is_returned(upstream):
    assert fetch(upstream.url) == DATA
    assert fetch(upstream.url + "/") == DATA
    assert upstream.requests == ["/models/edgel3%20weights.h5.gz"] * 2


@pytest.mark.parametrize("fault", ["drop", "truncate", "stall", "trickle", 500, 502, 503, 504, 425, 429, 408])
def test_network_fault_is_retried(upstream, fault):
    upstream.faults.extend([fault, fault])
    assert fetch(upstream.url) == DATA
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("drop", "Remote end closed connection without response"),
        ("truncate", f"connection closed after {len(DATA) // 2} of {len(DATA)} bytes"),
        ("stall", "no answer for 0.3 s"),
        ("trickle", "stalled, "),
        (503, "HTTP 503 Service Unavailable"),
    ],
)
def test_lasting_network_fault_is_reported_with_the_attempts(upstream, fault, reason):
    upstream.faults.extend([fault] * 10)
    message = failure(upstream.url)
    assert message.startswith(f"{upstream.url}/edgel3%20weights.h5.gz: {reason}")
    assert message.endswith(f" (after {download.ATTEMPTS} attempts)")
    assert len(upstream.requests) == download.ATTEMPTS


def test_name_that_does_not_resolve_is_not_tried_again(monkeypatch):
    attempts = []

    def resolve(*arguments, **options):
        attempts.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    message = failure("http://upstream.invalid")
    assert message.endswith(": the host name does not resolve (Name or service not known)")
    assert len(attempts) == 1


def test_what_is_fetched_is_logged_before_anything_is_waited_for(upstream, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "edgel3_onnx")
    lines = []
    monkeypatch.setattr(download, "_download", lambda *arguments: lines.extend(caplog.messages) or DATA)
    fetch(upstream.url)
    assert lines == [f"fetching {upstream.url}/edgel3%20weights.h5.gz"]
    monkeypatch.setenv("EDGEL3_ONNX_OFFLINE", "1")
    failure(upstream.url)
    assert caplog.messages == lines  # nothing is fetched


def test_attempts_are_spaced_wider_and_wider(upstream, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    upstream.faults.extend([503] * 10)
    failure(upstream.url)
    assert pauses == [0.01, 0.02, 0.04]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (404, "HTTP 404 Not Found"),
        (403, "HTTP 403 Forbidden"),
        (501, "HTTP 501 Not Implemented"),
        (505, "HTTP 505 HTTP Version Not Supported"),
        ("corrupt", f"not the published file ({len(DATA)} bytes): git blob id "),
        ("truncate-unannounced", f"not the published file ({len(DATA) // 2} bytes): git blob id "),
        ("page", "not the published file (43 bytes, not gzip: perhaps a login or error page): git blob id "),
    ],
)
def test_what_another_attempt_cannot_mend_is_not_retried(upstream, fault, reason):
    upstream.faults.append(fault)
    message = failure(upstream.url)
    assert message.startswith(f"{upstream.url}/edgel3%20weights.h5.gz: {reason}")
    if "blob" in reason:
        assert message.endswith(f", expected {BLOB_ID}")
    assert len(upstream.requests) == 1


def test_slow_but_steady_is_waited_for(upstream, monkeypatch):
    monkeypatch.setattr(download, "STALL_BYTES", len(DATA) // 10)
    upstream.faults.append("slow")
    assert fetch(upstream.url) == DATA
    assert len(upstream.requests) == 1


def test_endless_answer_is_cut_off(upstream, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1 << 20)
    upstream.faults.append("endless")
    assert failure(upstream.url).endswith(": larger than 1048576 bytes")
    assert len(upstream.requests) == 1


@posix_only
def test_nobody_listens(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        message = failure(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert "Connection refused (after 4 attempts)" in message


def test_mirror_takes_the_place_of_upstream(upstream, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", upstream.url)
    assert fetch("http://upstream.invalid/") == DATA


@pytest.mark.parametrize("form", ["path", "file-url", "home"])
@posix_only
def test_directory_mirror_is_read_even_offline(tmp_path, monkeypatch, form):
    mirror = tmp_path / "a mirror"
    mirror.mkdir()
    (mirror / FILE).write_bytes(DATA)
    monkeypatch.setenv("HOME", str(tmp_path))
    value = {"path": str(mirror), "file-url": mirror.as_uri(), "home": "~/a mirror"}[form]
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", value)
    monkeypatch.setenv("EDGEL3_ONNX_OFFLINE", "1")
    assert fetch("http://upstream.invalid/") == DATA
    (mirror / FILE).write_bytes(DATA + b"x")
    assert failure("http://upstream.invalid/").startswith(f"{mirror / FILE}: not the published file")
    (mirror / FILE).unlink()
    assert (
        failure("http://upstream.invalid/")
        == f"{mirror / FILE}: cannot be read (No such file or directory)\n{NOT_TRIED}"
    )


def test_mirror_file_has_a_size_cap(tmp_path, monkeypatch):
    (tmp_path / FILE).write_bytes(DATA)
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", str(tmp_path))
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    assert failure("http://upstream.invalid/") == f"{tmp_path / FILE}: more than the 1000 bytes allowed\n{NOT_TRIED}"


def test_offline_never_touches_the_network(upstream, monkeypatch):
    for offline in ("1", "true", "YES"):
        monkeypatch.setenv("EDGEL3_ONNX_OFFLINE", offline)
        assert ": not tried, because EDGEL3_ONNX_OFFLINE is set" in failure(upstream.url)
        monkeypatch.setenv("EDGEL3_ONNX_MIRROR", upstream.url)
    assert upstream.requests == []
    for online in ("0", "false", "No", ""):
        monkeypatch.setenv("EDGEL3_ONNX_OFFLINE", online)
        assert fetch(upstream.url) == DATA


@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        ("ftp://example.org/models", "must be an http(s) URL or a directory, got 'ftp://example.org/models'"),
        ("https:///models", "must be an http(s) URL or a directory, got 'https:///models'"),
        ("http://[bad", "is not a valid URL"),
        ("https://me:secret@example.org/", "must not contain a user name or a password"),
    ],
)
def test_unusable_mirror_is_named_without_its_password(monkeypatch, mirror, reason):
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", mirror)
    message = failure("http://upstream.invalid/")
    assert message.startswith(f"EDGEL3_ONNX_MIRROR {reason}")
    assert "secret" not in message


def test_proxy_of_the_environment_is_used(upstream, monkeypatch):
    monkeypatch.setenv("http_proxy", upstream.url.removesuffix("/models"))
    assert fetch("http://upstream.invalid/models") == DATA
    assert upstream.requests == ["http://upstream.invalid/models/edgel3%20weights.h5.gz"]


def test_progress_bar_only_on_a_terminal_and_when_verbose(upstream, monkeypatch, capsys):
    upstream.faults.extend(["slow", "slow"])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(upstream.url, verbose=True)
    assert FILE in terminal.getvalue() and "B/s" in terminal.getvalue()
    assert "\n" not in terminal.getvalue() and not terminal.getvalue().split("\r")[-2].strip()  # it is gone at the end
    shown = len(terminal.getvalue())
    fetch(upstream.url, verbose=False)
    assert len(terminal.getvalue()) == shown
    monkeypatch.undo()
    monkeypatch.delenv("EDGEL3_ONNX_OFFLINE", raising=False)
    assert download.fetch(FILE, BLOB_ID, upstream.url, verbose=True) == DATA
    assert capsys.readouterr() == ("", "")


def test_importing_it_loads_no_network_module():
    code = "import sys, edgel3_onnx.store.download; print({'ssl', 'http.client', 'tqdm'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
