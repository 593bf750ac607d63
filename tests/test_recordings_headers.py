"""WAV, AIFF, AU, CAF and FLAC whose headers are cut, damaged or odd: what is decoded all the same, and what is said."""

import io
import struct

import numpy as np
import pytest

import odd_recordings as odd
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import decode, flac, riff, view

SR = 8000
UNREADABLE = "is in no format that libsndfile or FFmpeg reads (Invalid data found when processing input)"


@pytest.fixture
def read(tmp_path):
    """Samples and findings of a file with some bytes."""

    def read(data):
        (tmp_path / "recording").write_bytes(data)
        audio, rate, findings = odd.read(tmp_path / "recording")
        assert rate == SR
        return audio, findings

    return read


def cut_before(format, name):
    data = odd.encoded(odd.signal(SR, 0.5), SR, format, "PCM_16")
    return data[: data.index(name)]


def without(format, name, length):
    """A file without the chunk ``name``, which has ``length`` bytes with its header."""
    data = odd.encoded(odd.signal(SR, 0.5), SR, format, "PCM_16")
    at = data.index(name)
    return data[:at] + data[at + length :]


@pytest.mark.parametrize(
    "data",
    [
        cut_before("WAV", b"data"),
        cut_before("WAV", b"data") + b"LIST" + struct.pack("<I", 1000) + b"what ends before it begins",
        cut_before("AIFF", b"SSND"),
        without("AIFF", b"COMM", 26),
        cut_before("CAF", b"data"),
        without("CAF", b"desc", 44),
        cut_before("CAF", b"data") + b"free" + struct.pack(">q", -5) + bytes(1000),
        odd.encoded(odd.signal(SR, 0.5), SR, "AU", "PCM_16")[:23],
        odd.encoded(odd.signal(SR, 0.5), SR, "FLAC", "PCM_16")[:6],
        b"fLaC\xff" + bytes(1000),
        b"fLaC\x84" + odd.encoded(odd.signal(SR, 0.5), SR, "FLAC", "PCM_16")[5:],
    ],
    ids=[
        "wav",
        "wav+list",
        "aiff",
        "aiff-comm",
        "caf",
        "caf-desc",
        "caf<0",
        "au",
        "flac",
        "flac-ff",
        "flac-streaminfo",
    ],
)
def test_a_header_that_says_nothing_of_use(read, data):
    pytest.importorskip("av")
    with pytest.raises(EdgeL3Error) as error:
        read(data)
    assert str(error.value) == UNREADABLE


@pytest.fixture
def adpcm():
    """A WAV of four bits a sample, of which 1024 bytes of the data are 2020 samples: where its sizes are."""
    data = odd.encoded(odd.signal(SR, 0.5), SR, "WAV", "IMA_ADPCM")
    return bytearray(data), data.index(b"fmt ") + 16, data.index(b"data") + 4


def test_compressed_samples_of_unknown_length_go_to_the_end(read, adpcm):
    data, _, at = adpcm
    expected, _ = read(data)
    data[at : at + 4] = b"\xff" * 4
    audio, findings = read(data)
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete and findings.announced_seconds is None


def test_of_compressed_samples_without_a_byte_rate_the_missing_end_is_said(read, adpcm):
    data, byte_rate, _ = adpcm
    expected, _ = read(data)
    data[byte_rate : byte_rate + 4] = bytes(4)
    audio, findings = read(data)
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete
    audio, findings = read(data[:-1024])
    np.testing.assert_array_equal(audio, expected[: len(audio)])
    assert len(expected) - len(audio) >= 2000
    assert not findings.complete and "the end is missing" in findings.warnings[0]


@pytest.mark.parametrize("count", [998, 999])
def test_wav_samples_behind_a_thousand_chunks_are_not_looked_for(read, count):
    """A damaged file could send us through any number of them: libsndfile alone decodes it."""
    data = odd.encoded(odd.signal(SR, 0.5), SR, "WAV", "PCM_16")
    at = data.index(b"data")
    audio, findings = read(data[:at] + b"LIST\0\0\0\0" * count + data[at:-2400])
    assert len(audio) == SR // 2 - 1200
    assert findings.announced_seconds == (0.5 if count == 998 else None)
    assert findings.complete == (count != 998)


@pytest.mark.parametrize(("behind", "wrapped"), [(0, True), (2**16 - 2, True), (2**16, False)])
def test_a_size_beyond_4_gib_that_wrapped(tmp_path, behind, wrapped):
    """The file is longer by 2**32 bytes than its header says, and by what may be other chunks."""
    head, said = cut_before("WAV", b"data") + b"data" + struct.pack("<I", 2000), 2000
    with open(tmp_path / "large.wav", "wb") as file:
        file.write(head + b"\1" * said + b"LIST" + struct.pack("<I", 100))
        try:
            file.truncate(len(head) + said + 2**32 + behind)
        except OSError:
            pytest.skip("needs files with holes")
    with decode.open_recording(str(tmp_path / "large.wav")) as recording:
        assert recording.frames == ((said + 2**32 + behind) // 2 if wrapped else said // 2)


@pytest.mark.parametrize("lead", [2**18 - 1, 2**18, 2**18 + 3])  # around a mebibyte of zeros
@pytest.mark.parametrize("shift", [0, 8], ids=["lower", "upper"])
def test_24_bits_in_four_bytes_behind_silence(read, lead, shift):
    samples = np.concatenate([np.zeros(lead, np.int32), np.array([1, -1, 2**23 - 1, -(2**23), 77], np.int32)])
    audio, findings = read(in_four_bytes((samples << shift).astype("<i4").tobytes()))
    # Of the lower ones, the byte in front becomes a fraction of the last bit.
    np.testing.assert_allclose(audio, samples / 2**23, rtol=0, atol=0 if shift else 2**-23)
    assert findings.complete


def in_four_bytes(body):
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SR, 4 * SR, 4, 24)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVE" + form + b"data" + struct.pack("<I", len(body)) + body


def test_of_silence_nobody_can_say_where_in_four_bytes_it_lies(read):
    audio, findings = read(in_four_bytes(bytes(4 * 300001)))
    np.testing.assert_array_equal(audio, np.zeros(300001))
    assert findings.complete


def test_a_file_that_becomes_shorter_while_it_is_looked_at():
    data = in_four_bytes(bytes(4 * 1000))
    walk = riff.walk(io.BytesIO(data[:2000]), len(data))
    assert walk.parts[0].frames == 1000  # that is found out when it is decoded


NOISE = np.random.default_rng(0).integers(-20000, 20000, 8 * 4096).astype(np.int16)
FLAC = odd.encoded(NOISE, SR, "FLAC", "PCM_16")
OFFSETS = [at for at in range(len(FLAC)) if FLAC.startswith(FLAC[FLAC.index(b"\xff\xf8", 42) :][:4], at)]
HEAD, FRAMES = FLAC[: OFFSETS[0]], [FLAC[at:end] for at, end in zip(OFFSETS, [*OFFSETS[1:], len(FLAC)], strict=True)]
UNKNOWN = HEAD[:21] + bytes((HEAD[21] & 0xF0, 0, 0, 0, 0)) + HEAD[26:]  # that does not say how long it is
assert len(FRAMES) == 8


def test_flac_with_much_behind_it_that_is_none(read):
    junk = np.random.default_rng(1).bytes(150_000)
    audio, findings = read(FLAC + junk)
    np.testing.assert_array_equal(audio, NOISE / 32768)
    assert findings.complete and findings.announced_seconds == len(NOISE) / SR


@pytest.mark.parametrize(
    ("frames", "whole", "complete"),
    [
        (FRAMES, 8, True),
        ([*FRAMES[:7], FRAMES[7][:-1]], 7, False),
        (
            [*FRAMES[:7], FRAMES[7] + np.random.default_rng(1).bytes(150_000)],
            7,
            False,
        ),  # perhaps it is cut, perhaps not
        ([*FRAMES[:6], FRAMES[2][:2000]], 5, False),  # what follows the frame before it is the last that is sure
        ([FRAMES[0][:3000]], 0, False),
        ([FRAMES[0][:5]], 0, False),
        ([], 0, True),
    ],
    ids=["whole", "cut", "junk", "another", "first", "first bytes", "none"],
)
def test_of_flac_without_a_length_a_cut_frame_is_a_loss(read, frames, whole, complete):
    audio, findings = read(UNKNOWN + b"".join(frames))
    np.testing.assert_array_equal(audio, NOISE[: whole * 4096] / 32768)
    assert findings.complete == complete
    assert findings.announced_seconds is None
    assert findings.notes == ("it does not say how long it is: the last frame does",)
    assert bool(findings.warnings) == (not complete)


@pytest.mark.parametrize("count", [998, 999, 1500])
def test_flac_behind_a_thousand_blocks_of_metadata(read, count):
    """A damaged file could send us through any number of them: libsndfile alone decodes it."""
    data = FLAC[:4] + FLAC[4:42] + b"\1\0\0\0" * count + FLAC[42:]
    audio, findings = read(data)
    np.testing.assert_array_equal(audio, NOISE / 32768)
    assert findings.complete and (findings.announced_seconds is None) == (count > 998)


def test_flac_of_no_rate_is_left_to_others(read):
    pytest.importorskip("av")
    audio, findings = read(FLAC[:18] + bytes((0, 0, FLAC[20] & 15)) + FLAC[21:])
    np.testing.assert_array_equal(audio, NOISE / 32768)  # its frames say it too
    assert "PyAV" in findings.decoder and findings.announced_seconds is None


@pytest.mark.parametrize("chunk", [2**20, 8192, 8101, 1000, 64])
def test_frames_are_found_wherever_a_buffer_ends(read, chunk, monkeypatch):
    damaged = bytearray(FLAC)
    damaged[OFFSETS[3] + 100] ^= 0xFF
    monkeypatch.setattr(view, "_CHUNK", chunk)
    audio, findings = read(damaged)
    expected = NOISE / 32768
    expected[3 * 4096 : 4 * 4096] = 0
    np.testing.assert_array_equal(audio, expected)
    assert findings.holes == ((3 * 4096 / SR, 4096 / SR),)


@pytest.mark.parametrize("number", [2, 7])
def test_a_frame_header_in_the_middle_of_a_damaged_frame_is_none(read, number):
    damaged = bytearray(FLAC)
    at = OFFSETS[5] + 4000
    damaged[at : at + 16] = FRAMES[number][:16]
    audio, findings = read(damaged)
    expected = NOISE / 32768
    expected[5 * 4096 : 6 * 4096] = 0
    np.testing.assert_array_equal(audio, expected)
    assert findings.holes == ((5 * 4096 / SR, 4096 / SR),)


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0xC0, 0xFF])
def test_a_number_that_is_not_coded_as_utf_8_is_no_frame(byte):
    info = flac.Info(FLAC[8:42], OFFSETS[0])
    head = FRAMES[0][:4]
    for number, coded in ((0x80, b"\xc2\x80"), (0x7FF, b"\xdf\xbf"), (0x1234, b"\xe1\x88\xb4")):
        good = head + coded
        frame = flac.parse_frame(good + bytes([flac._crc8(good)]) + bytes(10), 7, info)
        assert (frame.offset, frame.first, frame.samples) == (7, number * 4096, 4096)
        wrong = good[:-1] + bytes([byte])
        assert flac.parse_frame(wrong + bytes([flac._crc8(wrong)]) + bytes(10), 7, info) is None
