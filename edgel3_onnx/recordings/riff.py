"""WAV, RF64, Wave64 and RIFX: chunks, of which "fmt " says what the samples are and "data" has them.

The size of "data" is believed, except where it cannot be true: 0 or larger than the rest of the file, or smaller
although no chunk follows, as if its writer had stopped counting at 32 bits or had never come back to the header.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from edgel3_onnx.recordings import mpeg
from edgel3_onnx.recordings.linear import Linear, Samples
from edgel3_onnx.recordings.linear import walk as walk_linear
from edgel3_onnx.recordings.view import read_at
from edgel3_onnx.recordings.walk import Part, Walk

_WAVE64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind each name of four letters
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE  # format tags
_MPEG = (0x50, 0x55)
_MAX_CHUNKS = 1000  # before the samples; a damaged file could send us through many
_NEARLY = 2**16  # bytes of other chunks that a file over 4 GiB may have behind samples whose size wrapped
_TOO_LARGE = 2**32
_IMPOSSIBLE = 2**62  # bytes: a size of -1 in 64 bits
_CHUNK = 2**20  # bytes read at a time


@dataclass(frozen=True)
class Format:
    """The chunk "fmt "."""

    tag: int
    channels: int
    rate: int  # Hz
    byte_rate: int  # bytes of samples in a second
    block_align: int  # bytes of one sample of all channels, or of a compressed block
    bits: int

    @classmethod
    def parse(cls, body: bytes, order: str = "<") -> "Format | None":
        """None if the chunk is damaged."""
        if len(body) < 16:
            return None
        tag, channels, rate, byte_rate, align, bits = struct.unpack(order + "HHIIHH", body[:16])
        if tag == _EXTENSIBLE and len(body) >= 26:
            (tag,) = struct.unpack(order + "H", body[24:26])
        return cls(tag, channels, rate, byte_rate, align, bits) if channels and rate else None

    @property
    def container_bits(self) -> int:
        """In which a sample lies: what is left of the block is padding."""
        return 8 * self.block_align // self.channels if self.block_align else -(-self.bits // 8) * 8

    def linear(self, big_endian: bool = False) -> Linear | None:
        """None if the samples are compressed, or of a size that nobody writes."""
        known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _ULAW: (8,)}.get(self.tag, ())
        bits = self.container_bits
        if bits not in known or (self.tag == _FLOAT and bits != self.bits) or self.bits > bits:
            return None
        encoding = {_FLOAT: "float", _ALAW: "alaw", _ULAW: "ulaw", _PCM: "uint" if bits == 8 else "int"}[self.tag]
        return Linear(self.rate, self.channels, encoding, bits, big_endian)


def is_unknown_length(length: int) -> bool:
    """Whether a size means "not known when this was written": as large as 31 or 32 bits go."""
    return length == 0xFFFFFFFF or 0x7FFFF000 <= length <= 0x80000000


def walk(file: BinaryIO, size: int) -> Walk | None:
    """Look at the chunks. None if there are no samples, or nothing says what they are."""
    magic = read_at(file, 0, 4)
    is_wave64 = magic == b"riff"
    order = ">" if magic == b"RIFX" else "<"
    form, long_size = None, None
    at = 40 if is_wave64 else 12
    for _ in range(_MAX_CHUNKS):
        name, offset, length = chunk(file, at, is_wave64, order)
        if name == b"ds64":
            (long_size,) = struct.unpack("<8xQ", read_at(file, offset, 16).ljust(16, b"\0"))
        elif name == b"fmt ":
            form = Format.parse(read_at(file, offset, min(length, 40)), order)
        elif name == b"data":
            if form is None:
                return None
            said: int | None = length
            if not is_wave64 and length == 0xFFFFFFFF and long_size:
                said = long_size
            elif not 0 <= length < _IMPOSSIBLE or (is_unknown_length(length) and offset + length > size):
                said = None
            return _walk_samples(file, size, form, offset, said, is_wave64, order)
        if not name or length < 0:
            return None
        at = offset + length + -(offset + length) % (8 if is_wave64 else 2)
        if at >= size:
            return None
    return None


def _walk_samples(
    file: BinaryIO, size: int, form: Format, offset: int, said: int | None, is_wave64: bool, order: str
) -> Walk | None:
    end = size if said is None else min(offset + said, size)
    if form.tag in _MPEG:
        return mpeg.walk(file, offset, end)
    linear = form.linear(order == ">")
    if linear is None:
        found = Walk(form.rate, [Part()])
        missing = 0 if said is None else offset + said - end
        found.lost_at_end = missing / form.byte_rate if form.byte_rate else 0.0
        found.is_cut = missing > 0 and not form.byte_rate
        return found
    samples = Samples(linear, offset, said, is_followed=_is_followed(file, size, offset, said or 0, is_wave64, order))
    rest = size - offset
    if said is not None and not is_wave64 and rest >= _TOO_LARGE and (rest - said) % _TOO_LARGE < _NEARLY:
        samples.is_followed = rest - said < _NEARLY  # else the size wrapped
    if linear.encoding == "int" and linear.bits == 32 and form.bits == 24:
        samples.is_plain = False
        if _is_right_justified(file, offset, end):
            samples.offset -= 1  # so that the byte that is padding becomes the lowest
    return walk_linear(samples, size)


def chunk(file: BinaryIO, at: int, is_wave64: bool, order: str) -> tuple[bytes, int, int]:
    """Name, offset of the contents and their size; an empty name where there is no chunk."""
    if is_wave64:
        header = read_at(file, at, 24)
        if len(header) < 24 or header[4:16] != _WAVE64_GUID:
            return b"", at, 0
        return header[:4], at + 24, int.from_bytes(header[16:], "little") - 24
    header = read_at(file, at, 8)
    if len(header) < 8:
        return b"", at, 0
    return header[:4], at + 8, struct.unpack(order + "I", header[4:])[0]


def _is_followed(file: BinaryIO, size: int, offset: int, said: int, is_wave64: bool, order: str) -> bool:
    """Whether what lies behind the samples is a chunk, a tag, padding, or too little to be anything."""
    if offset + said >= size:
        return True
    at = offset + said
    at += -at % (8 if is_wave64 else 2)
    behind = read_at(file, at, 4096)
    if len(behind) < 64 or not behind.strip(b"\0") or behind[:3] in (b"TAG", b"ID3"):
        return True
    name, contents, length = chunk(file, at, is_wave64, order)
    return bool(name) and name.isascii() and name.decode().isprintable() and contents + length <= size + 1


def _is_right_justified(file: BinaryIO, offset: int, end: int) -> bool:
    """Whether 24 bits lie in the lower bytes of 32, by the first samples that are not zero."""
    while offset < end:
        data = read_at(file, offset, min(_CHUNK, end - offset))
        offset += len(data)
        whole = len(data) // 4 * 4
        if not data[:whole].strip(b"\0"):
            if not data:
                return False
            continue
        signs = data[3:whole:4]
        return bool(data[0:whole:4].strip(b"\0")) and all(
            sign == (0xFF if middle & 0x80 else 0) for sign, middle in zip(signs, data[2:whole:4], strict=True)
        )
    return False
