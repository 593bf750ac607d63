"""Compressed audio from a pipe, joined or broken at a known place: what is decoded, and what is said of the rest."""

import os
import struct
import zlib

import numpy as np
import pytest

import odd_recordings as odd
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.recordings import pyav, sndfile
from edgel3_onnx.recordings.pipe_reader import PipeReader
from test_ogg_streams import FIRST, page

SR = 8000


@pytest.fixture(scope="module")
def mp3():
    """Three seconds, and the offsets of its frames, of which the first is a tag."""
    data = odd.encoded(odd.signal(SR, 3.0), SR, "MP3")
    offsets = [at for at in range(len(data)) if data[at] == 0xFF and data[at + 1 : at + 3][:1] == data[1:2]]
    offsets = [at for at in offsets if data[at + 3 : at + 4] == data[3:4] and data[at + 2] & 0xC == data[2] & 0xC]
    assert b"Info" in data[: offsets[1]] or b"Xing" in data[: offsets[1]]
    return data, offsets


def test_the_delay_of_the_encoder_is_dropped_though_it_is_longer_than_a_block(fed, mp3, tmp_path):
    audio, findings = fed(mp3[0])
    (tmp_path / "a.mp3").write_bytes(mp3[0])
    expected, _, _ = odd.read(tmp_path / "a.mp3")
    assert len(expected) == 3 * SR and findings.complete
    np.testing.assert_allclose(audio[: len(expected), 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", sorted(odd.tagged(b"").keys() - {"zeros_before"}))  # PyAV decodes these
def test_tags_and_zeros_are_no_loss(fed, mp3, name):
    expected, _ = fed(mp3[0])
    audio, findings = fed(odd.tagged(mp3[0])[name])
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete and not findings.warnings


@pytest.fixture(params=["announced", "counted"])
def frames(mp3, request):
    """The frames, with the tag that says how many there are or without it; and the seconds of each."""
    data, offsets = mp3
    found = [data[at:end] for at, end in zip(offsets, [*offsets[1:], len(data)], strict=True)]
    return found if request.param == "announced" else found[1:], 576 / SR, request.param == "announced"


@pytest.mark.parametrize("cut", [1, 50, -4])
def test_an_mp3_that_ends_inside_a_frame_has_lost_its_end(fed, frames, cut):
    frames, seconds, is_said = frames
    expected, findings = fed(b"".join(frames))
    assert findings.complete and not findings.warnings
    for count in (1, 5):
        audio, findings = fed(
            b"".join(frames[:-count]) + frames[-count][: len(frames[-count]) - cut if cut > 0 else -cut]
        )
        np.testing.assert_array_equal(audio, expected[: len(expected) - count * 576])
        assert findings.lost_seconds == (pytest.approx(count * seconds, abs=1e-6) if is_said else 0)
        assert findings.complete == (is_said and count == 1)  # a tenth of a second may be missing
        assert findings.complete or "the end is missing" in findings.warnings[0]


def test_mp3_of_another_kind_behind_it_is_a_loss(fed, frames):
    frames, _, _ = frames
    expected, _ = fed(b"".join(frames))
    other = odd.encoded(odd.signal(16000, 1.0, 2), 16000, "MP3")
    audio, findings = fed(b"".join(frames) + odd.id3v2() + other + odd.id3v1())
    np.testing.assert_array_equal(audio, expected)
    assert not findings.complete and "s joined to it at 16000 Hz, 2 channels" in findings.warnings[0]
    assert findings.lost_seconds == pytest.approx(1.0, abs=0.13)  # with what the encoder pads


@pytest.mark.parametrize("padding", [0, 2])
def test_frames_of_no_bitrate_behind_others_are_no_frames(fed, mp3, padding):
    """How long they are nobody can say before the next has come."""
    data, offsets = mp3
    expected, _ = fed(data[offsets[1] :])
    head = data[offsets[1] : offsets[1] + 4]
    free = bytes([head[0], head[1], head[2] & 0x0D | padding, head[3]])
    other = bytes([head[0], head[1], (head[2] & 0x01 | padding) ^ 0x04, head[3]])
    for behind in (free, other):
        audio, findings = fed(data[offsets[1] :] + (behind + b"\x55" * 96) * 5)
        np.testing.assert_array_equal(audio, expected)
        assert not findings.complete and "bytes are no frames" in findings.warnings[0]


@pytest.mark.parametrize("length", [10, 1000])
@pytest.mark.parametrize("at", [0, 20, None])
def test_junk_between_frames(fed, frames, length, at):
    """Where it is not said how many frames there are, some bytes may be anything, but not as many as a frame has."""
    frames, _, is_said = frames
    junk = b"\x55" * length
    expected, _ = fed(b"".join(frames))
    audio, findings = fed(b"".join([odd.id3v2(), *frames[:at], junk, *([] if at is None else frames[at:])]))
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete == (is_said or length < 50 or at == 0)  # in front there may be anything
    assert findings.complete or f"{length - 3 * (at is None)} bytes are no frames" in findings.warnings[0]


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (SR, 2)])
def test_ogg_of_another_kind_behind_it_is_a_loss(fed, rate, channels):
    first = odd.encoded(odd.signal(SR, 2.0), SR, "OGG", "VORBIS")
    expected, findings = fed(first)
    assert len(expected) == 2 * SR and findings.complete
    audio, findings = fed(first + odd.encoded(odd.signal(rate, 1.0, channels), rate, "OGG", "VORBIS") + first)
    np.testing.assert_array_equal(audio, expected)
    assert not findings.complete
    assert f"a second recording at {rate} Hz, {channels} channels" in findings.warnings[0]
    audio, findings = fed(first + first)
    np.testing.assert_array_equal(audio, np.tile(expected, (2, 1)))
    assert findings.complete and "2 recordings joined" in findings.warnings[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"OggS" + bytes(10), "Format not recognised"),
        (page([b"x" * 60000], FIRST) + page([b"y" * 60000]) * 9, "File contains data in an unimplemented format"),
        (b"\xff\xfb\x90\x64" + bytes(3), "Format not recognised"),
    ],
    ids=["short", "more than a pipe holds", "no frame"],
)
def test_what_libsndfile_does_not_open(fed, content, reason):
    with pytest.raises(EdgeL3Error) as error:
        fed(content)
    assert str(error.value) == f"standard input cannot be decoded ({reason})"


def test_what_breaks_inside_a_stream_is_a_loss(fed, monkeypatch):
    data = odd.encoded(odd.signal(SR, 2.0), SR, "OGG", "VORBIS")
    expected, _ = fed(data)
    make = sndfile.open_sound

    class Breaking:
        def __init__(self, sound):
            self._sound, self._left = sound, 4

        def __getattr__(self, name):
            return getattr(self._sound, name)

        def read(self, *args, **options):
            import soundfile

            self._left -= 1
            if self._left < 0:
                raise soundfile.LibsndfileError(2, "")
            return self._sound.read(*args, **options)

    monkeypatch.setattr(sndfile, "open_sound", lambda *args, **options: Breaking(make(*args, **options)))
    audio, findings = fed(data)
    np.testing.assert_array_equal(audio, expected[: 4 * 800])
    assert not findings.complete and "damaged behind 0.40 s (System error" in findings.warnings[0]


def test_a_pipe_that_breaks_is_an_error(fed, mp3):
    class Breaking(PipeReader):
        left = 3000

        def _read(self, count=1000):
            if self.left <= 0:
                raise EdgeL3Error("standard input cannot be read (Input/output error)")
            data = super()._read(min(count, 1000))
            self.left -= len(data)
            return data

    with pytest.raises(EdgeL3Error, match=r"^standard input cannot be read \(Input/output error\)$"):
        fed(mp3[0], reader=Breaking)


def test_reading_that_fails(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(EdgeL3Error, match=r"^standard input cannot be read \(Is a directory\)$"):
            PipeReader(descriptor).peek(1)
    finally:
        os.close(descriptor)


def test_where_nothing_waits_for_a_pipe(fed, mp3, monkeypatch):
    """As on Windows."""
    import select

    expected, _ = fed(mp3[0])
    monkeypatch.delattr(select, "poll")
    np.testing.assert_array_equal(fed(mp3[0])[0], expected)


def png():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_pictures_are_no_audio(fed, tmp_path, monkeypatch):
    pytest.importorskip("av")
    with pytest.raises(EdgeL3Error, match=r"^standard input has no stream of audio that FFmpeg decodes$"):
        fed(png() * 40)
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(EdgeL3Error, match=r"^has no audio stream$"):
        odd.read(tmp_path / "a.png")
    monkeypatch.setattr(pyav, "has_av", lambda: False)
    with pytest.raises(EdgeL3Error, match=r"^standard input is neither WAV, Ogg nor MP3; .* 'edgel3-onnx\[av\]'$"):
        fed(png())


def test_a_rate_that_changes_inside_a_stream_is_a_loss(fed, tmp_path):
    pytest.importorskip("av")
    odd.encoded_with_av(tmp_path / "a.aac", odd.signal(SR, 3.0)[:, 0], SR, "aac", "adts")
    odd.encoded_with_av(tmp_path / "b.aac", odd.signal(16000, 2.0)[:, 0], 16000, "aac", "adts")
    first = (tmp_path / "a.aac").read_bytes()
    expected, findings = fed(first)
    assert findings.complete and 3 * SR <= len(expected) < 3.5 * SR
    content = first + (tmp_path / "b.aac").read_bytes()
    audio, findings = fed(content)
    (tmp_path / "c.aac").write_bytes(content)
    from_file, _, of_file = odd.read(tmp_path / "c.aac")
    said = f"what follows {len(expected) / SR:.2f} s has another rate, 16000 Hz"
    for samples, found in ((audio[:, 0], findings), (from_file, of_file)):
        np.testing.assert_array_equal(samples, expected[:, 0])
        assert not found.complete and said in found.warnings[0]
