"""FLAC by RFC 9639: frame headers as an encoder of the test's own makes them, and what the walk makes of odd files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import odd_recordings as odd
from edgel3_onnx.recordings import flac

SR, BLOCK = 8000, 4096
SAMPLES = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608, **{k: 2**k for k in range(8, 16)}}  # table 14
CHANNELS = [*range(1, 9), 2, 2, 2]  # table 16: independent ones, then stereo in three ways


def coded(number):
    """A number as section 9.1.5 has it: UTF-8, but up to 36 bits."""
    if number < 0x80:
        return bytes([number])
    length = next(n for n in range(2, 8) if number < 1 << (5 * n + 1))
    tail = [0x80 | number >> 6 * k & 0x3F for k in range(length - 1)][::-1]
    return bytes([(0xFF << (8 - length) & 0xFF) | number >> 6 * (length - 1), *tail])


def crc8(data):
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 0x80 else 0)
    return value


def header(block=12, rate=0, assignment=0, number=0, variable=0, samples=1):
    size = {6: 1, 7: 2}.get(block, 0)
    data = bytes([0xFF, 0xF8 | variable, block << 4 | rate, assignment << 4 | 8]) + coded(number)
    data += (samples - 1).to_bytes(size, "big") if size else b""
    data += bytes({12: 1, 13: 2, 14: 2}.get(rate, 0))
    return data + bytes([crc8(data)])


def info(channels=1, block_size=BLOCK, total=0):
    bits = SR << 44 | (channels - 1) << 41 | 15 << 36 | total
    return flac.Info(block_size.to_bytes(2, "big") * 2 + bytes(6) + bits.to_bytes(8, "big") + bytes(16), 42)


headers = {
    "block": st.integers(1, 15),
    "rate": st.integers(0, 14),
    "assignment": st.integers(0, 10),
    "number": st.one_of(st.integers(0, 2**31 - 1), *(st.integers(2**k - 2, 2**k + 1) for k in (7, 11, 16, 21, 26))),
    "variable": st.integers(0, 1),
    "samples": st.integers(1, 256),
}


@given(**headers)
def test_every_header_of_a_frame(block, rate, assignment, number, variable, samples):
    data = header(block, rate, assignment, number, variable, samples)
    frame = flac.parse_frame(data + b"more", 77, info(CHANNELS[assignment]))
    expected = SAMPLES.get(block, samples)
    assert (frame.offset, frame.first) == (77, number if variable else number * BLOCK)
    assert (frame.samples, frame.end - frame.first) == (expected, expected)
    assert flac.parse_frame(data[:-1], 77, info(CHANNELS[assignment])) is None
    assert flac.parse_frame(data, 77, info(CHANNELS[assignment] % 8 + 1)) is None


@given(numbers=st.fixed_dictionaries(headers), data=st.data())
def test_a_damaged_header_is_none(numbers, data):
    good = header(**numbers)
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    bad = bytearray(good)
    bad[at] ^= 1 << bit
    assert flac.parse_frame(bytes(bad), 0, info(CHANNELS[numbers["assignment"]])) is None


@pytest.mark.parametrize(("samples", "block"), [(256, 6), (257, 7), (65536, 7)])
def test_sizes_of_blocks_that_have_no_code(samples, block):
    assert flac.parse_frame(header(block, samples=samples), 0, info()).samples == samples


@pytest.mark.parametrize("number", [2**31, 2**36 - 1])
def test_the_largest_numbers(number):
    assert flac.parse_frame(header(number=number, variable=1), 0, info()).first == number


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0xFE), (1, 0xFA), (1, 0xF0), (2, 0x00), (2, 0xCF), (3, 0x09), (3, 0xB8), (4, 0x80), (4, 0xFF), (5, 0x00)],
    ids=["sync", "reserved", "sync", "block", "rate", "reserved", "channels", "number", "number", "number"],
)
def test_what_no_frame_has(at, value):
    """With the checksum that belongs to it."""
    data = bytearray(header(number=200)[:-1])
    data[at] = value
    assert flac.parse_frame(bytes(data) + bytes([crc8(data)]), 0, info(2 if value == 0xB8 else 1)) is None


@pytest.mark.parametrize("total", [0, 1, 2**35, 2**36 - 1])
def test_a_header_of_another_length(total):
    made = flac.Info(info(channels=2, total=12345).header(total)[8:], 42)
    assert (made.rate, made.channels, made.block_size, made.total) == (SR, 2, BLOCK, total)


@pytest.fixture(scope="module")
def recording():
    """A FLAC of ten frames, its samples, and where frames begin."""
    audio = np.random.default_rng(0).integers(-2000, 2000, 10 * BLOCK).astype(np.int16)
    data = odd.encoded(audio, SR, "FLAC", "PCM_16")
    offsets = [k for k in range(42, len(data)) if flac.parse_frame(data[k : k + 16], k, info(1))]
    assert len(offsets) == 10
    return data, audio / 32768, offsets


@pytest.mark.parametrize("behind", ["", "frames", "junk"])
@pytest.mark.parametrize("number", range(10))
def test_a_damaged_frame_is_said_and_the_others_are_kept(recording, tmp_path, number, behind):
    """The last one too; and other frames behind it are none of the recording."""
    data, audio, offsets = recording
    damaged = bytearray(data)
    damaged[offsets[number] + 500] ^= 0xFF
    path = tmp_path / "a.flac"
    path.write_bytes(bytes(damaged) + {"": b"", "frames": data[offsets[0] :], "junk": b"junk" * 500}[behind])
    found, _, findings = odd.read(path)
    expected = audio.copy()
    expected[number * BLOCK : (number + 1) * BLOCK] = 0
    assert not findings.complete and findings.lost_seconds == BLOCK / SR
    if number < 9:
        np.testing.assert_array_equal(found, expected)
        assert findings.holes == ((number * BLOCK / SR, BLOCK / SR),)
    else:
        np.testing.assert_array_equal(found, expected[: 9 * BLOCK])
        assert findings.holes == () and "(the end is missing: flac decoder lost sync)" in findings.warnings[0]


@pytest.mark.parametrize("is_said", [True, False])
@pytest.mark.parametrize("length", [5 * BLOCK + 77, 10 * BLOCK, 25 * BLOCK])
def test_recordings_joined_in_one_file_are_embedded_as_one(recording, tmp_path, length, is_said):
    """Shorter, longer and as long as the first, and whether or not that says its length."""
    data, audio, offsets = recording
    more = np.random.default_rng(1).integers(-2000, 2000, length).astype(np.int16)
    first = bytearray(data)
    if not is_said:
        first[21:26] = bytes([first[21] & 0xF0]) + bytes(4)
    path = tmp_path / "a.flac"
    path.write_bytes(bytes(first) + odd.encoded(more, SR, "FLAC", "PCM_16") + data)
    found, _, findings = odd.read(path)
    np.testing.assert_array_equal(found, np.concatenate([audio, more / 32768, audio]))
    seconds = len(found) / SR
    assert findings.complete and findings.announced_seconds == (pytest.approx(seconds) if is_said else None)
    assert findings.warnings == (f"3 recordings joined in one file are embedded as one ({seconds:.2f} s)",)
    damaged = bytearray(path.read_bytes())
    damaged[len(first) + 8000] ^= 1
    path.write_bytes(damaged[: -(len(data) - offsets[9]) // 2])
    found, _, findings = odd.read(path)
    (hole,) = findings.holes
    assert hole == (pytest.approx((10 + (8000 - 86) // 6400) * BLOCK / SR, abs=BLOCK / SR), BLOCK / SR)
    begin = round(hole[0] * SR)
    np.testing.assert_array_equal(found[:begin], np.concatenate([audio, more / 32768])[:begin])
    np.testing.assert_array_equal(found[begin : begin + BLOCK], 0)
    np.testing.assert_array_equal(
        found[begin + BLOCK :], np.concatenate([audio, more / 32768, audio])[begin + BLOCK : len(found)]
    )
    assert len(found) == len(audio) * 2 + len(more) - BLOCK


def test_a_recording_of_another_kind_that_is_joined_is_left_out(recording, tmp_path):
    data, audio, _ = recording
    path = tmp_path / "a.flac"
    path.write_bytes(data + odd.encoded(np.zeros((SR, 2)), SR, "FLAC", "PCM_16"))
    found, _, findings = odd.read(path)
    np.testing.assert_array_equal(found, audio)
    assert "1.00 s joined to it at 8000 Hz, 2 channels" in findings.warnings[0]


def test_a_joined_recording_of_a_damaged_header_is_told(recording, tmp_path):
    data, audio, _ = recording
    path = tmp_path / "a.flac"
    path.write_bytes(data + data[:42] + b"\xff" + data[43:])
    found, _, findings = odd.read(path)
    np.testing.assert_array_equal(found, audio)
    assert not findings.complete
    assert "another recording joined to it, whose header is damaged" in findings.warnings[0]


def test_half_a_frame_is_none(recording, tmp_path):
    data, audio, offsets = recording
    path = tmp_path / "a.flac"
    path.write_bytes(data[: offsets[0] + 40])
    found, _, findings = odd.read(path)
    assert len(found) == 0 and findings.lost_seconds == findings.announced_seconds == len(audio) / SR


def test_what_looks_like_a_frame_inside_of_half_a_frame(recording, tmp_path):
    """Where the header does not say how long it is, the last two frames that belong together do."""
    data, audio, offsets = recording
    data = bytearray(data[: offsets[9] + 500])
    data[21:26] = bytes([data[21] & 0xF0]) + bytes(4)
    false = header(number=77)
    data = data[: offsets[9] + 300] + false + data[offsets[9] + 300 + len(false) :]
    path = tmp_path / "a.flac"
    path.write_bytes(data)
    found, _, _ = odd.read(path)
    np.testing.assert_array_equal(found, audio[: 9 * BLOCK])


def test_blocks_of_metadata_in_any_order(recording, tmp_path):
    data, audio, offsets = recording
    path = tmp_path / "a.flac"
    blocks = b"\1\0\0\5" + bytes(5) + b"\2\0\0\6test12" + b"\x81\0\0\3" + bytes(3)
    path.write_bytes(b"fLaC\0\0\0\x22" + data[8:42] + blocks + data[offsets[0] :])
    found, _, findings = odd.read(path)
    np.testing.assert_array_equal(found, audio)
    assert findings.complete and findings.announced_seconds == len(audio) / SR
