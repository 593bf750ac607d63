"""Core Audio Format: chunks, of which "desc" says what the samples are and "data" has them."""

import struct
from typing import BinaryIO

from edgel3_onnx.recordings.linear import Linear, Samples, is_known
from edgel3_onnx.recordings.linear import walk as walk_linear
from edgel3_onnx.recordings.view import read_at
from edgel3_onnx.recordings.walk import Part, Walk

_MAX_CHUNKS = 1000  # before the samples; a damaged file could send us through many
_IS_FLOAT, _IS_LITTLE_ENDIAN = 1, 2  # flags of linear PCM
_UNKNOWN = -1  # size of samples whose writer did not know
_EDIT_COUNT = 4  # bytes in front of the samples


def walk(file: BinaryIO, size: int) -> Walk | None:
    """Look at the chunks. None if there are no samples, or nothing says what they are."""
    at, description = 8, b""
    for _ in range(_MAX_CHUNKS):
        header = read_at(file, at, 12)
        if len(header) < 12:
            return None
        name, length = struct.unpack(">4sq", header)
        if name == b"desc":
            description = read_at(file, at + 12, 32)
        elif name == b"data":
            return _walk_samples(description, at + 12 + _EDIT_COUNT, length - _EDIT_COUNT, length == _UNKNOWN, size)
        if length < 0:
            return None
        at += 12 + length
    return None


def _walk_samples(description: bytes, offset: int, said: int, is_unknown: bool, size: int) -> Walk | None:
    if len(description) < 32:
        return None
    rate, kind, flags, packet, per_packet, channels, bits = struct.unpack(">d4s5I", description)
    if not 0 < rate < 2**32 or not channels:
        return None
    encoding = {b"lpcm": "float" if flags & _IS_FLOAT else "int", b"ulaw": "ulaw", b"alaw": "alaw"}.get(kind)
    if encoding is None or not is_known(encoding, bits) or packet * 8 != channels * bits:
        missing = 0 if is_unknown else max(offset + said - size, 0)
        per_second = rate * packet / per_packet if packet and per_packet else 0  # bytes; 0: packets of any size
        lost = missing / per_second if per_second else 0.0
        found = Walk(rate, [Part()], lost_at_end=lost)
        found.is_cut = missing > 0 and not per_second
        return found
    form = Linear(rate, channels, encoding, bits, not flags & _IS_LITTLE_ENDIAN)
    samples = Samples(form, offset, None if is_unknown else max(said, 0))
    samples.is_plain = not is_unknown and offset + said <= size  # else libsndfile refuses it
    return walk_linear(samples, size)
