"""Odd and damaged recordings: all that lies there is decoded, what is lost is said, and time never shifts."""

import os
import shutil
import struct
import subprocess
import sys
import time
from typing import ClassVar

import numpy as np
import pytest

import odd_recordings as odd
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import decode, pyav, sndfile
from edgel3_onnx.recordings.linear import Linear

SR = 16000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_24"),
    "au": ("AU", "FLOAT"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}


@pytest.fixture(autouse=True)
def nothing_on_standard_error(capfd):
    """No decoder writes to standard error, whatever it is given."""
    yield
    assert capfd.readouterr().err == ""


@pytest.fixture
def without_av(monkeypatch):
    for module in (decode, pyav):
        monkeypatch.setattr(module, "has_av", lambda: False)


def saved(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def whole(suffix, seconds=3.37, channels=1, sr=SR):
    return odd.encoded(odd.signal(sr, seconds, channels), sr, *FORMATS[suffix])


def plain(tmp_path, data, suffix):
    """What soundfile makes of a file that is in order."""
    audio, _, findings = odd.read(saved(tmp_path, f"plain.{suffix}", data))
    assert findings.complete and not findings.warnings
    return audio


def set_size(data, size, name=b"data"):
    at = data.index(name) + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


class TestHeaders:
    """The header is wrong and all the audio is there."""

    @pytest.mark.parametrize(
        ("change", "warning"),
        [
            (lambda data, size: set_size(data, size + 44), None),
            (lambda data, size: set_size(data, size + 4), None),
            (lambda data, size: set_size(data, 0xFFFFFFFF), None),
            (lambda data, size: set_size(data, 0x7FFFF000), None),
            (lambda data, size: set_size(data, 0), "its header says 0 s; the 3.37 s"),
            (lambda data, size: set_size(data, 44), "its header says 0.00 s; the 3.37 s"),
            (lambda data, size: set_size(data, size // 3 // 2 * 2), "its header says 1.12 s; the 3.37 s"),
        ],
    )
    def test_wav_size(self, tmp_path, change, warning):
        data = whole("wav")
        expected = plain(tmp_path, data, "wav")
        audio, _, findings = odd.read(saved(tmp_path, "a.wav", change(data, len(expected) * 2)))
        np.testing.assert_array_equal(audio, expected)
        assert findings.complete and findings.lost_seconds < 0.01
        assert [text[: len(warning or "")] for text in findings.warnings] == ([warning] if warning else [])

    def test_wave64_of_a_writer_on_a_pipe(self, tmp_path):
        """It gives its own size as -1 and that of the samples as the largest there is; FFmpeg writes such files."""
        data = bytearray(whole("w64"))
        expected = plain(tmp_path, bytes(data), "w64")
        at = data.index(b"data")
        data[16:24] = b"\xff" * 8
        data[at + 16 : at + 24] = b"\xff" * 7 + b"\x7f"
        audio, _, findings = odd.read(saved(tmp_path, "pipe.w64", bytes(data)))
        np.testing.assert_array_equal(audio, expected)
        assert findings.complete and not findings.warnings and "to the end of the file" in findings.notes[0]

    @pytest.mark.parametrize("size", [8, 23])
    def test_wave64_whose_chunk_is_smaller_than_its_own_header(self, tmp_path, size):
        data = bytearray(whole("w64"))
        at = data.index(b"fmt ")
        data[at + 16 : at + 24] = struct.pack("<q", size)
        with pytest.raises(EdgeL3Error, match="is in no format that libsndfile"):
            odd.read(saved(tmp_path, "a.w64", bytes(data)))

    @pytest.mark.parametrize("bits", [16, 24, 32])
    def test_rifx_that_was_never_filled_in(self, tmp_path, bits):
        samples = np.round(odd.signal(SR, 2)[:, 0] * 2 ** (bits - 1)).astype(np.int64)
        body = b"".join(int(each).to_bytes(bits // 8, "big", signed=True) for each in samples)
        fmt = struct.pack(">4sIHHIIHH", b"fmt ", 16, 1, 1, SR, SR * bits // 8, bits // 8, bits)
        data = b"RIFX" + bytes(4) + b"WAVE" + fmt + b"data" + bytes(4) + body
        audio, _, findings = odd.read(saved(tmp_path, "a.wav", data))
        np.testing.assert_allclose(audio, samples / 2 ** (bits - 1), rtol=0, atol=1e-7)
        assert findings.warnings == ("its header says 0 s; the 2.00 s up to the end of the file are taken",)

    @pytest.mark.parametrize("bits", [8, 16, 48])
    def test_caf_with_samples_that_there_are_not(self, tmp_path, bits):
        description = struct.pack(">d4s5I", 8000, b"lpcm", 1, bits // 8, 1, 1, bits)  # floating point
        data = b"caff\0\1\0\0desc" + struct.pack(">q", 32) + description + b"data" + struct.pack(">qI", 404, 0)
        with pytest.raises(EdgeL3Error):
            odd.read(saved(tmp_path, "a.caf", data + bytes(400)))

    def test_what_follows_the_samples_is_no_audio(self, tmp_path):
        data = whole("wav")
        expected = plain(tmp_path, data, "wav")
        for behind in (b"LIST" + struct.pack("<I", 4000) + b"x" * 4000, bytes(5000), odd.id3v1()):
            audio, _, findings = odd.read(saved(tmp_path, "a.wav", data + behind))
            np.testing.assert_array_equal(audio, expected)
            assert not findings.warnings

    @pytest.mark.parametrize("silence", [1000, 2**18 + 10], ids=["", "more than a buffer of silence"])
    @pytest.mark.parametrize("left_over", [0, 3], ids=["", "cut inside a sample"])
    @pytest.mark.parametrize("shift", [0, 8], ids=["right-justified", "left-justified"])
    def test_24_bits_in_4_bytes(self, tmp_path, shift, left_over, silence):
        samples = np.round(odd.signal(SR, 2) * 2**23).astype("<i4")[:, 0]
        samples = np.concatenate([np.zeros(silence, "<i4"), samples])
        fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SR, SR * 4, 4, 24)
        body = (samples << shift).tobytes() + b"\x55" * left_over
        data = (
            b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVE" + fmt + b"data" + struct.pack("<I", len(body)) + body
        )
        audio, _, findings = odd.read(saved(tmp_path, "a.wav", data))
        np.testing.assert_allclose(audio, samples / 2**23, rtol=0, atol=2**-22)
        assert findings.complete and not findings.warnings

    @pytest.mark.parametrize("total", [0, 1, 40000])
    def test_flac_that_says_less(self, tmp_path, total):
        data = bytearray(whole("flac"))
        expected = plain(tmp_path, data, "flac")
        data[21] &= 0xF0
        data[22:26] = total.to_bytes(4, "big")
        audio, _, findings = odd.read(saved(tmp_path, "a.flac", data))
        np.testing.assert_array_equal(audio, expected)
        assert findings.complete and not findings.warnings and findings.notes

    def test_flac_behind_and_before_tags(self, tmp_path):
        data = whole("flac")
        expected = plain(tmp_path, data, "flac")
        audio, _, findings = odd.read(saved(tmp_path, "a.flac", odd.id3v2() + data + odd.id3v1()))
        np.testing.assert_array_equal(audio, expected)
        assert not findings.warnings

    def test_mp3_among_tags(self, tmp_path):
        data = whole("mp3")
        expected = plain(tmp_path, data, "mp3")
        assert len(expected) == int(SR * 3.37)
        for name, changed in odd.tagged(data).items():
            audio, _, findings = odd.read(saved(tmp_path, "a.mp3", changed))
            np.testing.assert_array_equal(audio, expected, err_msg=name)
            assert findings.complete and not findings.warnings, name

    def test_mp3_without_a_count(self, tmp_path):
        data = whole("mp3")
        expected = plain(tmp_path, data, "mp3")
        at = next(data.index(tag) for tag in (b"Info", b"Xing") if tag in data)
        audio, _, findings = odd.read(saved(tmp_path, "a.mp3", data[:at] + bytes(200) + data[at + 200 :]))
        assert findings.complete and not findings.warnings and findings.notes
        assert len(expected) < len(audio) <= len(expected) + 6 * 1152  # with delay, padding and the frame of the tag
        start = np.correlate(audio[:8000].astype(float), expected[:4000].astype(float)).argmax()
        np.testing.assert_allclose(audio[start:][: len(expected)], expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("suffix", ["ogg", "opus"])
    def test_ogg_without_end_of_stream(self, tmp_path, suffix):
        data = whole(suffix)
        expected = plain(tmp_path, data, suffix)
        last = data.rindex(b"OggS")
        from edgel3_onnx.recordings.ogg import ending

        page = bytearray(ending(data[last:]))
        page[5] &= ~4
        page[22:26] = checksum_by_bits(page)
        audio, _, findings = odd.read(saved(tmp_path, f"a.{suffix}", data[:last] + page))
        np.testing.assert_array_equal(audio, expected)
        assert findings.complete and not findings.warnings and "end-of-stream" in findings.notes[0]

    @pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus"])
    def test_joined(self, tmp_path, suffix):
        data = whole(suffix)
        expected = plain(tmp_path, data, suffix)
        audio, _, findings = odd.read(saved(tmp_path, f"a.{suffix}", data + data))
        np.testing.assert_allclose(audio, np.tile(expected, 2), rtol=0, atol=1e-6)
        assert findings.complete and "2 recordings joined" in findings.warnings[0]

    @pytest.mark.parametrize("suffix", ["mp3", "ogg"])
    def test_joined_with_another_rate(self, tmp_path, suffix):
        data = whole(suffix)
        expected = plain(tmp_path, data, suffix)
        audio, _, findings = odd.read(saved(tmp_path, f"a.{suffix}", data + whole(suffix, 2, 1, 44100)))
        np.testing.assert_array_equal(audio, expected)
        assert not findings.complete and "44100 Hz" in findings.warnings[0]

    def test_flac_in_ogg(self, tmp_path):
        if shutil.which("ffmpeg") is None:
            pytest.skip("needs ffmpeg")
        expected = plain(tmp_path, whole("flac", 6), "flac")
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "plain.flac", "-c:a", "flac", tmp_path / "a.oga"]
        subprocess.run(command, check=True)
        audio, _, findings = odd.read(tmp_path / "a.oga")
        np.testing.assert_array_equal(audio, expected)
        assert findings.complete and findings.decoder == sndfile.version()
        data = (tmp_path / "a.oga").read_bytes()
        for how in odd.DAMAGES:
            audio, _, findings = odd.read(saved(tmp_path, "a.oga", odd.damaged(data, how, np.random.default_rng(1))))
            assert not findings.complete and odd.shifted_click(audio, expected, SR, findings.holes) is None

    def test_without_header(self, tmp_path):
        samples = odd.signal(SR, 2)[:, 0]
        path = saved(tmp_path, "a.raw", np.round(samples * 32767).astype("<i2").tobytes())
        with pytest.raises(EdgeL3Error, match="--rate HZ"):
            odd.read(path)
        audio, rate, findings = odd.read(path, Linear.mono(SR))
        np.testing.assert_allclose(audio, samples, rtol=0, atol=2**-14)
        assert rate == SR and findings.raw and not findings.warnings
        audio, rate, findings = odd.read(saved(tmp_path, "b.raw", whole("wav")), Linear.mono(4000))
        assert rate == SR and findings.raw is None  # it has a header, whatever its name


def checksum_by_bits(page):
    """Ogg's checksum as RFC 3533 defines it."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value >> 31 else value << 1) & 0xFFFFFFFF
    return value.to_bytes(4, "little")


class TestDamage:
    """Something is lost: what is left stays in its place, and the loss is said."""

    @pytest.mark.parametrize("how", odd.DAMAGES)
    @pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "opus", "wav", "aiff", "caf", "w64"])
    @pytest.mark.parametrize("with_av", [True, False], ids=["av", "no av"])
    def test_sample(self, tmp_path, monkeypatch, suffix, how, with_av):
        if not with_av:
            for module in (decode, pyav):
                monkeypatch.setattr(module, "has_av", lambda: False)
        elif not pyav.has_av():
            pytest.skip("needs PyAV")
        check_damage(tmp_path, whole(suffix, 8, 1, 48000), suffix, how, range(3))

    def test_strictly_nothing_lost_is_no_loss(self, tmp_path):
        audio, _, findings = odd.read(saved(tmp_path, "a.mp3", whole("mp3")))
        assert (findings.complete, findings.lost_seconds, findings.holes, findings.warnings) == (True, 0, (), ())
        assert findings.announced_seconds == pytest.approx(len(audio) / SR)

    def test_hole_has_its_length(self, tmp_path):
        data = whole("flac", 6)
        expected = plain(tmp_path, data, "flac")
        middle = len(data) // 2
        audio, _, findings = odd.read(saved(tmp_path, "a.flac", data[:middle] + bytes(4000) + data[middle + 4000 :]))
        assert len(audio) == len(expected)
        ((start, length),) = findings.holes
        begin, end = round(start * SR), round((start + length) * SR)
        assert not audio[begin:end].any() and 0.1 < length < 1
        np.testing.assert_array_equal(audio[:begin], expected[:begin])
        np.testing.assert_array_equal(audio[end:], expected[end:])
        assert findings.lost_seconds == pytest.approx(length, abs=1e-5)
        assert f"zeros for {length:.2f} s at {start:.2f} s" in findings.warnings[0]
        assert findings.decoder == decode.decoders_at_hand()

    def test_pyav_goes_on_where_libsndfile_gives_up(self, tmp_path, monkeypatch):
        pytest.importorskip("av")
        data = whole("wav", 3)
        expected = plain(tmp_path, data, "wav")
        blocks = sndfile.blocks

        def gives_up(sound, part, seconds, begin=0):
            yield next(blocks(sound, part, seconds, begin))
            raise sndfile.Broken("it gave up")

        monkeypatch.setattr(sndfile, "blocks", gives_up)
        audio, _, findings = odd.read(tmp_path / "plain.wav")
        np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-7)
        assert findings.complete and "PyAV" in findings.decoder
        for module in (decode, pyav):
            monkeypatch.setattr(module, "has_av", lambda: False)
        audio, _, findings = odd.read(tmp_path / "plain.wav")
        assert len(audio) == int(0.7 * SR) and not findings.complete and "it gave up" in findings.warnings[0]

    def test_m4a_with_packets_lost(self, tmp_path):
        av = pytest.importorskip("av")
        odd.encoded_with_av(tmp_path / "a.m4a", odd.signal(SR, 6)[:, 0], SR, "aac", movflags="faststart")
        expected, _, findings = odd.read(tmp_path / "a.m4a")
        assert findings.complete
        with av.open(str(tmp_path / "a.m4a")) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
        data = bytearray((tmp_path / "a.m4a").read_bytes())
        for offset, size in packets[40:60]:
            data[offset : offset + size] = b"\xff" * size
        audio, _, findings = odd.read(saved(tmp_path, "b.m4a", data))
        assert len(audio) == len(expected) and not findings.complete
        assert odd.shifted_click(audio, expected, SR, findings.holes) is None

    def test_name_that_looks_like_a_protocol(self, tmp_path, monkeypatch):
        pytest.importorskip("av")
        odd.encoded_with_av(tmp_path / "a.m4a", odd.signal(SR, 2)[:, 0], SR, "aac")
        monkeypatch.chdir(tmp_path)
        os.rename("a.m4a", "concat:x.m4a") if sys.platform != "win32" else pytest.skip("no colons in names")
        assert odd.read("concat:x.m4a")[2].complete

    def test_megabytes_of_what_looks_like_frames(self, tmp_path):
        data = whole("mp3")
        expected = plain(tmp_path, data, "mp3")
        start = time.process_time()
        audio, _, _ = odd.read(saved(tmp_path, "a.mp3", data + b"\xff" * 5_000_000))
        assert time.process_time() - start < 1
        assert len(expected) - 1200 < len(audio) <= len(expected)


def check_damage(tmp_path, data, suffix, how, seeds):
    expected = plain(tmp_path, data, suffix)
    is_linear = suffix in ("wav", "aiff", "caf", "w64", "au")
    for seed in seeds:
        broken = odd.damaged(data, how, np.random.default_rng(seed))
        try:
            audio, sr, findings = odd.read(saved(tmp_path, f"a.{suffix}", broken))
        except EdgeL3Error:  # refused: less than a page is left
            assert how == "truncated" and len(broken) < len(data) / 5, f"{suffix}, {how}, seed {seed}"
            continue
        where = f"{suffix}, {how}, seed {seed}: {findings}"
        if is_linear and how != "truncated":  # samples that are damaged are samples
            assert len(audio) == len(expected) and findings.complete, where
            continue
        assert len(audio) <= len(expected) + 2, where
        if not findings.warnings:
            assert odd.silently_lost(audio, expected, sr) <= 0.15, where
        assert findings.complete == (not findings.warnings), where
        assert odd.shifted_click(audio, expected, sr, findings.holes) is None, where


class TestSharedRecordings:
    """The files of public bug reports, where they are at hand: seconds of each, with and without PyAV."""

    WHOLE: ClassVar = {
        "h1.mp3": 6.03,
        "h3.mp3": 10.0,
        "h4.ogg": 10.0,
        "wrap.wav": 3.0,
        "h6.wav": 3.0,
        "r1.flac": 5.0,
        "r2.opus": 5.0,
        "fl005.wav": 3.0,
        "lingua4.wav": 3.0,
        "fl012.wav": 3.0,
        "r4.wav": 3.0,
        "r6_1.mp3": 4.99,
        "r7.oga": 5.0,
        "r9.wav": 5.076,
        "e12.mp3": 5.0,
        "r10.raw": 3.0,
    }
    ONLY_WITH_AV: ClassVar = {"r8.flac": 5.0, "r8g.wav": 5.0}
    WARNED: ClassVar = {"h3.mp3", "h4.ogg", "wrap.wav", "fl012.wav", "r4.wav"}

    @pytest.fixture
    def folder(self, reference):
        folder = reference.parent / "recordings"
        return folder if folder.is_dir() else pytest.skip(f"needs {folder}")

    def test_without_av(self, folder, without_av):
        self.check(folder, self.WHOLE)
        for name in self.ONLY_WITH_AV:
            with pytest.raises(EdgeL3Error, match=r"edgel3-onnx\[av\]"):
                odd.read(folder / name)

    def test_with_av(self, folder):
        pytest.importorskip("av")
        self.check(folder, {**self.WHOLE, **self.ONLY_WITH_AV})

    def check(self, folder, expected):
        for name, seconds in expected.items():
            audio, rate, findings = odd.read(folder / name)
            assert len(audio) / rate == pytest.approx(seconds, abs=0.006), name
            assert findings.complete and bool(findings.warnings) == (name in self.WARNED), (name, findings)
