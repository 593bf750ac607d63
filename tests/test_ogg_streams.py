"""Ogg pages put together by hand: other streams between, pages twice, codecs that nobody knows, positions of Opus."""

import struct

import numpy as np
import pytest

import odd_recordings as odd
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import ogg
from edgel3_onnx.recordings.view import View
from edgel3_onnx.recordings.walk import Gap, Part
from test_recordings_exact import ogg_page

SR = 8000
FIRST, LAST, CONTINUED = 2, 4, 1


TABLE = []  # of the checksum that RFC 3533 has, by bytes
for register in range(256):
    register <<= 24
    for _ in range(8):
        register = (register << 1 ^ 0x04C11DB7 * (register >> 31)) & 0xFFFFFFFF
    TABLE.append(register)


def page(packets, flags=0, position=0, number=0, serial=99, lacing=None):
    """A page; ``lacing`` are the sizes in its segment table, by default those of the packets, which end on it."""
    if lacing is None:
        lacing = [size for packet in packets for size in [255] * (len(packet) // 255) + [len(packet) % 255]]
    head = b"OggS\0" + bytes([flags]) + struct.pack("<qIIIB", position, serial, number, 0, len(lacing))
    made = bytearray(head + bytes(lacing) + b"".join(packets))
    register = 0
    for byte in made:
        register = (register << 8 & 0xFFFFFFFF) ^ TABLE[register >> 24 ^ byte]
    made[22:26] = register.to_bytes(4, "little")
    return bytes(made)


@pytest.fixture(scope="module", params=["VORBIS", "OPUS"])
def pages(request):
    """Pages of about a second each."""
    found = odd.ogg_pages(odd.encoded(odd.signal(SR, 6.0), SR, "OGG", request.param))
    assert len(found) >= 6
    return found


@pytest.fixture
def read(tmp_path):
    def read(*parts):
        (tmp_path / "recording").write_bytes(b"".join(parts))
        audio, rate, findings = odd.read(tmp_path / "recording")
        assert rate == SR
        return audio, findings

    return read


OTHER = [page([b"fishead\0" + bytes(56)], FIRST), page([b"x" * 100], LAST, 100, 1)]
BROKEN = OTHER[1][:-1] + b"y"


@pytest.mark.parametrize("where", range(7))
def test_streams_that_are_no_audio_lie_between(read, pages, where):
    expected, _ = read(*pages)
    mixed = {
        0: [OTHER[0], *pages],
        1: [*OTHER, *pages],
        2: [pages[0], OTHER[0], *pages[1:3], OTHER[1], *pages[3:]],
        3: [OTHER[0], *pages, OTHER[1]],
        4: [*pages[:4], BROKEN, *pages[4:]],
        5: [BROKEN, *pages],
        6: [OTHER[1], *pages],
    }[where]
    audio, findings = read(*mixed)
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete and not findings.warnings


@pytest.mark.parametrize("repeated", [[4], [3, 4], [1, 2], [2]])
def test_pages_that_come_twice_are_taken_once(read, pages, repeated):
    """As where a capture of a stream goes on a little before it broke off."""
    expected, _ = read(*pages)
    audio, findings = read(*pages[:5], *(pages[number] for number in repeated), *pages[5:])
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete and not findings.warnings


def test_a_last_page_of_an_earlier_time_is_a_loss(read, pages):
    """It is whole, but where it belongs nobody can say, and pages before it are missing."""
    expected, _ = read(*pages[:4])
    audio, findings = read(*pages[:4], ogg_page(pages[-1], position=1000))
    np.testing.assert_array_equal(audio, expected)
    assert not findings.complete and "the end is missing" in findings.warnings[0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"".join(OTHER), "is in no format that libsndfile or FFmpeg reads ("),
        (b"OggS" + bytes(100), "is in no format that libsndfile or FFmpeg reads ("),
        (page([b"\x01vorbis"], FIRST) + bytes(100), "is in no format that libsndfile or FFmpeg reads ("),
        (OTHER[1] + BROKEN, "is in no format that libsndfile or FFmpeg reads ("),
    ],
    ids=["other", "zeros", "short", "no beginning"],
)
def test_no_stream_of_audio(read, data, reason):
    pytest.importorskip("av")
    with pytest.raises(EdgeL3Error) as error:
        read(data)
    assert str(error.value).startswith(reason)


def test_a_stream_of_no_rate(tmp_path):
    """Nobody can decode it: only that it says so is found."""
    head = bytearray(b"\x01vorbis" + bytes(4) + b"\1" + bytes(12) + b"\xb8\1")
    data = page([bytes(head)], FIRST) + page([b"x" * 100], LAST, 1000, 1)
    (tmp_path / "a.ogg").write_bytes(data)
    with open(tmp_path / "a.ogg", "rb") as file:
        walk = ogg.walk(str(tmp_path / "a.ogg"), file, len(data))
    assert (walk.sample_rate, walk.parts) == (0, [Part()])
    with pytest.raises(EdgeL3Error):
        odd.read(tmp_path / "a.ogg")


def test_speex_is_left_to_ffmpeg(read):
    """Frames of its submode 0, which is silence: five bits each, then the terminator."""
    pytest.importorskip("av")
    head = b"Speex   1.2.0".ljust(28, b"\0") + struct.pack("<6Ii6I", 1, 80, SR, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)
    frames = [bytes([0b00000011, 0b11000000])] * 50
    audio, findings = read(
        page([head], FIRST), page([struct.pack("<II", 0, 0)], number=1), page(frames, LAST, 8000, number=2)
    )
    assert "PyAV" in findings.decoder
    np.testing.assert_allclose(audio, np.zeros(8000), atol=1e-4)  # it adds a little noise of its own


# RFC 6716, table 2: ms of a frame by the configuration, the upper five bits of a packet's first byte.
MILLISECONDS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4


@pytest.mark.parametrize("configuration", range(32))
def test_positions_behind_a_loss_in_opus_begin_anew(tmp_path, configuration):
    """In the stream that is made of what is behind, the first page ends where its packets do."""
    first = configuration << 3
    packets = [
        (bytes([first]) + bytes(20), 1),
        (bytes([first | 1]) + bytes(20), 2),
        (bytes([first | 2, 5]) + bytes(20), 2),
        (bytes([first | 3, 3]) + bytes(21), 3),
        (bytes([first | 3]), 0),  # it should say how many
    ]
    frame = round(MILLISECONDS[configuration] * 48)
    duration = frame * sum(count for _, count in packets)
    rest = b"y" * 30  # of a packet whose beginning is lost, and so is its time
    pages = [
        page([b"OpusHead\1\1" + struct.pack("<HIhB", 312, SR, 0, 0)], FIRST),
        page([b"OpusTags" + bytes(8)], number=1),
        page([bytes([31 << 3]) + bytes(20)] * 50, position=48000, number=2),
        page([rest, *(packet for packet, _ in packets), b""], CONTINUED, 200000, 4),
        page([bytes([31 << 3]) + bytes(20)] * 50, LAST, 248000, 5),
    ]
    data = b"".join(pages)
    (tmp_path / "a.opus").write_bytes(data)
    with open(tmp_path / "a.opus", "rb") as file:
        walk = ogg.walk(str(tmp_path / "a.opus"), file, len(data))
    before, gap, behind = walk.parts
    assert isinstance(gap, Gap) and isinstance(before, Part)
    with View(str(tmp_path / "a.opus"), behind.pieces) as view:
        made = view.read()
    positions, at = [], 0
    while at < len(made):
        positions.append(int.from_bytes(made[at + 6 : at + 14], "little"))
        at += 27 + made[at + 26] + sum(made[at + 27 : at + 27 + made[at + 26]])
    assert positions == [0, 0, duration, duration + 48000]
    assert made[27 + 1 + 10 : 27 + 1 + 12] == (3840).to_bytes(2, "little")  # RFC 7845: 80 ms to find in
