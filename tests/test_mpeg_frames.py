"""Headers of MPEG audio against the tables of ISO/IEC 11172-3 and 13818-3, and how many frames are found, and lost."""

import io
import itertools
import struct

import pytest

import odd_recordings as odd
from edgel3_onnx.recordings import mpeg, mpeg_frames

# kbit/s for the indices 0 to 14, by (version, layer); version 2.5 has those of version 2
BITRATES = {
    ("1", 1): "free 32 64 96 128 160 192 224 256 288 320 352 384 416 448",
    ("1", 2): "free 32 48 56 64 80 96 112 128 160 192 224 256 320 384",
    ("1", 3): "free 32 40 48 56 64 80 96 112 128 160 192 224 256 320",
    ("2", 1): "free 32 48 56 64 80 96 112 128 144 160 176 192 224 256",
    ("2", 2): "free 8 16 24 32 40 48 56 64 80 96 112 128 144 160",
    ("2", 3): "free 8 16 24 32 40 48 56 64 80 96 112 128 144 160",
}
RATES = {"1": (44100, 48000, 32000), "2": (22050, 24000, 16000), "2.5": (11025, 12000, 8000)}
VERSIONS = {"2.5": 0, "2": 2, "1": 3}  # and 1 is reserved
SIDE_INFORMATION = {("1", 2): 32, ("1", 1): 17, ("2", 2): 17, ("2", 1): 9}  # bytes, by version and channels


def header(version, layer, bitrate, rate, padding=0, mode=0, protected=1):
    """Version, layer and so on as the bits that they are."""
    bits = 0x7FF << 21 | version << 19 | layer << 17 | protected << 16 | bitrate << 12 | rate << 10 | padding << 9
    return (bits | mode << 6).to_bytes(4, "big")


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_header(version, layer):
    table = BITRATES[version[0], layer].split()
    for index, rate, padding, mode, protected in itertools.product(range(15), range(3), (0, 1), range(4), (0, 1)):
        found = mpeg_frames.parse(header(VERSIONS[version], 4 - layer, index, rate, padding, mode, protected))
        hertz = RATES[version][rate]
        samples = {1: 384, 2: 1152, 3: 1152 if version == "1" else 576}[layer]
        slot = 4 if layer == 1 else 1
        slots = 0 if index == 0 else int(samples / 8 / slot * int(table[index]) * 1000 / hertz)
        channels = 1 if mode == 3 else 2
        assert (found.layer, found.rate, found.samples, found.channels) == (layer, hertz, samples, channels)
        assert found.size == (slots + padding) * slot
        assert found.is_free == (index == 0) and found.has_crc == (protected == 0)
        assert found.is_version_1 == (version == "1")
        if layer == 3:
            assert found.side_information == SIDE_INFORMATION[version[0], channels]


def test_what_is_no_header():
    good = header(3, 1, 9, 0)
    assert mpeg_frames.parse(good) is not None
    reserved = [header(1, 1, 9, 0), header(3, 0, 9, 0), header(3, 1, 15, 0), header(3, 1, 9, 3)]
    for data in (
        *reserved,
        b"\xff\xdf" + good[2:],
        good[:3],
        b"",
        b"\xfe" + good[1:],
        good[:1] + bytes([good[1] & 0x7F]) + good[2:],
    ):
        assert mpeg_frames.parse(data) is None


def test_frames_of_one_recording_have_the_same_format():
    """The bitrate, padding, the mode of two channels and the CRC may differ between them; nothing else."""
    first = mpeg_frames.parse(header(3, 1, 9, 0)).format
    for alike in (header(3, 1, 1, 0), header(3, 1, 9, 0, padding=1), header(3, 1, 9, 0, mode=1)):
        assert mpeg_frames.parse(alike).format == first
    for other in (header(2, 1, 9, 0), header(3, 2, 9, 0), header(3, 1, 9, 1), header(3, 1, 9, 0, mode=3)):
        assert mpeg_frames.parse(other).format != first


def silent(version, layer, bitrate, rate, padding=0, size=None):
    """A frame of zeros."""
    head = header(VERSIONS[version], 4 - layer, bitrate, rate, padding)
    return head.ljust(size or mpeg_frames.parse(head).size, b"\0")


def walked(data):
    return mpeg.walk(io.BytesIO(data), 0, len(data))


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rate", range(3))
def test_frames_are_counted(version, layer, rate):
    frame, padded, other = (silent(version, layer, *rest) for rest in ((5, rate), (5, rate, 1), (9, rate)))
    info = mpeg_frames.parse(frame[:4])
    samples, seconds = info.samples, info.samples / info.rate

    for data in (frame * 40, (frame + padded) * 20, (frame + other) * 20, frame * 9 + odd.id3v1() + frame * 31):
        found = walked(data)
        assert [part.frames for part in found.parts] == [40 * samples] and found.sample_rate == info.rate
        assert (found.silenced, found.lost_at_end, found.is_cut, found.announced) == ([], 0, False, None)

    cut = walked(frame * 40 + frame[: len(frame) // 2])
    assert cut.parts[0].frames == 40 * samples and cut.is_cut and cut.lost_at_end == 0

    damage = b"\1" * (3 * len(frame))
    inside = walked(frame * 20 + damage + frame * 17)
    assert inside.parts[0].frames == 40 * samples and inside.lost_at_end == 0
    ((start, length),) = inside.silenced  # from the frame before the damage on, which is damaged for all that is known
    assert (start, length) == pytest.approx((19 * seconds, 4 * seconds))

    behind = walked(frame * 37 + damage)
    assert behind.parts[0].frames == 36 * samples and behind.silenced == []
    assert (behind.lost_at_end, behind.announced) == pytest.approx((4 * seconds, 40 * seconds))


@pytest.mark.parametrize("more", [0, 1])
def test_damage_where_two_buffers_meet(more):
    """Files are read by mebibytes."""
    frame = silent("1", 3, 5, 0)
    seconds = 1152 / 44100
    count = -(-(2**20 - 3) // len(frame)) + more
    ((start, length),) = walked(frame * count + b"\1" * (3 * len(frame)) + frame * 17).silenced
    assert (start, length) == pytest.approx(((count - 1) * seconds, 4 * seconds))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_frames_behind_damage_before_the_cut(count):
    frame = silent("1", 3, 5, 0)
    seconds = 1152 / 44100
    found = walked(frame * 20 + b"\1" * (3 * len(frame)) + frame * count + frame[: len(frame) // 2])
    assert found.parts[0].frames == (23 + count) * 1152 and found.is_cut and found.lost_at_end == 0
    assert found.silenced == [pytest.approx((19 * seconds, 4 * seconds))]


def test_zeros_behind_a_frame_are_padding_unless_they_begin_inside_it():
    frame, seconds = silent("1", 3, 5, 0), 1152 / 44100
    full = frame[:4].ljust(len(frame), b"\5")
    padded = walked(full * 40 + bytes(3 * len(frame)))
    assert padded.parts[0].frames == 40 * 1152 and padded.lost_at_end == 0
    damaged = walked(full * 39 + full[:50].ljust(len(full), b"\0") + bytes(3 * len(frame)))
    assert damaged.parts[0].frames == 39 * 1152
    assert (damaged.lost_at_end, damaged.announced) == pytest.approx((4 * seconds, 43 * seconds))


@pytest.mark.parametrize("tag", ["VBRI", "Xing", "Info"])
def test_counts_of_frames_are_believed(tag):
    """Behind the side information; of VBRI, always 32 bytes behind the header."""
    frame, seconds = silent("1", 3, 5, 0), 1152 / 44100
    head = bytearray(frame)
    at = 36 if tag == "VBRI" else 4 + SIDE_INFORMATION["1", 2]
    head[at : at + 4] = tag.encode()
    if tag == "VBRI":
        head[at + 14 : at + 18] = (40).to_bytes(4, "big")
    else:
        head[at + 4 : at + 12] = struct.pack(">II", 1, 40)
    for count in (40, 37):
        found = walked(bytes(head) + frame * count)
        assert found.parts[0].frames == count * 1152 and not found.notes
        assert (found.announced, found.lost_at_end) == pytest.approx((40 * seconds, (40 - count) * seconds))


def stream_for(data, part):
    """What a decoder is given of ``data``, as frames: header and bytes of each."""
    stream = b"".join(piece if isinstance(piece, bytes) else data[piece[0] :][: piece[1]] for piece in part.pieces)
    frames = []
    while stream:
        head = mpeg_frames.parse(stream[:4])
        frames.append((head, stream[: head.size]))
        stream = stream[head.size :]
    return frames


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("protected", "padding"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_what_is_lost_becomes_frames_that_are_silent(version, layer, protected, padding):
    head = header(VERSIONS[version], 4 - layer, 5, 0, padding, 0, protected)
    info = mpeg_frames.parse(head)
    frame = (head + bytes(4 + 2 + 32)).ljust(info.size, b"\5")
    data = frame * 20 + b"\1" * (3 * len(frame)) + frame * 17
    (part,) = walked(data).parts
    frames = stream_for(data, part)
    assert len(frames) == 40 and part.frames + part.skip == 40 * info.samples
    assert {content for _, content in frames[:19] + frames[23:]} == {frame}
    for found, content in frames[19:23]:
        assert found.bits == (info.bits | 1 << 16) & ~(1 << 9)  # no CRC, and no padding
        assert len(content) == found.size and not content[4:].strip(b"\0")


@pytest.mark.parametrize("protected", [0, 1])
@pytest.mark.parametrize("mode", [0, 3])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("start", ["of the file", "behind damage"])
def test_frames_whose_data_begin_in_what_is_lost_are_muted(start, version, mode, protected):
    """ISO/IEC 11172-3, 2.4.1.7: the side information begins with how many bytes before the header the data begin."""
    head = header(VERSIONS[version], 1, 2 if version == "2.5" else 5, 0, 0, mode, protected)
    info = mpeg_frames.parse(head)
    before = 4 + (0 if protected else 2)
    bits = 7 if info.is_version_1 else 8  # to the right of the number
    size = info.size - before - info.side_information  # data in a frame
    frames = []
    for back in (0, size + 1, size + 1, size + 1, 2 * size):
        side = (back << bits).to_bytes(2, "big").ljust(info.side_information, b"\3")
        frames.append((head + bytes(before - 4) + side).ljust(info.size, b"\4"))
    assert 2 * size < 1 << 16 - bits
    whole, one, two, three, four = frames
    lost = b"" if start == "of the file" else whole * 20 + b"\1" * (3 * len(whole))
    data = lost + one + two + three + four + whole * 20
    walk = walked(data)
    (part,) = walk.parts
    found = [content for _, content in stream_for(data, part)]
    expected = [whole] * 19 + [None] * 4 if lost else []
    for number in (0, 1):  # the first has nothing before it, the second too little; the third can be decoded
        reach = (number * size << bits).to_bytes(2, "big").ljust(before - 4 + info.side_information, b"\0")
        unprotected = (info.bits | 1 << 16).to_bytes(4, "big")
        expected.append(unprotected + reach + frames[1 + number][before + info.side_information :])
    expected += [three, four, *[whole] * 20]
    assert len(found) == len(expected)
    assert all(wanted in (None, content) for content, wanted in zip(found, expected, strict=True))
    assert part.frames + part.skip == len(expected) * info.samples
    seconds = info.samples / info.rate
    assert walk.silenced == ([pytest.approx((19 * seconds, 6 * seconds))] if lost else [])


@pytest.mark.parametrize("size", [25, 100, 700, 2881])
def test_frames_of_a_free_bitrate_are_as_long_as_the_first(size):
    frame, padded = silent("1", 3, 0, 0, 0, size), silent("1", 3, 0, 0, 1, size + 1)
    for data in (frame * 40, (frame + padded) * 20, (padded + frame) * 20):
        assert [part.frames for part in walked(data).parts] == [40 * 1152]


@pytest.mark.parametrize("suffix", odd.tagged(b"").keys())
def test_tags_are_passed_over(suffix):
    frame = silent("1", 3, 5, 1)[:-1] + b"\1"  # zeros behind one that ends in zeros may be what is left of others
    data = odd.tagged(frame * 40)[suffix]
    found = walked(data)
    assert [part.frames for part in found.parts] == [40 * 1152]
    assert (found.silenced, found.lost_at_end, found.is_cut, found.warnings) == ([], 0, False, [])


@pytest.mark.parametrize("flags", range(16))
def test_the_tag_of_lame_is_found_behind_whatever_precedes_it(flags):
    """Frames, bytes, a table of 100 bytes and a quality may stand in front of the delay and the padding."""
    tag = b"Info" + flags.to_bytes(4, "big") + (40).to_bytes(4, "big") * (flags & 1) + bytes(4) * (flags >> 1 & 1)
    tag += bytes(100) * (flags >> 2 & 1) + bytes(4) * (flags >> 3 & 1)
    tag += b"LAME3.100".ljust(21, b"\0") + (576 << 12 | 1000).to_bytes(3, "big")
    head = header(VERSIONS["1"], 1, 9, 1)
    size = mpeg_frames.parse(head).size
    first = (head + bytes(32) + tag).ljust(size, b"\0")
    found = walked(first + head.ljust(size, b"\0") * 40)
    (part,) = found.parts
    delay = 576 + 529  # the decoder's own, as LAME's documentation of the tag has it
    assert part.skip == delay and part.frames == 40 * 1152 - delay - (1000 - 529)
    assert found.announced == (pytest.approx(part.frames / 48000) if flags & 1 else None)


@pytest.mark.parametrize("flags", [0, 0x10, 0x20, 0x40, 0x80, 0xF0])
def test_the_flags_of_an_id3_tag(flags):
    """Of which one says that ten bytes more follow it."""
    tag = b"ID3\4\0" + bytes([flags, 0, 0, 1, 2]) + b"\xff" * 130 + b"3DI".ljust(10, b"\xff") * (flags >> 4 & 1)
    found = walked(tag + silent("1", 3, 5, 1) * 40)
    assert [part.frames for part in found.parts] == [40 * 1152] and found.silenced == []


@pytest.mark.parametrize("back", [0, 1, 100, 150, 200, 255, 256, 400, 511])
@pytest.mark.parametrize("version", VERSIONS)
def test_frames_that_need_what_was_lost_are_silent(version, back):
    """Layer 3: a frame's data begin so many bytes in front of it, those of headers and side information not counted."""
    if version != "1" and back > 255:  # there it has 8 bits
        back -= 256
    frame = bytearray(silent(version, 3, 5, 1))
    frame[4:6] = (back << 7 if version == "1" else back << 8).to_bytes(2, "big")
    info = mpeg_frames.parse(bytes(frame[:4]))
    body = info.size - 4 - info.side_information
    muted = -(-back // body)
    found = walked(silent(version, 3, 5, 1) * 20 + b"\1" * (3 * len(frame)) + bytes(frame) * 17)
    seconds = info.samples / info.rate
    ((start, length),) = found.silenced
    assert found.parts[0].frames == 40 * info.samples
    assert (start, length) == pytest.approx((19 * seconds, (4 + muted) * seconds))
