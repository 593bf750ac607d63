"""WAV and raw PCM from a pipe, byte by byte: what is taken for samples, and exactly what is said of it."""

import struct

import numpy as np
import pytest

from edgel3_onnx import EdgeL3Error
from edgel3_onnx.recordings.linear import Linear
from edgel3_onnx.recordings.pipe_reader import PipeReader

RATE = 8000
AUDIO = (np.arange(4000) * 37 % 20001 - 10000).astype("<i2")  # half a second
EXTENSIBLE = 0xFFFE


def fmt(tag=1, channels=1, rate=RATE, bits=16, align=None, behind=b""):
    align = channels * bits // 8 if align is None else align
    body = struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits) + behind
    return chunk(b"fmt ", body)


def chunk(name, body, said=None):
    return name + struct.pack("<I", len(body) if said is None else said) + body + bytes(len(body) % 2)


def wav(*chunks, magic=b"RIFF"):
    return magic + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


def data(samples=AUDIO, said=None):
    return chunk(b"data", samples.tobytes(), said)


@pytest.mark.parametrize(
    "content",
    [
        wav(fmt(), data()),
        wav(fmt(behind=b"\0\0"), data()),
        wav(fmt(behind=bytes(3000)), data()),
        wav(chunk(b"LIST", b"odd"), fmt(), chunk(b"junk", bytes(70001)), data(), chunk(b"LIST", b"behind")),
        wav(fmt(EXTENSIBLE, behind=struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)), data()),
        wav(chunk(b"ds64", struct.pack("<QQQI", 0, 8000, 4000, 0)), fmt(), data(said=0xFFFFFFFF), magic=b"RF64"),
        wav(chunk(b"ds64", struct.pack("<QQ", 0, 8000)), fmt(), data(said=0xFFFFFFFF), magic=b"RF64"),
        wav(chunk(b"ds64", struct.pack("<QQQI", 0, 9, 9, 0)), fmt(), data(), magic=b"RF64"),  # not asked
    ],
)
def test_whole(fed, content):
    found, findings = fed(content)
    np.testing.assert_array_equal(found[:, 0], AUDIO)
    assert findings.complete and not findings.warnings and not findings.is_doubtful
    assert findings.announced_seconds == 0.5 and findings.decoder == "PCM" and findings.raw is None


@pytest.mark.parametrize("said", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_of_unknown_length_it_goes_to_the_end(fed, said):
    found, findings = fed(wav(fmt(), data(said=said)))
    np.testing.assert_array_equal(found[:, 0], AUDIO)
    assert findings.complete and not findings.warnings and findings.announced_seconds is None


@pytest.mark.parametrize(
    ("content", "samples", "warning"),
    [
        (wav(fmt(), data(said=0)), 4000, "its header says 0 s; all that arrived is taken"),
        (wav(fmt(), data(said=2000)), 4000, "its header says 0.12 s; the 0.38 s behind are taken too"),
        (wav(fmt(), data(), wav(fmt(), data())), 8000, "2 recordings joined in one file are embedded as one (1.00 s)"),
    ],
)
def test_guesses_are_told(fed, content, samples, warning):
    found, findings = fed(content)
    np.testing.assert_array_equal(found[:, 0], np.resize(AUDIO, samples))
    assert findings.warnings == (warning,) and findings.complete and findings.lost_seconds == 0


def test_a_guess_about_the_second_of_two(fed):
    found, findings = fed(wav(fmt(), data()) + wav(fmt(), data(said=2000)))
    np.testing.assert_array_equal(found[:, 0], np.resize(AUDIO, 8000))
    joined = "2 recordings joined in one file are embedded as one (1.00 s)"
    assert findings.warnings == (joined, "its header says 0.12 s; the 0.38 s behind are taken too")
    assert findings.complete and findings.announced_seconds is None


def test_of_no_samples_nothing_is_said(fed):
    found, findings = fed(wav(fmt(), chunk(b"data", b"")))
    assert len(found) == 0 and findings.complete and not findings.warnings


@pytest.mark.parametrize(
    ("content", "samples", "lost", "loss"),
    [
        (
            wav(fmt(), chunk(b"data", AUDIO[:1600].tobytes(), 8000)),
            1600,
            0.3,
            "0.20 s kept of 0.50 s announced, 0.30 s lost (the end is missing)",
        ),
        (
            wav(fmt(), chunk(b"data", AUDIO[:1600].tobytes() + b"x", 8001)[:-1]),  # half a sample
            1600,
            0.3,
            "0.20 s kept of 0.50 s announced, 0.30 s lost (the end is missing)",
        ),
        (
            wav(fmt(), data()) + wav(fmt(rate=16000), data()),
            4000,
            0.0,
            "0.50 s kept of 0.50 s announced, at least 0.00 s lost "
            "(the end is missing; a second recording at 16000 Hz, 1 channels)",
        ),
        (
            wav(fmt(), data()) + wav(fmt(channels=2), data()),
            4000,
            0.0,
            "0.50 s kept of 0.50 s announced, at least 0.00 s lost "
            "(the end is missing; a second recording at 8000 Hz, 2 channels)",
        ),
        (
            wav(fmt(), data()) + wav(fmt(), chunk(b"data", AUDIO[:800].tobytes(), 8000)),
            4800,
            0.4,
            "0.60 s kept of 1.00 s announced, 0.40 s lost (the end is missing)",
        ),
    ],
)
def test_losses_are_told(fed, content, samples, lost, loss):
    found, findings = fed(content)
    np.testing.assert_array_equal(found[:, 0], np.resize(AUDIO, samples))
    assert findings.loss == loss and not findings.complete and findings.lost_seconds == pytest.approx(lost)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(fmt()), "the WAV header has no samples after it"),
        (wav(), "the WAV header has no samples after it"),
        (wav(data()), "the WAV header does not say what the samples are"),
        (wav(chunk(b"fmt ", bytes(15)), data()), "the WAV header is damaged"),
        (wav(fmt(channels=0), data()), "the WAV header is damaged"),
        (wav(fmt(rate=0), data()), "the WAV header is damaged"),
        (
            wav(fmt(tag=2, bits=4, align=512), data()),
            "WAV with format 2, 4 bits in 512 bytes, 1 channels, 8000 Hz is not supported",
        ),
        (wav(fmt(bits=64), data()), "WAV with format 1, 64 bits in 8 bytes, 1 channels, 8000 Hz is not supported"),
        (b"", "has no samples"),
    ],
)
def test_what_is_refused(fed, content, message):
    with pytest.raises(EdgeL3Error, match=rf"^standard input:? {message}$"):
        fed(content)


@pytest.mark.parametrize("lead", [0, 5, 70000])  # zeros, of which nobody can say where they lie in the 32 bits
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([-(2**23), 2**23 - 1, 1], [-(2**31), 2**31 - 256, 256]),  # 24 bits below
        ([-(2**31), 2**31 - 256, 256], [-(2**31), 2**31 - 256, 256]),  # above
        ([1 << 8, -1 << 8], [1 << 8, -1 << 8]),
        ([2**24 + 1, 1], [2**24 + 1, 1]),  # all 32 are in use
    ],
)
def test_24_bits_in_four_bytes(fed, stored, expected, lead):
    samples = np.array([0] * lead + stored, "<i4")
    found, _ = fed(wav(fmt(bits=24, align=4), data(samples)))
    np.testing.assert_array_equal(found[:, 0], [0] * lead + expected)


def test_32_bits_are_what_they_are(fed):
    samples = np.array([1, 2, -3], "<i4")
    found, _ = fed(wav(fmt(bits=32), data(samples)))
    np.testing.assert_array_equal(found[:, 0], samples)


@pytest.mark.parametrize("channels", [1, 2])
def test_24_bits_are_the_upper_ones_of_32(fed, channels):
    values = np.array([-(2**23), 2**23 - 1, 1, -1], "<i4")
    packed = values.view(np.uint8).reshape(-1, 4)[:, :3].copy()
    found, _ = fed(wav(fmt(bits=24, channels=channels), data(packed)))
    np.testing.assert_array_equal(found, (values << 8).reshape(-1, channels))


def test_an_odd_byte_before_a_chunk_is_padding(fed):
    """Of three bytes each: the header says so, and the samples behind are not moved."""
    packed = np.arange(9, dtype=np.uint8) + 200
    one = wav(fmt(bits=24), data(packed))
    found, findings = fed(one + one)
    expected, _ = fed(one)
    np.testing.assert_array_equal(found, np.concatenate([expected, expected]))
    assert findings.complete


@pytest.mark.parametrize(
    ("form", "content", "expected"),
    [
        (Linear.mono(RATE), AUDIO.tobytes(), AUDIO),
        (Linear.mono(RATE), AUDIO.tobytes() + b"x", AUDIO),
        (Linear.mono(RATE, "s16le"), AUDIO[:1].tobytes(), AUDIO[:1]),
        (Linear.mono(RATE, "f32le"), np.float32([0.5, -1]).tobytes(), np.float32([0.5, -1])),
    ],
)
def test_raw(fed, form, content, expected):
    found, findings = fed(content, form)
    np.testing.assert_array_equal(found[:, 0], expected)
    assert found.dtype == expected.dtype and findings.complete and findings.announced_seconds is None
    assert findings.raw == f"{form.encoding} {form.bits} bits, 8000 Hz" and findings.decoder == "PCM"


def test_a_reader_takes_what_there_is(tmp_path):
    (tmp_path / "stdin").write_bytes(bytes(range(200)) * 1000)
    content = (tmp_path / "stdin").read_bytes()
    with open(tmp_path / "stdin", "rb") as file:
        reader = PipeReader(file.fileno())
        assert reader.peek(3) == reader.peek(3) == reader.take(3) == content[:3]
        assert reader.read(2) == content[3:5]
        reader.skip(0)
        reader.skip(100_000)
        assert reader.read(5) == content[100_005:100_010]
        assert reader.take(10**6) == content[100_010:] and reader.take(1) == reader.peek(1) == reader.read() == b""
        reader.skip(1)
    with pytest.raises(EdgeL3Error, match=r"^standard input cannot be read \(Bad file descriptor\)$"):
        reader.read()
