"""Standard input as writers feed it: any chunks in any order, in pieces of any size, several files joined."""

import io
import os
import struct
import threading

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import odd_recordings as odd
from edgel3_onnx.audio import mix_down
from edgel3_onnx.recordings.pipe import open_pipe
from edgel3_onnx.recordings.pipe_reader import PipeReader
from test_recordings import whole

SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"]
chunks = st.lists(st.tuples(st.sampled_from([b"LIST", b"bext", b"junk", b"guan"]), st.binary(max_size=300)), max_size=3)


def wav(audio, rate, subtype, before, behind, size):
    """A WAV file with chunks before and behind its samples; ``size`` says what its header says of their size."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format="WAV", subtype=subtype)
    data = buffer.getvalue()
    at = data.index(b"data")
    (length,) = struct.unpack("<I", data[at + 4 : at + 8])
    samples = data[at + 8 : at + 8 + length]
    said = {"true": length, "unknown": 0xFFFFFFFF}[size]
    extra = [b"".join(n + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for n, b in c) for c in (before, behind)]
    head = data[:at] + extra[0] + b"data" + struct.pack("<I", said) + samples
    return head + (bytes(length % 2) + extra[1] if size == "true" else b"")


def fed(data, cuts):
    """What comes out of a pipe into which ``data`` is written in pieces; and whether the writer could end."""
    ours, theirs = os.pipe()
    failures = []

    def write():
        try:
            with os.fdopen(theirs, "wb", buffering=0) as pipe:
                for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    pipe.write(data[begin:end])
        except OSError as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        audio = open_pipe(PipeReader(ours))
        blocks = [mix_down(block) for block in audio.blocks()]
        writer.join()
    finally:
        os.close(ours)
    assert not failures
    return np.concatenate(blocks), audio


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_wav(data):
    rate = data.draw(st.sampled_from([8000, 22050, 48000]))
    channels = data.draw(st.integers(1, 3))
    files = data.draw(st.integers(1, 3))
    expected, stream = [], b""
    for k in range(files):
        subtype = data.draw(st.sampled_from(SUBTYPES))
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        audio = rng.uniform(-0.9, 0.9, (data.draw(st.integers(1, 3000)), channels))
        size = data.draw(st.sampled_from(["true", "unknown"])) if k == files - 1 else "true"
        one = wav(audio, rate, subtype, data.draw(chunks), data.draw(chunks), size)
        stream += one
        alone = wav(audio, rate, subtype, [], [], "true")
        dtype = "int16" if subtype == "PCM_16" else "float32"
        expected.append(mix_down(soundfile.read(io.BytesIO(alone), dtype=dtype, always_2d=True)[0]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    found, audio = fed(stream, cuts)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=0, atol=1e-7)
    findings = audio.findings()
    assert audio.sample_rate == rate and findings.complete and not findings.is_doubtful
    assert len(findings.warnings) == (files > 1)


def coded(suffix):
    """Files as they come, and what may surround them: by name, with the number of recordings in each."""
    one, two = whole(suffix), whole(suffix, 2)
    files = {
        "whole": (one, 1),
        "cut": (one[: len(one) * 2 // 3], 1),
        "garbage behind": (one + b"x" * 1000, 1),
        "a byte behind": (one + b"x", 1),
    }
    if suffix == "mp3":
        return files | {name: (data, 1) for name, data in odd.tagged(one).items() if name != "zeros_before"}
    return files | {
        "joined": (one + two, 2),
        "garbage between": (one + b"y" * 3000 + two, 2),
        "three": (two + one + two, 3),
    }


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus"])
def test_coded_as_from_a_file(suffix, tmp_path):
    for number, (name, (data, recordings)) in enumerate(coded(suffix).items()):
        path = tmp_path / f"recording.{suffix}"
        path.write_bytes(data)
        expected, rate, _ = odd.read(path)
        cuts = sorted(np.random.default_rng(number).integers(0, len(data), 8).tolist())
        found, audio = fed(data, cuts)
        assert audio.sample_rate == rate, name
        behind = len(found) - len(expected)  # a pipe's end is not known before: what pads an MP3 stays
        assert 0 <= behind < 1152 if suffix == "mp3" else behind == 0, name
        np.testing.assert_array_equal(found[: len(expected)], expected, err_msg=name)
        said = f"{recordings} recordings joined in one file are embedded as one ({len(found) / rate:.2f} s)"
        warnings = audio.findings().warnings
        if (suffix, name) == ("mp3", "cut"):
            assert "the end is missing" in warnings[0]
        else:
            assert warnings == ((said,) if recordings > 1 else ()), name


@pytest.mark.parametrize("count", [2, 3])
def test_mp3_files_one_behind_the_other(count):
    """Each begins with a frame that is a tag and no sound."""
    one = whole("mp3")
    alone, audio = fed(one, [])
    assert audio.findings().warnings == ()
    found, audio = fed(one * count, [len(one) + 5])
    seconds = len(found) / audio.sample_rate
    assert audio.findings().warnings == (
        f"{count} recordings joined in one file are embedded as one ({seconds:.2f} s)",
    )
    np.testing.assert_array_equal(found[: len(alone) - 1152], alone[:-1152])
    assert abs(len(found) - count * len(alone)) <= 2 * count * 1152
