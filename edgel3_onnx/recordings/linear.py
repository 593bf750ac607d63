"""Samples that lie in a file as they are: how long they are, and a true header to decode them by."""

import struct
from dataclasses import dataclass, field

from edgel3_onnx.recordings.view import Piece
from edgel3_onnx.recordings.walk import Part, Walk

_NOTICEABLE = 0.1  # seconds of a wrong size that a note is worth
_AU = {("int", 8): 2, ("int", 16): 3, ("int", 24): 4, ("int", 32): 5, ("float", 32): 6, ("float", 64): 7}
_AU |= {("ulaw", 8): 1, ("alaw", 8): 27}
_WAV = {"uint": 1, "int": 1, "float": 3, "alaw": 6, "ulaw": 7}  # format tags
_LARGEST = 2**31 - 2**16  # bytes of samples up to which every header is understood
PCM_FORMATS = {"s16le": ("int", 16), "f32le": ("float", 32)}  # by the names that people type: encoding, bits


def is_known(encoding: str, bits: int) -> bool:
    """Whether there are samples of that encoding and size, for which a header can be written."""
    return (encoding, bits) in _AU or (encoding, bits) == ("uint", 8)


@dataclass(frozen=True)
class Linear:
    """PCM: samples of all channels one behind the other.

    Attributes
    ----------
    encoding : {"int", "uint", "float", "ulaw", "alaw"}
    bits : int
        Of one sample as it lies there.
    """

    rate: float  # Hz
    channels: int
    encoding: str
    bits: int
    big_endian: bool = False

    def __str__(self) -> str:
        return f"{self.encoding} {self.bits} bits, {self.rate:g} Hz"

    @classmethod
    def mono(cls, rate: float, pcm: str | None = None) -> "Linear":
        """Raw PCM by one of the names of PCM_FORMATS, by default the first."""
        return cls(rate, 1, *PCM_FORMATS[pcm or next(iter(PCM_FORMATS))])

    @property
    def frame_bytes(self) -> int:
        """Of one sample of all channels."""
        return self.channels * self.bits // 8

    def header(self, length: int) -> bytes:
        """The beginning of a file with ``length`` bytes of samples: RF64, or AU where WAV cannot have them."""
        if self.big_endian or (self.encoding, self.bits) == ("int", 8):
            return struct.pack(
                ">4s5I", b".snd", 24, 0xFFFFFFFF, _AU[self.encoding, self.bits], round(self.rate), self.channels
            )
        tag, rate, align = _WAV[self.encoding], round(self.rate), self.frame_bytes
        fmt = struct.pack(
            "<4sIHHIIHH", b"fmt ", 16, tag, self.channels, rate, rate * align & 0xFFFFFFFF, align, self.bits
        )
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + len(fmt) + 8 + length, length, length // align, 0)
        return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff"


@dataclass
class Samples:
    """Where the samples lie, and how many bytes of them its header says there are."""

    format: Linear
    offset: int
    said: int | None  # None: the writer did not know, and said so
    is_plain: bool = True  # whether libsndfile reads them right by their own header
    is_followed: bool = True  # whether what lies behind them is something else
    warnings: list[str] = field(default_factory=list)


def walk(samples: Samples, size: int) -> Walk:
    """What lies in a file of ``size`` bytes."""
    form = samples.format
    per_second = form.frame_bytes * form.rate
    rest = max(size - samples.offset, 0)
    found = Walk(form.rate, warnings=samples.warnings)
    length, is_plain = rest, samples.is_plain
    if samples.said is None:
        found.notes.append("its header does not say how long it is: it is taken to the end of the file")
        is_plain = is_plain and rest < _LARGEST
    elif samples.said == 0 and rest >= form.frame_bytes and not samples.is_followed:
        found.warnings.append(f"its header says 0 s; the {rest / per_second:.2f} s up to the end of the file are taken")
        is_plain = False
    elif samples.said < rest and not samples.is_followed:
        found.warnings.append(
            f"its header says {samples.said / per_second:.2f} s; the {rest / per_second:.2f} s up to the end of the "
            "file are taken"
        )
        is_plain = False
    else:
        length = min(samples.said, rest)
        found.announced = samples.said / per_second
        found.lost_at_end = (samples.said - length) / per_second
        if 0 < found.lost_at_end < _NOTICEABLE:
            found.notes.append(f"its header says {samples.said - length} bytes more than there are")
    frames = length // form.frame_bytes
    length = frames * form.frame_bytes
    pieces: list[Piece] | None = None if is_plain else [form.header(length), (samples.offset, length)]
    found.parts.append(Part(frames, pieces))
    return found
