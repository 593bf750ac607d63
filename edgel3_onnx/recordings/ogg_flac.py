"""FLAC in Ogg, unpacked: its packets are the frames of a FLAC file, which libsndfile decodes."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from edgel3_onnx.recordings.flac import Info, parse_frame
from edgel3_onnx.recordings.view import Piece, join, read_at

_HEAD = 27  # bytes in front of a page's segment table
_CONTINUED = 1  # flag of a page that begins inside a packet
_MAX_FRAME_HEADER = 16  # bytes


class Page(Protocol):
    """What is needed to know of a page."""

    @property
    def offset(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def position(self) -> int: ...


def headers(packet: bytes) -> int:
    """How many packets the first one says are headers, itself included."""
    return 1 + int.from_bytes(packet[7:9], "big")


def info(packet: bytes) -> Info:
    """STREAMINFO, from the first packet."""
    return Info(packet[17:51], 0)


def unpack(file: BinaryIO, packet: bytes, pages: Sequence[Page]) -> tuple[list[Piece], int]:
    """A FLAC file of the frames that are whole on ``pages``, and its samples per channel; none if there are none."""
    pieces: list[Piece] = []
    open_pieces: list[Piece] = []  # of a packet that goes on
    is_inside = bool(pages[0].flags & _CONTINUED)  # a packet whose beginning is lost
    for page in pages:
        table = read_at(file, page.offset + _HEAD, read_at(file, page.offset + _HEAD - 1, 1)[0])
        at = page.offset + _HEAD + len(table)
        for size in table:
            if not is_inside:
                open_pieces.append((at, size))
            at += size
            if size < 255:
                pieces += open_pieces
                open_pieces, is_inside = [], False
    pieces = join(pieces)
    if not pieces or not isinstance(pieces[0], tuple):
        return [], 0
    first = parse_frame(read_at(file, pieces[0][0], _MAX_FRAME_HEADER), 0, info(packet))
    if first is None:
        return [], 0
    return [info(packet).header(0), *pieces], pages[-1].position - first.first
