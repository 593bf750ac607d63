"""AIFF and AIFF-C: chunks in big-endian order, of which "COMM" says what the samples are and "SSND" has them."""

import struct
from typing import BinaryIO

from edgel3_onnx.recordings.linear import Linear, Samples, is_known
from edgel3_onnx.recordings.linear import walk as walk_linear
from edgel3_onnx.recordings.view import read_at
from edgel3_onnx.recordings.walk import Part, Walk

_UNKNOWN = 0x7F000000  # bytes of samples that sox writes where it does not know; other writers, somewhat more
_MAX_CHUNKS = 1000  # before the samples; a damaged file could send us through many
# Compression of AIFF-C: encoding, bits (0: those of COMM), whether big-endian
_ENCODINGS = {
    b"NONE": ("int", 0, True),
    b"twos": ("int", 0, True),
    b"sowt": ("int", 0, False),
    b"in24": ("int", 24, True),
    b"in32": ("int", 32, True),
    b"fl32": ("float", 32, True),
    b"FL32": ("float", 32, True),
    b"fl64": ("float", 64, True),
    b"FL64": ("float", 64, True),
    b"ulaw": ("ulaw", 8, True),
    b"ULAW": ("ulaw", 8, True),
    b"alaw": ("alaw", 8, True),
    b"ALAW": ("alaw", 8, True),
}
_PACKET = {b"ima4": 64}  # samples in what such a file counts as one


def walk(file: BinaryIO, size: int) -> Walk | None:
    """Look at the chunks. None if there are no samples, or nothing says what they are."""
    at, common = 12, b""
    for _ in range(_MAX_CHUNKS):
        header = read_at(file, at, 8)
        if len(header) < 8:
            return None
        name, length = header[:4], int.from_bytes(header[4:], "big")
        if name == b"COMM":
            common = read_at(file, at + 8, min(length, 22))
        elif name == b"SSND":
            skipped = int.from_bytes(read_at(file, at + 8, 4), "big")
            return _walk_samples(common, at + 16 + skipped, max(length - 8 - skipped, 0), length, size)
        at += 8 + length + length % 2
    return None


def _walk_samples(common: bytes, offset: int, said: int, length: int, size: int) -> Walk | None:
    if len(common) < 18:
        return None
    channels, frames, bits = struct.unpack(">hIh", common[:8])
    rate = _extended(common[8:18])
    encoding, fixed, big_endian = _ENCODINGS.get(common[18:22] or b"NONE", ("", 0, True))
    bits = fixed or -(-bits // 8) * 8
    if channels < 1 or not rate:
        return None
    if not is_known(encoding, bits):
        missing = max(offset + said - size, 0)
        seconds = frames * _PACKET.get(common[18:22], 1) / rate
        lost = seconds * missing / said if said else 0.0
        return Walk(rate, [Part()], lost_at_end=lost)
    form = Linear(rate, channels, encoding, bits, big_endian)
    if length == 0 or (_UNKNOWN <= length <= 0x80000000 and offset + said > size) or length == 0xFFFFFFFF:
        return walk_linear(Samples(form, offset, None if length else 0, is_plain=False, is_followed=not size), size)
    return walk_linear(Samples(form, offset, said), size)


def _extended(data: bytes) -> float:
    """The value of an 80-bit floating-point number, 0.0 if it is no rate."""
    exponent, mantissa = struct.unpack(">HQ", data)
    return float(mantissa) * 2.0 ** (exponent - 16383 - 63) if 0 < exponent - 16383 < 32 else 0.0
