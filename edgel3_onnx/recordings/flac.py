"""FLAC (RFC 9639): the true length by the last frame, and how to go on behind a frame that is damaged.

Frames have no length: they are found by their sync code and the checksum of their header, which says the number of the
frame or of its first sample. A second checksum ends each frame.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import BinaryIO

from edgel3_onnx.recordings.location import open_binary
from edgel3_onnx.recordings.view import Bytes, Piece, read_at
from edgel3_onnx.recordings.walk import Gap, Part, Walk

_MAX_BLOCKS = 1000  # of metadata; a damaged file could send us through many
_TAIL = 2**16  # bytes searched for the last frame at first; a frame seldom has more than 20 kB
_MAX_HEADER = 16  # bytes of a frame's header
_MAX_FRAME = 2**18  # bytes of a frame whose checksum is worth computing here
_BEGIN = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # of a recording: its mark, and the header of STREAMINFO
_BEGIN_LENGTH = 8
_ID3V1 = 128  # bytes of a tag that some put behind a FLAC


def _table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value >> (bits - 1) else value << 1) & ((1 << bits) - 1)
        table.append(value)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


@dataclass(frozen=True)
class Info:
    """What STREAMINFO says."""

    data: bytes  # the block, without its header
    audio: int  # offset of the first frame

    @property
    def block_size(self) -> int:
        return int.from_bytes(self.data[:2], "big")

    @property
    def rate(self) -> int:
        return int.from_bytes(self.data[10:13], "big") >> 4

    @property
    def channels(self) -> int:
        return (self.data[12] >> 1 & 7) + 1

    @property
    def total(self) -> int:
        """Samples per channel; 0: not known."""
        return int.from_bytes(self.data[13:18], "big") & (1 << 36) - 1

    def header(self, total: int) -> bytes:
        """The start of a FLAC file of another length: without frame sizes and without MD5."""
        length = (int.from_bytes(self.data[10:18], "big") & ~((1 << 36) - 1) | total).to_bytes(8, "big")
        return b"fLaC\x80\0\0\x22" + self.data[:4] + bytes(6) + length + bytes(16)


@dataclass(frozen=True)
class _Frame:
    offset: int
    first: int  # sample
    samples: int  # per channel

    @property
    def end(self) -> int:
        return self.first + self.samples


def walk(file: BinaryIO, start: int, size: int) -> Walk | None:
    """Look at the header at ``start`` and at the last frame, of each recording in the file. None if there is none."""
    first = _read_info(file, start, size)
    if first is None or not first.rate:
        return None
    found, is_said = Walk(first.rate, announced=0.0, recordings=0), True
    begins = [start, *_joined(file, first.audio, size)]
    for begin, stop in pairwise([*begins, size]):
        info = _read_info(file, begin, stop)
        if info is None:
            found.is_cut = True
            found.left_out.append("another recording joined to it, whose header is damaged")
            continue
        if (info.rate, info.channels) != (first.rate, first.channels):
            seconds = info.total / max(info.rate, 1)
            found.left_out.append(f"{seconds:.2f} s joined to it at {info.rate} Hz, {info.channels} channels")
            found.left_out_seconds += seconds
            continue
        found.recordings += 1
        is_said = is_said and info.total > 0
        _add(found, file, info, stop, is_alone=(begin, stop) == (0, size))
    if not is_said:
        found.announced = None
        found.notes.append("it does not say how long it is: the last frame does")
    return found


def _joined(file: BinaryIO, start: int, size: int) -> Iterator[int]:
    """The offsets from ``start`` on at which another recording begins."""
    data, at = Bytes(file, size), start
    while at < size:
        buffer = data.buffer(at)
        for match in _BEGIN.finditer(buffer):
            yield at + match.start()
        if at + len(buffer) >= size:
            return
        at += max(len(buffer) - _BEGIN_LENGTH + 1, 1)  # so that none is missed where two buffers meet


def _add(found: Walk, file: BinaryIO, info: Info, size: int, *, is_alone: bool) -> None:
    """Append a recording that ends at offset ``size``."""
    frames = _frames(file, info, size)
    end, is_whole = _end(file, info, size)
    announced = info.total
    if end < info.total:
        found.lost_at_end += (info.total - end) / info.rate
    elif 0 < info.total < end:
        announced = end
        found.notes.append("it has more samples than its header says")
    found.announced = (found.announced or 0.0) + announced / info.rate
    found.is_cut = found.is_cut or not (info.total or is_whole)
    is_believed = is_alone and end <= (info.total or end)
    pieces: list[Piece] | None = None if is_believed else [info.header(end), (info.audio, size - info.audio)]
    found.parts.append(Part(end, pieces, resume=_resume(file.name, info, frames, size, 0, end)))


def _read_info(file: BinaryIO, start: int, size: int) -> Info | None:
    at, data = start + 4, b""
    for _ in range(_MAX_BLOCKS):
        header = read_at(file, at, 4)
        if len(header) < 4 or header[0] == 0xFF:
            return None
        length = int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == 0:
            data = read_at(file, at + 4, 34)
        at += 4 + length
        if header[0] & 0x80:
            return Info(data, at) if len(data) == 34 and at <= size else None
    return None


def _frames(file: BinaryIO, info: Info, size: int) -> Callable[[], list[_Frame]]:
    """A function that gives all frames of which a neighbour is found too; it reads the file once, if it is called."""
    name = file.name

    @cache
    def find() -> list[_Frame]:
        with open_binary(name) as again:
            found = _candidates(Bytes(again, size), info, info.audio)
        chained = {frame for before, after in pairwise(found) if before.end == after.first for frame in (before, after)}
        frames: list[_Frame] = []
        for frame in found:
            if frame in chained and (not frames or frame.first >= frames[-1].end):
                frames.append(frame)
        return frames

    return find


def _candidates(data: Bytes, info: Info, at: int) -> list[_Frame]:
    """The frame headers with the right checksum from an offset on."""
    sync = data.at(info.audio, 2)
    if not re.fullmatch(b"\xff[\xf8\xf9]", sync):
        sync = b"\xff\xf8"
    frames = []
    while at < data.end:
        buffer = data.buffer(at)
        begin = buffer.find(sync)
        while begin >= 0:
            frame = parse_frame(buffer[begin : begin + _MAX_HEADER], at + begin, info)
            if frame is not None:
                frames.append(frame)
            begin = buffer.find(sync, begin + 1)
        if at + len(buffer) >= data.end:
            break
        at += len(buffer) - _MAX_HEADER + 1
        while frames and frames[-1].offset >= at:  # found again in the next buffer
            frames.pop()
    return frames


def parse_frame(data: bytes, offset: int, info: Info) -> _Frame | None:
    """The frame whose header ``data`` begins with; None if it is none of this stream."""
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xFE != 0xF8 or data[3] & 1:
        return None
    block, rate, assignment = data[2] >> 4, data[2] & 15, data[3] >> 4
    channels = assignment + 1 if assignment < 8 else 2
    if not block or rate == 15 or assignment > 10 or channels != info.channels:
        return None
    length = 8 - (data[4] ^ 0xFF).bit_length()  # of the number, coded as UTF-8 does
    if length == 1 or length > 7 or len(data) < 5 + length:
        return None
    number = data[4] & (0x7F >> length)
    for byte in data[5 : 4 + max(length, 1)]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at = 4 + max(length, 1)
    if block in (6, 7):
        samples = int.from_bytes(data[at : at + block - 5], "big") + 1
        at += block - 5
    else:
        samples = {1: 192, **{k: 144 << k for k in range(2, 6)}, **{k: 1 << k for k in range(8, 16)}}[block]
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if len(data) <= at or _crc8(data[:at]) != data[at]:
        return None
    is_variable = data[1] & 1
    return _Frame(offset, number if is_variable else number * info.block_size, samples)


def _end(file: BinaryIO, info: Info, size: int) -> tuple[int, bool]:
    """The sample at which the last whole frame ends, 0 if there is none; and whether no other begins behind it."""
    length = _TAIL
    while True:
        start = max(size - length, info.audio)
        frames = _candidates(Bytes(file, size), info, start)
        if frames:
            last = frames[-1]
            tail = read_at(file, last.offset, min(size - last.offset, _MAX_FRAME))
            ends = [tail, tail[:-_ID3V1], tail.rstrip(b"\0")] if len(tail) < _MAX_FRAME else []
            if last.end == info.total or any(len(end) > 2 and _crc16(end) == 0 for end in ends):
                return last.end, True
            for before, after in zip(frames[-2::-1], frames[:0:-1], strict=True):
                if before.end == after.first:
                    return after.first, False
        if start == info.audio:
            return (frames[0].first, False) if frames else (0, start == size)
        length *= 8


def _resume(
    path: str, info: Info, frames: Callable[[], list[_Frame]], size: int, begin: int, end: int
) -> Callable[[int], list[Part | Gap]]:
    """The function ``resume`` of a part from sample ``begin`` to ``end``."""

    def resume(done: int) -> list[Part | Gap]:
        at = begin + done
        found = [frame for frame in frames() if frame.end > at and frame.first < end]
        parts: list[Part | Gap] = []
        with open_binary(path) as file:
            whole = 0
            for frame, following in pairwise(found):
                data = read_at(file, frame.offset, min(following.offset - frame.offset, _MAX_FRAME))
                if frame.first > (found[whole - 1].end if whole else at) or _crc16(data):
                    break
                whole += 1
        if whole:
            good = found[whole - 1].end
            stop = found[whole].offset
            pieces: list[Piece] = [info.header(0), (found[0].offset, stop - found[0].offset)]
            parts.append(Part(good - at, pieces, skip=at - found[0].first))
            at = good
        rest = [frame for frame in found[whole:] if frame.first >= at]
        if rest and rest[0].first == at:
            rest = rest[1:]  # the damaged one
        if not rest and parts:  # what is missing then is missing at the end
            parts = [replace(parts[0], frames=end - begin - done)]
        if rest:
            parts.append(Gap(rest[0].first - at))
            pieces = [info.header(0), (rest[0].offset, size - rest[0].offset)]
            onward = _resume(path, info, frames, size, rest[0].first, end)
            parts.append(Part(end - rest[0].first, pieces, resume=onward))
        return parts

    return resume


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ _CRC16[value >> 8 ^ byte]
    return value
