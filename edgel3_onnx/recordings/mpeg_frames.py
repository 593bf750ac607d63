"""The frames of MP3, MP2 and MP1 (ISO/IEC 11172-3 and 13818-3), found one behind the other in a file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import BinaryIO

from edgel3_onnx.recordings.view import Bytes

_BITRATES = {  # kbit/s by (version 1, layer), for the indices 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)  # Hz, of version 1
_CHAIN = 3  # frames in a row that tell frames from noise
_MAX_LYRICS = 2**20  # bytes searched for the end of a Lyrics3 tag
_MAX_FREE = 6000  # bytes of a frame of free bitrate that are searched for the next


def _one_of(values: list[int]) -> bytes:
    return b"[" + b"".join(rb"\x%02x" % value for value in values) + b"]"


# Sync, a version and a layer; a bitrate and a rate that exist, the bitrate not free.
_CANDIDATE = re.compile(
    b"\xff"
    + _one_of([b for b in range(0xE0, 0x100) if b & 0x18 != 0x08 and b & 0x06])
    + _one_of([b for b in range(0x10, 0xF0) if b & 0x0C != 0x0C]),
    re.DOTALL,
)
_TAGGED = re.compile(b"Xing|Info|VBRI")
_ZEROS = re.compile(rb"\0*")


@dataclass(frozen=True)
class Header:
    """The first four bytes of a frame."""

    bits: int

    @property
    def layer(self) -> int:
        return 4 - (self.bits >> 17 & 3)

    @property
    def is_version_1(self) -> bool:
        return bool(self.bits >> 19 & 1)

    @property
    def has_crc(self) -> bool:
        return not self.bits >> 16 & 1

    @property
    def channels(self) -> int:
        return 1 if self.bits >> 6 & 3 == 3 else 2

    @property
    def rate(self) -> int:
        """Hz; version 2 halves, 2.5 quarters the rates of version 1."""
        return _RATES[self.bits >> 10 & 3] >> {3: 0, 2: 1, 0: 2}[self.bits >> 19 & 3]

    @property
    def samples(self) -> int:
        """Per channel, that the frame stands for."""
        return {1: 384, 2: 1152, 3: 1152 if self.is_version_1 else 576}[self.layer]

    @property
    def format(self) -> tuple[int, int]:
        """What the frames of a recording have in common: version, layer, rate; channels."""
        return self.bits & 0xFFFE0C00, self.channels

    @property
    def is_free(self) -> bool:
        """Whether the bitrate is none of the table, so that the size is not known."""
        return not self.bits >> 12 & 15

    @property
    def size(self) -> int:
        """Bytes of the frame; of a free one, those that padding adds."""
        padding = (self.bits >> 9 & 1) * (4 if self.layer == 1 else 1)
        if self.is_free:
            return padding
        bitrate = 1000 * _BITRATES[self.is_version_1, self.layer][(self.bits >> 12 & 15) - 1]
        if self.layer == 1:
            return 12 * bitrate // self.rate * 4 + padding
        return self.samples // 8 * bitrate // self.rate + padding

    @property
    def side_information(self) -> int:
        """Bytes of layer 3's, which follows the header and its CRC."""
        return ((17, 32) if self.is_version_1 else (9, 17))[self.channels - 1]


@cache
def parse(data: bytes) -> Header | None:
    """The header that four bytes are; None if they are none."""
    if len(data) < 4 or data[0] != 0xFF:
        return None
    if not _CANDIDATE.match(bytes((data[0], data[1], data[2] | 0x10 * (data[2] < 0x10)))):
        return None
    return Header(int.from_bytes(data, "big"))


def is_tagged(frame: bytes, header: Header) -> bool:
    """Whether a frame holds "Xing", "Info" or "VBRI" in place of audio."""
    at = 4 + header.side_information
    return frame[at : at + 4] in (b"Xing", b"Info") or frame[36:40] == b"VBRI"


@dataclass
class Run:
    """Frames one behind the other, all of one format."""

    start: int  # offset
    header: Header  # of the first
    free: int = 0  # bytes of a frame without padding, where the bitrate is free
    end: int = 0  # offset behind the last
    last: int = 0  # offset of the last, unless the next recording follows it
    frames: int = 0
    broken: int = 0  # bytes between the run before and this that are neither frames nor tags
    is_tagged: bool = False  # the first frame holds "Xing", "Info" or "VBRI" and no audio


def scan(file: BinaryIO, start: int, end: int) -> tuple[list[Run], int, bool]:
    """All runs between two offsets.

    Returns
    -------
    the runs, how many bytes behind the last are neither frames, tags nor padding, and whether the end cuts a frame
    """
    data = Bytes(file, end)
    runs: list[Run] = []
    at, broken, zeros, is_cut = start, 0, 0, False
    while at < end:
        behind = _behind_tag(data, at)
        if behind > at:
            at = behind
            continue
        padding = len(_match_zeros(data, at))
        if padding:
            at, zeros = at + padding, zeros + padding
            continue
        run = _starts(data, at, runs[-1].header.format if runs else None)
        if run is None:
            behind = _search(data, at + 1)
            at, broken = behind, broken + behind - at
            continue
        run.broken = broken + zeros if runs else 0
        while _follow(data, run):  # ended by the first frame of another recording
            runs.append(run)
            run = Run(run.end, run.header, run.free)
        runs.append(run)
        at, broken, zeros = run.end, 0, 0
        if run.end + 4 <= end and (header := parse(data.at(at, 4))) and header.format == run.header.format:
            at, is_cut = end, True
    if zeros and runs and not data.at(max(runs[-1].end - 32, 0), 32).strip(b"\0"):
        broken += zeros  # they begin inside the last frame: not padding, but damage
    return runs, broken, is_cut


def behind_tags(file: BinaryIO, end: int) -> int:
    """The offset at which tags and zeros at the beginning of a file end."""
    data = Bytes(file, end)
    at = 0
    while at < end:
        behind = _behind_tag(data, at)
        behind += len(_match_zeros(data, behind))
        if behind == at:
            break
        at = behind
    return at


def is_mpeg(file: BinaryIO, start: int, end: int) -> bool:
    """Whether frames start at an offset."""
    return _starts(Bytes(file, end), start, None) is not None


def _match_zeros(data: Bytes, at: int) -> bytes:
    if data.at(at, 1) != b"\0":
        return b""
    found = _ZEROS.match(data.buffer(at))
    return found.group() if found else b""


def tag_length(peek: Callable[[int], bytes]) -> int:
    """Bytes of the tag that comes next: ID3v2, ID3v1, APE or Lyrics3; 0 if there is none.

    ``peek`` gives as many of the next bytes as there are, at most so many.
    """
    head = peek(32)
    if head.startswith(b"ID3") and len(head) >= 10 and max(head[6:10]) < 128:
        a, b, c, d = head[6:10]
        return 10 + (a << 21 | b << 14 | c << 7 | d) + 10 * bool(head[5] & 0x10)
    if head.startswith(b"APETAGEX") and len(head) == 32:
        is_header = head[23] & 0x20
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    if head.startswith(b"TAG+"):
        return 227
    if head.startswith(b"TAG"):
        return 128
    if head.startswith(b"LYRICSBEGIN"):
        text = peek(_MAX_LYRICS)
        ends = [text.find(word) for word in (b"LYRICS200", b"LYRICSEND") if word in text]
        return min(ends) + 9 if ends else 0
    return 0


def _behind_tag(data: Bytes, at: int) -> int:
    """The offset behind the tag at ``at``; ``at`` if there is none."""
    behind = at + tag_length(partial(data.at, at))
    return behind if behind <= data.end else at


def _starts(data: Bytes, at: int, expected: tuple[int, int] | None) -> Run | None:
    """The run that starts at ``at``, if frames follow each other there, or what was expected is the last frame."""
    header = parse(data.at(at, 4))
    if header is None:
        return None
    free = _free_size(data, at, header) if header.is_free else 0
    run = Run(at, header, free)
    for number in range(_CHAIN):
        following = parse(data.at(at, 4))
        if following is None or following.format != header.format or following.is_free != header.is_free:
            is_end = at == data.end or _behind_tag(data, at) > at or data.at(at, 1) == b"\0"
            return run if is_end and (number > 1 or expected == header.format) else None
        size = following.size + free
        if not size or at + size > data.end:
            return run if number > 1 or (number and expected == header.format) else None
        at += size
    return run


def _free_size(data: Bytes, at: int, header: Header) -> int:
    """Bytes of a frame without padding, where the bitrate is free: by where the next frame begins."""
    ahead = data.at(at, _MAX_FREE)
    sync = ahead[:2]
    begin = ahead.find(sync, 24)
    while begin > 0:
        following = parse(ahead[begin : begin + 4])
        if following and following.is_free and following.format == header.format:
            return begin - header.size
        begin = ahead.find(sync, begin + 1)
    return 0


def _search(data: Bytes, at: int) -> int:
    """The next offset at which a frame or a tag may start; the end if there is none."""
    while at < data.end:
        buffer = data.buffer(at)
        found = _CANDIDATE.search(buffer)
        tags = [begin for word in (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN") if (begin := buffer.find(word)) >= 0]
        begins = [*tags, *([found.start()] if found else [])]
        if begins:
            return at + min(begins)
        at += max(len(buffer) - 11, 1)  # so that none is missed where two buffers meet
    return data.end


def _follow(data: Bytes, run: Run) -> bool:
    """Go on to the end of the run. True if what ends it is a frame like its own that is the first of a recording."""
    expected, is_free = run.header.format, run.header.is_free
    sizes: dict[bytes, int] = {}  # by header; 0: not of this run
    at = run.last = run.start
    while True:
        buffer = data.buffer(at)
        tagged = {
            found.start() - (36 if found.group() == b"VBRI" else 4 + run.header.side_information)
            for found in _TAGGED.finditer(buffer)
        }
        i = last = 0
        stop = min(len(buffer), data.end - at) - 3
        while i < stop:
            if i in tagged:
                if at + i > run.start:
                    run.end = at + i
                    return True
                run.is_tagged = True
            key = buffer[i : i + 4]
            size = sizes.get(key)
            if size is None:
                header = parse(key)
                fits = header is not None and header.format == expected and header.is_free == is_free
                size = sizes[key] = header.size + run.free if header is not None and fits else 0
            if not size or at + i + size > data.end:
                stop = -1
                break
            last = i
            i += size
            run.frames += 1
        if i:
            run.last = at + last
        at += i
        if stop < 0 or at + 4 > data.end:
            run.end = at
            return False
