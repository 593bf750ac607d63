"""MPEG audio with the tags of encoders, of no bitrate, joined, and with nothing in it: how many frames there are."""

import io

import pytest

from edgel3_onnx.recordings import mpeg, mpeg_frames
from test_mpeg_frames import VERSIONS, header, silent, walked

HEAD = header(VERSIONS["1"], 1, 9, 1)  # layer 3, 128 kbit/s, 48 kHz, two channels
SIZE = mpeg_frames.parse(HEAD).size
FRAME = HEAD.ljust(SIZE, b"\0")
SECONDS = 1152 / 48000


def tagged(tag, at=36):
    return (HEAD.ljust(at, b"\0") + tag).ljust(SIZE, b"\0")


def info(count):
    return tagged(b"Info" + (1).to_bytes(4, "big") + count.to_bytes(4, "big"))


def vbri(count):
    return tagged(b"VBRI" + bytes(10) + count.to_bytes(4, "big"))


@pytest.mark.parametrize("tag", [info, vbri])
@pytest.mark.parametrize("missing", [0, 3])
def test_a_tag_says_how_many_frames_follow_it(tag, missing):
    found = walked(tag(40) + FRAME * (40 - missing))
    (part,) = found.parts
    assert part.frames == (40 - missing) * 1152 and part.skip == 0
    assert found.announced == pytest.approx(40 * SECONDS)
    assert found.lost_at_end == pytest.approx(missing * SECONDS)


def test_a_recording_of_nothing_but_its_tag_is_none():
    found = walked(info(0) + info(40) + FRAME * 40)
    assert [part.frames for part in found.parts] == [40 * 1152] and found.recordings == 1
    joined = walked(info(10) + FRAME * 10 + info(0) + vbri(20) + FRAME * 20)
    assert [part.frames for part in joined.parts] == [10 * 1152, 20 * 1152] and joined.recordings == 2


@pytest.mark.parametrize("data", [b"", bytes(1000), b"\1" * 1000, FRAME, b"TAG" + bytes(125), HEAD])
def test_nothing_but_what_is_no_frame(data):
    assert walked(data) is None


@pytest.mark.parametrize(
    ("data", "behind"),
    [
        (b"", 0),
        (bytes(100), 100),
        (b"TAG+" + bytes(223) + b"TAG" + bytes(125), 227 + 128),
        (b"TAG" + bytes(125) + bytes(10) + b"fLaC", 138),
        (b"ID3\4\0\0\0\0\1\0" + bytes(128) + FRAME, 138),
        (b"ID3\4\0\0\0\0\1\0" + bytes(100), 0),  # longer than the file: none
        (b"ID3\4\0\0\0\0\x80\0" + bytes(200), 0),  # no size has such a byte
        (b"LYRICSBEGIN" + b"la" * 20 + b"LYRICSEND" + FRAME, 60),
        (b"LYRICSBEGIN" + b"la" * 20, 0),
        (b"APETAGEX" + bytes(20), 0),
        (b"APETAGEX" + bytes(24) + FRAME, 32),  # the end of one whose beginning is not there
        (b"APETAGEX\xd0\7\0\0" + b"\x20\0\0\0" + bytes(7) + b"\xa0" + bytes(8 + 32) + FRAME, 64),
    ],
)
def test_where_tags_and_zeros_end(data, behind):
    assert mpeg_frames.behind_tags(io.BytesIO(data), len(data)) == behind


def test_an_enhanced_tag_behind_frames():
    found = walked(FRAME * 40 + b"TAG+" + b"x" * 223 + b"TAG" + b"x" * 125)
    assert [part.frames for part in found.parts] == [40 * 1152]
    assert (found.lost_at_end, found.is_cut) == (0, False)


def test_a_frame_of_no_bitrate_ends_where_the_next_of_its_kind_begins():
    """What looks like the beginning of a frame inside it is of another kind."""
    inside = bytes(26) + HEAD[:2] + bytes(10) + header(VERSIONS["1"], 1, 9, 2) + bytes(30) + FRAME[:4] + bytes(20)
    frame = header(VERSIONS["1"], 1, 0, 1) + inside
    assert [part.frames for part in walked(frame * 40).parts] == [40 * 1152]
    assert walked(frame) is None  # of which there is no other
    assert walked(frame + FRAME[:1] * 7000) is None


def test_frames_that_need_more_than_any_could_have_are_left_as_they_are():
    """Of small frames none of the next twenty has what it needs; they are decoded as they can be."""
    small = bytearray(silent("2", 3, 1, 1))  # 8 kbit/s, of which little is left behind the side information
    small[4:6] = (255 << 8).to_bytes(2, "big")
    info = mpeg_frames.parse(bytes(small[:4]))
    assert (info.size - 4 - info.side_information) * 20 < 255
    found = walked(silent("2", 3, 1, 1) * 20 + b"\1" * (3 * len(small)) + bytes(small) * 40)
    ((_, length),) = found.silenced
    assert length == pytest.approx(4 * info.samples / info.rate)  # what was lost, and the frame before it
    assert found.parts[0].frames == 63 * info.samples


class Shrinking(io.BytesIO):
    """A file that another program makes shorter before its frames are looked into."""

    def read(self, count=-1):
        if count == 8:
            self.truncate(4)
        return super().read(count)


def test_a_file_that_becomes_shorter_while_it_is_looked_at():
    frame = bytearray(silent("1", 3, 5, 1))
    frame[4] = 1  # it needs bytes from before it
    data = bytes(frame) * 40
    assert walked(data).parts[0].pieces[0] != (0, len(data))
    found = mpeg.walk(Shrinking(data), 0, len(data))
    assert [(part.frames, part.pieces) for part in found.parts] == [(40 * 1152, [(0, len(data))])]
