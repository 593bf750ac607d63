"""Standard input within this process: where nothing can come of it, and what is left when it ends early."""

import io
import os
import sys
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3Error, get_embedding, load_embedding_model
from edgel3_onnx.command import interrupt, live
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.recordings.decode import ReadingOptions


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


@pytest.fixture
def fed(tmp_path, monkeypatch):
    """A function that makes bytes standard input."""
    with ExitStack() as opened:

        def feed(content):
            (tmp_path / "stdin").write_bytes(content)
            monkeypatch.setattr(sys, "stdin", opened.enter_context(open(tmp_path / "stdin")))

        yield feed


def wav(seconds):
    buffer = io.BytesIO()
    soundfile.write(buffer, golden.audio(8000, seconds, 0), 8000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def test_standard_input_that_is_closed(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stdin in (None, closed):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(EdgeL3Error, match=r"^standard input is closed: pipe audio into this command$"):
            live.binary_stdin()


@posix_only
def test_standard_input_that_is_a_terminal(monkeypatch):
    first, second = os.openpty()
    with open(first, "rb"), open(second) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(EdgeL3Error, match=r"^standard input is a terminal: pipe audio into this command$"):
            live.binary_stdin()


def test_a_file_of_all_of_it(fed, micro, tmp_path):
    fed(wav(2.4))
    live.embed_stdin(micro, EmbeddingOptions(), ReadingOptions(strict=True), str(tmp_path / "out.npy"))
    audio, rate = soundfile.read(io.BytesIO(wav(2.4)))
    expected, _ = get_embedding(audio, rate, micro, verbose=0)
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_what_is_not_whole_is_an_error_where_that_is_asked_for(fed, micro, tmp_path, capsys):
    for output in (None, str(tmp_path / "out.npy")):
        fed(wav(2.4)[:-8000])
        with pytest.raises(EdgeL3Error, match=r"^standard input is not whole: 2\.15 s kept of 2\.40 s announced"):
            live.embed_stdin(micro, EmbeddingOptions(), ReadingOptions(strict=True), output)
    assert not (tmp_path / "out.npy").exists()
    assert len(capsys.readouterr().out.splitlines()) > 10  # they came before


def test_a_recording_of_which_nothing_arrives(fed, micro):
    fed(wav(1.0)[: -4 * 8000])
    with pytest.raises(EdgeL3Error, match=r"^standard input has no samples \(0\.00 s kept of 1\.00 s announced, .*\)$"):
        live.embed_stdin(micro, EmbeddingOptions(), ReadingOptions())


def test_a_sample_that_is_no_number(fed, micro, tmp_path):
    data = bytearray(wav(2.4))
    data[-4 * 800 : -4 * 799] = np.array([np.nan], "<f4").tobytes()
    fed(data)
    with pytest.raises(EdgeL3Error, match=r"^standard input: .* \(counted from 2\.\d\d s on\)$"):
        live.embed_stdin(micro, EmbeddingOptions(), ReadingOptions(), str(tmp_path / "out.npy"))
    assert not (tmp_path / "out.npy").exists()


def test_an_interruption_before_anything_came_leaves_no_file(fed, micro, tmp_path, monkeypatch):
    def interrupted(*args):
        raise interrupt.Interrupted(2)

    fed(wav(1.0))
    monkeypatch.setattr(live, "_embed_pipe", interrupted)
    with pytest.raises(interrupt.Interrupted):
        live.embed_stdin(micro, EmbeddingOptions(), ReadingOptions(), str(tmp_path / "out.npy"))
    assert os.listdir(tmp_path) == ["stdin"]
