"""Sun AU and NeXT: one header, then samples to the end."""

import struct
from typing import BinaryIO

from edgel3_onnx.recordings.linear import Linear, Samples
from edgel3_onnx.recordings.linear import walk as walk_linear
from edgel3_onnx.recordings.view import read_at
from edgel3_onnx.recordings.walk import Part, Walk

_ENCODINGS = {
    1: ("ulaw", 8),
    2: ("int", 8),
    3: ("int", 16),
    4: ("int", 24),
    5: ("int", 32),
    6: ("float", 32),
    7: ("float", 64),
    27: ("alaw", 8),
}
_ADPCM = {23: 4, 25: 3, 26: 5}  # bits of a sample
_UNKNOWN = 0xFFFFFFFF  # size of samples whose writer did not know


def walk(file: BinaryIO, size: int) -> Walk | None:
    """Look at the header. None if it is damaged."""
    header = read_at(file, 0, 24)
    if len(header) < 24:
        return None
    offset, said, encoding, rate, channels = struct.unpack(">5I", header[4:])
    if not rate or not channels:
        return None
    if encoding not in _ENCODINGS:
        missing = max(offset + said - size, 0) if said != _UNKNOWN and encoding in _ADPCM else 0
        return Walk(rate, [Part()], lost_at_end=missing * 8 / (_ADPCM.get(encoding, 8) * channels * rate))
    samples = Samples(Linear(rate, channels, *_ENCODINGS[encoding], True), offset, None if said == _UNKNOWN else said)
    samples.is_followed = said > 0
    return walk_linear(samples, size)
