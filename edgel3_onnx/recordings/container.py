"""Whether an audio file is as long as its own header says; libsndfile opens a truncated one without a word."""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class _Chunked:
    """A container made of chunks: identifier, size, contents."""

    magic: bytes
    first: int  # offset of the first chunk
    size: struct.Struct  # of a chunk, after its identifier
    data: bytes  # identifier of the chunk that holds the samples
    alignment: int = 2  # chunks start at multiples of this
    counts_header: bool = False  # whether a chunk's size includes identifier and size


_WAVE64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_CHUNKED = (
    _Chunked(b"RIFF", 12, struct.Struct("<I"), b"data"),
    _Chunked(b"RIFX", 12, struct.Struct(">I"), b"data"),
    _Chunked(b"RF64", 12, struct.Struct("<I"), b"data"),
    _Chunked(b"FORM", 12, struct.Struct(">I"), b"SSND"),
    _Chunked(b"caff", 8, struct.Struct(">q"), b"data", alignment=1),
    _Chunked(b"riff", 40, struct.Struct("<Q"), b"data" + _WAVE64_GUID, alignment=8, counts_header=True),
)
_MAX_CHUNKS = 1000  # before the samples; a damaged file could send us through many


def missing_bytes(file: BinaryIO) -> int:
    """How many bytes the file would have to be longer to hold what its header announces.

    0 also for formats that do not say, and for streams whose writer did not know.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(4)
    if magic == b"OggS":
        return _missing_of_ogg(file, size)
    if magic == b".snd":
        offset, length = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        return 0 if is_unknown_length(length) else max(offset + length - size, 0)
    for layout in _CHUNKED:
        if magic == layout.magic:
            return max(_end_of_data(file, size, layout) - size, 0)
    return 0


def says_its_length(file: BinaryIO) -> bool:
    """Whether an MPEG audio file has the frame count that its first frame may carry; without it, libsndfile
    only estimates the length."""
    file.seek(0)
    header = file.read(10)
    skip = 0
    if header.startswith(b"ID3") and len(header) == 10:
        a, b, c, d = header[6:10]
        skip = 10 + (a << 21 | b << 14 | c << 7 | d)
    file.seek(skip)
    frame = file.read(512)
    for tag in (b"Xing", b"Info"):
        at = frame.find(tag)
        if 0 <= at < len(frame) - 8:
            return bool(frame[at + 7] & 1)
    return False


def _end_of_data(file: BinaryIO, size: int, layout: _Chunked) -> int:
    """Offset at which the chunk with the samples ends by its header, 0 if that is not known."""
    at = layout.first
    long_size = None  # of an RF64 file, whose data chunk has no room for it
    header_length = len(layout.data) + layout.size.size
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(header_length)
        if len(header) < header_length:
            return 0
        identifier = header[: len(layout.data)]
        (length,) = layout.size.unpack(header[len(layout.data) :])
        if layout.counts_header:
            length -= header_length
        if identifier == b"ds64":
            (long_size,) = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))
        if identifier == layout.data:
            if long_size is not None and length == 0xFFFFFFFF:
                length = long_size
            return 0 if length <= 0 or is_unknown_length(length) else at + header_length + length
        if length < 0:
            return 0
        at += header_length + length
        at += -at % layout.alignment
        if at >= size:
            return 0
    return 0


def is_unknown_length(length: int) -> bool:
    """Whether a size, in bytes, means "not known when this was written": 0, or as large as 31 or 32 bits go."""
    return length in (0, 0xFFFFFFFF) or 0x7FFFF000 <= length <= 0x80000000


def _missing_of_ogg(file: BinaryIO, size: int) -> int:
    """At least 1 if the last page is cut or not marked as the last."""
    start = max(size - 2 * 65307, 0)  # a page has at most 65307 bytes
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return 1
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    cut = at + 27 + tail[at + 26] + sum(segments) - len(tail)
    end_of_stream = tail[at + 5] & 4
    return max(cut, 0) or (0 if end_of_stream else 1)
