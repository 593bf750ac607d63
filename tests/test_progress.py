"""What a run shows of itself on a terminal."""

import os
import re
import sys
import time

import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx.command.progress import ProgressBars
from edgel3_onnx.corpora.records import Progress, Record


def shown(*arguments):
    """What the command writes to a terminal of 160 columns."""
    import fcntl
    import pty
    import struct
    import termios

    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "edgel3_onnx", *map(str, arguments)])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    found = b""
    try:
        while block := os.read(terminal, 2**16):
            found += block
    except OSError:  # the other side is closed
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return found.decode()


@posix_only
@pytest.mark.parametrize(("format", "jobs"), [("parquet", 2), ("npz", 2), ("npz", 1)])
def test_a_line_for_each_worker_and_hours_of_audio_per_hour(tmp_path, format, jobs):
    if format == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "in").mkdir()
    for k in range(4):
        soundfile.write(tmp_path / "in" / f"{k}.wav", golden.audio(8000, 36, k), 8000)
    out = ["-o", tmp_path / "out", "--format", format, "--model-type", "micro", "--jobs", jobs]
    text = shown(tmp_path / "in", *out)
    workers = set(re.findall(r"worker (\d+): \d\.\d\d h, \S*/\d\.wav", text))
    assert "1" in workers and workers <= {str(k + 1) for k in range(jobs)}
    bar = re.findall(r"(\d+)/4 \[\d\d:\d\d<\S+,\s+\S+, (\d\.\d\d) h of audio, (\d+) h/h\]", text)[-1]
    assert bar[:2] == ("4", "0.04") and int(bar[2]) > 1
    again = shown(tmp_path / "in", *out, "--skip-existing")
    assert "4/4 [" in again and "worker" not in again


def test_what_workers_say_adds_up(capsys):
    bars = ProgressBars(4, True)
    bars.add(Record.of("old.wav", "skipped"))  # which took no time
    bars.progress(Progress("1", "a.wav", 1800.0))
    bars.progress(Progress("2", "b\n.wav", 5000.0))
    bars._lines["2"].mininterval = 0  # tqdm's, or it would wait
    bars.progress(Progress("2", "b\n.wav", 400.0))
    bars._start -= 3600 - (time.monotonic() - bars._start)
    bars.progress(Progress("1", "a.wav", 0.0))
    bars.add(Record.of("a.wav", "done"))
    bars._bar.refresh()
    bars.close()
    text = capsys.readouterr().err
    assert "worker 1: 0.50 h, a.wav" in text and "worker 2: 1.50 h, b\\n.wav" in text
    assert re.findall(r"2/4 \[.*, 2\.00 h of audio, 2 h/h\]", text)
    bars = ProgressBars(4, False)
    bars.add(Record.of("old.wav", "skipped"))
    bars.progress(Progress("1", "a.wav", 1800.0))
    bars.close()
    assert capsys.readouterr().err == ""
