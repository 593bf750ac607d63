"""Standard input is interrupted wherever it can be: what was read is in the output."""

import io
import os
import signal
import sys

import numpy as np
import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import EmbeddingStream
from edgel3_onnx.command import interrupt, live
from edgel3_onnx.embedding import EmbeddingOptions
from edgel3_onnx.recordings.decode import ReadingOptions
from edgel3_onnx.recordings.linear import Linear

pytestmark = posix_only

RATE = 8000
AUDIO = (golden.audio(RATE, 1.5, 1) * 32767).astype("<i2")
BLOCK = 2 * 4000  # bytes that one read brings
OPTIONS = EmbeddingOptions(hop_size=0.5, center=False)
WATCHED = ("/recordings/", "/command/live.py", "/edgel3_onnx/streaming.py", "/command/interrupt.py", "/atomic.py")


def wav():
    file = io.BytesIO()
    soundfile.write(file, AUDIO, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


class Run:
    """Standard input that gives ``data`` in blocks, and a signal at a certain line of this package's code."""

    def __init__(self, data, raw, monkeypatch):
        self.data, self.raw = data, raw
        monkeypatch.setattr(sys, "stdin", self)
        monkeypatch.setattr("edgel3_onnx.recordings.pipe_reader.os.read", self.read)

    closed = False

    def fileno(self):
        return self.descriptor

    def read(self, descriptor, count, read=os.read):
        data = read(descriptor, min(count, BLOCK))
        if descriptor == self.descriptor:
            self.taken += len(data)
        return data

    def __call__(self, model, output, signal_at):
        """Returns the lines of code that ran, and the signal that ended it."""
        self.taken, self.lines, self.descriptor = 0, 0, os.memfd_create("input")
        os.write(self.descriptor, self.data)
        os.lseek(self.descriptor, 0, os.SEEK_SET)

        def each_line(frame, event, _):
            if event == "line":
                self.lines += 1
                if self.lines == signal_at:
                    signal.raise_signal(signal.SIGINT)
            return each_line

        def trace(frame, event, _):
            return each_line if any(name in frame.f_code.co_filename for name in WATCHED) else None

        before = sys.gettrace()
        try:
            with interrupt.raising_on_signals():
                sys.settrace(trace)
                try:
                    live.embed_stdin(model, OPTIONS, ReadingOptions(raw=self.raw), str(output))
                finally:
                    sys.settrace(before)
        except interrupt.Interrupted as stop:
            return stop.signum
        finally:
            os.close(self.descriptor)
        return None


@pytest.mark.parametrize("kind", ["raw", "wav"])
def test_what_was_read_is_kept_wherever_the_signal_comes(kind, sea64, tmp_path, monkeypatch):
    run = Run(*((AUDIO.tobytes(), Linear.mono(RATE)) if kind == "raw" else (wav(), None)), monkeypatch)
    assert run(sea64, tmp_path / "whole.npz", signal_at=0) is None
    lines, header = run.lines, len(run.data) - 2 * len(AUDIO)
    assert lines > 200 and run.taken == len(run.data)
    lengths = set()
    for number in range(1, lines, 3):
        output = tmp_path / f"{number}.npz"
        ended = run(sea64, output, signal_at=number)
        samples = max(run.taken - header, 0) // 2
        if not samples:
            assert ended == signal.SIGINT and not output.exists()
            continue
        assert ended == signal.SIGINT or output.exists()
        stream = EmbeddingStream(sea64, RATE, OPTIONS.hop_size, OPTIONS.center)
        expected = np.concatenate([stream.push(AUDIO[:samples])[0], stream.flush()[0]])
        with np.load(output) as arrays:
            np.testing.assert_array_equal(arrays["embedding"], expected)
        lengths.add(samples)
    assert len(lengths) >= 3
