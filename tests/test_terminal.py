"""The command where standard streams, a home directory or a place to write are missing."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import golden
from conftest import posix_only

MICRO = ["--model-type", "micro"]
# Runs in a process of its own, before the command that the rest of argv is.
RUN = "import sys; from edgel3_onnx import cli; sys.exit(cli.main(sys.argv[1:]))"


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "caf\u00e9 \u2192 \U0001f3ba.wav"
    soundfile.write(path, golden.audio(8000, 1.5, 1), 8000)
    return path


def run(*arguments, prelude="", **options):
    command = [sys.executable, "-P", "-c", prelude + RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


def windows(recording):
    with np.load(recording.with_suffix(".npz")) as arrays:
        return len(arrays["timestamps"])


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_that_the_encoding_does_not_have_are_escaped(recording, encoding, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    missing = recording.with_name("\u4e2d.wav")
    done = run(recording, "--dry-run", *MICRO)
    assert done.returncode == 0 and b"\\u2192 \\U0001f3ba.wav -> " in done.stdout
    done = run(recording, missing, *MICRO)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert b"\\u4e2d.wav: " in done.stderr and b"1 done, 0 skipped, 1 failed" in done.stderr
    assert windows(recording) == 11


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_streams_that_python_does_not_have(recording, jobs):
    """As under pythonw: sys.stdin, sys.stdout and sys.stderr are None."""
    other = recording.with_name("b.wav")
    other.write_bytes(recording.read_bytes())
    none = "import sys; sys.stdin = sys.stdout = sys.stderr = None\n"
    done = run(recording, other, recording.with_name("no.wav"), "--jobs", jobs, *MICRO, prelude=none)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert windows(recording) == windows(other) == 11
    assert run("--doctor", prelude=none).returncode == 0
    assert run("-", "--rate", "8000", *MICRO, prelude=none).returncode == 1


def test_the_library_needs_no_streams_either(recording):
    code = (
        "import sys; sys.stdin = sys.stdout = sys.stderr = None\n"
        "import edgel3_onnx; from edgel3_onnx.cli import run\n"
        f"edgel3_onnx.process_file({str(recording)!r}, model_type='micro', verbose=True)\n"
        f"assert run({str(recording)!r}, model_type='micro', verbose=True).done == 1\n"
        "assert sys.stderr is None"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, timeout=120)
    assert done.returncode == 0
    assert windows(recording) == 11


def test_the_export_command_needs_no_streams(tmp_path):
    code = (
        "import sys; sys.stdin = sys.stdout = sys.stderr = None\n"
        "from edgel3_onnx.export.__main__ import main\n"
        f"sys.exit(10 + main(['--variants', 'sea-64', '--out', {str(tmp_path)!r}]))"  # there are no weights: 1
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], timeout=120).returncode == 11


@posix_only
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(recording, closed):
    """What is opened later must not get the number of standard error."""
    line = f'"$0" -P -c "$1" "$2" {" ".join(MICRO)} {closed}'
    done = subprocess.run(["sh", "-c", line, sys.executable, RUN, recording], timeout=120)
    assert done.returncode == 0 and windows(recording) == 11
    code = "import os; from edgel3_onnx.terminal import usable_streams\nwith usable_streams(): "
    code += "assert os.open(os.devnull, os.O_RDONLY) > 2"
    assert subprocess.run(["sh", "-c", f'"$0" -P -c "$1" {closed}', sys.executable, code], timeout=60).returncode == 0


@posix_only
def test_closed_standard_input_is_one_line(recording):
    line = f'"$0" -P -c "$1" - --rate 8000 {" ".join(MICRO)} <&-'
    done = subprocess.run(["sh", "-c", line, sys.executable, RUN], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "edgel3-onnx: error: standard input is closed: pipe audio into this command\n"


@posix_only
def test_no_home_directory(recording, monkeypatch):
    """Neither HOME nor an account: what comes with the package works, all else says in one line what to set."""
    for name in ("HOME", "XDG_CACHE_HOME", "EDGEL3_ONNX_CACHE"):
        monkeypatch.delenv(name, raising=False)
    nobody = "import pwd\ndef unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown\n"
    done = run(recording, *MICRO, prelude=nobody, cwd=recording.parent)
    assert done.returncode == 0 and windows(recording) == 11
    done = run(recording, "--model-type", "sea", prelude=nobody, cwd=recording.parent, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "edgel3-onnx: error: there is no home directory to keep models in; "
        "set EDGEL3_ONNX_CACHE to a directory for them\n"
    )
    with monkeypatch.context() as relative:
        relative.setenv("EDGEL3_ONNX_CACHE", "~/cache")
        again = run(recording, "--model-type", "sea", prelude=nobody, cwd=recording.parent, text=True)
    assert again.stderr == done.stderr
    report = run("--doctor", prelude=nobody, cwd=recording.parent, text=True)
    assert report.returncode == 0 and "cache: none: there is no home directory" in report.stdout
    assert "micro" in run("--list-models", prelude=nobody, cwd=recording.parent, text=True).stdout
    assert sorted(path.suffix for path in recording.parent.iterdir()) == [".npz", ".wav"]


def test_nowhere_to_write(recording, monkeypatch):
    """As where the root is read-only: an output, a cache or a temporary file that cannot be made is one line."""
    nowhere = recording / "below a file"
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(nowhere))
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(nowhere))
    refuse = "import tempfile; tempfile._candidate_tempdir_list = lambda: [sys.argv[-1]]\n"
    done = run(recording, *MICRO, "-o", nowhere, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "cannot be written" in line]) == 1
    report = run("--doctor", prelude="import sys\n" + refuse, text=True)
    assert report.returncode == 0 and "provider cpu (CPUExecutionProvider): fp32 exact" in report.stdout
    done = run("--model-type", "micro", "--precision", "fp16", recording, prelude="import sys\n" + refuse, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("action", ["--dry-run", "--list-models"])
def test_full_disk_behind_standard_output_is_one_line(recording, action):
    arguments = [str(recording), action, *MICRO] if action == "--dry-run" else [action]
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-P", "-c", RUN, *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "edgel3-onnx: error: [Errno 28] No space left on device"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
