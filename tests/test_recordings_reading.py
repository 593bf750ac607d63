"""Reading recordings whose decoders give up, stretch by stretch, and what is no recording."""

import os
from contextlib import contextmanager

import numpy as np
import pytest

import odd_recordings as odd
from conftest import posix_only
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import decode, pyav, sndfile

SR = 8000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording"


def without_av(monkeypatch):
    for module in (decode, pyav):
        monkeypatch.setattr(module, "has_av", lambda: False)


@pytest.fixture
def giving_up(monkeypatch):
    """libsndfile gives up behind so many blocks of each part; a function that sets it."""
    blocks = sndfile.blocks

    def set_to(count):
        def some(sound, part, seconds, begin=0):
            for number, block in enumerate(blocks(sound, part, seconds, begin)):
                if number == count:
                    raise sndfile.Broken("it gave up")
                yield block

        monkeypatch.setattr(sndfile, "blocks", some)

    return set_to


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ffmpeg_goes_on_where_libsndfile_stopped(path, giving_up, count):
    pytest.importorskip("av")
    path.write_bytes(odd.encoded(odd.signal(SR, 4.0), SR, "WAV", "PCM_16"))
    expected, _, _ = odd.read(path)
    giving_up(count)
    audio, _, findings = odd.read(path)
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete and "PyAV" in findings.decoder


@pytest.mark.parametrize("rate", [SR, 2 * SR])
def test_ffmpeg_does_not_go_on_at_another_rate(path, giving_up, monkeypatch, rate):
    pytest.importorskip("av")
    path.write_bytes(odd.encoded(odd.signal(SR, 4.0), SR, "WAV", "PCM_16"))
    expected, _, _ = odd.read(path)
    giving_up(1)
    real = pyav.open_av

    @contextmanager
    def opened(source):
        with real(source) as reader:
            reader.sample_rate = float(rate)
            yield reader

    monkeypatch.setattr(pyav, "open_av", opened)
    audio, _, findings = odd.read(path)
    kept = len(expected) if rate == SR else round(0.7 * SR)
    np.testing.assert_array_equal(audio, expected[:kept])
    assert findings.complete == (rate == SR)
    assert findings.lost_seconds == pytest.approx(4.0 - kept / SR)


def test_what_is_missing_in_the_first_of_two_becomes_zeros(path, giving_up, monkeypatch):
    one, two = (odd.encoded(odd.signal(SR, 2.0, 1, seed), SR, "OGG", "VORBIS") for seed in (0, 1))
    path.write_bytes(one + two)
    expected, _, findings = odd.read(path)
    assert findings.complete and len(expected) == 4 * SR
    without_av(monkeypatch)
    giving_up(1)
    audio, _, findings = odd.read(path)
    block = round(0.7 * SR)
    np.testing.assert_array_equal(audio[:block], expected[:block])
    np.testing.assert_array_equal(audio[block : 2 * SR], 0)
    np.testing.assert_array_equal(audio[2 * SR :], expected[2 * SR : 2 * SR + block])
    assert findings.holes == ((0.7, 1.3),) and findings.lost_seconds == pytest.approx(2.6)
    assert "it gave up" in findings.warnings[0]


@pytest.mark.parametrize(
    ("format", "subtype", "frames"),
    [("WAV", "PCM_16", 4000), ("WAV", "IMA_ADPCM", 4040), ("FLAC", "PCM_16", 4000), ("CAF", "ALAC_16", 4000)],
)
def test_how_many_samples_there_should_be(path, format, subtype, frames):
    path.write_bytes(odd.encoded(odd.signal(SR, 0.5), SR, format, subtype))
    with decode.open_recording(str(path)) as recording:
        assert recording.frames == frames
        assert sum(map(len, recording.blocks(0.1))) == frames


@pytest.fixture
def flac():
    """Eight frames, where they begin, and their samples."""
    noise = np.random.default_rng(0).integers(-20000, 20000, 8 * 4096).astype(np.int16)
    data = odd.encoded(noise, SR, "FLAC", "PCM_16")
    sync = data[data.index(b"\xff\xf8", 42) :][:4]
    return bytearray(data), [at for at in range(len(data)) if data.startswith(sync, at)], noise


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("first", [0, 20000, 23000, 30000])
def test_stretches_of_a_damaged_flac(path, flac, first, number):
    """Where seeking leads nowhere, it is decoded from the start."""
    data, offsets, noise = flac
    data[offsets[number] + 100 : offsets[number] + 4000] = b"\x55" * 3900
    path.write_bytes(data)
    expected = noise.copy()
    expected[number * 4096 : (number + 1) * 4096] = 0
    with decode.open_recording(str(path)) as recording:
        spans = [(first, first + 500), (first + 700, first + 700), (first + 900, first + 2000)]
        found = list(recording.read(spans, 0.05))
        for position, block in found:
            scale = 32768 if block.dtype.kind == "f" else 1
            np.testing.assert_array_equal(block[:, 0] * scale, expected[position : position + len(block)])
        covered = np.concatenate([np.arange(position, position + len(block)) for position, block in found])
        np.testing.assert_array_equal(covered, np.concatenate([np.arange(*span) for span in spans]))
    inside = sum(number * 4096 <= at < (number + 1) * 4096 for at in covered.tolist())
    assert findings_lost(recording) == pytest.approx(inside / SR, abs=1e-6)


def findings_lost(recording):
    return recording.findings.lost_seconds


@posix_only
def test_what_is_no_file(tmp_path):
    for where, reason in (
        (os.devnull, "is not a regular file (standard input is read with -)"),
        (str(tmp_path), "is a directory, not a recording"),
        (str(tmp_path / "none"), "cannot be read (No such file or directory)"),
    ):
        with pytest.raises(EdgeL3Error) as error, decode.open_recording(where):
            pass
        assert str(error.value) == reason
